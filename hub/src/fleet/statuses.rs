//! What every spoke last said about every object: soft state of the hub.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::{ClusterName, ObjectStatus};

/// Last status per cluster and object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Statuses {
    by_cluster: BTreeMap<ClusterName, BTreeMap<String, Heard>>,
}

/// A status, and when the hub heard it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    /// What the spoke said.
    pub status: ObjectStatus,
    /// Since when the number of ready replicas has been this one, by the hub's clock.
    pub steady_since: Timestamp,
    /// Since when replicas wait for a node, by the hub's clock; none while the spoke says of none.
    pub unschedulable_since: Option<Timestamp>,
}

impl Statuses {
    /// Takes a status in. The link keeps the order: what is heard last was observed last, whatever the spoke's clock
    /// says, which may have been set back.
    pub fn hear(&mut self, cluster: &ClusterName, status: ObjectStatus, now: Timestamp) {
        let of_cluster = self.by_cluster.entry(cluster.clone()).or_default();
        let known = of_cluster.get(&status.object.uid);
        let steady_since = known
            .filter(|known| known.status.ready_replicas == status.ready_replicas)
            .map_or(now, |known| known.steady_since);
        let by_pods = status.unschedulable.as_ref().map(|waits| {
            let same = known.filter(|known| {
                known.status.unschedulable.as_ref().is_some_and(|it| it.since == waits.since)
            });
            let waited = status.observed_at.duration_since(waits.since).max(jiff::SignedDuration::ZERO);
            // How long it has waited is told by the spoke's clock, and counted back from now by ours.
            let since = || now.checked_sub(waited).unwrap_or(Timestamp::MIN);
            same.and_then(|known| known.unschedulable_since).unwrap_or_else(since)
        });
        let known_since = known.and_then(|known| known.unschedulable_since).unwrap_or(now);
        let unschedulable_since = by_pods.or(status.is_unschedulable().then_some(known_since));
        of_cluster.insert(status.object.uid.clone(), Heard { status, steady_since, unschedulable_since });
    }

    /// What that cluster last said about that object.
    #[must_use]
    pub fn get(&self, cluster: &ClusterName, uid: &str) -> Option<&Heard> {
        self.by_cluster.get(cluster)?.get(uid)
    }

    /// What every cluster last said about that object, by cluster name.
    pub fn of_object<'a>(
        &'a self,
        uid: &'a str,
    ) -> impl Iterator<Item = (&'a ClusterName, &'a ObjectStatus)> + 'a {
        self.by_cluster.iter().filter_map(move |(name, objects)| Some((name, &objects.get(uid)?.status)))
    }

    /// Drops what is known about an object that left the cluster.
    pub fn forget_object(&mut self, cluster: &ClusterName, uid: &str) {
        if let Some(objects) = self.by_cluster.get_mut(cluster) {
            objects.remove(uid);
        }
    }

    /// Drops what is known about a cluster that left the fleet.
    pub fn forget_cluster(&mut self, cluster: &ClusterName) {
        self.by_cluster.remove(cluster);
    }
}
