//! What this cluster can run: observed, never declared.
//!
//! Nodes and pods are read through types that name only the fields needed here, and pods without GPUs are dropped
//! as they come, so memory grows with GPU pods and nodes alone. The report's own size grows with neither.

mod caches;
mod capacity;
mod gpus;
mod locality;
mod observe;
mod platforms;
mod seen;
mod trimmed;

pub use capacity::{CapacityReport, GpuPool, HeldCache, Platform};
pub use observe::observe;
