//! Which groups of a LeaderWorkerSet serve, by the pods themselves.
//!
//! LeaderWorkerSet up to 0.8 counts a group in `status.readyReplicas` as soon as its leader is ready and its worker pods
//! exist, on a node or not. A group here serves when its leader and all `size` pods are Ready, and of one revision: while a
//! group is replaced, the new leader is Ready before the old workers are deleted.

use std::collections::BTreeMap;

use kube::core::DynamicObject;
use serde_json::Value;

use crate::operator::engine::world::World;

/// Label of every pod of a LeaderWorkerSet: the name of the set.
pub(crate) const SET_NAME: &str = "leaderworkerset.sigs.k8s.io/name";
/// Label: the group's index in its set.
const GROUP_INDEX: &str = "leaderworkerset.sigs.k8s.io/group-index";
/// Label: the pod's index in its group; the leader's is 0.
const WORKER_INDEX: &str = "leaderworkerset.sigs.k8s.io/worker-index";

/// Label: the revision of the set's template that the pod was made from.
const REVISION: &str = "leaderworkerset.sigs.k8s.io/template-revision-hash";

/// Pods of one LeaderWorkerSet, by the index of their group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Groups(BTreeMap<String, Group>);

/// Ready pods of a group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Group {
    /// The revision of the leader, where it is Ready; empty where it tells none.
    leader: Option<String>,
    /// By their revision.
    pods: BTreeMap<String, i64>,
}

impl Group {
    fn serves(&self, size: i64) -> bool {
        let of_leader = self.leader.as_ref().and_then(|revision| self.pods.get(revision));
        of_leader.is_some_and(|pods| *pods >= size)
    }
}

impl Groups {
    /// Reads the pods of the set of that name.
    pub(super) fn observe(world: &World, namespace: &str, set: &str) -> Self {
        let of_set = |pod: &DynamicObject| label(pod, SET_NAME) == Some(set);
        let pods = world.group_pods.of_namespace(namespace, of_set);
        Self::of(pods.iter().map(AsRef::as_ref))
    }

    /// Sorts pods of one set into their groups.
    pub(super) fn of<'a>(pods: impl IntoIterator<Item = &'a DynamicObject>) -> Self {
        let mut groups: BTreeMap<String, Group> = BTreeMap::new();
        for pod in pods {
            let Some(index) = label(pod, GROUP_INDEX) else { continue };
            let group = groups.entry(index.to_owned()).or_default();
            if is_ready(pod) {
                let revision = label(pod, REVISION).unwrap_or_default().to_owned();
                if label(pod, WORKER_INDEX) == Some("0") {
                    group.leader = Some(revision.clone());
                }
                *group.pods.entry(revision).or_default() += 1;
            }
        }
        Self(groups)
    }

    /// How many groups of `size` pods serve; none while no pod of the set has been seen.
    pub(super) fn serving(&self, size: i64) -> Option<i64> {
        let serving = self.0.values().filter(|group| group.serves(size)).count();
        (!self.0.is_empty()).then(|| i64::try_from(serving).unwrap_or(i64::MAX))
    }
}

fn label<'a>(pod: &'a DynamicObject, key: &str) -> Option<&'a str> {
    pod.metadata.labels.as_ref()?.get(key).map(String::as_str)
}

/// Whether a pod is Ready and stays.
fn is_ready(pod: &DynamicObject) -> bool {
    let conditions = pod.data["status"]["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
    let is_true = |one: &Value| one["type"] == "Ready" && one["status"] == "True";
    pod.metadata.deletion_timestamp.is_none() && conditions.iter().any(is_true)
}

#[cfg(test)]
impl Groups {
    /// Groups of these pods: group index, worker index, and whether the pod is Ready.
    pub(in super::super) fn played(pods: &[(u32, u32, bool)]) -> Self {
        let pods: Vec<_> =
            pods.iter().map(|(group, worker, ready)| (*group, *worker, *ready, "6b6c8d5c6c")).collect();
        Self::of_revisions(&pods)
    }

    /// The same with the revision of each pod.
    fn of_revisions(pods: &[(u32, u32, bool, &str)]) -> Self {
        let pod = |(group, worker, ready, revision): &(u32, u32, bool, &str)| -> DynamicObject {
            // Labels as LeaderWorkerSet 0.8.0 gives them.
            let labels = serde_json::json!({
                SET_NAME: "llama-lws", GROUP_INDEX: group.to_string(), WORKER_INDEX: worker.to_string(),
                "leaderworkerset.sigs.k8s.io/group-key": "a6ae9f7a1f3a2f1a",
                REVISION: revision,
            });
            let status = if *ready { "True" } else { "False" };
            serde_json::from_value(serde_json::json!({
                "apiVersion": "v1", "kind": "Pod",
                "metadata": {"name": format!("llama-lws-{group}-{worker}"), "labels": labels},
                "status": {"conditions": [{"type": "Ready", "status": status}]},
            }))
            .unwrap_or_else(|_| unreachable!("a pod is an object"))
        };
        let pods: Vec<_> = pods.iter().map(pod).collect();
        Self::of(&pods)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_serves_when_its_leader_and_all_its_pods_are_ready() {
        for (case, pods, expected) in [
            ("no pod seen", &[][..], None),
            ("all", &[(0, 0, true), (0, 1, true), (1, 0, true), (1, 1, true)], Some(2)),
            ("a worker finds no node", &[(0, 0, true), (0, 1, true), (1, 0, true), (1, 1, false)], Some(1)),
            ("a worker is not made yet", &[(0, 0, true)], Some(0)),
            ("the leader still loads", &[(0, 0, false), (0, 1, true), (0, 2, true)], Some(0)),
        ] {
            assert_eq!(Groups::played(pods).serving(2), expected, "{case}");
        }
    }

    #[test]
    fn workers_of_the_revision_before_are_none_of_a_new_leader() {
        let (old, new) = ("6b6c8d5c6c", "7f6d9b8c5d");
        let replaced = Groups::of_revisions(&[(0, 0, true, new), (0, 1, true, old)]);
        assert_eq!(replaced.serving(2), Some(0));
        let done = Groups::of_revisions(&[(0, 0, true, new), (0, 1, true, new), (0, 1, true, old)]);
        assert_eq!(done.serving(2), Some(1));
    }
}
