//! What this cluster can run: observed, never declared.
//!
//! Nodes and pods are read through types that name only the fields needed here, and of a pod only its node and what it
//! requests is kept. The report's own size grows with neither: each of its lists has a most, and is cut there by name.

mod caches;
mod capacity;
mod devices;
mod gpus;
mod locality;
mod look;
mod node_sets;
mod observe;
mod optional;
mod picture;
mod platforms;
mod products;
mod quota;
mod seen;
mod storage;
mod trimmed;

pub use capacity::{
    Access, CapacityReport, DeviceGroup, GpuPool, HeldCache, NodeGroup, NodeLabel, NodeSet, NodeSets,
    Platform, Sharing, StorageClass, TaintedNodes, UnlabelledNodes,
};
pub use look::{Free, Look, Looks};
pub use observe::observe;
