//! Pods that no node takes, counted for the NIMService that they belong to.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;

use super::Unschedulable;
use crate::operator::{SET_NAME, service_of};

/// Which of the pods of one LeaderWorkerSet belong together.
const GROUP: &str = "leaderworkerset.sigs.k8s.io/group-index";
/// Label of the pods of an InferenceService.
const INFERENCE_SERVICE: &str = "serving.kserve.io/inferenceservice";
/// Longest text of the scheduler that travels, characters.
pub(super) const LONGEST: usize = 512;

/// A NIMService, by namespace and name.
pub(super) type Service = (String, String);

/// Pods that the scheduler has refused, by uid.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    pods: BTreeMap<String, Refused>,
}

#[derive(Debug)]
struct Refused {
    service: Service,
    /// Pods of one replica have the same.
    replica: String,
    message: String,
    since_ms: i64,
}

impl Waiting {
    /// Takes a pod in; gives the services whose count may have changed.
    pub(super) fn see(&mut self, pod: &Pod) -> BTreeSet<Service> {
        let uid = pod.uid().unwrap_or_default();
        let before = self.pods.remove(&uid).map(|refused| refused.service);
        let now = refused(pod);
        let touched = before.into_iter().chain(now.as_ref().map(|refused| refused.service.clone())).collect();
        self.pods.extend(now.map(|refused| (uid, refused)));
        touched
    }

    /// A pod is gone, or has a node.
    pub(super) fn forget(&mut self, pod: &Pod) -> BTreeSet<Service> {
        self.pods.remove(&pod.uid().unwrap_or_default()).map(|refused| refused.service).into_iter().collect()
    }

    /// Keeps only pods that a new list holds.
    pub(super) fn retain(&mut self, listed: &BTreeSet<String>) -> BTreeSet<Service> {
        let gone = self.pods.extract_if(.., |uid, _| !listed.contains(uid));
        gone.map(|(_, refused)| refused.service).collect()
    }

    /// How many replicas of a service wait, of those that it lacks: a pod that a rollout adds to what serves is none.
    pub(super) fn of(&self, service: &Service, lacks: i32) -> Option<Unschedulable> {
        let pods: Vec<&Refused> = self.pods.values().filter(|pod| pod.service == *service).collect();
        let first = pods.iter().min_by_key(|pod| (pod.since_ms, &pod.replica))?;
        let replicas: BTreeSet<&String> = pods.iter().map(|pod| &pod.replica).collect();
        let replicas = i32::try_from(replicas.len()).unwrap_or(i32::MAX).min(lacks);
        (replicas > 0).then(|| Unschedulable {
            replicas,
            message: first.message.clone(),
            since_ms: first.since_ms,
        })
    }
}

/// What the scheduler says of a pod that it has no node for.
fn refused(pod: &Pod) -> Option<Refused> {
    if pod.metadata.deletion_timestamp.is_some() {
        return None;
    }
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    let is_it = |condition: &&k8s_openapi::api::core::v1::PodCondition| {
        condition.type_ == "PodScheduled"
            && condition.status == "False"
            && condition.reason.as_deref() == Some("Unschedulable")
    };
    let condition = conditions.iter().find(is_it)?;
    let labels = pod.labels();
    // The label `app` of a leader is that of its Service, and a worker may have none.
    let name = match labels.get(SET_NAME) {
        Some(set) => service_of(set)?,
        None => labels.get(INFERENCE_SERVICE).or_else(|| labels.get("app"))?,
    };
    let since = condition.last_transition_time.as_ref().or(pod.metadata.creation_timestamp.as_ref());
    Some(Refused {
        service: (pod.namespace()?, name.to_owned()),
        replica: labels.get(GROUP).map_or_else(|| pod.name_any(), |group| format!("group {group}")),
        message: condition.message.clone().unwrap_or_default().chars().take(LONGEST).collect(),
        since_ms: since.map(|time| time.0.as_millisecond()).unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(name: &str, labels: &serde_json::Value, reason: &str, second: u32) -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": name, "namespace": "nim", "uid": name, "labels": labels},
            "status": {"conditions": [{
                "type": "PodScheduled", "status": if reason.is_empty() { "True" } else { "False" }, "reason": reason,
                "message": format!("0/3 nodes: {name}"), "lastTransitionTime": format!("2026-01-01T00:00:{second:02}Z"),
            }]},
        }))
        .unwrap()
    }

    fn llm() -> Service {
        ("nim".to_owned(), "llm".to_owned())
    }

    #[test]
    fn replicas_wait_since_the_first_of_them_in_the_schedulers_words() {
        let mut waiting = Waiting::default();
        for (name, second) in [("b", 9), ("a", 7)] {
            waiting.see(&pod(name, &json!({"app": "llm"}), "Unschedulable", second));
        }
        waiting.see(&pod("other", &json!({"app": "other"}), "Unschedulable", 1));
        let of = waiting.of(&llm(), 5).unwrap();
        let at = "2026-01-01T00:00:07Z".parse::<jiff::Timestamp>().unwrap().as_millisecond();
        assert_eq!((of.replicas, of.message.as_str(), of.since_ms), (2, "0/3 nodes: a", at));
        // What a rollout adds to what serves lacks nobody.
        assert_eq!(waiting.of(&llm(), 1).unwrap().replicas, 1);
        assert_eq!(waiting.of(&llm(), 0), None);
    }

    /// The labels that LeaderWorkerSet 0.8.0 and 0.9.0 give: to the leader of a group beside those of the template, to a
    /// worker that the NIM Operator made, which has none of its own, alone.
    fn group_labels(group: &str, worker: &str) -> serde_json::Value {
        let mut labels = json!({
            SET_NAME: "llm-lws", GROUP: group, "leaderworkerset.sigs.k8s.io/worker-index": worker,
            "leaderworkerset.sigs.k8s.io/group-key": "0f1b0d8e6d0c0a1e0f1b0d8e6d0c0a1e0f1b0d8e",
            "leaderworkerset.sigs.k8s.io/template-revision-hash": "5f4d5b6c7d",
        });
        if worker == "0" {
            for (key, value) in
                [("app", "llm-lws"), ("nim-llm-role", "leader"), ("app.kubernetes.io/name", "llm")]
            {
                labels[key] = json!(value);
            }
        }
        labels
    }

    #[test]
    fn pods_of_one_group_are_one_replica() {
        let mut waiting = Waiting::default();
        for (name, group, worker) in [("a", "0", "0"), ("b", "0", "1"), ("c", "1", "1")] {
            let touched = waiting.see(&pod(name, &group_labels(group, worker), "Unschedulable", 1));
            assert_eq!(touched, [llm()].into(), "{name}");
        }
        assert_eq!(waiting.of(&llm(), 9).unwrap().replicas, 2);
        let stranger = json!({SET_NAME: "batch", "app": "llm"});
        assert_eq!(waiting.see(&pod("d", &stranger, "Unschedulable", 1)), BTreeSet::new(), "another's set");
    }

    #[test]
    fn a_pod_with_a_node_or_held_back_on_purpose_does_not_wait() {
        let mut waiting = Waiting::default();
        for reason in ["", "SchedulingGated"] {
            waiting.see(&pod("a", &json!({"app": "llm"}), reason, 1));
            assert_eq!(waiting.of(&llm(), 1), None, "{reason}");
        }
        let refused = pod("a", &json!({INFERENCE_SERVICE: "llm", "app": "isvc.llm"}), "Unschedulable", 1);
        assert_eq!(waiting.see(&refused), [llm()].into());
        assert!(waiting.of(&llm(), 1).is_some());
        assert_eq!(waiting.see(&pod("a", &json!({"app": "llm"}), "", 1)), [llm()].into());
        assert_eq!(waiting.of(&llm(), 1), None);
        waiting.see(&refused);
        assert_eq!(waiting.retain(&BTreeSet::new()), [llm()].into());
        assert_eq!(waiting.of(&llm(), 1), None);
    }
}
