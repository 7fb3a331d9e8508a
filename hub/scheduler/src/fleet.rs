//! The fleet as the hub knows it: clusters, what they can run, what they run, and what has been given away.
//!
//! A [`Fleet`] changes only by [`Fleet::apply`]. It holds no clock: every event carries its own time.

mod capacity;
mod cluster;
mod comeback;
mod custom_resource;
mod excess;
mod grant;
mod name;
mod namespaces;
mod object;
mod potential;
mod promises;
pub mod properties;
mod selector;
mod statuses;
#[cfg(test)]
mod tests;
mod weight;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;

pub use capacity::{
    Access, Capacity, DeviceGroup, HeldCache, NodeGroup, NodeLabel, NodeSet, NodeSets, Platform, Pool,
    STALE_AFTER, Sets, Sharing, StorageClass, Tainted, UNKNOWN_PRODUCT, Unlabelled,
};
pub use cluster::{Agent, Cluster, Effect, Link, Role, Taint};
pub use comeback::Comeback;
pub use custom_resource::Admin;
pub use excess::{Excess, Excesses};
pub use grant::{Grant, GrantedObject, PlacementKey};
pub use name::{ClusterName, InvalidClusterName};
pub use namespaces::Namespaces;
pub use object::{
    Answer, CachedProfile, HeldObject, HoldReason, ObjectCondition, ObjectRef, ObjectResult, ObjectStatus,
    RejectionClass, Truth, Unschedulable,
};
pub use potential::Potential;
pub use promises::{Promise, Promises, together};
pub use properties::Labelled;
pub use selector::{InvalidSelector, Selector};
pub use statuses::{Heard, Statuses};
pub use weight::Weight;

use crate::index::Index;

/// Snapshot of everything the scheduler and the aggregation read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fleet {
    /// Shared with those who look at it without holding up who changes it ([`Fleet::shared`]).
    clusters: BTreeMap<ClusterName, Arc<Cluster>>,
    /// By cluster, because the scheduler asks cluster by cluster.
    grants: BTreeMap<ClusterName, BTreeMap<PlacementKey, Grant>>,
    /// Where each placement has grants.
    granted: BTreeMap<PlacementKey, BTreeSet<ClusterName>>,
    statuses: Statuses,
    /// Labels of the hub's namespaces.
    namespaces: BTreeMap<String, BTreeMap<String, String>>,
    /// uid of the kube-system namespace of the hub's own cluster; empty until it is known.
    hub_uid: String,
    /// Clusters that say what their GPUs cost.
    priced: usize,
    promises: promises::Known,
    index: Index,
}

/// One change of the fleet.
#[derive(Clone, Debug, PartialEq)]
pub enum FleetEvent {
    /// The GPUCluster object was made or changed: what its admin says of it.
    Admin {
        /// The cluster.
        cluster: ClusterName,
        /// Labels, taints and acceptance.
        admin: Admin,
    },
    /// The GPUCluster object is gone.
    Left {
        /// The cluster.
        cluster: ClusterName,
    },
    /// A session is up.
    Connected {
        /// The cluster.
        cluster: ClusterName,
        /// What its agent says of itself.
        agent: Agent,
        /// By the hub's clock.
        at: Timestamp,
    },
    /// A session ended; or the hub starts and knows from the GPUCluster that this cluster had joined before.
    Disconnected {
        /// The cluster.
        cluster: ClusterName,
        /// By the hub's clock; never before the start of this hub.
        at: Timestamp,
    },
    /// The spoke said what its cluster can run.
    Capacity {
        /// The cluster.
        cluster: ClusterName,
        /// The report.
        capacity: Capacity,
    },
    /// The spoke said how objects are.
    Status {
        /// The cluster.
        cluster: ClusterName,
        /// The objects.
        statuses: Vec<ObjectStatus>,
        /// By the hub's clock.
        at: Timestamp,
    },
    /// The spoke said that an object is gone.
    Gone {
        /// The cluster.
        cluster: ClusterName,
        /// `metadata.uid` on the hub.
        uid: String,
    },
    /// What a placement has been given, everywhere; replaces what was said before. Empty: nothing.
    Granted {
        /// The placement.
        placement: PlacementKey,
        /// One per row of its decision.
        grants: Vec<Grant>,
    },
    /// The uid of the kube-system namespace of the hub's own cluster is known.
    Hub {
        /// The uid.
        uid: String,
    },
    /// A namespace of the hub is new, has other labels, or is gone.
    Namespace {
        /// Its name.
        name: String,
        /// Its labels; none if it is gone.
        labels: Option<BTreeMap<String, String>>,
    },
}

impl Fleet {
    /// Takes one event in. An event about a cluster whose GPUCluster is not known makes no cluster: it is
    /// dropped, except for grants, which outlive their cluster.
    pub fn apply(&mut self, event: FleetEvent) {
        match event {
            FleetEvent::Admin { cluster, admin } => {
                if !self.clusters.contains_key(&cluster) {
                    self.index.join();
                }
                self.index.change(&cluster, true);
                let known =
                    self.clusters.entry(cluster.clone()).or_insert_with(|| Arc::new(Cluster::new(cluster)));
                let known = Arc::make_mut(known);
                let was_priced = !known.cost_per_gpu_hour.is_empty();
                let is_priced = !admin.cost_per_gpu_hour.is_empty();
                self.priced = self.priced + usize::from(is_priced) - usize::from(was_priced);
                if was_priced != is_priced {
                    self.index.forget_classes();
                }
                known.labels = admin.labels;
                known.taints = admin.taints;
                known.accepted = admin.accepted;
                known.failover_confirmed = admin.failover_confirmed;
                known.allowed_namespaces = admin.allowed_namespaces;
                known.drain = admin.drain;
                known.cost_per_gpu_hour = admin.cost_per_gpu_hour;
                known.potential = admin.potential;
                known.grown = potential::grown(known.capacity.as_ref(), &known.potential);
            }
            FleetEvent::Left { cluster } => {
                self.forget(&cluster);
                if let Some(gone) = self.clusters.remove(&cluster) {
                    self.priced -= usize::from(!gone.cost_per_gpu_hour.is_empty());
                    self.index.join();
                }
                self.statuses.forget_cluster(&cluster);
            }
            FleetEvent::Connected { cluster, agent, at } => {
                let role = self.role(&agent.cluster_uid);
                self.index.change(&cluster, true);
                if let Some(known) = self.clusters.get_mut(&cluster).map(Arc::make_mut) {
                    if let Link::Unreachable { since } = known.link {
                        known.comeback = Some(Comeback::new(since, at, known.comeback));
                    }
                    known.link = Link::Connected;
                    known.role = role;
                    known.agent = Some(agent);
                }
            }
            FleetEvent::Disconnected { cluster, at } => {
                self.index.change(&cluster, true);
                if let Some(known) = self.clusters.get_mut(&cluster).map(Arc::make_mut) {
                    // The first loss counts: a second word about it must not restart the clock.
                    if !matches!(known.link, Link::Unreachable { .. }) {
                        known.link = Link::Unreachable { since: at };
                    }
                }
            }
            FleetEvent::Capacity { cluster, capacity } => {
                self.forget(&cluster);
                self.index.change(&cluster, true);
                if let Some(known) = self.clusters.get_mut(&cluster).map(Arc::make_mut) {
                    known.grown = potential::grown(Some(&capacity), &known.potential);
                    known.capacity = Some(capacity);
                }
            }
            FleetEvent::Status { cluster, statuses, at } => {
                if self.clusters.contains_key(&cluster) {
                    self.forget(&cluster);
                    for status in statuses {
                        self.statuses.hear(&cluster, status, at);
                    }
                }
            }
            FleetEvent::Gone { cluster, uid } => {
                self.forget(&cluster);
                self.statuses.forget_object(&cluster, &uid);
            }
            FleetEvent::Granted { placement, grants } => self.grant(&placement, grants),
            FleetEvent::Hub { uid } if uid == self.hub_uid => {}
            FleetEvent::Hub { uid } => {
                self.hub_uid = uid;
                let hub_uid = &self.hub_uid;
                self.clusters.keys().for_each(|name| self.index.change(name, true));
                for known in self.clusters.values_mut().map(Arc::make_mut) {
                    let is_hub = known.agent.as_ref().is_some_and(|agent| agent.cluster_uid == *hub_uid);
                    known.role = if is_hub { Role::Hub } else { Role::Member };
                }
            }
            FleetEvent::Namespace { name, labels: Some(labels) } => {
                self.index.forget_namespace(&name);
                self.namespaces.insert(name, labels);
            }
            FleetEvent::Namespace { name, labels: None } => {
                self.index.forget_namespace(&name);
                self.namespaces.remove(&name);
            }
        }
    }

    /// What is promised in a cluster has to be worked out anew.
    fn forget(&mut self, cluster: &ClusterName) {
        self.promises.forget(cluster);
        self.index.change(cluster, false);
    }

    fn grant(&mut self, placement: &PlacementKey, grants: Vec<Grant>) {
        let mut next: BTreeMap<ClusterName, Grant> = BTreeMap::new();
        for grant in grants {
            match next.get_mut(&grant.cluster) {
                None => drop(next.insert(grant.cluster.clone(), grant)),
                // A cluster can run some objects of a placement while others leave it.
                Some(known) => {
                    known.since = known.since.min(grant.since);
                    known.objects.extend(grant.objects);
                }
            }
        }
        for cluster in self.granted.remove(placement).unwrap_or_default() {
            if !next.contains_key(&cluster)
                && let Some(of_cluster) = self.grants.get_mut(&cluster)
            {
                of_cluster.remove(placement);
                if of_cluster.is_empty() {
                    self.grants.remove(&cluster);
                }
                self.forget(&cluster);
            }
        }
        if !next.is_empty() {
            self.granted.insert(placement.clone(), next.keys().cloned().collect());
        }
        for (cluster, grant) in next {
            let of_cluster = self.grants.entry(cluster.clone()).or_default();
            if of_cluster.get(placement) != Some(&grant) {
                of_cluster.insert(placement.clone(), grant);
                self.forget(&cluster);
            }
        }
    }

    /// What a cluster with that report has promised to all placements and does not show yet.
    #[must_use]
    pub fn promises(&self, cluster: &ClusterName, capacity: &Capacity) -> Arc<Promises> {
        self.promises.get(cluster).unwrap_or_else(|| Arc::new(self.work_out(cluster, capacity)))
    }

    fn work_out(&self, cluster: &ClusterName, capacity: &Capacity) -> Promises {
        Promises::of(self.grants(cluster), |uid| self.statuses.get(cluster, uid), capacity)
    }

    /// Has what decisions ask of every cluster follow those that changed. Gives the index, which [`Self::put_index`] takes back.
    pub(crate) fn follow(&mut self) -> Index {
        for name in self.promises.take_changed() {
            let capacity = self.clusters.get(&name).and_then(|cluster| cluster.capacity.as_ref());
            if let Some(promises) = capacity.map(|capacity| self.work_out(&name, capacity)) {
                self.promises.set(name, promises);
            }
        }
        let mut index = std::mem::take(&mut self.index);
        index.follow(self);
        index
    }

    /// Keeps the index for the next decision.
    pub(crate) fn put_index(&mut self, index: Index) {
        self.index = index;
    }

    /// How many clusters there are.
    pub(crate) fn count(&self) -> usize {
        self.clusters.len()
    }

    /// Whether any cluster says what its GPUs cost.
    pub(crate) const fn is_priced(&self) -> bool {
        self.priced > 0
    }

    /// The clusters in which a placement has been given something.
    pub(crate) fn granted_to(&self, placement: &PlacementKey) -> impl Iterator<Item = &ClusterName> {
        self.granted.get(placement).into_iter().flatten()
    }

    /// What a cluster is whose kube-system namespace has that uid.
    #[must_use]
    pub fn role(&self, cluster_uid: &str) -> Role {
        let is_hub = !cluster_uid.is_empty() && self.hub_uid == cluster_uid;
        if is_hub { Role::Hub } else { Role::Member }
    }

    /// All clusters, by name.
    pub fn clusters(&self) -> impl Iterator<Item = &Cluster> {
        self.clusters.values().map(Arc::as_ref)
    }

    /// All clusters as they are now, by name: what is asked of them need not hold up who changes them.
    #[must_use]
    pub fn shared(&self) -> Vec<Arc<Cluster>> {
        self.clusters.values().cloned().collect()
    }

    /// Whether these are all clusters, by name, with the labels that they have now.
    #[must_use]
    pub fn has_labels_of(&self, clusters: &[Arc<Cluster>]) -> bool {
        let is_alike = |(now, then): (&Arc<Cluster>, &Arc<Cluster>)| {
            Arc::ptr_eq(now, then) || now.name == then.name && now.labels == then.labels
        };
        self.clusters.len() == clusters.len() && self.clusters.values().zip(clusters).all(is_alike)
    }

    /// One cluster.
    #[must_use]
    pub fn cluster(&self, name: &str) -> Option<&Cluster> {
        self.clusters.get(name).map(Arc::as_ref)
    }

    /// Labels of a namespace of the hub; none where it is not known.
    #[must_use]
    pub fn labels_of_namespace(&self, name: &str) -> Option<&BTreeMap<String, String>> {
        self.namespaces.get(name)
    }

    /// What every spoke last said about every object.
    #[must_use]
    pub const fn statuses(&self) -> &Statuses {
        &self.statuses
    }

    /// Placements of a lower priority that have been given something in a cluster.
    pub fn outranked<'a>(
        &'a self,
        cluster: &ClusterName,
        priority: i32,
    ) -> impl Iterator<Item = &'a PlacementKey> + use<'a> {
        let grants = self.grants.get(cluster).into_iter().flatten();
        grants.filter(move |(_, grant)| grant.priority < priority).map(|(placement, _)| placement)
    }

    /// What has been given away in a cluster, the oldest first.
    #[must_use]
    pub fn grants(&self, cluster: &ClusterName) -> Vec<(&PlacementKey, &Grant)> {
        let mut grants: Vec<_> = self.grants.get(cluster).into_iter().flatten().collect();
        grants.sort_by_key(|(placement, grant)| (grant.since, *placement));
        grants
    }
}
