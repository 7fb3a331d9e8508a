//! What this cluster can run: observed, never declared.

mod capacity;

pub use capacity::{CapacityReport, GpuPool, HeldCache, Platform};
