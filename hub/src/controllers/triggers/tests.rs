//! Which change concerns whom.

use serde_json::{Value, json};

use super::*;

fn service(labels: &Value, more: &Value) -> DynamicObject {
    let mut object = json!({
        "metadata": {"name": "llama", "namespace": "ns", "uid": "u", "generation": 1, "labels": labels},
        "spec": {},
    });
    object.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    serde_json::from_value(object).unwrap()
}

fn placement(selector: &Value, brings: bool) -> NIMPlacement {
    let spec = json!({"resourceSelectors": [selector], "propagateDependencies": brings});
    serde_json::from_value(json!({"metadata": {"name": "p"}, "spec": spec})).unwrap()
}

#[test]
fn a_change_concerns_those_who_select_the_object_or_may_bring_it() {
    let object = service(&json!({"team": "a"}), &json!({}));
    for (selector, brings, kind, concerned) in [
        (json!({"kind": "NIMService", "name": "llama"}), true, "NIMService", true),
        (json!({"kind": "NIMService", "name": "other"}), true, "NIMService", false),
        (json!({"kind": "NIMCache", "name": "llama"}), true, "NIMService", false),
        (
            json!({"kind": "NIMService", "labelSelector": {"matchLabels": {"team": "a"}}}),
            true,
            "NIMService",
            true,
        ),
        (
            json!({"kind": "NIMService", "labelSelector": {"matchLabels": {"team": "b"}}}),
            true,
            "NIMService",
            false,
        ),
        (json!({"kind": "NIMService", "labelSelector": {}}), true, "NIMService", true),
        (json!({"kind": "NIMService", "name": "other"}), true, "NIMCache", true),
        (json!({"kind": "NIMService", "name": "other"}), false, "NIMCache", true),
        (json!({"kind": "NemoEvaluator", "name": "other"}), false, "NIMService", false),
        (json!({"kind": "NemoEvaluator", "name": "other"}), true, "NIMService", true),
    ] {
        assert_eq!(may_concern(&placement(&selector, brings), kind, &object), concerned, "{selector} {kind}");
    }
}

#[test]
fn a_status_alone_is_only_told() {
    let bare = service(&json!({}), &json!({}));
    let told = |status: &Value| service(&json!({}), &json!({"status": status}));
    assert!(is_only_told(&bare, &told(&json!({"state": "Ready"}))));
    assert!(!is_only_told(&bare, &told(&json!({"profiles": [{"name": "p"}]}))), "placed by it");
    assert!(!is_only_told(&bare, &service(&json!({"team": "a"}), &json!({}))));
    let mut changed = bare.clone();
    changed.metadata.generation = Some(2);
    assert!(!is_only_told(&bare, &changed));
}
