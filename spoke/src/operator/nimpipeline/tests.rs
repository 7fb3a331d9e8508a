//! What a NIMPipeline becomes, and what it says of it.
#![allow(clippy::needless_pass_by_value, reason = "literals are handed over as they are written")]

use std::sync::Arc;

use kube::core::DynamicObject;
use serde_json::{Value, json};

use super::*;
use crate::operator::engine::child::{Child, Keep};
use crate::operator::engine::condition::Conditions;
use crate::operator::engine::decide::{Decision, Seen, decide, superfluous};
use crate::operator::engine::kind::tests::subject_of;

fn subject(status: Value) -> Subject {
    let now = jiff::Timestamp::from_second(100_000).unwrap();
    Subject { status, now, ..subject_of("NIMPipeline", "models", "rag", 3) }
}

fn pipeline(services: Value) -> Pipeline {
    let object = json!({
        "apiVersion": "apps.nvidia.com/v1alpha1", "kind": "NIMPipeline", "metadata": {"name": "rag"},
        "spec": {"services": services},
    });
    serde_json::from_value(object).unwrap()
}

fn spec(tag: &str) -> Value {
    json!({"image": {"repository": "nvcr.io/nim/m", "tag": tag}, "replicas": 1, "ofANewerVersion": {"a": null}})
}

fn rendered(pipeline: &Pipeline) -> Rendered<Option<Failure>> {
    NimPipelines::render(pipeline, &subject(Value::Null), &(), &ClusterFacts::default())
}

fn live(child: &Child, status: Value) -> DynamicObject {
    let mut object = child.stamped(&subject(Value::Null).owner).body;
    object["metadata"]["uid"] = json!("s1");
    object["metadata"]["generation"] = json!(2);
    object["status"] = status;
    serde_json::from_value(object).unwrap()
}

fn report(pipeline: &Pipeline, states: &[Value], failure: Option<Failure>, old: Value) -> Report {
    let rendered = rendered(pipeline);
    let pairs = rendered.children.iter().zip(states);
    let live = pairs
        .map(|(child, status)| ((child.kind, child.name.clone()), Arc::new(live(child, status.clone()))));
    let outcome = Outcome { live: live.collect(), failure, ..Outcome::default() };
    NimPipelines::report(pipeline, &subject(old), &(), &rendered, &outcome)
}

fn two() -> Pipeline {
    pipeline(json!([
        {"name": "a", "enabled": true, "spec": spec("1")},
        {"name": "b", "enabled": true, "spec": spec("1")},
        {"name": "off", "enabled": false, "spec": spec("1")},
        {"name": "unsaid", "spec": spec("1")},
    ]))
}

#[test]
fn accept_nimpipeline_create_makes_a_nimservice_of_every_enabled_service_as_it_is_written() {
    let rendered = rendered(&two());
    let names: Vec<_> = rendered.children.iter().map(|child| child.name.as_str()).collect();
    assert_eq!(names, ["a", "b"]);
    assert!(rendered.complete);
    let child = &rendered.children[0];
    assert_eq!((child.kind, child.keep), (ChildKind::NimService, Keep::Owned));
    let wanted = json!({
        "apiVersion": "apps.nvidia.com/v1alpha1", "kind": "NIMService",
        "metadata": {"name": "a", "namespace": "models"}, "spec": spec("1"),
    });
    assert_eq!(child.body, wanted);
    let owner = &child.stamped(&subject(Value::Null).owner).body["metadata"]["ownerReferences"][0];
    assert_eq!((&owner["kind"], &owner["controller"]), (&json!("NIMPipeline"), &json!(true)));
}

#[test]
fn b07_a_changed_service_reaches_the_nimservice_that_is_there() {
    let owner = subject(Value::Null).owner;
    let made = rendered(&two()).children[0].clone();
    let there = live(&made, json!({"state": "Ready"}));
    let decided = |child: &Child| {
        decide(child, &child.stamped(&owner), &owner, Seen { live: Some(&there), ..Seen::default() })
    };
    assert_eq!(decided(&made), Decision::Leave);
    for changed in [spec("2"), json!({"image": {"repository": "nvcr.io/nim/m", "tag": "1"}, "replicas": 4})] {
        let changed = pipeline(json!([{"name": "a", "enabled": true, "spec": changed}]));
        assert_eq!(decided(&rendered(&changed).children[0]), Decision::Apply);
    }
}

#[test]
fn b07_a_nimservice_of_someone_else_is_told_and_the_others_go_on() {
    let owner = subject(Value::Null).owner;
    let child = rendered(&two()).children[0].clone();
    let mut foreign = live(&child, Value::Null);
    foreign.metadata.owner_references = None;
    foreign.metadata.annotations = None;
    let decided =
        decide(&child, &child.stamped(&owner), &owner, Seen { live: Some(&foreign), ..Seen::default() });
    let Decision::Conflict(message) = decided else { panic!("{decided:?}") };
    // The second service was applied; the engine tells of the first.
    let pipeline = two();
    let rendered = rendered(&pipeline);
    let second = &rendered.children[1];
    let ready = live(second, json!({"state": "Ready"}));
    let outcome = Outcome {
        live: [((second.kind, second.name.clone()), Arc::new(ready))].into(),
        failure: Some(Failure::new("NIMServiceConflict", &message)),
        ..Outcome::default()
    };
    let report = NimPipelines::report(&pipeline, &subject(Value::Null), &(), &rendered, &outcome);
    assert_eq!(report.status["state"], "Failed");
    assert_eq!(report.status["states"], json!({"a": "NotReady", "b": "Ready"}));
    let failed = Conditions::read(&report.status).get("Failed").cloned().unwrap();
    assert_eq!((failed.status.as_str(), failed.reason.as_str()), ("True", "NIMServiceConflict"));
    assert_eq!(failed.message, message);
    assert_eq!(failed.observed_generation, Some(3));
    assert_eq!(report.again, Again::Backoff);
}

#[test]
fn accept_nimpipeline_disable_removes_the_nimservice_by_uid() {
    let owner = subject(Value::Null).owner;
    let was: Vec<_> = rendered(&two()).children.iter().map(|child| live(child, Value::Null)).collect();
    let now = rendered(&pipeline(json!([
        {"name": "a", "enabled": true, "spec": spec("1")}, {"name": "b", "enabled": false, "spec": spec("1")},
    ])));
    let found = was.iter().map(|object| (ChildKind::NimService, object));
    let gone = superfluous(&owner, &now.children, found);
    assert!(now.complete && NimPipelines::PRUNED == [ChildKind::NimService]);
    assert_eq!(gone, [(ChildKind::NimService, "b".to_owned(), "s1".to_owned())]);
}

#[test]
fn b12_dependencies_set_variables_and_their_name_and_port_are_taken_but_not_used() {
    let mut with_env = spec("1");
    with_env["env"] =
        json!([{"name": "URL", "valueFrom": {"fieldRef": {"fieldPath": "x"}}}, {"name": "Z", "value": "z"}]);
    for (spec, wanted) in [
        (
            with_env,
            json!([{"name": "URL", "value": "http://b:1"}, {"name": "Z", "value": "z"}, {"name": "N", "value": "n"}]),
        ),
        (spec("1"), json!([{"name": "URL", "value": "http://b:1"}, {"name": "N", "value": "n"}])),
    ] {
        let rendered = rendered(&pipeline(
            json!([{"name": "a", "enabled": true, "spec": spec, "dependencies": [
                {"name": "b", "port": 1, "envName": "URL", "envValue": "http://b:1"},
                {"name": "n", "port": 2, "envName": "N", "envValue": "n"},
                {"name": "c", "port": 3}, {"name": "d", "port": 4, "envName": "D"}, {"name": "e", "port": 5, "envName": "", "envValue": "e"},
            ]}]),
        ));
        assert_eq!(rendered.children[0].body["spec"]["env"], wanted);
    }
}

#[test]
fn what_cannot_be_made_is_refused_and_nothing_is_removed() {
    for (services, says) in [
        (json!([{"enabled": true, "spec": spec("1")}]), "spec.services[0].name: Required value"),
        (json!([{"name": "", "enabled": true, "spec": spec("1")}]), "spec.services[0].name: Required value"),
        (
            json!([{"name": "a", "enabled": true, "spec": spec("1")}, {"name": "a", "enabled": true, "spec": spec("2")}]),
            "spec.services[1].name: Duplicate value: \"a\"",
        ),
        (json!([{"name": "a", "enabled": true}]), "spec.services[0].spec: Required value"),
    ] {
        let pipeline = pipeline(services);
        let rendered = rendered(&pipeline);
        assert!(rendered.children.is_empty() && !rendered.complete);
        let report = report(&pipeline, &[], None, Value::Null);
        let failed = Conditions::read(&report.status).get("Failed").cloned().unwrap();
        assert_eq!((failed.status.as_str(), failed.reason.as_str()), ("True", "InvalidSpec"));
        assert!(failed.message.starts_with(says), "{}", failed.message);
    }
    // Names that are not enabled do not count.
    let twice =
        json!([{"name": "a", "enabled": true, "spec": spec("1")}, {"name": "a", "spec": spec("2")}, {}]);
    assert_eq!(rendered(&pipeline(twice)).children.len(), 1);
}

#[test]
fn the_state_is_that_of_the_services() {
    let failed = json!({"state": "Failed", "conditions": [{"type": "Failed", "status": "True", "reason": "NIMCacheNotFound",
        "message": "NIMCache c not found", "lastTransitionTime": "2026-01-01T00:00:00Z"}]});
    let stale = json!({"state": "Ready", "conditions": [{"type": "Ready", "status": "True", "reason": "Ready", "message": "",
        "lastTransitionTime": "2026-01-01T00:00:00Z", "observedGeneration": 1}]});
    let ready = json!({"state": "Ready"});
    let not_ready = json!({"state": "NotReady"});
    for (states, state, reason, says) in [
        (vec![ready.clone(), ready.clone()], "Ready", "Ready", "2 of 2 services are ready"),
        (
            vec![ready.clone(), not_ready],
            "NotReady",
            "ServicesNotReady",
            "1 of 2 services are ready; not ready: b",
        ),
        (
            vec![ready.clone(), Value::Null],
            "NotReady",
            "ServicesNotReady",
            "1 of 2 services are ready; not ready: b",
        ),
        (
            vec![stale, ready.clone()],
            "NotReady",
            "ServicesNotReady",
            "1 of 2 services are ready; not ready: a",
        ),
        (vec![failed, ready], "Failed", "ServiceFailed", "failed: a (NIMCache c not found)"),
    ] {
        let report = report(&two(), &states, None, Value::Null);
        let condition = Conditions::read(&report.status).get("Ready").cloned().unwrap();
        assert_eq!(report.status["state"], state);
        assert_eq!((condition.reason.as_str(), condition.message.as_str()), (reason, says));
        assert_eq!(report.again, Again::No);
    }
}

#[test]
fn accept_nimpipeline_an_empty_or_disabled_pipeline_is_ready() {
    for services in [Value::Null, json!([]), json!([{"name": "a", "spec": spec("1")}])] {
        let report = report(&pipeline(services), &[], None, Value::Null);
        assert_eq!((&report.status["state"], &report.status["states"]), (&json!("Ready"), &json!({})));
    }
    let bare: Pipeline = serde_json::from_value(json!({"metadata": {"name": "rag"}})).unwrap();
    assert!(rendered(&bare).complete && rendered(&bare).children.is_empty());
}

#[test]
fn an_event_is_a_transition() {
    let ready = [json!({"state": "Ready"}), json!({"state": "Ready"})];
    let first = report(&two(), &ready, None, Value::Null);
    assert_eq!(first.notices.len(), 1);
    let second = report(&two(), &ready, None, first.status.clone());
    assert_eq!((second.notices, second.status), (vec![], first.status));
}

#[test]
fn a_webhook_that_is_away_fails_no_pipeline() {
    let pipeline = two();
    let why = Failure::new("NotApplied", "not applied yet: failed calling webhook");
    let rendered = rendered(&pipeline);
    let outcome = Outcome { waits: Some(why.clone()), ..Outcome::default() };
    let report = NimPipelines::report(&pipeline, &subject(Value::Null), &(), &rendered, &outcome);
    let conditions = Conditions::read(&report.status);
    assert_eq!(report.status["state"], "NotReady");
    assert!(!conditions.is_true("Failed"));
    assert_eq!(conditions.get("Ready").unwrap().message, why.message);
    assert_eq!(report.again, Again::Backoff);
}
