//! How far a Deployment has come.

use serde_json::Value;

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
    let conditions = status["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
    let progressing = conditions.iter().find(|condition| condition["type"] == "Progressing");
    if progressing.is_some_and(|condition| condition["reason"] == "ProgressDeadlineExceeded") {
        return not(format!("deployment {name:?} exceeded its progress deadline"));
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
