//! What this cluster can run, in the words that travel to the hub.

use std::collections::BTreeMap;

use crds::taints::NodeTaint;

use crate::report::CachedProfile;

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
    /// Storage classes; `None` while they are not known, as for the next two.
    pub storage: Option<Vec<StorageClass>>,
    /// Devices for dynamic resource allocation, by class and kind.
    pub devices: Option<Vec<DeviceGroup>>,
    /// Bound pods of delivered objects, by uid on the hub: those whose requests `pools` count as used.
    pub bound: Option<BTreeMap<String, u32>>,
    /// Lists that were too long and are cut.
    pub cut: Vec<&'static str>,
    /// Nodes by taints and labels.
    pub node_sets: NodeSets,
    /// Nodes with GPUs of unknown product.
    pub unlabelled: UnlabelledNodes,
}

/// Nodes by taints and labels: sets of alike nodes, and which labels they have.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NodeSets {
    /// At most 16.
    pub sets: Vec<NodeSet>,
    /// By key and value.
    pub labels: Vec<NodeLabel>,
    /// Beginnings of keys of which nothing is told; the empty one stands for all that `labels` does not name.
    pub untold: Vec<String>,
}

/// Nodes with the same taints.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NodeSet {
    /// Those that repel pods for as long as the node is in use.
    pub taints: Vec<NodeTaint>,
    /// Nodes, whatever their state.
    pub nodes: u32,
}

/// A label and the sets that have nodes with it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NodeLabel {
    /// Its key.
    pub key: String,
    /// Its value.
    pub value: String,
    /// One bit per set.
    pub sets: u32,
    /// Only some nodes of these sets may have it.
    pub partial: bool,
}

/// Nodes with GPUs of which no label says what product they are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UnlabelledNodes {
    /// How many.
    pub nodes: u32,
    /// The first ten by name.
    pub names: Vec<String>,
}

/// The nodes of one GPU product that offer one resource.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GpuPool {
    /// Label nvidia.com/gpu.product, or what a label of the cloud means; `unknown` where none says it.
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
    /// The same nodes by what else is free on them, fewest GPUs first.
    pub groups: Vec<NodeGroup>,
    /// How one GPU is cut into several that count here.
    pub sharing: Sharing,
    /// Oldest driver of the nodes, `major.minor.revision`; empty where no label says it.
    pub driver_version: String,
    /// GPUs that quotas of Kueue leave; none where none is over these GPUs.
    pub quota_left: Option<u32>,
    /// Ready, schedulable nodes with taints that only some pods tolerate, by set: they count in `capacity` alone.
    pub tainted: Vec<TaintedNodes>,
}

/// Nodes of one set whose taints only some pods tolerate.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TaintedNodes {
    /// Their taints.
    pub taints: Vec<NodeTaint>,
    /// Place in [`NodeSets::sets`].
    pub set: u32,
    /// How many nodes.
    pub nodes: u32,
    /// GPUs that they offer.
    pub allocatable: u32,
    /// The nodes by what is free on them, fewest GPUs first.
    pub groups: Vec<NodeGroup>,
}

/// Ready, schedulable nodes that are alike.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct NodeGroup {
    /// Free GPUs on each.
    pub free: u32,
    /// Thousandths of a processor that are free on each, rounded down.
    pub millicores: u64,
    /// Memory that is free on each, MiB, rounded down.
    pub memory_mib: u64,
    /// How many nodes.
    pub nodes: u32,
    /// Place in [`NodeSets::sets`].
    pub set: u32,
}

/// How one GPU is cut into several that count as GPUs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sharing {
    /// Not at all.
    #[default]
    Whole,
    /// Pods take turns.
    TimeSlicing,
    /// Multi-Process Service.
    Mps,
    /// MIG instances of one size, requested as `nvidia.com/gpu`.
    Mig,
}

/// A storage class.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct StorageClass {
    /// Its name.
    pub name: String,
    /// Whether claims that name none get it.
    pub is_default: bool,
    /// From where its volumes can be written to, where that is known.
    pub access: Option<Access>,
    /// The largest volume that its driver says it can make, MiB, where it says so.
    pub largest_mib: Option<u64>,
}

/// From where a volume can be written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Access {
    /// From one node at a time.
    OneNode,
    /// From many nodes at once.
    ManyNodes,
}

/// Devices of one class that are alike.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeviceGroup {
    /// DeviceClass.
    pub class: String,
    /// Driver; empty for a class that has no device here.
    pub driver: String,
    /// Attributes that tell kinds apart, by name with domain.
    pub attributes: BTreeMap<String, String>,
    /// Capacities, by name with domain.
    pub capacity: BTreeMap<String, String>,
    /// How many devices.
    pub devices: u32,
    /// Those that no claim has.
    pub free: u32,
    /// Key: free devices; value: nodes with exactly that many.
    pub free_per_node: BTreeMap<u32, u32>,
    /// What selects the devices of the class is not read here: nothing is counted.
    pub uncounted: bool,
    /// Taints of the nodes that have them.
    pub taints: Vec<NodeTaint>,
    /// The extended resource by which pods may ask for devices of the class as well; empty where there is none.
    pub extended_resource: String,
}

/// An API or operator found in the cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Platform {
    /// `standalone`, `kserve`, `knative`, `lws`, `dra`, `kueue`, `gateway-api` or `prometheus-operator`.
    pub name: String,
    /// Preferred version of its API, for example `v1beta1`.
    pub version: String,
    /// All versions that are served.
    pub served: Vec<String>,
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
    /// The profiles it holds, sorted by identifier.
    pub profiles: Vec<CachedProfile>,
}
