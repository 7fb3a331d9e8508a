//! Whole decisions: tables, stability, and properties.

pub(crate) mod builder;
mod causes;
mod decisions;
mod devices;
mod division;
mod failover;
mod oracle;
mod overcommit;
mod pipelines;
mod priority;
mod properties;
mod samples;
mod stability;
