//! Whole decisions: tables, stability, and properties.

pub(super) mod builder;
mod decisions;
mod division;
mod overcommit;
mod stability;
