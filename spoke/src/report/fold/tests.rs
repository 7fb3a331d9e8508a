//! What the hub is told, by the state of the object.

use serde_json::json;

use super::*;
use crate::deliver::KINDS;

fn object(kind: &str, spec: &Value, status: &Value) -> DynamicObject {
    serde_json::from_value(json!({
        "apiVersion": "apps.nvidia.com/v1alpha1",
        "kind": kind,
        "metadata": {
            "namespace": "models",
            "name": "llm",
            "generation": 3,
            "annotations": {
                "nimfleet.io/uid": "u",
                "nimfleet.io/generation": "9",
                "nimfleet.io/hash": "h",
                "nimfleet.io/hub-id": "hub",
                "nimfleet.io/epoch": "1.x",
            },
        },
        "spec": spec,
        "status": status,
    }))
    .unwrap()
}

fn kind(name: &str) -> DeliverableKind {
    KINDS.into_iter().find(|kind| kind.kind == name).unwrap()
}

fn ready_since(observed_generation: i64) -> Value {
    json!({
        "state": "Ready",
        "availableReplicas": 2,
        "conditions": [
            {"type": "Ready", "status": "True", "reason": "Ready", "message": "all well",
             "lastTransitionTime": "1970-01-01T00:00:01Z", "observedGeneration": observed_generation},
            {"type": "Failed", "status": "False", "reason": "Ready", "lastTransitionTime": "nonsense"},
        ],
    })
}

#[test]
fn a_ready_service() {
    let told = status(kind("NIMService"), &object("NIMService", &json!({"replicas": 2}), &ready_since(3)), 5)
        .unwrap();
    assert_eq!((told.object.uid.as_str(), told.generation, told.hash.as_str()), ("u", 9, "h"));
    assert_eq!((told.state.as_str(), told.ready_replicas, told.wanted_replicas), ("Ready", 2, 2));
    assert_eq!(told.observed_at_ms, 5);
    let conditions: Vec<_> =
        told.conditions.iter().map(|c| (c.kind.as_str(), c.status.as_str(), c.last_transition_ms)).collect();
    assert_eq!(conditions, [("Failed", "False", 0), ("Ready", "True", 1000)]);
}

#[test]
fn a_ready_service_that_is_not_counted_has_what_it_wants() {
    let mut on_knative = ready_since(3);
    on_knative.as_object_mut().unwrap().remove("availableReplicas");
    let mut waits = on_knative.clone();
    waits["state"] = json!("NotReady");
    for (reported, expected) in [(on_knative, 2), (waits, 0)] {
        let service = object("NIMService", &json!({"replicas": 2}), &reported);
        assert_eq!(status(kind("NIMService"), &service, 5).unwrap().ready_replicas, expected);
    }
}

#[test]
fn the_state_of_an_older_spec_is_not_told() {
    let service = object("NIMService", &json!({"replicas": 4}), &ready_since(2));
    let told = status(kind("NIMService"), &service, 5).unwrap();
    assert_eq!((told.state.as_str(), told.ready_replicas, told.wanted_replicas), ("", 0, 4));
    assert_eq!(told.conditions, []);
}

#[test]
fn a_service_nobody_has_looked_at_is_told_as_such() {
    for untouched in [json!(null), json!({}), json!({"conditions": []})] {
        let told = status(kind("NIMService"), &object("NIMService", &json!({}), &untouched), 5).unwrap();
        assert_eq!(
            (told.state.as_str(), told.ready_replicas, told.wanted_replicas),
            ("", 0, 1),
            "{untouched}"
        );
    }
}

#[test]
fn a_cache_tells_its_profiles_and_has_no_replicas() {
    let cached = json!({
        "observedGeneration": 3,
        "state": "Ready",
        "profiles": [{"name": "b", "config": {"tp": "1", "odd": 1}}, {"name": "a"}],
    });
    let told = status(kind("NIMCache"), &object("NIMCache", &json!({}), &cached), 5).unwrap();
    assert_eq!(told.wanted_replicas, 0);
    assert_eq!(
        told.profiles,
        [
            CachedProfile { name: "a".into(), tags: BTreeMap::new() },
            CachedProfile { name: "b".into(), tags: BTreeMap::from([("tp".into(), "1".into())]) },
        ]
    );
}

#[test]
fn an_object_without_marks_is_not_the_hubs_business() {
    let mut local = object("NIMService", &json!({}), &ready_since(3));
    local.metadata.annotations = None;
    assert_eq!(status(kind("NIMService"), &local, 5), None);
}
