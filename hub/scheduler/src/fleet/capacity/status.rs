//! A capacity report as rows of a GPUCluster's status: all of them for whoever asks, the first of them in the object.

use std::collections::BTreeMap;

use crds::fleet as crd;
use crds::quantity::canonical;

use serde::Serialize;

use super::{Access, Capacity, DeviceGroup, NodeGroup, Pool, Sharing, StorageClass, Tainted};
use crate::fleet::Agent;

/// How much of a report is written.
#[derive(Clone, Copy)]
struct Extent {
    /// Rows of each list.
    rows: usize,
    /// Rows of a list within a row.
    inner: usize,
    /// Bytes of each list as JSON; of GPUs twice as many.
    bytes: usize,
}

/// In the object, whatever a spoke reports: seven lists of 20 KiB or 40 KiB and a few words, of the 256 KiB that a GPUCluster's
/// status may have with its conditions.
const IN_OBJECT: Extent = Extent { rows: 64, inner: 32, bytes: 20 << 10 };
/// For whoever asks for all of it.
const WHOLE: Extent = Extent { rows: usize::MAX, inner: usize::MAX, bytes: usize::MAX };

impl Capacity {
    /// Writes the first rows of the report into a GPUCluster's status, and how many there are: what was observed, and
    /// nothing that changes while nothing does.
    pub fn write(&self, status: &mut crd::GPUClusterStatus) {
        self.write_to(status, IN_OBJECT);
    }

    /// Writes all rows of the report.
    pub fn write_whole(&self, status: &mut crd::GPUClusterStatus) {
        self.write_to(status, WHOLE);
    }

    fn write_to(&self, status: &mut crd::GPUClusterStatus, extent: Extent) {
        status.kubernetes_version = text(&self.kubernetes_version);
        status.region = text(&self.region);
        status.zone = text(&self.zone);
        status.provider = text(&self.provider);
        let platform = |platform: &super::Platform| crd::Platform {
            name: platform.name.clone(),
            version: text(&platform.version),
        };
        status.platforms = extent.first(self.platforms.iter().map(platform));
        // Where not all are shown, those with most GPUs are.
        let mut pools: Vec<&Pool> = self.pools.iter().collect();
        if pools.len() > extent.rows {
            pools.sort_by_key(|pool| std::cmp::Reverse(pool.allocatable));
        }
        let of_gpus = Extent { bytes: extent.bytes.saturating_mul(2), ..extent };
        status.gpus = of_gpus.first(pools.into_iter().map(|pool| self.gpu_pool(pool, extent)));
        let (free, allocatable) = self.totals();
        status.gpu_summary = Some(format!("{free}/{allocatable}"));
        status.caches = extent.first(self.caches.iter().map(|cache| crd::HeldCache {
            namespace: cache.namespace.clone(),
            name: cache.name.clone(),
            model: text(&cache.model),
            profiles: extent.within().first(cache.profiles.iter().map(|profile| profile.name.clone())),
        }));
        status.storage_classes = extent.first(self.storage.iter().flatten().map(storage_class));
        status.devices = extent.first(self.devices.iter().flatten().map(|group| devices(group, extent)));
        status.cut = extent.first(self.cut.iter().cloned());
        let counts = status.counts.get_or_insert_default();
        counts.platforms = count(self.platforms.len());
        counts.gpus = count(self.pools.len());
        counts.caches = count(self.caches.len());
        counts.storage_classes = count(self.storage.as_ref().map_or(0, Vec::len));
        counts.devices = count(self.devices.as_ref().map_or(0, Vec::len));
    }
}

impl Agent {
    /// Writes what the agent says of itself into a GPUCluster's status.
    pub fn write(&self, status: &mut crd::GPUClusterStatus) {
        self.write_to(status, IN_OBJECT);
    }

    /// Writes all of it.
    pub fn write_whole(&self, status: &mut crd::GPUClusterStatus) {
        self.write_to(status, WHOLE);
    }

    fn write_to(&self, status: &mut crd::GPUClusterStatus, extent: Extent) {
        status.cluster_uid = Some(self.cluster_uid.clone());
        status.agent_version = Some(self.version.clone());
        status.capabilities = extent.first(self.capabilities.iter().cloned());
        status.counts.get_or_insert_default().capabilities = count(self.capabilities.len());
    }
}

impl Extent {
    /// Of a list within a row.
    fn within(self) -> Self {
        let bytes = if self.bytes == usize::MAX { self.bytes } else { self.bytes / 8 };
        Self { rows: self.inner, bytes, ..self }
    }

    /// The first rows, as far as they fit.
    fn first<T: Serialize>(self, rows: impl Iterator<Item = T>) -> Vec<T> {
        if self.bytes == usize::MAX {
            return rows.collect();
        }
        let mut left = self.bytes;
        let fits = |row: &T| {
            // As JSON a row is no larger than this, with its comma; what cannot be JSON is in no object.
            let bytes = serde_json::to_vec(row).map_or(usize::MAX, |json| json.len() + 1);
            let fits = bytes <= left;
            left = left.saturating_sub(bytes);
            fits
        };
        rows.take(self.rows).take_while(fits).collect()
    }
}

fn count(rows: usize) -> i32 {
    i32::try_from(rows).unwrap_or(i32::MAX)
}

impl Capacity {
    fn gpu_pool(&self, pool: &Pool, extent: Extent) -> crd::GPUPool {
        let tainted = pool.tainted.iter().filter_map(|nodes| self.tainted(pool, *nodes));
        crd::GPUPool { tainted: extent.within().first(tainted), ..gpu_pool(pool, extent) }
    }

    fn tainted(&self, pool: &Pool, Tainted { set, nodes, allocatable }: Tainted) -> Option<crd::TaintedGPUs> {
        let known = self.nodes.as_ref()?.sets().get(usize::from(set))?;
        let free = pool.groups.iter().filter(|group| group.set == set);
        let free = free.map(|group| group.free.saturating_mul(group.nodes)).fold(0, u32::saturating_add);
        Some(crd::TaintedGPUs {
            taints: known.taints.iter().map(ToString::to_string).collect(),
            nodes: number(nodes),
            allocatable: number(allocatable),
            free: number(free),
        })
    }
}

/// Nodes that differ in labels alone are one group there.
fn node_groups(pool: &Pool, extent: Extent) -> Vec<crd::NodeGroup> {
    let mut groups: Vec<NodeGroup> = Vec::new();
    for group in &pool.groups {
        let is_alike = |known: &&mut NodeGroup| {
            (known.free, known.millicores, known.memory_mib)
                == (group.free, group.millicores, group.memory_mib)
        };
        match groups.iter_mut().rev().take_while(|known| known.free == group.free).find(is_alike) {
            Some(known) => known.nodes = known.nodes.saturating_add(group.nodes),
            None => groups.push(*group),
        }
    }
    groups.iter().take(extent.inner).map(node_group).collect()
}

/// All but the nodes with taints.
fn gpu_pool(pool: &Pool, extent: Extent) -> crd::GPUPool {
    crd::GPUPool {
        product: pool.product.clone(),
        resource: pool.resource.clone(),
        memory_mib: Some(pool.memory_mib).filter(|mib| *mib > 0).and_then(|mib| i64::try_from(mib).ok()),
        nodes: number(pool.nodes),
        capacity: number(pool.capacity),
        allocatable: number(pool.allocatable),
        free: number(pool.free),
        free_per_node: histogram(&pool.free_per_node, extent),
        node_groups: node_groups(pool, extent),
        sharing: match pool.sharing {
            Sharing::Whole => None,
            Sharing::TimeSlicing => Some(crd::GPUSharing::TimeSlicing),
            Sharing::Mps => Some(crd::GPUSharing::MPS),
            Sharing::Mig => Some(crd::GPUSharing::MIG),
        },
        driver_version: text(&pool.driver_version),
        quota_left: pool.quota_left.map(number),
        tainted: Vec::new(),
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

fn devices(group: &DeviceGroup, extent: Extent) -> crd::DeviceGroup {
    let first = |words: &BTreeMap<String, String>| {
        extent.within().first(words.clone().into_iter()).into_iter().collect()
    };
    crd::DeviceGroup {
        class: group.class.clone(),
        driver: text(&group.driver),
        attributes: first(&group.attributes),
        capacity: first(&group.capacity),
        devices: number(group.devices),
        free: number(group.free),
        free_per_node: histogram(&group.free_per_node, extent),
        taints: extent.within().first(group.taints.iter().map(ToString::to_string)),
    }
}

/// Nodes with most that is free come first.
fn histogram(nodes: &BTreeMap<u32, u32>, extent: Extent) -> BTreeMap<String, i32> {
    nodes.iter().rev().take(extent.inner).map(|(free, nodes)| (free.to_string(), number(*nodes))).collect()
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
    use std::sync::Arc;

    use crds::taints::NodeTaint;
    use serde_json::json;

    use super::*;
    use crate::fleet::{NodeSet, NodeSets, Platform};

    #[test]
    fn a_report_becomes_status() {
        let taint = NodeTaint { key: "sku".into(), value: "gpu".into(), effect: "NoSchedule".into() };
        let sku = NodeSet { taints: vec![taint], nodes: 1 };
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
                groups: [0, 1]
                    .map(|set| NodeGroup {
                        free: 4,
                        millicores: 95_500,
                        memory_mib: 1_000_448,
                        nodes: 1,
                        set,
                    })
                    .to_vec(),
                sharing: Sharing::TimeSlicing,
                driver_version: "570.86.15".into(),
                quota_left: Some(3),
                tainted: vec![Tainted { set: 1, nodes: 1, allocatable: 4 }],
            }],
            nodes: Some(Arc::new(NodeSets::new(vec![NodeSet::default(), sku], vec![], vec![]))),
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
                "counts": {"capabilities": 0, "platforms": 1, "gpus": 1, "caches": 0, "storageClasses": 1, "devices": 1},
                "kubernetesVersion": "v1.34.2", "zone": "b", "gpuSummary": "10/16",
                "platforms": [{"name": "kserve", "version": "v1beta1"}],
                "gpus": [{"product": "NVIDIA-L40S", "resource": "nvidia.com/gpu", "memoryMiB": 46068, "nodes": 2,
                          "capacity": 8, "allocatable": 8, "free": 5, "freePerNode": {"1": 1, "4": 1},
                          "nodeGroups": [{"free": 4, "nodes": 2, "cpu": "95500m", "memory": "977Gi"}],
                          "tainted": [{"taints": ["sku=gpu:NoSchedule"], "nodes": 1, "allocatable": 4, "free": 4}],
                          "sharing": "TimeSlicing", "driverVersion": "570.86.15", "quotaLeft": 3}],
                "storageClasses": [{"name": "fast", "default": true, "access": "ManyNodes", "largestVolume": "750Gi"}],
                "devices": [{"class": "gpu.nvidia.com", "driver": "gpu.nvidia.com", "devices": 8, "free": 5,
                             "attributes": {"gpu.nvidia.com/productName": "NVIDIA L40S"},
                             "freePerNode": {"1": 1, "4": 1}}],
                "cut": ["caches"]
            })
        );
    }

    #[test]
    fn the_object_has_the_first_rows_and_whoever_asks_has_all() {
        let long = "\"".repeat(316);
        let rows = 1000_u32;
        let nodes: BTreeMap<u32, u32> = (0..rows).map(|free| (free, 1)).collect();
        let tags: BTreeMap<String, String> =
            (0..64).map(|tag| (format!("{tag}{long}"), long.clone())).collect();
        let pool = |number| Pool {
            product: format!("{number}{long}"),
            resource: long.clone(),
            driver_version: long.clone(),
            allocatable: number,
            free_per_node: nodes.clone(),
            groups: vec![
                NodeGroup { millicores: u64::MAX, memory_mib: u64::MAX, ..NodeGroup::default() };
                1000
            ],
            ..Pool::default()
        };
        let profile = crate::fleet::CachedProfile { name: long.clone(), tags: BTreeMap::new() };
        let cache = super::super::HeldCache {
            namespace: long.clone(),
            name: long.clone(),
            model: long.clone(),
            profiles: vec![profile; 512],
        };
        let group = DeviceGroup {
            class: long.clone(),
            driver: long.clone(),
            attributes: tags.clone(),
            capacity: tags,
            free_per_node: nodes.clone(),
            ..DeviceGroup::default()
        };
        let capacity = Capacity {
            kubernetes_version: long.clone(),
            region: long.clone(),
            zone: long.clone(),
            provider: long.clone(),
            pools: (0..rows).map(pool).collect(),
            platforms: vec![Platform { name: long.clone(), version: long.clone(), served: vec![] }; 1000],
            caches: vec![cache; 1000],
            storage: Some(vec![StorageClass { name: long.clone(), ..StorageClass::default() }; 1000]),
            devices: Some(vec![group; 1000]),
            cut: vec![long.clone(); 1000],
            ..Capacity::default()
        };
        let agent = Agent {
            cluster_uid: long.clone(),
            version: long.clone(),
            capabilities: vec![long; 1000],
            ..Agent::default()
        };
        let mut status = crd::GPUClusterStatus::default();
        capacity.write(&mut status);
        agent.write(&mut status);
        let bytes = serde_json::to_vec(&status).unwrap().len();
        assert!(bytes < 176 << 10, "{bytes} bytes, and conditions have yet to come");
        let counts = status.counts.unwrap();
        assert_eq!(
            (
                counts.gpus,
                counts.platforms,
                counts.caches,
                counts.storage_classes,
                counts.devices,
                counts.capabilities
            ),
            (1000, 1000, 1000, 1000, 1000, 1000)
        );
        let shown = [
            status.gpus.len(),
            status.platforms.len(),
            status.caches.len(),
            status.storage_classes.len(),
            status.devices.len(),
            status.capabilities.len(),
        ];
        assert!(shown.iter().all(|rows| *rows > 0), "{shown:?}");
        assert_eq!(status.gpus[0].allocatable, 999, "the most GPUs first");
        assert!(status.gpus[0].free_per_node.contains_key("999"));
        let mut whole = crd::GPUClusterStatus::default();
        capacity.write_whole(&mut whole);
        agent.write_whole(&mut whole);
        assert_eq!(
            (whole.gpus.len(), whole.caches[0].profiles.len(), whole.devices[0].attributes.len()),
            (1000, 512, 64)
        );
        assert_eq!((whole.capabilities.len(), whole.counts), (1000, status.counts));
    }
}
