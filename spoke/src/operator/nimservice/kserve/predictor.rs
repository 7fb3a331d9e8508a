//! How far KServe has come with a predictor. Its own condition is of the Deployment that it made last, which may be one of
//! an older InferenceService: where it makes Deployments, they count. Pure.

use crds::compare::holds;
use crds::nim::NIMServiceSpec;
use kube::core::DynamicObject;
use serde_json::Value;

use super::inference_service::SERVING;
use super::predictor_name;
use crate::operator::engine::own::controller;
use crate::operator::engine::template::APPLIED;
use crate::operator::microservice::readiness::{self, Readiness};

/// KServe's word on the predictor.
const READY: &str = "PredictorReady";
/// Conditions that say why a predictor is not ready where [`READY`] does not, as in Knative's modes, in order.
const CAUSES: [&str; 4] =
    ["LatestDeploymentReady", "PredictorConfigurationReady", "PredictorRouteReady", "IngressReady"];
/// What pods of a container are made of, as far as KServe passes it on unchanged.
const PASSED_ON: [&str; 4] = ["image", "command", "args", "env"];

/// Reads a live InferenceService, with the Deployment of its predictor's name. Replicas are counted where there is one.
pub(super) fn readiness(name: &str, deployment: Option<&DynamicObject>, live: &Value) -> Readiness {
    let not = |message: String, available: i64| Readiness { ready: false, message, available };
    if live.is_null() {
        return not(format!("Waiting for InferenceService {name:?} creation"), 0);
    }
    let is_its = |deployment: &&DynamicObject| {
        controller(&deployment.metadata).is_some_and(|owner| live["metadata"]["uid"] == owner.uid.as_str())
    };
    let (told, words) = told(name, live);
    let Some(deployment) = deployment.filter(is_its) else {
        // This generation is a Deployment's: there was one, and it is gone or of an older InferenceService.
        let is_missing = live["status"]["observedGeneration"].as_i64().unwrap_or_default() > 0
            && live["status"]["deploymentMode"] == "Standard";
        return if told && is_missing {
            not(format!("Waiting for KServe to make deployment {:?}", predictor_name(name)), 0)
        } else {
            Readiness { ready: told, message: words, available: 0 }
        };
    };
    let deployment = serde_json::to_value(deployment).unwrap_or_default();
    let named = predictor_name(name);
    let found = readiness::of(&named, &deployment);
    if let Some(why) = behind(live, &deployment) {
        let mut message = format!("Waiting for KServe to update deployment {named:?}: {why}");
        let condition = condition(live, READY);
        if condition["reason"] == "ReconcileFailed" {
            message = format!("{message}; KServe: {}", text(&condition["message"]));
        }
        return not(message, found.available);
    }
    match (found.ready, told) {
        (false, _) => found,
        (true, false) => not(words, found.available),
        (true, true) => Readiness { message: words, ..found },
    }
}

/// What of the InferenceService the Deployment does not have yet.
fn behind(live: &Value, deployment: &Value) -> Option<String> {
    let mark = |object: &Value| object["metadata"]["annotations"][APPLIED].as_str().map(str::to_owned);
    match mark(live) {
        Some(applied) if mark(deployment) == Some(applied.clone()) => {}
        Some(_) => return Some("its pods are of an older InferenceService".to_owned()),
        None => {
            if let Some(why) = other_container(live, deployment) {
                return Some(why);
            }
        }
    }
    let predictor = &live["spec"]["predictor"];
    let least = predictor["minReplicas"].as_i64()?;
    let fixed =
        predictor["maxReplicas"] == least && live["metadata"]["annotations"][super::scaling::CLASS] == "none";
    let has = deployment["spec"]["replicas"].as_i64().unwrap_or(1);
    let waits = if fixed { has != least } else { has < least };
    waits.then(|| format!("it has {has} replicas and is to have {least}"))
}

/// A container that the Deployment has otherwise than an InferenceService without a mark of ours, as of a take-over.
fn other_container(live: &Value, deployment: &Value) -> Option<String> {
    let list = |pods: &Value| pods["containers"].as_array().cloned().unwrap_or_default();
    let running = list(&deployment["spec"]["template"]["spec"]);
    list(&live["spec"]["predictor"]).iter().find_map(|wanted| {
        let name = text(&wanted["name"]);
        let Some(found) = running.iter().find(|one| one["name"] == wanted["name"]) else {
            return Some(format!("it has no container {name:?}"));
        };
        let other = PASSED_ON.iter().find(|field| !holds(&wanted[**field], &found[**field]))?;
        Some(format!("container {name:?} has another {other}"))
    })
}

/// Whether KServe says that the predictor is ready, and its words.
fn told(name: &str, live: &Value) -> (bool, String) {
    let ready = condition(live, READY);
    if ready.is_null() {
        return (false, format!("Waiting for InferenceService {name:?} reporting Predictor readiness"));
    }
    if ready["status"] == "True" {
        return (true, text(&ready["message"]).to_owned());
    }
    let causes = CAUSES.iter().map(|kind| (*kind, condition(live, kind)));
    let mut said =
        [(READY, ready.clone())].into_iter().chain(causes).filter(|(_, one)| one["status"] != "True");
    let words = said.find_map(|(kind, one)| {
        let (reason, message) = (text(&one["reason"]), text(&one["message"]));
        match (reason, message) {
            ("", "") => None,
            (_, message) if kind == READY && !message.is_empty() => Some(message.to_owned()),
            (reason, "") => Some(format!("{kind} is {}: {reason}", text(&one["status"]))),
            ("", message) => Some(format!("{kind} is {}: {message}", text(&one["status"]))),
            (reason, message) => Some(format!("{kind} is {}: {reason}: {message}", text(&one["status"]))),
        }
    });
    let silent = || format!("KServe says that {READY} is {} and not why", text(&ready["status"]));
    (false, words.unwrap_or_else(silent))
}

/// What KServe limits the model to although the spec says nothing of it: an LLM does not fit into its stock limits.
pub(super) fn stock_limits(spec: &NIMServiceSpec, live: &Value) -> Option<String> {
    let asked = |resource: &str| {
        let limits = spec.resources.as_ref().and_then(|resources| resources.limits.as_ref());
        limits.is_some_and(|limits| limits.contains_key(resource))
    };
    let containers =
        live["spec"]["predictor"]["containers"].as_array().map(Vec::as_slice).unwrap_or_default();
    let serving = containers.iter().find(|one| one["name"] == SERVING)?;
    let set: Vec<String> = ["memory", "cpu"]
        .into_iter()
        .filter(|resource| !asked(resource))
        .filter_map(|resource| {
            let limit = serving["resources"]["limits"][resource].as_str()?;
            Some(format!("spec.resources.limits.{resource} (KServe sets {limit})"))
        })
        .collect();
    (!set.is_empty()).then(|| format!("not set: {}", set.join(", ")))
}

fn condition(live: &Value, kind: &str) -> Value {
    let conditions = live["status"]["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
    conditions.iter().find(|one| one["type"] == kind).cloned().unwrap_or_default()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::needless_pass_by_value, reason = "literals are handed over as they are written")]

    use serde_json::json;

    use super::*;

    fn service(more: &Value) -> Value {
        let mut live = json!({
            "metadata": {"uid": "i", "annotations": {"serving.kserve.io/autoscalerClass": "none"}},
            "spec": {"predictor": {"minReplicas": 2, "maxReplicas": 2, "containers": [
                {"name": SERVING, "image": "nim:2", "env": [{"name": "A", "value": "1"}]},
            ]}},
            "status": {"deploymentMode": "Standard", "observedGeneration": 1,
                "conditions": [{"type": READY, "status": "True", "message": "m"}]},
        });
        merge(&mut live, more);
        live
    }

    fn deployment(more: &Value) -> DynamicObject {
        let owner = json!([{"apiVersion": "serving.kserve.io/v1beta1", "kind": "InferenceService", "name": "llama",
            "uid": "i", "controller": true}]);
        let mut live = json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "llama-predictor", "generation": 3, "ownerReferences": owner},
            "spec": {"replicas": 2, "template": {"spec": {"containers": [{"name": SERVING, "image": "nim:2",
                "env": [{"name": "A", "value": "1"}, {"name": "INFERENCE_SERVICE_NAME", "value": "llama"}]}]}}},
            "status": {"observedGeneration": 3, "updatedReplicas": 2, "availableReplicas": 2, "replicas": 2},
        });
        merge(&mut live, more);
        serde_json::from_value(live).unwrap()
    }

    fn merge(into: &mut Value, more: &Value) {
        match (into, more) {
            (Value::Object(into), Value::Object(more)) => {
                for (key, value) in more {
                    merge(into.entry(key.clone()).or_insert(Value::Null), value);
                }
            }
            (into, more) => *into = more.clone(),
        }
    }

    #[test]
    #[allow(clippy::too_many_lines, reason = "one table of cases")]
    fn a_predictor_is_ready_when_the_deployment_of_this_very_service_is_rolled_out() {
        let none = json!({});
        let image = |tag: &str| json!({"spec": {"template": {"spec": {"containers": [{"name": SERVING, "image": tag}]}}}});
        let marked = |mark: &str| json!({"metadata": {"annotations": {APPLIED: mark}}});
        for (case, live, found, ready, available, words) in [
            ("rolled out", none.clone(), none.clone(), true, 2, "m"),
            ("older image", none.clone(), image("nim:1"), false, 2, "has another image"),
            ("older variables", none.clone(), image("nim:2"), false, 2, "has another env"),
            (
                "same mark, and an image that a webhook changed",
                marked("a"),
                {
                    let mut changed = marked("a");
                    merge(&mut changed, &image("mirror/nim:2"));
                    changed
                },
                true,
                2,
                "m",
            ),
            ("older mark", marked("b"), marked("a"), false, 2, "of an older InferenceService"),
            ("without the mark", marked("b"), none.clone(), false, 2, "of an older InferenceService"),
            (
                "to be scaled up",
                json!({"spec": {"predictor": {"minReplicas": 3, "maxReplicas": 3}}}),
                none.clone(),
                false,
                2,
                "has 2 replicas and is to have 3",
            ),
            (
                "to be scaled to nothing",
                json!({"spec": {"predictor": {"minReplicas": 0, "maxReplicas": 0}}}),
                none.clone(),
                false,
                2,
                "has 2 replicas and is to have 0",
            ),
            (
                "scaled to nothing",
                json!({"spec": {"predictor": {"minReplicas": 0, "maxReplicas": 0}}}),
                json!({"spec": {"replicas": 0}, "status": {"updatedReplicas": 0, "availableReplicas": 0}}),
                false,
                0,
                "scaled down to 0 replicas",
            ),
            (
                "more than an autoscaler's least",
                json!({"metadata": {"annotations": {super::super::scaling::CLASS: "hpa"}},
                "spec": {"predictor": {"minReplicas": 1, "maxReplicas": 4}}}),
                none.clone(),
                true,
                2,
                "m",
            ),
            (
                "fewer than an autoscaler's least",
                json!({"metadata": {"annotations": {super::super::scaling::CLASS: "hpa"}},
                "spec": {"predictor": {"minReplicas": 3, "maxReplicas": 4}}}),
                none.clone(),
                false,
                2,
                "is to have 3",
            ),
            (
                "rolling out",
                none.clone(),
                json!({"status": {"updatedReplicas": 1}}),
                false,
                2,
                "1 out of 2 new replicas",
            ),
            (
                "not seen by its controller",
                none.clone(),
                json!({"metadata": {"generation": 4}}),
                false,
                2,
                "to be observed",
            ),
            (
                "KServe is behind",
                json!({"status": {"conditions": [{"type": READY, "status": "Unknown", "reason": "Progress",
                "message": "rolling"}]}}),
                none.clone(),
                false,
                2,
                "rolling",
            ),
            (
                "KServe failed",
                json!({"status": {"conditions": [{"type": READY, "status": "False",
                "reason": "ReconcileFailed", "message": "quota"}]}}),
                image("nim:1"),
                false,
                2,
                "KServe: quota",
            ),
        ] {
            let found = readiness("llama", Some(&deployment(&found)), &service(&live));
            assert_eq!((found.ready, found.available), (ready, available), "{case}: {}", found.message);
            assert!(found.message.contains(words), "{case}: {}", found.message);
        }
    }

    #[test]
    fn a_deployment_of_another_counts_for_nothing() {
        let foreign = deployment(
            &json!({"metadata": {"ownerReferences": [{"apiVersion": "v1", "kind": "InferenceService",
            "name": "llama", "uid": "other", "controller": true}]}}),
        );
        for deployment in [None, Some(&foreign)] {
            let found = readiness("llama", deployment, &service(&json!({})));
            assert!(
                !found.ready && found.message.contains("to make deployment \"llama-predictor\""),
                "{}",
                found.message
            );
        }
        let knative = service(&json!({"status": {"deploymentMode": "Knative"}}));
        assert_eq!(readiness("llama", None, &knative).available, 0);
        assert!(readiness("llama", None, &knative).ready, "no Deployment of KServe's in Knative's modes");
    }

    #[test]
    fn a_predictor_that_is_not_ready_says_why_in_the_words_that_there_are() {
        let with = |conditions: Value| json!({"metadata": {}, "status": {"conditions": conditions}});
        let silent = json!({"type": READY, "status": "Unknown"});
        for (conditions, words) in [
            (json!([]), "Waiting for InferenceService \"llama\" reporting Predictor readiness"),
            (json!([silent]), "KServe says that PredictorReady is Unknown and not why"),
            (
                json!([{"type": READY, "status": "False", "reason": "RevisionFailed"}]),
                "PredictorReady is False: RevisionFailed",
            ),
            (json!([{"type": READY, "status": "False", "reason": "R", "message": "m"}]), "m"),
            (
                json!([silent, {"type": "IngressReady", "status": "Unknown", "reason": "IngressNotConfigured",
                "message": "not reconciled"}]),
                "IngressReady is Unknown: IngressNotConfigured: not reconciled",
            ),
            (
                json!([silent, {"type": "LatestDeploymentReady", "status": "True", "reason": "x"},
                {"type": "IngressReady", "status": "False", "reason": "Component not ready"}]),
                "IngressReady is False: Component not ready",
            ),
        ] {
            let found = readiness("llama", None, &with(conditions));
            assert_eq!((found.ready, found.message.as_str()), (false, words));
        }
    }

    #[test]
    fn limits_that_kserve_sets_are_told() {
        let spec = |resources: Value| -> NIMServiceSpec {
            serde_json::from_value(
                json!({"image": {"repository": "r", "tag": "t"}, "storage": {}, "resources": resources}),
            )
            .unwrap()
        };
        let limits = json!({"memory": "2Gi", "cpu": "1", "nvidia.com/gpu": "1"});
        let live = json!({"spec": {"predictor": {"containers": [{"name": SERVING, "resources": {"limits": limits}}]}}});
        let gpus = spec(json!({"limits": {"nvidia.com/gpu": "1"}}));
        assert_eq!(
            stock_limits(&gpus, &live).unwrap(),
            "not set: spec.resources.limits.memory (KServe sets 2Gi), spec.resources.limits.cpu (KServe sets 1)"
        );
        assert_eq!(stock_limits(&spec(json!({"limits": limits})), &live), None);
        assert_eq!(stock_limits(&gpus, &json!({})), None);
    }
}
