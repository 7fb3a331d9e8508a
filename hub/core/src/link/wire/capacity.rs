//! The capacity report, as it arrives.

use std::collections::BTreeMap;
use std::sync::Arc;

use crds::taints::NodeTaint;
use jiff::Timestamp;
use proto::v1;

use super::from_ms;
use crate::fleet::{
    Access, CachedProfile, Capacity, DeviceGroup, HeldCache, NodeGroup, NodeLabel, NodeSet, NodeSets,
    Platform, Pool, Sets, Sharing, StorageClass, Tainted, Unlabelled,
};

pub(super) fn from_spoke(report: v1::CapacityReport, received_at: Timestamp) -> Capacity {
    let platforms = report.platforms.into_iter();
    Capacity {
        observed_at: from_ms(report.observed_at_ms),
        received_at,
        kubernetes_version: report.kubernetes_version,
        region: report.region,
        zone: report.zone,
        provider: report.provider,
        pools: report.pools.into_iter().map(from_pool).collect(),
        platforms: platforms
            .map(|v1::Platform { name, version, served }| Platform { name, version, served })
            .collect(),
        caches: report.caches.into_iter().map(from_cache).collect(),
        storage: report.storage.map(|storage| storage.classes.into_iter().map(from_class).collect()),
        devices: report.devices.map(|v1::Devices { groups, tainted }| {
            groups.into_iter().chain(tainted).map(from_devices).collect()
        }),
        bound: report.bound.map(|bound| bound.pods.into_iter().collect()),
        cut: report.cut,
        nodes: report.node_sets.map(|sets| {
            let mut known = from_node_sets(sets);
            known.unlabelled = report.unlabelled.map(from_unlabelled).unwrap_or_default();
            Arc::new(known)
        }),
        has_coming_nodes: false,
    }
}

fn from_node_sets(v1::NodeSets { sets, labels, untold }: v1::NodeSets) -> NodeSets {
    let set = |v1::NodeSet { taints, nodes }| NodeSet { taints: from_taints(taints), nodes };
    let label =
        |v1::NodeLabel { key, value, sets, partial }| NodeLabel { key, value, sets: Sets(sets), partial };
    NodeSets::new(sets.into_iter().map(set).collect(), labels.into_iter().map(label).collect(), untold)
}

fn from_taints(taints: Vec<v1::NodeTaint>) -> Vec<NodeTaint> {
    let taint = |v1::NodeTaint { key, value, effect }| NodeTaint { key, value, effect };
    taints.into_iter().map(taint).collect()
}

fn from_unlabelled(v1::UnlabelledNodes { nodes, names }: v1::UnlabelledNodes) -> Unlabelled {
    Unlabelled { nodes, names }
}

/// The place of a set; one that cannot be is in no choice.
fn from_set(set: u32) -> u8 {
    u8::try_from(set).unwrap_or(Sets::ANY).min(Sets::ANY - 1)
}

pub(super) fn from_profile(profile: v1::CachedProfile) -> CachedProfile {
    CachedProfile { name: profile.name, tags: profile.tags.into_iter().collect() }
}

/// All nodes of a pool together, those with taints among them.
fn from_pool(pool: v1::GpuPool) -> Pool {
    let mut whole = Pool {
        sharing: match pool.sharing() {
            v1::Sharing::Unspecified => Sharing::Whole,
            v1::Sharing::TimeSlicing => Sharing::TimeSlicing,
            v1::Sharing::Mps => Sharing::Mps,
            v1::Sharing::Mig => Sharing::Mig,
        },
        product: pool.product,
        resource: pool.resource,
        memory_mib: pool.memory_mib,
        nodes: pool.nodes,
        capacity: pool.capacity,
        allocatable: pool.allocatable,
        free: pool.free,
        free_per_node: pool.free_per_node.into_iter().collect(),
        groups: pool.groups.into_iter().map(from_group).collect(),
        driver_version: pool.driver_version,
        quota_left: pool.quota_left,
        tainted: Vec::new(),
    };
    for v1::TaintedNodes { set, nodes, allocatable, groups } in pool.tainted {
        whole.tainted.push(Tainted { set: from_set(set), nodes, allocatable });
        whole.nodes = whole.nodes.saturating_add(nodes);
        whole.allocatable = whole.allocatable.saturating_add(allocatable);
        for group in groups.into_iter().map(from_group) {
            whole.free = whole.free.saturating_add(group.free.saturating_mul(group.nodes));
            let nodes = whole.free_per_node.entry(group.free).or_default();
            *nodes = nodes.saturating_add(group.nodes);
            whole.groups.push(group);
        }
    }
    if !whole.tainted.is_empty() {
        whole.groups.sort_unstable();
    }
    whole
}

fn from_group(group: v1::NodeGroup) -> NodeGroup {
    let v1::NodeGroup { free, nodes, free_millicores, free_mib, set } = group;
    let set = set.map_or(Sets::ANY, from_set);
    NodeGroup { free, nodes, millicores: free_millicores, memory_mib: free_mib, set }
}

/// An agent that tells no tags still tells the profiles' names.
fn from_cache(cache: v1::HeldCache) -> HeldCache {
    let mut profiles: Vec<_> = cache.tagged.into_iter().map(from_profile).collect();
    if profiles.is_empty() {
        profiles.extend(cache.profiles.into_iter().map(|name| CachedProfile { name, tags: BTreeMap::new() }));
    }
    HeldCache { namespace: cache.namespace, name: cache.name, model: cache.model, profiles }
}

fn from_class(class: v1::StorageClass) -> StorageClass {
    StorageClass {
        access: match class.access() {
            v1::VolumeAccess::Unspecified => None,
            v1::VolumeAccess::OneNode => Some(Access::OneNode),
            v1::VolumeAccess::ManyNodes => Some(Access::ManyNodes),
        },
        name: class.name,
        is_default: class.is_default,
        largest_mib: class.largest_mib,
    }
}

fn from_devices(group: v1::DeviceGroup) -> DeviceGroup {
    DeviceGroup {
        class: group.class,
        driver: group.driver,
        attributes: group.attributes.into_iter().collect(),
        capacity: group.capacity.into_iter().collect(),
        devices: group.devices,
        free: group.free,
        free_per_node: group.free_per_node.into_iter().collect(),
        uncounted: group.uncounted,
        taints: from_taints(group.taints),
        extended_resource: group.extended_resource,
    }
}
