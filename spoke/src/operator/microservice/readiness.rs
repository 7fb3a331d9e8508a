//! How far a Deployment has come.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::PodSpec;
use serde_json::Value;

use crate::operator::diagnosis::StartingPod;

/// How long an image may take to be pulled beside the time that the startup probe gives, seconds: the progress deadline of
/// a Deployment that names none.
const PULL: i64 = 600;
/// How exactly the time that a model takes to load is told, minutes: each change of it is a write.
const STEP: i64 = 10;

/// Ready or not, and in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Readiness {
    pub(crate) ready: bool,
    pub(crate) message: String,
    /// Replicas that serve.
    pub(crate) available: i64,
}

/// Reads a live Deployment. The words are those of `kubectl rollout status`.
pub(crate) fn of(name: &str, deployment: &Value) -> Readiness {
    let (status, wanted) =
        (&deployment["status"], deployment["spec"]["replicas"].as_i64().unwrap_or_default());
    let count = |field: &str| status[field].as_i64().unwrap_or_default();
    let (updated, available) = (count("updatedReplicas"), count("availableReplicas"));
    let not = |message: String| Readiness { ready: false, message, available };
    let observed = status["observedGeneration"].as_i64().unwrap_or_default();
    if observed < deployment["metadata"]["generation"].as_i64().unwrap_or_default() {
        return not(format!("Waiting for deployment {name:?} spec update to be observed..."));
    }
    if wanted == 0 {
        return not(format!("deployment {name:?} is scaled down to 0 replicas"));
    }
    if is_overdue(deployment) {
        return not(overdue(name));
    }
    if updated < wanted {
        let done = format!("{updated} out of {wanted} new replicas have been updated...");
        return not(format!("Waiting for deployment {name:?} rollout to finish: {done}"));
    }
    if available < updated {
        let done = format!("{available} of {updated} updated replicas are available...");
        return not(format!("Waiting for deployment {name:?} rollout to finish: {done}"));
    }
    Readiness { ready: true, message: format!("deployment {name:?} successfully rolled out"), available }
}

/// Words for a Deployment that has exceeded its progress deadline.
pub(crate) fn overdue(name: &str) -> String {
    format!("deployment {name:?} exceeded its progress deadline")
}

/// How long pods may take to start by their own startup probe, seconds: initialDelaySeconds + periodSeconds ×
/// failureThreshold of the longest; 0 without one.
pub(crate) fn startup_budget(pod: &PodSpec) -> i64 {
    let probes = pod.containers.iter().filter_map(|container| container.startup_probe.as_ref());
    let budget = probes.map(|probe| {
        let number = |given: Option<i32>, default: i32| i64::from(given.unwrap_or(default));
        let tries = number(probe.period_seconds, 10) * number(probe.failure_threshold, 3);
        number(probe.initial_delay_seconds, 0) + tries
    });
    budget.max().unwrap_or_default()
}

/// The progress deadline that pods with such a startup probe need, seconds.
pub(crate) fn progress_deadline(pod: &PodSpec) -> Option<i32> {
    i32::try_from(startup_budget(pod).checked_add(PULL)?).ok()
}

/// Words for a Deployment that has exceeded its progress deadline while the newest of its pods is within the time that its
/// own startup probe gives, and when to look again; none where it is not so.
pub(crate) fn still_starting(
    name: &str,
    deployment: &Value,
    pods: &[StartingPod],
    now: Timestamp,
) -> Option<(String, Duration)> {
    if !is_overdue(deployment) {
        return None;
    }
    let template: PodSpec = serde_json::from_value(deployment["spec"]["template"]["spec"].clone()).ok()?;
    let budget = startup_budget(&template);
    let newest = pods.iter().filter(|pod| !pod.has_failed).max_by_key(|pod| pod.created)?;
    let (since, most) = match newest.running_since {
        Some(since) => (since, budget),
        None => (newest.created?, budget + PULL),
    };
    let passed = now.duration_since(since).as_secs().max(0);
    let minutes = passed / 60 / STEP * STEP;
    let next = ((minutes + STEP) * 60).min(most) - passed;
    let words = format!(
        "deployment {name:?} is still starting ({minutes} min of at most {})",
        most.unsigned_abs().div_ceil(60)
    );
    (passed < most).then(|| (words, Duration::from_secs(next.unsigned_abs().max(1))))
}

fn is_overdue(deployment: &Value) -> bool {
    let conditions = deployment["status"]["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
    let progressing = conditions.iter().find(|condition| condition["type"] == "Progressing");
    progressing.is_some_and(|condition| condition["reason"] == "ProgressDeadlineExceeded")
}

/// Words for replicas of an earlier template that still run, if there are any.
pub(crate) fn retiring(name: &str, deployment: &Value) -> Option<String> {
    let count = |field: &str| deployment["status"][field].as_i64().unwrap_or_default();
    let old = count("replicas") - count("updatedReplicas");
    (old > 0).then(|| {
        format!(
            "Waiting for deployment {name:?} rollout to finish: {old} old replicas are pending termination..."
        )
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_model_that_loads_within_the_time_of_its_startup_probe_is_still_starting() {
        let probe = json!({"initialDelaySeconds": 60, "periodSeconds": 10, "failureThreshold": 750});
        let template = json!({"spec": {"containers": [{"name": "c", "startupProbe": probe}]}});
        let deployment = |reason: &str| {
            json!({
                "spec": {"replicas": 1, "template": template},
                "status": {"conditions": [{"type": "Progressing", "reason": reason}]},
            })
        };
        let overdue = deployment("ProgressDeadlineExceeded");
        let at = |second| Timestamp::from_second(second).unwrap();
        let pod = |running: Option<i64>| StartingPod {
            name: "p".into(),
            uid: "p".into(),
            created: Some(at(0)),
            running_since: running.map(at),
            hindrance: None,
            is_being_made: running.is_none(),
            awaits_scheduler: None,
            has_failed: false,
            leaves_by: None,
            claims: Vec::new(),
        };
        let says = |running, now| still_starting("d", &overdue, &[pod(running)], at(now));
        let words = |text: &str| format!("deployment \"d\" is still starting ({text})");
        let (told, next) = says(Some(100), 100 + 12 * 60).unwrap();
        assert_eq!((told, next), (words("10 min of at most 126"), Duration::from_mins(8)));
        assert_eq!(says(None, 30).unwrap().0, words("0 min of at most 136"), "and its image is to be pulled");
        let (told, next) = says(Some(0), 7550).unwrap();
        assert_eq!((told, next), (words("120 min of at most 126"), Duration::from_secs(10)));
        assert_eq!(says(Some(0), 7560), None, "now it is the deadline's turn");
        assert_eq!(still_starting("d", &deployment("ReplicaSetUpdated"), &[pod(None)], at(30)), None);
        assert_eq!(still_starting("d", &overdue, &[], at(30)), None, "nothing starts");
    }

    #[test]
    fn accept_readiness_messages() {
        let with = |replicas: Option<i64>, updated: i64, available: i64, reason: &str| {
            json!({
                "metadata": {"generation": 2},
                "spec": {"replicas": replicas},
                "status": {
                    "observedGeneration": 2, "updatedReplicas": updated, "availableReplicas": available,
                    "conditions": [{"type": "Progressing", "reason": reason}],
                },
            })
        };
        for (deployment, ready, words) in [
            (with(None, 0, 0, ""), false, "scaled down"),
            (with(Some(0), 0, 0, ""), false, "scaled down"),
            (with(Some(2), 1, 1, ""), false, "1 out of 2 new replicas"),
            (with(Some(2), 2, 1, ""), false, "1 of 2 updated replicas"),
            (with(Some(2), 2, 1, "ProgressDeadlineExceeded"), false, "progress deadline"),
            (with(Some(2), 2, 2, ""), true, "successfully rolled out"),
            (
                json!({"metadata": {"generation": 3}, "spec": {"replicas": 1}, "status": {"observedGeneration": 2, "updatedReplicas": 1, "availableReplicas": 1}}),
                false,
                "to be observed",
            ),
            (json!({}), false, "scaled down"),
        ] {
            let found = of("d", &deployment);
            assert_eq!(found.ready, ready, "{deployment}");
            assert!(found.message.contains(words), "{} lacks {words}", found.message);
        }
    }
}
