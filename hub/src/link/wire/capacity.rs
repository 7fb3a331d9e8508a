//! The capacity report, as it arrives.

use std::collections::BTreeMap;

use jiff::Timestamp;
use proto::v1;

use super::from_ms;
use crate::fleet::{
    Access, CachedProfile, Capacity, DeviceGroup, HeldCache, NodeGroup, Platform, Pool, Sharing, StorageClass,
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
        devices: report.devices.map(|devices| devices.groups.into_iter().map(from_devices).collect()),
        bound: report.bound.map(|bound| bound.pods.into_iter().collect()),
        cut: report.cut,
    }
}

pub(super) fn from_profile(profile: v1::CachedProfile) -> CachedProfile {
    CachedProfile { name: profile.name, tags: profile.tags.into_iter().collect() }
}

fn from_pool(pool: v1::GpuPool) -> Pool {
    Pool {
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
    }
}

fn from_group(group: v1::NodeGroup) -> NodeGroup {
    let v1::NodeGroup { free, nodes, free_millicores, free_mib } = group;
    NodeGroup { free, nodes, millicores: free_millicores, memory_mib: free_mib }
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
    }
}
