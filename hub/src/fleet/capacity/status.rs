//! A capacity report as rows of a GPUCluster's status.

use std::collections::BTreeMap;

use crds::fleet as crd;
use crds::quantity::canonical;

use super::{Access, Capacity, DeviceGroup, NodeGroup, Pool, Sharing, StorageClass};

impl Capacity {
    /// Writes the report into a GPUCluster's status: what was observed, and nothing that changes while
    /// nothing does.
    pub fn write(&self, status: &mut crd::GPUClusterStatus) {
        status.kubernetes_version = text(&self.kubernetes_version);
        status.region = text(&self.region);
        status.zone = text(&self.zone);
        status.provider = text(&self.provider);
        status.platforms = self
            .platforms
            .iter()
            .map(|platform| crd::Platform { name: platform.name.clone(), version: text(&platform.version) })
            .collect();
        status.gpus = self.pools.iter().map(gpu_pool).collect();
        let (free, allocatable) = self.totals();
        status.gpu_summary = Some(format!("{free}/{allocatable}"));
        status.caches = self
            .caches
            .iter()
            .map(|cache| crd::HeldCache {
                namespace: cache.namespace.clone(),
                name: cache.name.clone(),
                model: text(&cache.model),
                profiles: cache.profiles.iter().map(|profile| profile.name.clone()).collect(),
            })
            .collect();
        status.storage_classes = self.storage.iter().flatten().map(storage_class).collect();
        status.devices = self.devices.iter().flatten().map(devices).collect();
        status.cut.clone_from(&self.cut);
    }
}

fn gpu_pool(pool: &Pool) -> crd::GPUPool {
    crd::GPUPool {
        product: pool.product.clone(),
        resource: pool.resource.clone(),
        memory_mib: Some(pool.memory_mib).filter(|mib| *mib > 0).and_then(|mib| i64::try_from(mib).ok()),
        nodes: number(pool.nodes),
        capacity: number(pool.capacity),
        allocatable: number(pool.allocatable),
        free: number(pool.free),
        free_per_node: histogram(&pool.free_per_node),
        node_groups: pool.groups.iter().map(node_group).collect(),
        sharing: match pool.sharing {
            Sharing::Whole => None,
            Sharing::TimeSlicing => Some(crd::GPUSharing::TimeSlicing),
            Sharing::Mps => Some(crd::GPUSharing::MPS),
            Sharing::Mig => Some(crd::GPUSharing::MIG),
        },
        driver_version: text(&pool.driver_version),
        quota_left: pool.quota_left.map(number),
    }
}

fn node_group(group: &NodeGroup) -> crd::NodeGroup {
    crd::NodeGroup {
        free: number(group.free),
        nodes: number(group.nodes),
        cpu: quantity(format!("{}m", group.millicores)),
        memory: quantity(format!("{}Mi", group.memory_mib)),
    }
}

fn storage_class(class: &StorageClass) -> crd::StorageClass {
    crd::StorageClass {
        name: class.name.clone(),
        is_default: class.is_default,
        access: class.access.map(|access| match access {
            Access::OneNode => crd::VolumeAccess::OneNode,
            Access::ManyNodes => crd::VolumeAccess::ManyNodes,
        }),
        largest_volume: class.largest_mib.map(|mib| quantity(format!("{mib}Mi"))),
    }
}

fn devices(group: &DeviceGroup) -> crd::DeviceGroup {
    crd::DeviceGroup {
        class: group.class.clone(),
        driver: text(&group.driver),
        attributes: group.attributes.clone(),
        capacity: group.capacity.clone(),
        devices: number(group.devices),
        free: number(group.free),
        free_per_node: histogram(&group.free_per_node),
    }
}

fn histogram(nodes: &BTreeMap<u32, u32>) -> BTreeMap<String, i32> {
    nodes.iter().map(|(free, nodes)| (free.to_string(), number(*nodes))).collect()
}

fn number(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

fn quantity(plain: String) -> String {
    canonical(&plain).unwrap_or(plain)
}

fn text(text: &str) -> Option<String> {
    Some(text.to_owned()).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::fleet::Platform;

    #[test]
    fn a_report_becomes_status() {
        let capacity = Capacity {
            kubernetes_version: "v1.34.2".into(),
            zone: "b".into(),
            pools: vec![Pool {
                product: "NVIDIA-L40S".into(),
                resource: "nvidia.com/gpu".into(),
                memory_mib: 46_068,
                nodes: 2,
                capacity: 8,
                allocatable: 8,
                free: 5,
                free_per_node: BTreeMap::from([(1, 1), (4, 1)]),
                groups: vec![NodeGroup { free: 4, millicores: 95_500, memory_mib: 1_000_448, nodes: 1 }],
                sharing: Sharing::TimeSlicing,
                driver_version: "570.86.15".into(),
                quota_left: Some(3),
            }],
            platforms: vec![Platform { name: "kserve".into(), version: "v1beta1".into(), served: vec![] }],
            storage: Some(vec![StorageClass {
                name: "fast".into(),
                is_default: true,
                access: Some(Access::ManyNodes),
                largest_mib: Some(768_000),
            }]),
            devices: Some(vec![DeviceGroup {
                class: "gpu.nvidia.com".into(),
                driver: "gpu.nvidia.com".into(),
                attributes: BTreeMap::from([("gpu.nvidia.com/productName".into(), "NVIDIA L40S".into())]),
                devices: 8,
                free: 5,
                free_per_node: BTreeMap::from([(1, 1), (4, 1)]),
                ..DeviceGroup::default()
            }]),
            cut: vec!["caches".into()],
            ..Capacity::default()
        };
        let mut status = crd::GPUClusterStatus::default();
        capacity.write(&mut status);
        assert_eq!(
            serde_json::to_value(status).unwrap(),
            json!({
                "kubernetesVersion": "v1.34.2", "zone": "b", "gpuSummary": "5/8",
                "platforms": [{"name": "kserve", "version": "v1beta1"}],
                "gpus": [{"product": "NVIDIA-L40S", "resource": "nvidia.com/gpu", "memoryMiB": 46068, "nodes": 2,
                          "capacity": 8, "allocatable": 8, "free": 5, "freePerNode": {"1": 1, "4": 1},
                          "nodeGroups": [{"free": 4, "nodes": 1, "cpu": "95500m", "memory": "977Gi"}],
                          "sharing": "TimeSlicing", "driverVersion": "570.86.15", "quotaLeft": 3}],
                "storageClasses": [{"name": "fast", "default": true, "access": "ManyNodes", "largestVolume": "750Gi"}],
                "devices": [{"class": "gpu.nvidia.com", "driver": "gpu.nvidia.com", "devices": 8, "free": 5,
                             "attributes": {"gpu.nvidia.com/productName": "NVIDIA L40S"},
                             "freePerNode": {"1": 1, "4": 1}}],
                "cut": ["caches"]
            })
        );
    }
}
