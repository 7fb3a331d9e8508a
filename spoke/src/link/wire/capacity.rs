//! The capacity report, as it travels.

use crds::taints::{GPU_TAINT, NodeTaint};
use proto::v1;

use crate::facts::{
    Access, CapacityReport, DeviceGroup, GpuPool, HeldCache, NodeGroup, NodeLabel, NodeSet, NodeSets,
    Platform, Sharing, StorageClass, TaintedNodes, UnlabelledNodes,
};
use crate::report::CachedProfile;

pub(in crate::link) fn to_hub(report: CapacityReport) -> v1::CapacityReport {
    let CapacityReport {
        observed_at_ms,
        kubernetes_version,
        region,
        zone,
        provider,
        pools,
        platforms,
        caches,
        storage,
        devices,
        bound,
        cut,
        node_sets,
        unlabelled,
    } = report;
    v1::CapacityReport {
        observed_at_ms,
        kubernetes_version,
        region,
        zone,
        provider,
        pools: pools.into_iter().map(to_pool).collect(),
        platforms: platforms
            .into_iter()
            .map(|Platform { name, version, served }| v1::Platform { name, version, served })
            .collect(),
        caches: caches.into_iter().map(to_cache).collect(),
        storage: storage
            .map(|classes| v1::StorageClasses { classes: classes.into_iter().map(to_class).collect() }),
        devices: devices.map(to_all_devices),
        bound: bound.map(|pods| v1::Bound { pods: pods.into_iter().collect() }),
        cut: cut.into_iter().map(str::to_owned).collect(),
        node_sets: Some(to_node_sets(node_sets)),
        unlabelled: Some(to_unlabelled(unlabelled)),
    }
}

fn to_node_sets(NodeSets { sets, labels, untold }: NodeSets) -> v1::NodeSets {
    let set = |NodeSet { taints, nodes }| v1::NodeSet { taints: to_taints(taints), nodes };
    let label = |NodeLabel { key, value, sets, partial }| v1::NodeLabel { key, value, sets, partial };
    v1::NodeSets {
        sets: sets.into_iter().map(set).collect(),
        labels: labels.into_iter().map(label).collect(),
        untold,
    }
}

fn to_taints(taints: Vec<NodeTaint>) -> Vec<v1::NodeTaint> {
    let taint = |NodeTaint { key, value, effect }| v1::NodeTaint { key, value, effect };
    taints.into_iter().map(taint).collect()
}

fn to_unlabelled(UnlabelledNodes { nodes, names }: UnlabelledNodes) -> v1::UnlabelledNodes {
    v1::UnlabelledNodes { nodes, names }
}

/// What a hub that does not know taints is to count, and what it is not.
fn to_all_devices(groups: Vec<DeviceGroup>) -> v1::Devices {
    let is_open = |group: &DeviceGroup| group.taints.iter().all(|taint| taint.key == GPU_TAINT);
    let (open, tainted): (Vec<_>, Vec<_>) = groups.into_iter().partition(is_open);
    let groups = |groups: Vec<DeviceGroup>| groups.into_iter().map(to_devices).collect();
    v1::Devices { groups: groups(open), tainted: groups(tainted) }
}

pub(super) fn to_profile(profile: CachedProfile) -> v1::CachedProfile {
    v1::CachedProfile { name: profile.name, tags: profile.tags.into_iter().collect() }
}

fn to_pool(pool: GpuPool) -> v1::GpuPool {
    let sharing = match pool.sharing {
        Sharing::Whole => v1::Sharing::Unspecified,
        Sharing::TimeSlicing => v1::Sharing::TimeSlicing,
        Sharing::Mps => v1::Sharing::Mps,
        Sharing::Mig => v1::Sharing::Mig,
    };
    v1::GpuPool {
        product: pool.product,
        resource: pool.resource,
        memory_mib: pool.memory_mib,
        nodes: pool.nodes,
        capacity: pool.capacity,
        allocatable: pool.allocatable,
        free: pool.free,
        free_per_node: pool.free_per_node.into_iter().collect(),
        groups: pool.groups.into_iter().map(to_group).collect(),
        sharing: i32::from(sharing),
        driver_version: pool.driver_version,
        quota_left: pool.quota_left,
        tainted: pool.tainted.into_iter().map(to_tainted).collect(),
    }
}

/// The taints are those of the set.
fn to_tainted(nodes: TaintedNodes) -> v1::TaintedNodes {
    let TaintedNodes { taints: _, set, nodes, allocatable, groups } = nodes;
    v1::TaintedNodes { set, nodes, allocatable, groups: groups.into_iter().map(to_group).collect() }
}

fn to_group(group: NodeGroup) -> v1::NodeGroup {
    let NodeGroup { free, millicores, memory_mib, nodes, set } = group;
    v1::NodeGroup { free, nodes, free_millicores: millicores, free_mib: memory_mib, set: Some(set) }
}

fn to_cache(cache: HeldCache) -> v1::HeldCache {
    v1::HeldCache {
        namespace: cache.namespace,
        name: cache.name,
        model: cache.model,
        profiles: cache.profiles.iter().map(|profile| profile.name.clone()).collect(),
        tagged: cache.profiles.into_iter().map(to_profile).collect(),
    }
}

fn to_class(class: StorageClass) -> v1::StorageClass {
    let access = match class.access {
        None => v1::VolumeAccess::Unspecified,
        Some(Access::OneNode) => v1::VolumeAccess::OneNode,
        Some(Access::ManyNodes) => v1::VolumeAccess::ManyNodes,
    };
    v1::StorageClass {
        name: class.name,
        is_default: class.is_default,
        access: i32::from(access),
        largest_mib: class.largest_mib,
    }
}

fn to_devices(group: DeviceGroup) -> v1::DeviceGroup {
    v1::DeviceGroup {
        class: group.class,
        driver: group.driver,
        attributes: group.attributes.into_iter().collect(),
        capacity: group.capacity.into_iter().collect(),
        devices: group.devices,
        free: group.free,
        free_per_node: group.free_per_node.into_iter().collect(),
        uncounted: group.uncounted,
        taints: to_taints(group.taints),
        extended_resource: group.extended_resource,
    }
}
