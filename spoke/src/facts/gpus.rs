//! From nodes and pods to pools of GPUs.

mod groups;

use std::collections::BTreeMap;

use crds::taints::{GPU_TAINT, NodeTaint};

use super::{GpuPool, NodeGroup, Sharing, TaintedNodes, UnlabelledNodes};

/// The product of a node that GPU feature discovery has not labelled.
const UNKNOWN_PRODUCT: &str = "unknown";

/// Most pools that are reported: products and resources that differ in one cluster.
const MOST_POOLS: usize = 64;

/// Most nodes that are named.
const MOST_NAMES: usize = 10;

/// GPUs by extended resource, for example `nvidia.com/gpu: 8`, and what goes with them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Amounts {
    /// By extended resource.
    pub gpus: BTreeMap<String, u32>,
    /// Thousandths of a processor.
    pub millicores: u64,
    /// MiB.
    pub memory_mib: u64,
}

/// A node that has GPUs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct GpuNode {
    /// The product, where a label says it.
    pub product: Option<String>,
    /// MiB of one GPU or MIG instance, by resource.
    pub memory_mib: BTreeMap<String, u64>,
    /// How GPUs are cut, by resource; those that are not are left out.
    pub sharing: BTreeMap<String, Sharing>,
    /// Version of the driver, its numbers.
    pub driver: Option<Vec<u32>>,
    /// Ready, not cordoned and not about to go.
    pub usable: bool,
    /// status.capacity of the NVIDIA resources.
    pub capacity: BTreeMap<String, u32>,
    /// status.allocatable.
    pub allocatable: Amounts,
}

/// A pod that holds something: bound to a node and not finished.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct BoundPod {
    /// spec.nodeName.
    pub node: String,
    /// Namespace and name of the object whose pod it is, for those of NIM objects with GPUs.
    pub of: Option<(String, String)>,
    /// What it holds.
    pub requests: Amounts,
}

/// What one container asks for, and whether an init container keeps running beside the others.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct ContainerRequest {
    /// Its requests.
    pub requests: Amounts,
    /// restartPolicy: Always.
    pub sidecar: bool,
}

/// What a pod holds by the scheduler's rule: the greater of what runs together at the end (containers and sidecars)
/// and what any init container needs on top of the sidecars started before it.
pub(super) fn pod_requests(init: &[ContainerRequest], containers: &[ContainerRequest]) -> Amounts {
    let mut running = Amounts::default();
    let mut peak = Amounts::default();
    for container in init {
        if container.sidecar {
            running.add(&container.requests);
            peak.raise(&running);
        } else {
            let mut now = running.clone();
            now.add(&container.requests);
            peak.raise(&now);
        }
    }
    for container in containers {
        running.add(&container.requests);
    }
    peak.raise(&running);
    peak.gpus.retain(|_, amount| *amount > 0);
    peak
}

impl Amounts {
    /// Adds what somebody else asks for.
    pub(super) fn add(&mut self, more: &Self) {
        for (resource, amount) in &more.gpus {
            let sum = self.gpus.entry(resource.clone()).or_default();
            *sum = sum.saturating_add(*amount);
        }
        self.millicores = self.millicores.saturating_add(more.millicores);
        self.memory_mib = self.memory_mib.saturating_add(more.memory_mib);
    }

    fn raise(&mut self, at_least: &Self) {
        for (resource, amount) in &at_least.gpus {
            let peak = self.gpus.entry(resource.clone()).or_default();
            *peak = (*peak).max(*amount);
        }
        self.millicores = self.millicores.max(at_least.millicores);
        self.memory_mib = self.memory_mib.max(at_least.memory_mib);
    }

    /// Whether it is nothing.
    pub(super) fn is_nothing(&self) -> bool {
        *self == Self::default()
    }
}

/// The set of a node: its place in [`super::NodeSets::sets`], and the taints of its nodes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Place<'a> {
    pub set: u32,
    pub taints: &'a [NodeTaint],
}

/// Folds nodes (by name) and pods into pools, sorted by product and resource; and whether there were too many of them. `place`
/// says the set of a node; one without a set is as good as one that takes no pods.
pub(super) fn pools<'a, 'p>(
    nodes: impl IntoIterator<Item = (&'a String, &'a GpuNode)>,
    pods: impl IntoIterator<Item = &'a BoundPod>,
    place: impl Fn(&str) -> Option<Place<'p>>,
) -> (Vec<GpuPool>, bool) {
    let mut used: BTreeMap<&str, Amounts> = BTreeMap::new();
    for pod in pods {
        used.entry(&pod.node).or_default().add(&pod.requests);
    }
    let nothing = Amounts::default();
    let mut pools: BTreeMap<(&str, &str), Gathered> = BTreeMap::new();
    for (name, node) in nodes {
        let product = node.product.as_deref().unwrap_or(UNKNOWN_PRODUCT);
        let used = used.get(name.as_str()).unwrap_or(&nothing);
        let place = place(name).filter(|_| node.usable);
        for (resource, &capacity) in node.capacity.iter().filter(|(_, capacity)| **capacity > 0) {
            pools.entry((product, resource)).or_default().take(node, resource, capacity, used, place);
        }
    }
    let cut = pools.len() > MOST_POOLS;
    let pools = pools.into_iter().take(MOST_POOLS);
    (pools.map(|((product, resource), gathered)| gathered.pool(product, resource)).collect(), cut)
}

/// Nodes (by name) with GPUs of which no label says the product.
pub(super) fn unlabelled<'a>(nodes: impl IntoIterator<Item = (&'a String, &'a GpuNode)>) -> UnlabelledNodes {
    let mut unlabelled = UnlabelledNodes::default();
    let has_gpus = |node: &GpuNode| node.capacity.values().any(|capacity| *capacity > 0);
    for (name, _) in nodes.into_iter().filter(|(_, node)| node.product.is_none() && has_gpus(node)) {
        unlabelled.nodes += 1;
        if unlabelled.names.len() < MOST_NAMES {
            unlabelled.names.push(name.clone());
        }
    }
    unlabelled
}

/// A pool on its way.
#[derive(Default)]
struct Gathered {
    pool: GpuPool,
    groups: Vec<NodeGroup>,
    tainted: BTreeMap<u32, TaintedNodes>,
    driver: Option<Vec<u32>>,
}

impl Gathered {
    fn take(
        &mut self,
        node: &GpuNode,
        resource: &str,
        capacity: u32,
        used: &Amounts,
        place: Option<Place<'_>>,
    ) {
        let pool = &mut self.pool;
        pool.capacity = pool.capacity.saturating_add(capacity);
        pool.memory_mib = least_known(pool.memory_mib, node.memory_mib.get(resource).copied().unwrap_or(0));
        pool.sharing = pool.sharing.max(node.sharing.get(resource).copied().unwrap_or_default());
        let Some(place) = place else { return };
        self.driver = match (self.driver.take(), node.driver.clone()) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
        let allocatable = node.allocatable.gpus.get(resource).copied().unwrap_or(0);
        // More is held than offered while a GPU that broke is still in use.
        let free = allocatable.saturating_sub(used.gpus.get(resource).copied().unwrap_or(0));
        let group = NodeGroup {
            free,
            millicores: groups::rounded(node.allocatable.millicores.saturating_sub(used.millicores)),
            memory_mib: groups::rounded(node.allocatable.memory_mib.saturating_sub(used.memory_mib)),
            nodes: 1,
            set: place.set,
        };
        if place.taints.iter().any(|taint| taint.key != GPU_TAINT) {
            let tainted = self.tainted.entry(place.set).or_insert_with(|| TaintedNodes {
                taints: place.taints.to_vec(),
                set: place.set,
                ..TaintedNodes::default()
            });
            tainted.nodes += 1;
            tainted.allocatable = tainted.allocatable.saturating_add(allocatable);
            tainted.groups.push(group);
            return;
        }
        pool.nodes += 1;
        pool.allocatable = pool.allocatable.saturating_add(allocatable);
        pool.free = pool.free.saturating_add(free);
        *pool.free_per_node.entry(free).or_default() += 1;
        self.groups.push(group);
    }

    fn pool(self, product: &str, resource: &str) -> GpuPool {
        let numbers = self.driver.unwrap_or_default();
        GpuPool {
            product: product.to_owned(),
            resource: resource.to_owned(),
            groups: groups::few(self.groups),
            tainted: self
                .tainted
                .into_values()
                .map(|nodes| TaintedNodes { groups: groups::few(nodes.groups), ..nodes })
                .collect(),
            driver_version: numbers.iter().map(ToString::to_string).collect::<Vec<_>>().join("."),
            ..self.pool
        }
    }
}

/// The smaller of two, where 0 stands for "no label says it".
fn least_known(one: u64, other: u64) -> u64 {
    if one == 0 || other == 0 { one.max(other) } else { one.min(other) }
}

#[cfg(test)]
#[path = "gpus/tests.rs"]
mod tests;
