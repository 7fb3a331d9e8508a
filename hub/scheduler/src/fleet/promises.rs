//! What clusters have promised and their reports do not show yet, worked out once and kept until something changes it:
//! every decision asks every cluster.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;

use super::{Capacity, ClusterName, Grant, GrantedObject, Heard, PlacementKey};
use crate::need::Need;

/// Replicas of one object that a placement was given in a cluster and that its report does not show yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Promise {
    /// The placement.
    pub placement: PlacementKey,
    /// Its priority when it was given them.
    pub priority: i32,
    /// When that was.
    pub since: Timestamp,
    /// `metadata.uid` of the object on the hub.
    pub uid: String,
    /// What one replica takes.
    pub need: Need,
    /// How many.
    pub replicas: u32,
}

/// What one cluster has promised and its report does not show yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Promises {
    /// Each promise, the oldest first.
    pub each: Vec<Promise>,
    /// What a replica takes, and how many of them: in the same order, like ones together.
    pub owed: Vec<(Need, u32)>,
}

impl Promises {
    /// Works them out, from grants in the order in which they were made.
    #[must_use]
    pub fn of<'a>(
        grants: impl IntoIterator<Item = (&'a PlacementKey, &'a Grant)>,
        heard: impl Fn(&str) -> Option<&'a Heard>,
        capacity: &Capacity,
    ) -> Self {
        let each: Vec<Promise> =
            grants.into_iter().flat_map(|(key, grant)| grant.promises(key, &heard, capacity)).collect();
        let owed = together(&each);
        Self { each, owed }
    }
}

impl Grant {
    /// What of it a report does not show yet.
    #[must_use]
    pub fn promises<'a>(
        &self,
        placement: &PlacementKey,
        heard: impl Fn(&str) -> Option<&'a Heard>,
        capacity: &Capacity,
    ) -> Vec<Promise> {
        let counts = |object: &&GrantedObject| object.need.gpu.is_some() || !object.need.devices.is_empty();
        let counted = self.objects.iter().filter(counts);
        let promise = |object: &GrantedObject| {
            let seen = object.seen(heard(&object.uid), capacity);
            let replicas = object.replicas.saturating_sub(seen);
            (replicas > 0).then(|| Promise {
                placement: placement.clone(),
                priority: self.priority,
                since: self.since,
                uid: object.uid.clone(),
                need: object.need.clone(),
                replicas,
            })
        };
        counted.filter_map(promise).collect()
    }
}

/// What a replica takes, and how many of them, with like ones that follow each other put together.
#[must_use]
pub fn together<'a>(promises: impl IntoIterator<Item = &'a Promise>) -> Vec<(Need, u32)> {
    let mut owed: Vec<(Need, u32)> = Vec::new();
    for promise in promises {
        match owed.last_mut() {
            Some((need, replicas)) if *need == promise.need => {
                *replicas = replicas.saturating_add(promise.replicas);
            }
            _ => owed.push((promise.need.clone(), promise.replicas)),
        }
    }
    owed
}

/// The promises of every cluster as they were last worked out. It is no part of what the fleet is, only of how fast it
/// answers: all of them are equal.
#[derive(Clone, Debug, Default)]
pub(super) struct Known {
    by_cluster: BTreeMap<ClusterName, Arc<Promises>>,
    /// Clusters in which something has changed since.
    changed: BTreeSet<ClusterName>,
}

impl Known {
    /// What is known of a cluster; none where something has changed since.
    pub(super) fn get(&self, cluster: &ClusterName) -> Option<Arc<Promises>> {
        self.by_cluster.get(cluster).cloned()
    }

    /// Something has changed in a cluster.
    pub(super) fn forget(&mut self, cluster: &ClusterName) {
        self.by_cluster.remove(cluster);
        self.changed.insert(cluster.clone());
    }

    /// The clusters in which something has changed, which are taken to be known from now on.
    pub(super) fn take_changed(&mut self) -> BTreeSet<ClusterName> {
        std::mem::take(&mut self.changed)
    }

    pub(super) fn set(&mut self, cluster: ClusterName, promises: Promises) {
        self.by_cluster.insert(cluster, Arc::new(promises));
    }
}

impl PartialEq for Known {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Known {}
