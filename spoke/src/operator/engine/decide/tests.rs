//! Whom we write, whom we leave alone.

use serde_json::{Value, json};

use super::*;
use crate::operator::engine::child::ChildKind;

fn owner() -> Owner {
    Owner {
        api_version: "apps.nvidia.com/v1alpha1".into(),
        kind: "NIMService".into(),
        namespace: "ns".into(),
        name: "n".into(),
        uid: "u1".into(),
        generation: 1,
    }
}

fn child(keep: Keep) -> Child {
    let body = json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": "n", "namespace": "ns", "labels": {MANAGED_BY.0: MANAGED_BY.1}},
        "spec": {"type": "ClusterIP"},
    });
    Child { kind: ChildKind::Service, name: "n".into(), keep, body, seed: None }
}

/// The child as the API server stores it, changed by `edit`.
fn live(child: &Child, edit: impl Fn(&mut Value)) -> DynamicObject {
    let mut stored = child.stamped(&owner()).body;
    stored["spec"]["clusterIP"] = json!("10.0.0.1");
    edit(&mut stored);
    serde_json::from_value(stored).unwrap()
}

fn decided(keep: Keep, edit: impl Fn(&mut Value)) -> Decision {
    let child = child(keep);
    let object = live(&child, edit);
    decide(&child, &child.stamped(&owner()), &owner(), Some(&object), false, false)
}

#[test]
fn an_unchanged_child_is_left_alone() {
    for keep in [Keep::Owned, Keep::OwnedOnce, Keep::MadeOrFound, Keep::Shared] {
        assert_eq!(decided(keep, |_| ()), Decision::Leave, "{keep:?}");
    }
}

#[test]
fn manual_drift_is_healed() {
    assert_eq!(decided(Keep::Owned, |o| o["spec"]["type"] = json!("NodePort")), Decision::Apply);
    assert_eq!(decided(Keep::Owned, |o| o["metadata"]["labels"] = json!({})), Decision::Apply);
}

#[test]
fn a_field_no_longer_rendered_is_noticed_by_the_hash() {
    let before = child(Keep::Owned);
    let object = live(&before, |_| ());
    let mut after = before.clone();
    after.body["spec"] = json!({});
    assert_eq!(
        decide(&after, &after.stamped(&owner()), &owner(), Some(&object), false, false),
        Decision::Apply
    );
}

#[test]
fn what_the_api_server_normalises_is_applied_once() {
    let child = child(Keep::Owned);
    let object = live(&child, |o| o["spec"]["type"] = json!("normalised"));
    let stamped = child.stamped(&owner());
    assert_eq!(decide(&child, &stamped, &owner(), Some(&object), false, false), Decision::Apply);
    assert_eq!(decide(&child, &stamped, &owner(), Some(&object), false, true), Decision::Leave);
}

#[test]
fn a_foreign_object_of_the_same_name_is_a_conflict() {
    let other = |o: &mut Value| o["metadata"]["ownerReferences"][0]["uid"] = json!("u2");
    assert!(matches!(decided(Keep::Owned, other), Decision::Conflict(m) if m.contains("uid u2")));
    let none = |o: &mut Value| o["metadata"]["ownerReferences"] = json!([]);
    assert!(matches!(decided(Keep::Owned, none), Decision::Conflict(m) if m.contains("no owner")));
    let unlabelled = |o: &mut Value| o["metadata"]["labels"] = json!({});
    assert!(matches!(decided(Keep::Shared, unlabelled), Decision::Conflict(_)));
    assert_eq!(decided(Keep::MadeOrFound, none), Decision::Leave, "a claim of that name is used");
}

#[test]
fn what_the_cache_lacks_is_made_unless_one_of_that_name_would_do() {
    for keep in [Keep::Owned, Keep::OwnedOnce, Keep::Replaced, Keep::Shared] {
        let child = child(keep);
        let stamped = child.stamped(&owner());
        assert_eq!(decide(&child, &stamped, &owner(), None, false, false), Decision::Create, "{keep:?}");
    }
    let child = child(Keep::MadeOrFound);
    let stamped = child.stamped(&owner());
    assert_eq!(decide(&child, &stamped, &owner(), None, false, false), Decision::Look);
    assert_eq!(decide(&child, &stamped, &owner(), None, true, false), Decision::Create);
}

#[test]
fn a_child_on_its_way_out_is_waited_for() {
    let gone = |o: &mut Value| o["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    assert_eq!(decided(Keep::Owned, gone), Decision::Wait);
}

#[test]
fn only_owned_children_are_pruned() {
    let child = child(Keep::Owned);
    let ours = live(&child, |o| {
        o["metadata"]["name"] = json!("old");
        o["metadata"]["uid"] = json!("c1");
    });
    let foreign = live(&child, |o| {
        o["metadata"]["name"] = json!("foreign");
        o["metadata"]["uid"] = json!("c2");
        o["metadata"]["ownerReferences"] = json!([]);
    });
    let still = live(&child, |_| ());
    let all = [(ChildKind::Service, &ours), (ChildKind::Service, &foreign), (ChildKind::Service, &still)];
    let gone = superfluous(&owner(), std::slice::from_ref(&child), all.into_iter());
    assert_eq!(gone, [(ChildKind::Service, "old".to_owned(), "c1".to_owned())]);
}
