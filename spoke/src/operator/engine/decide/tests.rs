//! Whom we write, whom we leave alone.

use serde_json::{Value, json};

use super::*;
use crate::operator::engine::child::MANAGED_BY;

pub(in crate::operator::engine) fn owner() -> Owner {
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
    Child::new(ChildKind::Service, "n", keep, &body)
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
    decided_of(&child, &object)
}

fn decided_of(child: &Child, object: &DynamicObject) -> Decision {
    decided_knowing(child, object, None, "")
}

fn decided_knowing(
    child: &Child,
    object: &DynamicObject,
    answered: Option<&Answered>,
    told: &str,
) -> Decision {
    let seen = Seen { live: Some(object), looked: false, answered, told, recorded: None, usable: true };
    decide(child, &child.stamped(&owner()), &owner(), seen)
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
    assert_eq!(decided_of(&after, &object), Decision::Apply);
}

#[test]
fn what_the_api_server_normalises_is_applied_once() {
    let child = child(Keep::Owned);
    let object = live(&child, |o| o["spec"]["type"] = json!("normalised"));
    assert_eq!(decided_of(&child, &object), Decision::Apply);
    let stamped = child.stamped(&owner());
    let answer = serde_json::to_value(&object).unwrap();
    let found = differences(&stamped.body, &answer);
    let answered = Answered { hash: stamped.hash.clone(), differences: found, ..Answered::default() };
    assert_eq!(decided_knowing(&child, &object, Some(&answered), ""), Decision::Leave);
    let later = live(&child, |o| {
        o["spec"]["type"] = json!("normalised");
        o["metadata"]["resourceVersion"] = json!("9");
        o["status"] = json!({"replicas": 1});
    });
    assert_eq!(decided_knowing(&child, &later, Some(&answered), ""), Decision::Leave, "whatever its version");
    let lines = mutated(&child, &stamped, &object);
    assert_eq!(lines, ["Service n: spec.type is changed by this cluster's admission to normalised"]);
    let told = format!("Service m: other; {}", lines[0]);
    assert_eq!(
        decided_knowing(&child, &object, None, &told),
        Decision::Leave,
        "a restart asks nothing again"
    );
    for (case, edit) in [("another field", json!(["a"])), ("the same field otherwise", Value::Null)] {
        let edited = live(&child, |o| {
            o["spec"]["type"] = json!(if edit.is_null() { "NodePort" } else { "normalised" });
            if !edit.is_null() {
                o["metadata"]["labels"] = json!({});
            }
        });
        assert_eq!(decided_knowing(&child, &edited, Some(&answered), &told), Decision::Apply, "{case}");
        assert_eq!(decided_knowing(&child, &edited, None, &told), Decision::Apply, "{case}");
    }
    let old = Answered { hash: "another".into(), ..answered };
    assert_eq!(decided_knowing(&child, &object, Some(&old), ""), Decision::Apply, "it was another spec");
}

#[test]
fn a_foreign_object_of_the_same_name_is_a_conflict() {
    let other = |o: &mut Value| {
        o["metadata"]["ownerReferences"][0]["uid"] = json!("u2");
        o["metadata"]["ownerReferences"][0]["name"] = json!("other");
    };
    assert!(matches!(decided(Keep::Owned, other), Decision::Conflict(m) if m.contains("uid u2")));
    let bare = |o: &mut Value| {
        o["metadata"]["ownerReferences"] = json!([]);
        o["metadata"]["annotations"] = json!({});
    };
    assert!(matches!(decided(Keep::Owned, bare), Decision::Conflict(m) if m.contains("no owner")));
    let unlabelled = |o: &mut Value| o["metadata"]["labels"] = json!({});
    assert!(matches!(decided(Keep::Shared, unlabelled), Decision::Conflict(_)));
    let unmarked = |o: &mut Value| o["metadata"] = json!({"name": "n", "namespace": "ns"});
    assert_eq!(decided(Keep::MadeOrFound, unmarked), Decision::Leave, "a claim of that name is used");
    let child = child(Keep::MadeOrFound);
    let object = live(&child, unmarked);
    let seen = Seen { live: Some(&object), usable: false, ..Seen::default() };
    let decision = decide(&child, &child.stamped(&owner()), &owner(), seen);
    assert!(matches!(decision, Decision::Conflict(_)), "but not by what a hub delivered");
}

#[test]
fn what_lost_its_owner_is_taken_on() {
    let none = |o: &mut Value| o["metadata"]["ownerReferences"] = json!([]);
    for keep in [Keep::Owned, Keep::OwnedOnce, Keep::Replaced] {
        assert_eq!(decided(keep, none), Decision::Apply, "{keep:?}");
    }
    for (kind, keep, expected) in [
        (ChildKind::PersistentVolumeClaim, Keep::MadeOrFound, Decision::Adopt),
        (ChildKind::Job, Keep::OwnedOnce, Decision::Replace),
        (ChildKind::Pod, Keep::OwnedOnce, Decision::Replace),
        (ChildKind::ConfigMap, Keep::OwnedOnce, Decision::Apply),
    ] {
        let child = Child { kind, ..child(keep) };
        assert_eq!(decided_of(&child, &live(&child, none)), expected, "{kind:?}");
    }
}

#[test]
fn what_is_about_to_go_is_waited_for_whoever_made_it() {
    let going = |o: &mut Value| o["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    let before = |o: &mut Value| o["metadata"]["ownerReferences"][0]["uid"] = json!("u0");
    for keep in [Keep::Owned, Keep::OwnedOnce, Keep::MadeOrFound, Keep::Shared] {
        assert!(matches!(decided(keep, going), Decision::Wait(_)), "{keep:?}");
    }
    for keep in [Keep::Owned, Keep::OwnedOnce, Keep::MadeOrFound, Keep::Replaced] {
        let decision = decided(keep, before);
        let words = "waits until Service n of the deleted NIMService n has gone";
        assert!(matches!(&decision, Decision::Wait(why) if why.contains(words)), "{keep:?}: {decision:?}");
    }
    let foreign = |o: &mut Value| {
        going(o);
        o["metadata"]["ownerReferences"] = json!([]);
        o["metadata"]["labels"] = json!({});
    };
    assert!(matches!(decided(Keep::MadeOrFound, foreign), Decision::Wait(_)), "no claim is used that goes");
}

#[test]
fn what_the_cache_lacks_is_made_unless_one_of_that_name_would_do() {
    for keep in [Keep::Owned, Keep::OwnedOnce, Keep::Replaced, Keep::Shared] {
        let child = child(keep);
        let stamped = child.stamped(&owner());
        assert_eq!(decide(&child, &stamped, &owner(), Seen::default()), Decision::Create, "{keep:?}");
    }
    let child = child(Keep::MadeOrFound);
    let stamped = child.stamped(&owner());
    assert_eq!(decide(&child, &stamped, &owner(), Seen::default()), Decision::Look);
    let looked = Seen { looked: true, ..Seen::default() };
    assert_eq!(decide(&child, &stamped, &owner(), looked), Decision::Create);
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
