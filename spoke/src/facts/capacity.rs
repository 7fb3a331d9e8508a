//! What this cluster can run, in the words that travel to the hub.

use std::collections::BTreeMap;

/// Everything the hub's scheduler learns about this cluster. Its size does not grow with nodes or pods.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CapacityReport {
    /// Milliseconds since the Unix epoch, by this machine's clock.
    pub observed_at_ms: i64,
    /// For example `v1.34.1`.
    pub kubernetes_version: String,
    /// Label topology.kubernetes.io/region where all nodes agree; empty otherwise.
    pub region: String,
    /// Label topology.kubernetes.io/zone where all nodes agree; empty otherwise.
    pub zone: String,
    /// Scheme of the nodes' spec.providerID (`aws`, `gce`, …) where all agree; empty otherwise.
    pub provider: String,
    /// GPUs, by product and resource.
    pub pools: Vec<GpuPool>,
    /// What can turn a NIMService into a workload, and what helps it.
    pub platforms: Vec<Platform>,
    /// Model caches that are Ready.
    pub caches: Vec<HeldCache>,
}

/// The nodes of one GPU product that offer one resource.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GpuPool {
    /// Label nvidia.com/gpu.product; `unknown` where GPU feature discovery has not labelled the node.
    pub product: String,
    /// Extended resource, for example `nvidia.com/gpu`.
    pub resource: String,
    /// Memory of one GPU (or MIG instance), MiB; the least of the pool's nodes, 0 where no label says it.
    pub memory_mib: u64,
    /// Nodes that are ready and schedulable.
    pub nodes: u32,
    /// GPUs on all nodes of the pool, whatever their state.
    pub capacity: u32,
    /// GPUs that ready, schedulable nodes offer.
    pub allocatable: u32,
    /// Allocatable minus requests of bound pods.
    pub free: u32,
    /// Key: free GPUs; value: ready, schedulable nodes with exactly that many.
    pub free_per_node: BTreeMap<u32, u32>,
}

/// An API or operator found in the cluster.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Platform {
    /// `standalone`, `kserve`, `lws`, `gateway-api` or `prometheus-operator`.
    pub name: String,
    /// Preferred version of its API, for example `v1beta1`.
    pub version: String,
}

/// A model cache that is Ready.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct HeldCache {
    /// Namespace of the NIMCache.
    pub namespace: String,
    /// Name of the NIMCache.
    pub name: String,
    /// Image or model it was made from.
    pub model: String,
    /// Identifiers of the profiles it holds, sorted.
    pub profiles: Vec<String>,
}
