//! Autoscalers of others that scale a workload whose replicas its NIM object says as well. Pure.

use kube::core::DynamicObject;
use serde_json::Value;

use super::child::{Child, ChildKind, Owner};
use super::own::controller;

/// Condition and reason of an object whose replicas an autoscaler of others sets too.
pub(crate) const CONTESTED: &str = "ReplicasContested";

/// The Deployment that KServe makes of an InferenceService has its name and this suffix.
const PREDICTOR: &str = "-predictor";
/// The LeaderWorkerSet of a NIMService has its name and this suffix.
const GROUPS: &str = "-lws";

/// Who sets the replicas of a workload that is rendered.
enum Scaled {
    /// `spec.replicas`, to this number.
    Fixed(i64),
    /// The autoscaler that `spec.scale` asks for.
    Autoscaler,
}

/// What is to be told of autoscalers that scale a rendered workload too; none if there are none. `autoscalers` are those
/// of the namespace.
pub(crate) fn message(
    owner: &Owner,
    children: &[Child],
    autoscalers: &[impl AsRef<DynamicObject>],
) -> Option<String> {
    let told = children.iter().filter_map(|child| {
        let (kind, name, scaled) = workload(child)?;
        let rival = autoscalers.iter().map(AsRef::as_ref).find(|autoscaler| {
            target(autoscaler) == Some((kind, name.as_str())) && !is_of(autoscaler, owner)
        })?;
        let rival = rival.metadata.name.as_deref().unwrap_or_default();
        let remedy = match scaled {
            Scaled::Fixed(replicas) => {
                format!(
                    "remove spec.replicas to let it, or the autoscaler to keep spec.replicas ({replicas})"
                )
            }
            Scaled::Autoscaler => {
                "set spec.scale.enabled to false to let it, or remove one of the two".to_owned()
            }
        };
        Some(format!("HorizontalPodAutoscaler {rival} scales {kind} {name} too: {remedy}"))
    });
    let told: Vec<String> = told.collect();
    (!told.is_empty()).then(|| told.join("; "))
}

/// Names that a NIM object may have whose workload an autoscaler scales.
pub(crate) fn owners(autoscaler: &DynamicObject) -> Vec<&str> {
    let Some((_, name)) = target(autoscaler) else { return Vec::new() };
    let without = |suffix: &str| name.strip_suffix(suffix);
    [Some(name), without(PREDICTOR), without(GROUPS)].into_iter().flatten().collect()
}

/// What an autoscaler scales, by kind and name.
fn target(autoscaler: &DynamicObject) -> Option<(&str, &str)> {
    let target = &autoscaler.data["spec"]["scaleTargetRef"];
    Some((target["kind"].as_str()?, target["name"].as_str()?))
}

/// Whether an autoscaler is the object's own, or one that KServe made for it.
fn is_of(autoscaler: &DynamicObject, owner: &Owner) -> bool {
    let of_kserve = |kind: &str, name: &str| kind == "InferenceService" && name == owner.name;
    controller(&autoscaler.metadata)
        .is_some_and(|found| found.uid == owner.uid || of_kserve(&found.kind, &found.name))
}

/// The workload that scales, and who is to scale it; none where nobody of ours does.
fn workload(child: &Child) -> Option<(&'static str, String, Scaled)> {
    let spec = &child.body["spec"];
    let fixed = |replicas: &Value| replicas.as_i64().map(Scaled::Fixed);
    match child.kind {
        ChildKind::Deployment => {
            let autoscaler = child.seed.as_ref().map(|_| Scaled::Autoscaler);
            Some(("Deployment", child.name.clone(), fixed(&spec["replicas"]).or(autoscaler)?))
        }
        ChildKind::LeaderWorkerSet => {
            Some(("LeaderWorkerSet", child.name.clone(), fixed(&spec["replicas"])?))
        }
        ChildKind::InferenceService => {
            let predictor = &spec["predictor"];
            let is_fixed = predictor["minReplicas"] == predictor["maxReplicas"];
            let scaled = fixed(&predictor["minReplicas"]).filter(|_| is_fixed)?;
            Some(("Deployment", format!("{}{PREDICTOR}", child.name), scaled))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::super::child::Keep;
    use super::*;

    fn owner() -> Owner {
        Owner {
            api_version: "apps.nvidia.com/v1alpha1".into(),
            kind: "NIMService".into(),
            namespace: "models".into(),
            name: "chat".into(),
            uid: "u".into(),
            generation: 1,
        }
    }

    fn child(kind: ChildKind, name: &str, spec: &Value) -> Child {
        Child::new(kind, name, Keep::Owned, &json!({"metadata": {"name": name}, "spec": spec}))
    }

    fn autoscaler(kind: &str, name: &str, of: &Value) -> Arc<DynamicObject> {
        let metadata = json!({"name": "keda-hpa-chat", "namespace": "models", "ownerReferences": [of]});
        let target = json!({"kind": kind, "name": name});
        let object = json!({
            "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": metadata,
            "spec": {"scaleTargetRef": target},
        });
        Arc::new(serde_json::from_value(object).unwrap())
    }

    fn of(kind: &str, name: &str, uid: &str) -> Value {
        json!({"apiVersion": "x/v1", "kind": kind, "name": name, "uid": uid, "controller": true})
    }

    #[test]
    fn an_autoscaler_of_others_is_named_where_the_object_says_its_replicas_too() {
        let keda = of("ScaledObject", "chat", "k");
        let deployment = |spec: &Value| child(ChildKind::Deployment, "chat", spec);
        let scaled = deployment(&json!({})).seeded("/spec/replicas", json!(1));
        let groups = child(ChildKind::LeaderWorkerSet, "chat-lws", &json!({"replicas": 2}));
        let served = |max: i32| {
            let predictor = json!({"minReplicas": 1, "maxReplicas": max});
            child(ChildKind::InferenceService, "chat", &json!({ "predictor": predictor }))
        };
        for (case, child, target, autoscaler_of, expected) in [
            (
                "fixed",
                deployment(&json!({"replicas": 1})),
                ("Deployment", "chat"),
                &keda,
                Some("remove spec.replicas"),
            ),
            ("left to whoever owns it", deployment(&json!({})), ("Deployment", "chat"), &keda, None),
            ("another Deployment", deployment(&json!({"replicas": 1})), ("Deployment", "other"), &keda, None),
            ("another kind", deployment(&json!({"replicas": 1})), ("StatefulSet", "chat"), &keda, None),
            ("two autoscalers", scaled.clone(), ("Deployment", "chat"), &keda, Some("spec.scale.enabled")),
            ("our own", scaled, ("Deployment", "chat"), &of("NIMService", "chat", "u"), None),
            ("over nodes", groups, ("LeaderWorkerSet", "chat-lws"), &keda, Some("spec.replicas (2)")),
            ("on KServe", served(1), ("Deployment", "chat-predictor"), &keda, Some("spec.replicas (1)")),
            (
                "KServe's own",
                served(1),
                ("Deployment", "chat-predictor"),
                &of("InferenceService", "chat", "i"),
                None,
            ),
            ("a range", served(3), ("Deployment", "chat-predictor"), &keda, None),
        ] {
            let all = [autoscaler(target.0, target.1, autoscaler_of)];
            let told = message(&owner(), &[child], &all);
            assert_eq!(told.is_some(), expected.is_some(), "{case}: {told:?}");
            if let (Some(told), Some(expected)) = (&told, expected) {
                assert!(told.contains("keda-hpa-chat") && told.contains(expected), "{case}: {told}");
            }
        }
        let all = [autoscaler("Deployment", "chat", &keda)];
        let told = message(&owner(), &[deployment(&json!({"replicas": 1}))], &all).unwrap();
        let words = "HorizontalPodAutoscaler keda-hpa-chat scales Deployment chat too: remove spec.replicas to let it";
        assert!(told.starts_with(words), "{told}");
    }

    #[test]
    fn whom_an_autoscaler_may_concern_is_told_by_its_target() {
        let target = |kind: &str, name: &str| autoscaler(kind, name, &of("ScaledObject", "s", "k"));
        assert_eq!(owners(&target("Deployment", "chat-predictor")), ["chat-predictor", "chat"]);
        assert_eq!(owners(&target("LeaderWorkerSet", "chat-lws")), ["chat-lws", "chat"]);
        assert_eq!(owners(&target("Deployment", "chat")), ["chat"]);
    }
}
