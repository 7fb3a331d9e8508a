//! Whole decisions: tables, stability, and properties.

pub(crate) mod builder;
mod decisions;
mod division;
mod failover;
mod overcommit;
mod stability;
