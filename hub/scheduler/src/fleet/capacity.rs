//! What a cluster can run, as its spoke observed it.

mod node_sets;
mod status;

use std::collections::BTreeMap;
use std::sync::Arc;

use crds::taints::NodeTaint;

use jiff::{SignedDuration, Timestamp};

use super::CachedProfile;
use crate::need::CacheKey;
pub use node_sets::{NodeLabel, NodeSet, NodeSets, Sets, Unlabelled};

/// A report older than this is not believed: a spoke repeats it every 10 minutes, so three were missed.
pub const STALE_AFTER: SignedDuration = SignedDuration::from_mins(30);

/// What a cluster can run. Its size does not grow with nodes or pods.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
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
    /// Storage classes; none of an agent that does not know or may not read them, as for the next two.
    pub storage: Option<Vec<StorageClass>>,
    /// Devices for dynamic resource allocation, by class and kind.
    pub devices: Option<Vec<DeviceGroup>>,
    /// Bound pods of what the hub delivered, by `metadata.uid` on the hub: those that `pools` count as used.
    pub bound: Option<BTreeMap<String, u32>>,
    /// Lists that were too long and are cut.
    pub cut: Vec<String>,
    /// Nodes by taints and labels; none of an agent that does not tell.
    pub nodes: Option<Arc<NodeSets>>,
    /// Whether nodes that an autoscaler can still bring are among the pools.
    pub has_coming_nodes: bool,
}

/// The product of nodes that no label names.
pub const UNKNOWN_PRODUCT: &str = "unknown";

/// Platforms that bring nodes when pods wait for them.
const AUTOSCALERS: [&str; 2] = ["cluster-autoscaler", "karpenter"];

impl Capacity {
    /// Whether the report is too old to place by.
    #[must_use]
    pub fn is_stale(&self, now: Timestamp) -> bool {
        now.duration_since(self.received_at) > STALE_AFTER
    }

    /// Free GPUs and those that nodes offer: over all pools, and those that are given out as devices alone.
    #[must_use]
    pub fn totals(&self) -> (u32, u32) {
        let pools = self.pools.iter().map(|pool| (pool.free, pool.allocatable));
        let devices = self.gpu_devices().map(|group| (group.free, group.devices));
        pools.chain(devices).fold((0, 0), |(free, all), (more_free, more)| {
            (free.saturating_add(more_free), all.saturating_add(more))
        })
    }

    /// Whole GPUs that pods claim as devices, and that no pool counts: each kind once, however many classes select it.
    pub fn gpu_devices(&self) -> impl Iterator<Item = &DeviceGroup> {
        let groups = self.devices.as_deref().unwrap_or_default();
        groups
            .iter()
            .enumerate()
            .filter(|(at, group)| {
                let again = |other: &DeviceGroup| other.is_same_kind(group);
                group.is_of_gpus()
                    && group.extended_resource.is_empty()
                    && !groups[..*at].iter().any(again)
                    && !groups.iter().any(|other| !other.extended_resource.is_empty() && again(other))
            })
            .map(|(_, group)| group)
    }

    /// Whether something brings nodes when pods wait for them.
    #[must_use]
    pub fn is_autoscaled(&self) -> bool {
        AUTOSCALERS.iter().any(|name| self.has_platform(name))
    }

    /// The ready cache of that name, if the cluster holds it.
    #[must_use]
    pub fn cache(&self, key: &CacheKey) -> Option<&HeldCache> {
        self.caches.iter().find(|held| held.name == key.name && held.namespace == key.namespace)
    }

    /// Pods of an object that were bound to nodes in the moment of the report; none where the agent does not tell.
    #[must_use]
    pub fn bound_pods(&self, uid: &str) -> Option<u32> {
        self.bound.as_ref().map(|bound| bound.get(uid).copied().unwrap_or(0))
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
    /// Node label `nvidia.com/gpu.product`, or what it would be; [`UNKNOWN_PRODUCT`] where no label says it.
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
    /// The same nodes by what else is free on them, fewest GPUs first; empty of an agent that does not tell.
    pub groups: Vec<NodeGroup>,
    /// How one GPU is cut into several that count here.
    pub sharing: Sharing,
    /// Oldest driver of the nodes; empty where no label says it.
    pub driver_version: String,
    /// GPUs that quotas of Kueue leave; none where none is over these GPUs.
    pub quota_left: Option<u32>,
    /// Of all these, nodes with taints that only some pods tolerate.
    pub tainted: Vec<Tainted>,
}

/// Nodes of one pool and one set, with taints that only some pods tolerate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tainted {
    /// The place of their set.
    pub set: u8,
    /// How many nodes.
    pub nodes: u32,
    /// GPUs that they offer.
    pub allocatable: u32,
}

/// Ready, schedulable nodes that are alike.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct NodeGroup {
    /// Free GPUs on each.
    pub free: u32,
    /// Thousandths of a processor that are free on each.
    pub millicores: u64,
    /// Memory that is free on each, MiB.
    pub memory_mib: u64,
    /// How many nodes.
    pub nodes: u32,
    /// The place of their set; [`Sets::ANY`] of an agent that does not tell it.
    pub set: u8,
}

/// How one GPU is cut into several that count as GPUs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
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
#[derive(Clone, Debug, Default, PartialEq, Eq)]
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// From one node at a time.
    OneNode,
    /// From many nodes at once.
    ManyNodes,
}

/// Devices of one class that are alike; a class without devices has one group of none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeviceGroup {
    /// DeviceClass.
    pub class: String,
    /// Driver; empty where there is no device.
    pub driver: String,
    /// Attributes that tell kinds apart, by name with domain.
    pub attributes: BTreeMap<String, String>,
    /// Capacities, by name with domain.
    pub capacity: BTreeMap<String, String>,
    /// How many devices.
    pub devices: u32,
    /// Those that no claim has.
    pub free: u32,
    /// Nodes by their number of free devices.
    pub free_per_node: BTreeMap<u32, u32>,
    /// The agent cannot tell which devices the class selects: nothing is counted.
    pub uncounted: bool,
    /// Taints of the nodes that have them.
    pub taints: Vec<NodeTaint>,
    /// The extended resource by which pods may ask for them as well; empty where there is none.
    pub extended_resource: String,
}

/// Driver of NVIDIA's GPUs as devices.
const GPU_DRIVER: &str = "gpu.nvidia.com";

impl DeviceGroup {
    /// What the devices are, where they say it.
    #[must_use]
    pub fn product(&self) -> Option<&str> {
        let (_, product) = self.attributes.iter().find(|(name, _)| name.ends_with("/productName"))?;
        Some(product)
    }

    /// Memory of one device, MiB, where it says it.
    #[must_use]
    pub fn memory_mib(&self) -> Option<u64> {
        let (_, memory) = self.capacity.iter().find(|(name, _)| name.ends_with("/memory"))?;
        crds::quantity::mebibytes_there(memory)
    }

    /// Whether the devices are whole GPUs.
    fn is_of_gpus(&self) -> bool {
        let kind = self.attributes.iter().find(|(name, _)| name.ends_with("/type"));
        self.driver == GPU_DRIVER && kind.is_none_or(|(_, kind)| kind == "gpu")
    }

    fn is_same_kind(&self, other: &Self) -> bool {
        self.driver == other.driver
            && (self.devices, self.free) == (other.devices, other.free)
            && self.attributes == other.attributes
            && self.capacity == other.capacity
            && self.taints == other.taints
    }
}

/// An API or operator found in a cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Platform {
    /// `standalone`, `kserve`, `lws`, …
    pub name: String,
    /// API version that the cluster prefers.
    pub version: String,
    /// All that it serves; empty of an agent that does not tell.
    pub served: Vec<String>,
}

/// A model cache that is ready.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeldCache {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Image or model it was made from.
    pub model: String,
    /// Profiles it holds, by ID; without tags of an agent that does not tell them.
    pub profiles: Vec<CachedProfile>,
}
