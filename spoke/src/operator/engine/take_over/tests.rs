//! Whose fields become ours, and that nothing else changes hands.

use proptest::prelude::*;

use super::*;

fn entry(manager: &str, operation: &str, fields: Value) -> Value {
    let mut entry = json!({"manager": manager, "operation": operation, "apiVersion": "apps/v1",
        "fieldsType": "FieldsV1", "time": "2026-01-01T00:00:00Z"});
    entry["fieldsV1"] = fields;
    entry
}

fn object(annotations: Value, entries: Vec<Value>) -> DynamicObject {
    let mut object = json!({"apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "n", "resourceVersion": "7"}});
    object["metadata"]["annotations"] = annotations;
    object["metadata"]["managedFields"] = Value::from(entries);
    serde_json::from_value(object).unwrap()
}

/// The entries after the patch: manager, operation, fields.
fn after(object: &DynamicObject) -> Vec<(String, String, Value)> {
    let patch = patch(object).unwrap();
    assert_eq!(patch[0], json!({"op": "replace", "path": "/metadata/resourceVersion", "value": "7"}));
    assert_eq!(patch[1]["path"], "/metadata/managedFields");
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let entries = patch[1]["value"].as_array().unwrap();
    entries.iter().map(|e| (text(&e["manager"]), text(&e["operation"]), e["fieldsV1"].clone())).collect()
}

#[test]
fn what_the_earlier_operator_set_becomes_ours_and_what_others_set_does_not() {
    let template =
        json!({"f:template": {"f:spec": {"f:containers": {"k:{\"name\":\"n\"}": {".": {}, "f:image": {}}}}}});
    let all = object(
        json!({"nvidia.com/last-applied-hash": "x"}),
        vec![
            entry(
                "manager",
                "Update",
                json!({"f:metadata": {"f:labels": {}, "f:finalizers": {".": {}}}, "f:spec": template}),
            ),
            entry("kube-controller-manager", "Update", json!({"f:status": {}})),
            entry("kubectl-edit", "Update", json!({"f:spec": {"f:paused": {}}})),
        ],
    );
    assert_eq!(
        after(&all),
        [
            ("manager".into(), "Update".into(), json!({"f:metadata": {"f:finalizers": {".": {}}}})),
            ("kube-controller-manager".into(), "Update".into(), json!({"f:status": {}})),
            ("kubectl-edit".into(), "Update".into(), json!({"f:spec": {"f:paused": {}}})),
            (
                "nimfleet-spoke".into(),
                "Apply".into(),
                json!({"f:metadata": {"f:labels": {}}, "f:spec": template})
            ),
        ]
    );
}

#[test]
fn what_we_set_on_creation_joins_what_we_applied() {
    let both = object(
        json!({DESIRED_HASH: "x"}),
        vec![
            entry(MANAGER, "Update", json!({"f:spec": {"f:a": {"f:x": {}}, "f:b": {}}})),
            entry(MANAGER, "Apply", json!({"f:spec": {"f:a": {"f:y": {}}, "f:b": {"f:z": {}}}})),
            entry("manager", "Update", json!({"f:spec": {"f:c": {}}})),
        ],
    );
    assert_eq!(
        after(&both),
        [
            ("manager".into(), "Update".into(), json!({"f:spec": {"f:c": {}}})),
            (
                MANAGER.into(),
                "Apply".into(),
                json!({"f:spec": {"f:a": {"f:x": {}, "f:y": {}}, "f:b": {".": {}, "f:z": {}}}})
            ),
        ],
        "once applied by us, a manager of that name is somebody else"
    );
}

#[test]
fn nothing_is_patched_when_nothing_is_to_take() {
    let finalizers = json!({"f:metadata": {"f:finalizers": {".": {}}}});
    for entries in [
        vec![],
        vec![entry(MANAGER, "Apply", json!({"f:spec": {}}))],
        vec![entry(MANAGER, "Update", finalizers)],
        vec![entry("someone", "Update", json!({"f:spec": {}}))],
    ] {
        let mut object = object(json!({DESIRED_HASH: "x"}), entries);
        assert_eq!(patch(&object), None);
        keep_owners(&mut object);
        assert_eq!(object.metadata.managed_fields, None);
    }
    let mut other = entry(MANAGER, "Update", json!({"f:spec": {}}));
    other["subresource"] = json!("status");
    assert_eq!(patch(&object(json!({}), vec![other])), None);
}

#[test]
fn caches_keep_who_owns_what_is_to_be_taken_and_no_more() {
    let mut all = object(
        json!({}),
        vec![entry("manager", "Update", json!({"f:spec": {}})), entry("x", "Update", json!({"f:spec": {}}))],
    );
    keep_owners(&mut all);
    let kept = all.metadata.managed_fields.clone().unwrap();
    assert_eq!(kept.len(), 1);
    assert_eq!((kept[0].manager.as_deref(), &kept[0].fields_v1), (Some("manager"), &None));
}

fn fields() -> impl Strategy<Value = Value> {
    let leaf = Just(json!({}));
    leaf.prop_recursive(4, 16, 3, |inner| {
        prop::collection::btree_map("f:[a-c]", inner, 1..4)
            .prop_map(|map| Value::Object(map.into_iter().collect()))
    })
}

/// Every field of a set, as a path.
fn paths(set: &Value, at: &str, into: &mut std::collections::BTreeSet<String>) {
    let fields = set.as_object().unwrap();
    if fields.is_empty() || fields.contains_key(".") {
        into.insert(at.to_owned());
    }
    for (key, below) in fields.iter().filter(|(key, _)| *key != ".") {
        paths(below, &format!("{at}/{key}"), into);
    }
}

proptest! {
    #[test]
    fn a_union_has_every_field_of_both_and_no_other(a in fields(), b in fields()) {
        let (mut of_both, mut of_union) = Default::default();
        paths(&a, "", &mut of_both);
        paths(&b, "", &mut of_both);
        paths(&union(a, b), "", &mut of_union);
        prop_assert_eq!(of_both, of_union);
    }
}
