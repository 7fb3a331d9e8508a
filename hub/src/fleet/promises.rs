//! What clusters have promised and their reports do not show yet, worked out once and kept until something changes it:
//! every decision asks every cluster.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Capacity, ClusterName, Grant, Heard, PlacementKey};
use crate::need::Need;

/// What one cluster has promised and its report does not show yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Promises {
    /// What a replica takes, and how many of them: the oldest grant first, like ones together.
    pub owed: Vec<(Need, u32)>,
}

impl Promises {
    /// Works them out, from grants in the order in which they were made.
    #[must_use]
    pub fn of<'a>(
        grants: impl IntoIterator<Item = (&'a PlacementKey, &'a Grant)>,
        counts: impl Fn(&PlacementKey, &Grant, &str) -> bool,
        heard: impl Fn(&str) -> Option<&'a Heard>,
        capacity: &Capacity,
    ) -> Self {
        let mut promises = Self::default();
        for (placement, grant) in grants {
            for object in grant.objects.iter().filter(|object| counts(placement, grant, &object.uid)) {
                let heard = heard(&object.uid);
                let unseen = object.replicas.saturating_sub(object.seen(heard, capacity));
                if unseen == 0 || object.need.gpu.is_none() {
                    continue;
                }
                match promises.owed.last_mut() {
                    Some((need, replicas)) if *need == object.need => {
                        *replicas = replicas.saturating_add(unseen);
                    }
                    _ => promises.owed.push((object.need.clone(), unseen)),
                }
            }
        }
        promises
    }
}

/// The promises of every cluster as they were last worked out. It is no part of what the fleet is, only of how fast it
/// answers: all of them are equal, and a copy is empty.
#[derive(Debug, Default)]
pub(super) struct Known {
    by_cluster: Mutex<BTreeMap<ClusterName, Arc<Promises>>>,
}

impl Known {
    /// What is known of a cluster; else it is worked out.
    pub(super) fn get(&self, cluster: &ClusterName, work_out: impl FnOnce() -> Promises) -> Arc<Promises> {
        if let Some(known) = self.lock().get(cluster) {
            return known.clone();
        }
        let promises = Arc::new(work_out());
        self.lock().insert(cluster.clone(), promises.clone());
        promises
    }

    /// Something has changed in a cluster.
    pub(super) fn forget(&mut self, cluster: &ClusterName) {
        self.by_cluster.get_mut().unwrap_or_else(PoisonError::into_inner).remove(cluster);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<ClusterName, Arc<Promises>>> {
        self.by_cluster.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Clone for Known {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl PartialEq for Known {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Known {}
