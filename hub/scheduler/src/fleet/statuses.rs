//! What every spoke last said about every object: soft state of the hub.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::{ClusterName, Excess, ObjectStatus, Weight};

/// Bytes of the statuses of one cluster, and of each object in it if that is more: the hub itself says how many there are.
const CLUSTER_BYTES: usize = 8 << 20;
const OBJECT_BYTES: usize = 4 << 10;

/// Last status per cluster and object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Statuses {
    by_cluster: BTreeMap<ClusterName, OfCluster>,
}

/// What one cluster said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct OfCluster {
    objects: BTreeMap<String, Heard>,
    /// How many bytes the statuses are.
    bytes: usize,
    /// Objects of whose status only a part is kept.
    cut: BTreeSet<String>,
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
    /// says, which may have been set back. Of a cluster whose statuses are too long together only the words that tell how the
    /// object is are kept.
    pub fn hear(&mut self, cluster: &ClusterName, mut status: ObjectStatus, now: Timestamp) {
        let of_cluster = self.by_cluster.entry(cluster.clone()).or_default();
        let known = of_cluster.objects.get(&status.object.uid);
        let others = of_cluster.bytes - known.map_or(0, |known| known.status.weight());
        let most = CLUSTER_BYTES.max(OBJECT_BYTES * of_cluster.objects.len());
        if others + status.weight() > most {
            status.make_bare();
            of_cluster.cut.insert(status.object.uid.clone());
        } else {
            of_cluster.cut.remove(&status.object.uid);
        }
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
        of_cluster.bytes = others + status.weight();
        let heard = Heard { status, steady_since, unschedulable_since };
        of_cluster.objects.insert(heard.status.object.uid.clone(), heard);
    }

    /// How many statuses of a cluster are kept in full, if that is not all of them.
    #[must_use]
    pub fn excess(&self, cluster: &ClusterName) -> Option<Excess> {
        let OfCluster { objects, cut, .. } = self.by_cluster.get(cluster)?;
        let number = |count| u64::try_from(count).unwrap_or(u64::MAX);
        let (reported, kept) = (number(objects.len()), number(objects.len() - cut.len()));
        (kept < reported).then_some(Excess { what: "statuses of objects in full", reported, kept })
    }

    /// What that cluster last said about that object.
    #[must_use]
    pub fn get(&self, cluster: &ClusterName, uid: &str) -> Option<&Heard> {
        self.by_cluster.get(cluster)?.objects.get(uid)
    }

    /// What every cluster last said about that object, by cluster name.
    pub fn of_object<'a>(
        &'a self,
        uid: &'a str,
    ) -> impl Iterator<Item = (&'a ClusterName, &'a ObjectStatus)> + 'a {
        self.by_cluster.iter().filter_map(move |(name, of)| Some((name, &of.objects.get(uid)?.status)))
    }

    /// Drops what is known about an object that left the cluster.
    pub fn forget_object(&mut self, cluster: &ClusterName, uid: &str) {
        if let Some(of_cluster) = self.by_cluster.get_mut(cluster)
            && let Some(left) = of_cluster.objects.remove(uid)
        {
            of_cluster.bytes -= left.status.weight();
            of_cluster.cut.remove(uid);
        }
    }

    /// Drops what is known about a cluster that left the fleet.
    pub fn forget_cluster(&mut self, cluster: &ClusterName) {
        self.by_cluster.remove(cluster);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::{ObjectCondition, ObjectRef, Truth};

    fn status(uid: usize, message: usize) -> ObjectStatus {
        let condition = |kind: &str, bytes| ObjectCondition {
            kind: kind.to_owned(),
            status: Truth::False,
            reason: "No".to_owned(),
            message: "x".repeat(bytes),
            last_transition: Timestamp::UNIX_EPOCH,
        };
        ObjectStatus {
            object: ObjectRef {
                uid: uid.to_string(),
                api_version: String::new(),
                kind: "NIMService".to_owned(),
                namespace: "models".to_owned(),
                name: uid.to_string(),
            },
            generation: 1,
            hash: "h".to_owned(),
            state: "NotReady".to_owned(),
            conditions: vec![condition("Other", message), condition("Ready", message)],
            ready_replicas: 0,
            wanted_replicas: 1,
            observed_at: Timestamp::UNIX_EPOCH,
            profiles: Vec::new(),
            unschedulable: None,
            claim: String::new(),
        }
    }

    #[test]
    fn the_statuses_of_a_cluster_have_a_budget_and_beyond_it_the_telling_words_stay() {
        let (east, now) = ("east".parse().unwrap(), Timestamp::UNIX_EPOCH);
        let mut statuses = Statuses::default();
        for uid in 0..1000 {
            statuses.hear(&east, status(uid, 20_000), now);
        }
        let bytes = statuses.by_cluster[&east].bytes;
        assert!(bytes < CLUSTER_BYTES + (1 << 20), "{bytes} bytes");
        let excess = statuses.excess(&east).unwrap();
        assert!((150..250).contains(&excess.kept) && excess.reported == 1000, "{excess}");
        let ready =
            |uid: &str| statuses.get(&east, uid).unwrap().status.condition("Ready").unwrap().message.len();
        assert_eq!((ready("0"), ready("999") < 512), (20_000, true));
        // The same again is no more, and what has left makes room.
        for uid in 0..1000 {
            statuses.hear(&east, status(uid, 20_000), now);
        }
        assert!(statuses.by_cluster[&east].bytes < CLUSTER_BYTES + (1 << 20));
        for uid in 0..999 {
            statuses.forget_object(&east, &uid.to_string());
        }
        statuses.hear(&east, status(999, 20_000), now);
        assert_eq!(statuses.excess(&east), None);
        statuses.forget_object(&east, "999");
        assert_eq!(statuses.by_cluster[&east].bytes, 0);
    }

    #[test]
    fn many_objects_have_a_larger_budget() {
        let (east, now) = ("east".parse().unwrap(), Timestamp::UNIX_EPOCH);
        let mut statuses = Statuses::default();
        (0..5000).for_each(|uid| statuses.hear(&east, status(uid, 1200), now));
        assert_eq!(statuses.excess(&east), None, "5000 objects of 3 KiB are what some cluster has");
    }
}
