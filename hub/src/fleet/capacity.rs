//! What a cluster can run, as its spoke observed it.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

/// A report older than this is not believed: a spoke repeats it every 10 minutes, so three were missed.
pub const STALE_AFTER: SignedDuration = SignedDuration::from_mins(30);

/// What a cluster can run. Its size does not grow with nodes or pods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// By the spoke's clock: comparable with [`super::ObjectStatus::observed_at`] of the same cluster only.
    pub observed_at: Timestamp,
    /// By the hub's clock.
    pub received_at: Timestamp,
    /// E.g. `v1.34.2`.
    pub kubernetes_version: String,
    /// Where all nodes agree; empty otherwise.
    pub region: String,
    /// Where all nodes agree; empty otherwise.
    pub zone: String,
    /// Scheme of the nodes' provider ID; empty if none.
    pub provider: String,
    /// One per GPU product and resource.
    pub pools: Vec<Pool>,
    /// APIs and operators found.
    pub platforms: Vec<Platform>,
    /// Model caches that are ready.
    pub caches: Vec<HeldCache>,
}

impl Capacity {
    /// Whether the report is too old to place by.
    #[must_use]
    pub fn is_stale(&self, now: Timestamp) -> bool {
        now.duration_since(self.received_at) > STALE_AFTER
    }

    /// Free and allocatable GPUs over all pools.
    #[must_use]
    pub fn totals(&self) -> (u32, u32) {
        self.pools.iter().fold((0, 0), |(free, allocatable), pool| {
            (free.saturating_add(pool.free), allocatable.saturating_add(pool.allocatable))
        })
    }

    /// Whether the platform was found.
    #[must_use]
    pub fn has_platform(&self, name: &str) -> bool {
        self.platforms.iter().any(|platform| platform.name == name)
    }
}

/// The nodes of one GPU product.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pool {
    /// Node label `nvidia.com/gpu.product`.
    pub product: String,
    /// Extended resource, e.g. `nvidia.com/gpu`.
    pub resource: String,
    /// Memory of one GPU, MiB.
    pub memory_mib: u64,
    /// Nodes that are ready and schedulable.
    pub nodes: u32,
    /// GPUs on all nodes of the product.
    pub capacity: u32,
    /// GPUs that ready, schedulable nodes offer.
    pub allocatable: u32,
    /// Allocatable minus requests of bound pods.
    pub free: u32,
    /// Nodes by their number of free GPUs.
    pub free_per_node: BTreeMap<u32, u32>,
}

/// An API or operator found in a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Platform {
    /// `standalone`, `kserve`, `lws`, …
    pub name: String,
    /// API version served.
    pub version: String,
}

/// A model cache that is ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldCache {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Image or model it was made from.
    pub model: String,
    /// Profile IDs it holds.
    pub profiles: Vec<String>,
}
