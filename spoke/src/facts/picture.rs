//! All that is known of the cluster, and the report of it.

use std::collections::BTreeMap;

use k8s_openapi::api::resource::v1::{DeviceClass, ResourceClaim, ResourceSlice};
use kube::api::DynamicObject;
use kube::runtime::watcher::Event;

use super::gpus::{BoundPod, GpuNode, pools};
use super::locality::{Whereabouts, common};
use super::quota::Quota;
use super::seen::Seen;
use super::storage::{SlimCapacity, SlimClass};
use super::trimmed::{SlimNode, SlimPod};
use super::{CapacityReport, HeldCache, Platform, caches, devices, quota, storage};

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

/// All that is known of the cluster.
pub(super) struct Picture {
    nodes: Seen<(GpuNode, Whereabouts)>,
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

impl Picture {
    /// Takes news in and says whether the report may have changed.
    pub(super) fn fold(&mut self, news: News) -> bool {
        match news {
            News::Node(event) => self.nodes.fold(event, |node| Some((node.gpus(), node.whereabouts()))),
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
        let place = common(self.nodes.now().values().map(|(_, whereabouts)| whereabouts));
        let nodes = self.nodes.now().iter().map(|(name, (gpus, _))| (name, gpus));
        let (mut pools, cut_pools) = pools(nodes, self.pods.now().values());
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
        })
    }

    /// Known once all that is needed to count them is; a cluster without the API has none.
    fn devices(&self, platforms: &[Platform]) -> Option<(Vec<super::DeviceGroup>, bool)> {
        let known =
            self.device_classes.is_complete() && self.slices.is_complete() && self.claims.is_complete();
        if !known || !platforms.iter().any(|platform| platform.name == "dra") {
            return None;
        }
        // A device that is on no one node is on nodes of all kinds.
        let usable = |node: &str| self.nodes.now().get(node).is_none_or(|(node, _)| node.usable);
        Some(devices::groups(
            self.device_classes.now(),
            self.slices.now().values(),
            self.claims.now().values(),
            usable,
        ))
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
