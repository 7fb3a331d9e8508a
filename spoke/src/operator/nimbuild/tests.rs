//! What a NIMBuild becomes, stage by stage.
#![allow(clippy::needless_pass_by_value, reason = "literals are handed over as they are written")]

use std::sync::Arc;

use crds::nim::NIMCache;
use serde_json::{Value, json};

use super::observe::CacheView;
use super::*;
use crate::operator::engine::kind::tests::subject_of;

fn subject(status: Value) -> Subject {
    Subject { status, ..subject_of("NIMBuild", "models", "b", 1) }
}

fn build(more: Value) -> NIMBuild {
    let mut spec = json!({"nimCache": {"name": "c"}, "image": {"repository": "r/nim", "tag": "1"}});
    for (field, value) in more.as_object().cloned().unwrap_or_default() {
        spec[field] = value;
    }
    let object = json!({"apiVersion": "apps.nvidia.com/v1alpha1", "kind": "NIMBuild", "metadata": {"name": "b"}, "spec": spec});
    serde_json::from_value(object).unwrap()
}

fn profile(name: &str, buildable: bool) -> Value {
    json!({"name": name, "config": {"tp": "2", "trtllm_buildable": buildable.to_string()}})
}

fn refs(state: &str, profiles: Value) -> Refs {
    let cache: NIMCache = serde_json::from_value(json!({
        "apiVersion": "apps.nvidia.com/v1alpha1", "kind": "NIMCache", "metadata": {"name": "c"},
        "spec": {
            "source": {"ngc": {"modelPuller": "p", "authSecret": "a"}},
            "storage": {"pvc": {"create": true, "subPath": "sub"}},
        },
    }))
    .unwrap();
    let status = json!({"state": state, "profiles": profiles});
    Refs { cache: Some(CacheView { spec: cache.spec, status }), ..Refs::default() }
}

/// One reconcile with a pod in this state: what was rendered, and the status after it.
fn step(build: &NIMBuild, subject: &Subject, refs: &Refs, pod: Value) -> (Rendered<Verdict>, Report) {
    let rendered = NimBuilds::render(build, subject, refs, &ClusterFacts::default());
    let mut outcome = Outcome::default();
    for child in &rendered.children {
        let mut live = json!({"metadata": {"name": child.name}});
        live["status"] = pod.clone();
        let live = Arc::new(serde_json::from_value(live).unwrap());
        outcome.live.insert((child.kind, child.name.clone()), live);
    }
    let report = NimBuilds::report(build, subject, refs, &rendered, &outcome);
    (rendered, report)
}

fn condition(status: &Value, kind: &str) -> Value {
    let all = status["conditions"].as_array().unwrap();
    all.iter().find(|one| one["type"] == kind).cloned().unwrap_or_default()
}

const RUNS: &str = r#"{"phase": "Running"}"#;
const READY: &str = r#"{"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}"#;

fn pod(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

#[test]
fn b08_what_a_build_waits_for_is_told() {
    for (refs, state, kind, reason) in [
        (Refs::default(), "Pending", "NIM_BUILD_NIM_CACHE_NOT_FOUND", "NIMCacheNotFound"),
        (refs("Failed", json!([])), "Failed", "NIM_BUILD_NIM_CACHE_FAILED", "NIMCacheFailed"),
        (refs("InProgress", json!([])), "Pending", "NIM_BUILD_WAIT_FOR_NIM_CACHE_READY", "NIMCacheNotReady"),
        (
            refs("Ready", json!([])),
            "Failed",
            "NIM_BUILD_NO_BUILDABLE_PROFILE_FOUND",
            "NoBuildableProfileFound",
        ),
        (
            refs("Ready", json!([profile("x", true), profile("y", true)])),
            "Failed",
            "NIM_BUILD_MULTIPLE_BUILDABLE_PROFILES_FOUND",
            "MultipleBuildableProfilesFound",
        ),
    ] {
        let (rendered, report) = step(&build(json!({})), &subject(Value::Null), &refs, Value::Null);
        assert!(rendered.children.is_empty() && !rendered.complete);
        assert_eq!(report.status["state"], state);
        let found = condition(&report.status, kind);
        assert_eq!((&found["status"], &found["reason"]), (&json!("True"), &json!(reason)));
        assert!(!reason.contains(' '), "the API server refuses reasons with spaces");
    }
}

#[test]
fn b08_completion_is_stored_before_the_pod_goes() {
    let build = build(json!({"modelName": "mine"}));
    let mut refs = refs("Ready", json!([profile("x", true), profile("z", false)]));
    let mut subject = subject(Value::Null);

    let (rendered, report) = step(&build, &subject, &refs, pod(RUNS));
    assert_eq!(rendered.children[0].name, "b-engine-build-pod");
    assert_eq!(report.status["state"], "InProgress");
    assert_eq!(report.status["inputProfile"]["name"], "x");
    subject.status = report.status;

    let (rendered, report) = step(&build, &subject, &refs, pod(READY));
    assert_eq!(rendered.children[0].name, "b-engine-build-pod", "the pod stays until this is stored");
    assert_eq!(condition(&report.status, "NIM_BUILD_ENGINE_BUILD_POD_COMPLETED")["status"], "True");
    subject.status = report.status;

    // From here on the pod that built may be gone: it is not begun again.
    let (rendered, report) = step(&build, &subject, &refs, pod(RUNS));
    assert_eq!(rendered.children[0].name, "b-local-manifest-pod");
    assert!(rendered.complete, "the pod that built is pruned");
    assert_eq!(report.again, Again::After(ASK_AGAIN), "nothing tells when it has printed");
    subject.status = report.status;

    refs.printed = Some(Ok(json!({"name": "new", "config": {"input_profile": "x"}})));
    let (_, report) = step(&build, &subject, &refs, pod(RUNS));
    assert_eq!(report.status["state"], "Ready");
    assert_eq!(report.status["outputProfile"]["name"], "new");
    subject.status = report.status;

    // The cache's list has grown by what was built; nothing begins anew.
    let (rendered, report) = step(&build, &subject, &refs, Value::Null);
    assert!(rendered.children.is_empty() && rendered.complete, "both pods go");
    assert_eq!(report.status, subject.status);
    assert!(report.notices.is_empty());
}

#[test]
fn accept_nimbuild_becomes_these_pods() {
    let build = build(json!({
        "env": [{"name": "NIM_SERVER_PORT", "value": "9"}],
        "labels": {"team": "a", "app": "mine"}, "annotations": {"k": "v"},
        "tolerations": [{"key": "gpu", "operator": "Exists"}],
    }));
    let lora = json!([{"name": "x", "config": {"tp": "4", "trtllm_buildable": "true", "feat_lora": "true"}}]);
    let (rendered, _) = step(&build, &subject(Value::Null), &refs("Ready", lora), pod(RUNS));
    insta::assert_json_snapshot!("engine_build_pod", rendered.children[0].body);
}

#[test]
fn b12_labels_and_annotations_reach_the_pods() {
    let build = build(json!({"labels": {"team": "a", "app": "mine"}, "annotations": {"k": "v"}}));
    let refs = refs("Ready", json!([profile("x", true)]));
    let (rendered, _) = step(&build, &subject(Value::Null), &refs, pod(RUNS));
    let metadata = &rendered.children[0].body["metadata"];
    assert_eq!((&metadata["labels"]["team"], &metadata["annotations"]["k"]), (&json!("a"), &json!("v")));
    assert_eq!(metadata["labels"]["app"], "k8s-nim-operator", "by this label the pod is seen");
}

#[test]
fn a_build_that_fails_says_why_and_is_not_begun_again() {
    let failed = json!({"phase": "Failed", "containerStatuses": [{"state": {"terminated": {"reason": "OOMKilled", "message": "no memory"}}}]});
    let refs = refs("Ready", json!([profile("x", true)]));
    let (_, report) = step(&build(json!({})), &subject(Value::Null), &refs, failed);
    assert_eq!(report.status["state"], "Failed");
    let found = condition(&report.status, "NIM_BUILD_ENGINE_BUILD_POD_COMPLETED");
    assert_eq!(found["reason"], "PodFailed");
    assert!(found["message"].as_str().unwrap().contains("OOMKilled: no memory"));
    assert!(report.notices[0].warning);
}

#[test]
fn gpus_come_from_the_profile_or_from_the_user() {
    let with = |config: Value, resources: Value| {
        let spec = build(json!({ "resources": resources })).spec;
        profile::Chosen { shown: json!({"name": "x", "config": config}) }.resources(&spec)
    };
    let gpus = |found: Result<k8s_openapi::api::core::v1::ResourceRequirements, Failure>| {
        found.unwrap().limits.unwrap()["nvidia.com/gpu"].0.clone()
    };
    assert_eq!(gpus(with(json!({"tp": "4"}), json!({}))), "4");
    assert_eq!(gpus(with(json!({"tensorParallelism": "2"}), json!({}))), "2");
    assert_eq!(gpus(with(json!({}), json!({"limits": {"nvidia.com/gpu": "1"}}))), "1");
    for (config, resources) in [
        (json!({"tp": "4"}), json!({"limits": {"nvidia.com/gpu": 1}})),
        (json!({}), json!({})),
        (json!({"tp": "many"}), json!({})),
    ] {
        assert!(with(config, resources).is_err());
    }
}

#[test]
fn a_named_profile_has_to_be_there_and_buildable() {
    let cache = json!({"profiles": [profile("x", true), profile("y", true), profile("z", false)]});
    let named = |name: &str| {
        profile::choose(&build(json!({"nimCache": {"name": "c", "profile": name}})).spec, &cache)
    };
    assert_eq!(named("y").unwrap().name(), "y");
    for (name, words) in [("z", "cannot be built from"), ("w", "not cached")] {
        let Err(status::NoProfile::None(message)) = named(name) else { panic!("{name} was taken") };
        assert!(message.contains(words), "{message}");
    }
}

#[test]
fn what_was_built_is_found_by_its_model() {
    let printed = "\
schema_version: '2.0'
profiles:
- id: one
  tags: {model_name: other}
- id: two
  tags: {model_name: mine, tp: '2'}
# end of manifest
";
    let (found, kept) = publish::find(printed, "mine").unwrap();
    assert_eq!((&found["name"], &found["config"]["tp"]), (&json!("two"), &json!("2")));
    assert!(kept.contains("other"), "what was built before stays in the manifest");
    assert!(publish::find(printed, "absent").is_err());
    assert!(publish::find("model_manifest.yaml not found\n", "mine").is_err());
}

#[test]
fn accept_nimbuild_waits_visibly_completes_without_its_pod_and_appends_its_profile_once() {
    let build = build(json!({}));
    let mut subject = subject(Value::Null);
    let (_, waiting) = step(&build, &subject, &refs("InProgress", json!([])), Value::Null);
    assert_eq!(waiting.status["state"], "Pending");
    let told = condition(&waiting.status, "NIM_BUILD_WAIT_FOR_NIM_CACHE_READY");
    assert_eq!(told["message"], "NIMCache c not ready: it is InProgress");
    assert!(!waiting.notices[0].warning);
    subject.status = waiting.status;

    let cached = json!([profile("x", true)]);
    let (_, done) = step(&build, &subject, &refs("Ready", cached.clone()), pod(READY));
    assert_eq!(condition(&done.status, "NIM_BUILD_WAIT_FOR_NIM_CACHE_READY"), Value::Null);
    subject.status = done.status;
    let (rendered, _) = step(&build, &subject, &refs("Ready", cached.clone()), Value::Null);
    assert_eq!(
        rendered.children[0].name, "b-local-manifest-pod",
        "the pod that built has gone, and is not missed"
    );

    let from = profile::stored(&subject.status).unwrap();
    let shown = profile::built(&json!({"name": "new", "config": {"tp": "1"}}), &from);
    let grown = Value::from(publish::with(&cached, &shown).unwrap());
    assert_eq!(grown[1], json!({"name": "new", "config": {"tp": "1", "input_profile": "x"}}));
    assert_eq!((&grown[0], publish::with(&grown, &shown)), (&cached[0], None));
}

#[test]
fn what_may_pass_is_tried_again_and_a_pod_made_anew_has_not_failed() {
    let build = build(json!({}));
    let refs = refs("Ready", json!([profile("x", true)]));
    let mut subject = subject(Value::Null);
    let (_, failed) = step(&build, &subject, &refs, json!({"phase": "Failed"}));
    assert_eq!(failed.status["state"], "Failed");
    subject.status = failed.status;
    let (rendered, again) = step(&build, &subject, &refs, pod(RUNS));
    assert_eq!(again.status["state"], "InProgress");
    assert_eq!(condition(&again.status, "NIM_BUILD_ENGINE_BUILD_POD_COMPLETED"), Value::Null);
    let outcome = Outcome { failure: Some(Failure::new("PodFailed", "quota")), ..Outcome::default() };
    let report = NimBuilds::report(&build, &subject, &refs, &rendered, &outcome);
    assert_eq!((&report.status["state"], report.again), (&json!("Pending"), Again::Backoff));
    assert_eq!(condition(&report.status, "NIM_BUILD_RECONCILE_FAILED")["message"], "quota");
}

#[test]
fn a_status_that_says_the_same_later_is_not_written_again() {
    let failed = json!({"phase": "Failed"});
    let several = json!([profile("x", true), profile("y", true)]);
    for (refs, pod) in [
        (Refs::default(), Value::Null),
        (refs("InProgress", json!([])), Value::Null),
        (refs("Failed", json!([])), Value::Null),
        (refs("Ready", json!([])), Value::Null),
        (refs("Ready", several), Value::Null),
        (refs("Ready", json!([profile("x", true)])), failed),
        (refs("Ready", json!([profile("x", true)])), pod(RUNS)),
    ] {
        let (_, first) = step(&build(json!({})), &subject(Value::Null), &refs, pod.clone());
        let mut later = subject(first.status.clone());
        later.now = jiff::Timestamp::from_second(900).unwrap();
        let (_, second) = step(&build(json!({})), &later, &refs, pod);
        assert_eq!((second.status, second.notices), (first.status, vec![]));
    }
}
