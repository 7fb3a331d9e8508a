//! All that is known of the cluster, and the report of it.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use k8s_openapi::api::resource::v1::{DeviceClass, ResourceClaim, ResourceSlice};
use kube::api::DynamicObject;
use kube::runtime::watcher::Event;

use super::gpus::{Amounts, BoundPod, GpuNode, Place, pools, unlabelled};
use super::locality::{Whereabouts, common};
use super::node_sets::{Ground, Sorted, sort};
use super::quota::Quota;
use super::seen::Seen;
use super::storage::{SlimCapacity, SlimClass};
use super::trimmed::{SlimNode, SlimPod, is_gpu};
use super::{CapacityReport, DeviceGroup, GpuPool, HeldCache, Platform, caches, devices, quota, storage};

/// Most model caches that are reported.
const MOST_CACHES: usize = 512;

/// Most objects whose bound pods are reported.
const MOST_BOUND: usize = 4096;

/// What has happened in the cluster.
pub(super) enum News {
    Node(Event<SlimNode>),
    Pod(Event<SlimPod>),
    Cache(Event<DynamicObject>),
    StorageClass(Event<SlimClass>),
    StorageCapacity(Event<SlimCapacity>),
    DeviceClass(Event<DeviceClass>),
    Slice(Event<ResourceSlice>),
    Claim(Event<ResourceClaim>),
    Queue(Event<DynamicObject>),
    Flavor(Event<DynamicObject>),
    /// An object was delivered, or is gone.
    Delivered,
    Kinds,
}

/// What is known of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Known {
    gpus: GpuNode,
    whereabouts: Whereabouts,
    ground: Ground,
}

/// All that is known of the cluster.
pub(super) struct Picture {
    nodes: Seen<Known>,
    /// The nodes by taints and labels; none since one of them has changed.
    sorted: OnceLock<Sorted>,
    pods: Seen<BoundPod>,
    caches: Seen<HeldCache>,
    storage_classes: Seen<storage::Class>,
    storage_capacities: Seen<(String, u64)>,
    device_classes: Seen<devices::Class>,
    slices: Seen<devices::Slice>,
    claims: Seen<Vec<devices::Given>>,
    queues: Seen<Vec<Quota>>,
    flavors: Seen<String>,
    platforms: Option<(String, Vec<Platform>)>,
    /// Whether the platforms are to be read again.
    pub(super) kinds_changed: bool,
}

impl Default for Picture {
    fn default() -> Self {
        Self {
            nodes: Seen::default(),
            sorted: OnceLock::new(),
            pods: Seen::default(),
            caches: Seen::default(),
            storage_classes: Seen::default(),
            storage_capacities: Seen::default(),
            device_classes: Seen::default(),
            slices: Seen::default(),
            claims: Seen::default(),
            queues: Seen::default(),
            flavors: Seen::default(),
            platforms: None,
            kinds_changed: true,
        }
    }
}

impl Known {
    fn of(node: &SlimNode) -> Self {
        Self { gpus: node.gpus(), whereabouts: node.whereabouts(), ground: node.ground() }
    }
}

impl Picture {
    /// Takes news in and says whether the report may have changed.
    pub(super) fn fold(&mut self, news: News) -> bool {
        match news {
            News::Node(event) => {
                let changed = self.nodes.fold(event, |node| Some(Known::of(node)));
                if changed {
                    self.sorted = OnceLock::new();
                }
                changed
            }
            News::Pod(event) => self.pods.fold(event, SlimPod::bound),
            News::Cache(event) => self.caches.fold(event, caches::held),
            News::StorageClass(event) => self.storage_classes.fold(event, |class| Some(class.class())),
            News::StorageCapacity(event) => self.storage_capacities.fold(event, SlimCapacity::largest),
            News::DeviceClass(event) => {
                self.device_classes.fold(event, |class| Some(devices::of_class(class)))
            }
            News::Slice(event) => self.slices.fold(event, devices::of_slice),
            News::Claim(event) => self.claims.fold(event, devices::of_claim),
            News::Queue(event) => self.queues.fold(event, |queue| Some(quota::of_queue(queue))),
            News::Flavor(event) => self.flavors.fold(event, |flavor| Some(quota::of_flavor(flavor))),
            News::Delivered => true,
            News::Kinds => {
                self.kinds_changed = true;
                true
            }
        }
    }

    pub(super) fn set_platforms(&mut self, found: (String, Vec<Platform>)) {
        self.platforms = Some(found);
        self.kinds_changed = false;
    }

    /// `None` while half a picture would mislead the hub's scheduler. `delivered` names the objects of the hub that have
    /// pods, by namespace and name.
    pub(super) fn report(
        &self,
        delivered: &BTreeMap<(String, String), String>,
        observed_at_ms: i64,
    ) -> Option<CapacityReport> {
        let (kubernetes_version, platforms) = self.platforms.clone()?;
        if !self.nodes.is_complete() || !self.pods.is_complete() {
            return None;
        }
        let place = common(self.nodes.now().values().map(|node| &node.whereabouts));
        let sorted = self.sorted();
        let (mut pools, cut_pools) = self.pools(&platforms);
        for pool in &mut pools {
            let (queues, flavors) = (self.queues.now().values(), self.flavors.now());
            pool.quota_left = quota::left(queues, flavors, &pool.product, &pool.resource);
        }
        let known = self.storage_classes.is_complete();
        let storage = known
            .then(|| storage::classes(self.storage_classes.now(), self.storage_capacities.now().values()));
        let devices = self.devices(&platforms);
        let bound = self.bound(delivered);
        let cut = [
            (cut_pools, "pools"),
            (self.caches.now().len() > MOST_CACHES, "caches"),
            (storage.as_ref().is_some_and(|(_, cut)| *cut), "storage"),
            (devices.as_ref().is_some_and(|(_, cut)| *cut), "devices"),
            (bound.len() > MOST_BOUND, "bound"),
            (sorted.cut, "taints"),
        ];
        Some(CapacityReport {
            observed_at_ms,
            kubernetes_version,
            region: place.region,
            zone: place.zone,
            provider: place.provider,
            pools,
            platforms,
            caches: self.caches.now().values().take(MOST_CACHES).cloned().collect(),
            storage: storage.map(|(classes, _)| classes),
            devices: devices.map(|(groups, _)| groups),
            bound: Some(bound.into_iter().take(MOST_BOUND).collect()),
            cut: cut.into_iter().filter(|(cut, _)| *cut).map(|(_, list)| list).collect(),
            node_sets: sorted.sets.clone(),
            unlabelled: unlabelled(self.nodes.now().iter().map(|(name, node)| (name, &node.gpus))),
        })
    }

    fn sorted(&self) -> &Sorted {
        let grounds = || self.nodes.now().iter().map(|(name, node)| (name, &node.ground));
        self.sorted.get_or_init(|| sort(grounds()))
    }

    /// GPUs by product and resource: those of device plugins, and devices that pods may ask for as an extended resource.
    fn pools(&self, platforms: &[Platform]) -> (Vec<GpuPool>, bool) {
        let sorted = self.sorted();
        let place = |node: &str| Some(Place { set: sorted.of(node)?, taints: sorted.taints(node) });
        let nodes = self.nodes.now().iter().map(|(name, node)| (name, &node.gpus));
        let pods = self.pods.now().values();
        let extended = match self.counted_devices(platforms) {
            Some(devices) => devices.extended(self.device_classes.now()),
            None => BTreeMap::new(),
        };
        if extended.is_empty() {
            return pools(nodes, pods, place);
        }
        let mut nodes: BTreeMap<String, GpuNode> =
            nodes.map(|(name, node)| (name.clone(), node.clone())).collect();
        let mut asked: BTreeMap<&str, Amounts> = BTreeMap::new();
        for pod in self.pods.now().values() {
            asked.entry(&pod.node).or_default().add(&pod.requests);
        }
        let mut held = Vec::new();
        for (name, resources) in extended {
            let Some(node) = nodes.get_mut(name) else { continue };
            for (resource, devices) in resources {
                if node.capacity.get(&resource).is_some_and(|there| *there > 0) || !is_gpu(&resource) {
                    continue;
                }
                // What pods ask for as a resource is given to them as devices: the rest is held by claims alone.
                let as_resource = asked.get(name).and_then(|asked| asked.gpus.get(&resource));
                let by_claims = devices.taken.saturating_sub(as_resource.copied().unwrap_or(0));
                node.capacity.insert(resource.clone(), devices.devices);
                node.allocatable.gpus.insert(resource.clone(), devices.devices);
                node.product = node.product.take().or(devices.product);
                if let Some(memory_mib) = devices.memory_mib {
                    node.memory_mib.entry(resource.clone()).or_insert(memory_mib);
                }
                let gpus = BTreeMap::from([(resource, by_claims)]);
                let requests = Amounts { gpus, ..Amounts::default() };
                held.push(BoundPod { node: name.to_owned(), of: None, requests });
            }
        }
        pools(&nodes, pods.chain(&held), place)
    }

    /// Known once all that is needed to count them is; a cluster without the API has none.
    fn counted_devices(&self, platforms: &[Platform]) -> Option<devices::Devices<'_>> {
        let known =
            self.device_classes.is_complete() && self.slices.is_complete() && self.claims.is_complete();
        let known = known && platforms.iter().any(|platform| platform.name == "dra");
        known.then(|| devices::Devices::of(self.slices.now().values(), self.claims.now().values()))
    }

    /// By class and kind, as far as they are known.
    fn devices(&self, platforms: &[Platform]) -> Option<(Vec<DeviceGroup>, bool)> {
        let sorted = self.sorted();
        // A device that is on no one node is on nodes of all kinds.
        let place = |node: &str| match self.nodes.now().get(node) {
            None => Some(&[][..]),
            Some(known) => (known.gpus.usable && sorted.of(node).is_some()).then(|| sorted.taints(node)),
        };
        Some(self.counted_devices(platforms)?.groups(self.device_classes.now(), place))
    }

    /// Pods with GPUs of each NIM object that are bound, by namespace and name of the object.
    pub(super) fn bound_pods(&self) -> BTreeMap<(String, String), u32> {
        let mut bound = BTreeMap::new();
        for of in self.pods.now().values().filter_map(|pod| pod.of.clone()) {
            *bound.entry(of).or_default() += 1;
        }
        bound
    }

    /// The same of each delivered object, by its uid on the hub.
    fn bound(&self, delivered: &BTreeMap<(String, String), String>) -> BTreeMap<String, u32> {
        let bound = self.bound_pods().into_iter();
        bound.filter_map(|(of, pods)| Some((delivered.get(&of)?.clone(), pods))).collect()
    }
}

#[cfg(test)]
#[path = "picture/tests.rs"]
mod tests;
