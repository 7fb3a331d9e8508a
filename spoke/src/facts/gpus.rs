//! From nodes and pods to pools of GPUs.

use std::collections::BTreeMap;

use super::GpuPool;

/// The product of a node that GPU feature discovery has not labelled.
const UNKNOWN_PRODUCT: &str = "unknown";

/// Amounts by extended resource, for example `nvidia.com/gpu: 8`.
pub(super) type Amounts = BTreeMap<String, u32>;

/// A node that has GPUs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct GpuNode {
    /// Label nvidia.com/gpu.product.
    pub product: Option<String>,
    /// MiB of one GPU or MIG instance, by resource.
    pub memory_mib: BTreeMap<String, u64>,
    /// Ready, not cordoned and without a taint that GPU pods do not tolerate.
    pub usable: bool,
    /// status.capacity of the NVIDIA resources.
    pub capacity: Amounts,
    /// status.allocatable of the NVIDIA resources.
    pub allocatable: Amounts,
}

/// A pod that holds GPUs: bound to a node and not finished.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct GpuPod {
    /// spec.nodeName.
    pub node: String,
    /// What it holds.
    pub requests: Amounts,
}

/// What one container asks for, and whether an init container keeps running beside the others.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct ContainerRequest {
    /// Its requests of NVIDIA resources.
    pub requests: Amounts,
    /// restartPolicy: Always.
    pub sidecar: bool,
}

/// What a pod holds by the scheduler's rule: the greater of what runs together at the end (containers and sidecars)
/// and what any init container needs on top of the sidecars started before it.
pub(super) fn pod_requests(init: &[ContainerRequest], containers: &[ContainerRequest]) -> Amounts {
    let mut sidecars = Amounts::new();
    let mut peak = Amounts::new();
    for container in init {
        if container.sidecar {
            add(&mut sidecars, &container.requests);
            raise(&mut peak, &sidecars);
        } else {
            let mut now = sidecars.clone();
            add(&mut now, &container.requests);
            raise(&mut peak, &now);
        }
    }
    for container in containers {
        add(&mut sidecars, &container.requests);
    }
    raise(&mut peak, &sidecars);
    peak.retain(|_, amount| *amount > 0);
    peak
}

fn add(to: &mut Amounts, more: &Amounts) {
    for (resource, amount) in more {
        let sum = to.entry(resource.clone()).or_default();
        *sum = sum.saturating_add(*amount);
    }
}

fn raise(to: &mut Amounts, at_least: &Amounts) {
    for (resource, amount) in at_least {
        let peak = to.entry(resource.clone()).or_default();
        *peak = (*peak).max(*amount);
    }
}

/// Folds nodes (by name) and pods into pools, sorted by product and resource.
pub(super) fn pools<'a>(
    nodes: impl IntoIterator<Item = (&'a String, &'a GpuNode)>,
    pods: impl IntoIterator<Item = &'a GpuPod>,
) -> Vec<GpuPool> {
    let mut used: BTreeMap<&str, Amounts> = BTreeMap::new();
    for pod in pods {
        add(used.entry(&pod.node).or_default(), &pod.requests);
    }
    let mut pools: BTreeMap<(&str, &str), GpuPool> = BTreeMap::new();
    for (name, node) in nodes {
        let product = node.product.as_deref().unwrap_or(UNKNOWN_PRODUCT);
        for (resource, &capacity) in node.capacity.iter().filter(|(_, capacity)| **capacity > 0) {
            let pool = pools.entry((product, resource)).or_insert_with(|| GpuPool {
                product: product.to_owned(),
                resource: resource.clone(),
                ..GpuPool::default()
            });
            pool.capacity = pool.capacity.saturating_add(capacity);
            pool.memory_mib =
                least_known(pool.memory_mib, node.memory_mib.get(resource).copied().unwrap_or(0));
            if !node.usable {
                continue;
            }
            let allocatable = node.allocatable.get(resource).copied().unwrap_or(0);
            let held = used.get(name.as_str()).and_then(|held| held.get(resource)).copied().unwrap_or(0);
            // More is held than offered while a GPU that broke is still in use.
            let free = allocatable.saturating_sub(held);
            pool.nodes += 1;
            pool.allocatable = pool.allocatable.saturating_add(allocatable);
            pool.free = pool.free.saturating_add(free);
            *pool.free_per_node.entry(free).or_default() += 1;
        }
    }
    pools.into_values().collect()
}

/// The smaller of two, where 0 stands for "no label says it".
fn least_known(one: u64, other: u64) -> u64 {
    if one == 0 || other == 0 { one.max(other) } else { one.min(other) }
}

#[cfg(test)]
#[path = "gpus/tests.rs"]
mod tests;
