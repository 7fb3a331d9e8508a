//! Whole decisions: tables, stability, and properties.

pub(super) mod builder;
mod decisions;
mod division;
mod failover;
mod overcommit;
mod stability;
