//! What every NeMo microservice does, and what tests of each kind are made with.

mod failures;
mod front;
mod granted;
mod scripts;

use std::collections::BTreeMap;
use std::sync::Arc;

use kube::core::DynamicObject;
use serde_json::{Value, json};

use super::need::Content;
use super::*;
use crate::operator::engine::condition::Conditions;
use crate::operator::engine::kind::tests::subject_of;
use crate::operator::nemoguardrail::Guardrails;
use crate::operator::references::{Reference, Thing};

/// The object of a sample of NVIDIA's.
pub(crate) fn sample<S: NemoService>(yaml: &str) -> S::Object {
    serde_saphyr::from_str(yaml).unwrap()
}

pub(crate) fn subject<S: NemoService>(name: &str) -> Subject {
    subject_of(S::KIND, "nemo", name, 3)
}

/// Kind and name of something, and its keys with their values.
type Made<'a> = (Thing, &'a str, &'a [(&'a str, &'a str)]);

/// A world with these things in the namespace.
pub(crate) fn found(list: &[Made<'_>]) -> Found {
    let content = |name: &str, data: &[(&str, &str)]| Content {
        uid: format!("uid-of-{name}"),
        version: Some("7".into()),
        data: data.iter().map(|(key, value)| ((*key).to_owned(), value.as_bytes().to_vec())).collect(),
    };
    let one = |(thing, name, data): &Made<'_>| {
        let namespace = if *thing == Thing::Definition { "" } else { "nemo" }.to_owned();
        (Reference { thing: *thing, namespace, name: (*name).to_owned() }, content(name, data))
    };
    Found { contents: list.iter().map(one).collect(), ..Found::default() }
}

pub(crate) fn rendered<S: NemoService>(object: &S::Object, found: &Found) -> Rendered<Verdict> {
    Nemo::<S>::render(object, &subject::<S>("sample"), found, &ClusterFacts::default())
}

/// The bodies of all children, in order.
pub(crate) fn bodies(rendered: &Rendered<Verdict>) -> Vec<&Value> {
    rendered.children.iter().map(|child| &child.body).collect()
}

pub(crate) fn child(rendered: &Rendered<Verdict>, kind: ChildKind) -> &Value {
    let found = rendered.children.iter().find(|child| child.kind == kind);
    &found.unwrap_or_else(|| panic!("no {kind:?}")).body
}

pub(crate) fn kinds(rendered: &Rendered<Verdict>) -> Vec<ChildKind> {
    rendered.children.iter().map(|child| child.kind).collect()
}

/// The template of the pods.
pub(crate) fn template(rendered: &Rendered<Verdict>) -> &Value {
    &child(rendered, ChildKind::Deployment)["spec"]["template"]
}

/// A variable of the microservice's own container.
pub(crate) fn variable<'a>(rendered: &'a Rendered<Verdict>, name: &str) -> Option<&'a Value> {
    let env = template(rendered)["spec"]["containers"][0]["env"].as_array().unwrap();
    env.iter().find(|var| var["name"] == name)
}

pub(crate) fn failure(rendered: &Rendered<Verdict>) -> &Failure {
    match &rendered.verdict {
        Verdict::Fails(why) => why,
        Verdict::Complete => panic!("everything was rendered"),
    }
}

/// Guardrails with an emptyDir, changed by merging this into the spec.
pub(super) fn guardrail(patch: &Value) -> crds::nemo::NemoGuardrail {
    let mut spec = json!({
        "image": {"repository": "nvcr.io/nvidia/nemo-microservices/guardrails", "tag": "25.10"},
        "expose": {"service": {"port": 8000}},
    });
    for (key, value) in patch.as_object().cloned().unwrap_or_default() {
        spec[key] = value;
    }
    serde_json::from_value(json!({
        "apiVersion": "apps.nvidia.com/v1alpha1", "kind": "NemoGuardrail", "metadata": {"name": "sample"}, "spec": spec,
    }))
    .unwrap()
}

pub(super) fn of(patch: &Value) -> Rendered<Verdict> {
    rendered::<Guardrails>(&guardrail(patch), &Found::default())
}

/// What applying came to, with the Deployment as it is.
pub(super) fn outcome(deployment: &Value) -> Outcome {
    let mut deployment = deployment.clone();
    deployment["apiVersion"] = json!("apps/v1");
    deployment["kind"] = json!("Deployment");
    let object: DynamicObject = serde_json::from_value(deployment).unwrap();
    let live = [((ChildKind::Deployment, "sample".to_owned()), Arc::new(object))];
    Outcome { live: live.into(), ..Outcome::default() }
}

/// A Deployment of which so many replicas are wanted, there, new, and available.
pub(super) fn deployment(wanted: i64, replicas: i64, updated: i64, available: i64) -> Value {
    json!({
        "metadata": {"name": "sample", "generation": 2},
        "spec": {"replicas": wanted},
        "status": {
            "observedGeneration": 2, "replicas": replicas, "updatedReplicas": updated,
            "availableReplicas": available,
        },
    })
}

pub(super) fn told(object: &crds::nemo::NemoGuardrail, found: &Found, outcome: &Outcome) -> Report {
    let subject = subject::<Guardrails>("sample");
    let rendered = Nemo::<Guardrails>::render(object, &subject, found, &ClusterFacts::default());
    Nemo::<Guardrails>::report(object, &subject, found, &rendered, outcome)
}

fn ready(report: &Report) -> (bool, String, String) {
    let conditions = Conditions::read(&report.status);
    let ready = conditions.get("Ready").unwrap();
    (ready.status == "True", ready.reason.clone(), ready.message.clone())
}

#[test]
fn nemo_accept_states_follow_the_rollout_in_its_words() {
    let object = guardrail(&json!({}));
    for (live, state, words) in [
        (deployment(2, 1, 1, 1), "NotReady", "1 out of 2 new replicas have been updated"),
        (deployment(2, 3, 2, 2), "NotReady", "1 old replicas are pending termination"),
        (deployment(2, 2, 2, 1), "NotReady", "1 of 2 updated replicas are available"),
        (deployment(2, 2, 2, 2), "Ready", "deployment \"sample\" successfully rolled out"),
    ] {
        let report = told(&object, &Found::default(), &outcome(&live));
        assert_eq!(report.status["state"], state, "{live}");
        assert!(ready(&report).2.contains(words), "{} lacks {words}", ready(&report).2);
    }
}

#[test]
fn nemo_accept_finalizers_are_upstreams() {
    use crate::operator::nemocustomizer::Customizers;
    use crate::operator::nemoevaluator::Evaluators;
    assert_eq!(Customizers::FINALIZER, "finalizer.nemocustomizer.apps.nvidia.com");
    assert_eq!(Evaluators::FINALIZER, "finalizer.nemoevaluator.apps.nvidia.com");
    assert_eq!(Guardrails::FINALIZER, "finalizer.NemoGuardrail.apps.nvidia.com");
}

#[test]
fn nemo_b15_none_that_run_are_not_ready() {
    let report = told(&guardrail(&json!({})), &Found::default(), &outcome(&deployment(0, 0, 0, 0)));
    assert_eq!(report.status["state"], "NotReady");
}

#[test]
fn nemo_b26_replicas_that_serve_are_told() {
    let report = told(&guardrail(&json!({})), &Found::default(), &outcome(&deployment(2, 2, 2, 2)));
    assert_eq!(report.status["availableReplicas"], 2);
}

#[test]
fn nemo_b28_a_rollout_that_nobody_has_begun_is_not_done() {
    let mut live = deployment(1, 1, 1, 1);
    live["metadata"]["generation"] = json!(3);
    let report = told(&guardrail(&json!({})), &Found::default(), &outcome(&live));
    assert_eq!(report.status["state"], "NotReady");
    assert!(ready(&report).2.contains("spec update to be observed"));
}

#[test]
fn what_is_missing_is_named_and_holds_nobody_back_who_serves() {
    let object = guardrail(&json!({
        "nimEndpoint": {"baseURL": "http://llama.models.svc.cluster.local:8000/v1", "apiKeySecret": "nim-key"},
        "otel": {"enabled": true, "exporterOtlpEndpoint": "http://collector:4317"},
    }));
    let here = found(&[(Thing::Secret, "nim-key", &[("other", "x")]), (Thing::Service, "collector", &[])]);
    let missing = "missing: Service llama (spec.nimEndpoint.baseURL), \
                   key NIM_ENDPOINT_API_KEY of Secret nim-key (spec.nimEndpoint.apiKeySecret)";
    for (live, holds, reason) in
        [(deployment(1, 1, 1, 0), false, "DependencyMissing"), (deployment(1, 1, 1, 1), true, "Ready")]
    {
        let (ready, why, message) = ready(&told(&object, &here, &outcome(&live)));
        assert_eq!((ready, why.as_str()), (holds, reason));
        assert!(message.ends_with(missing), "{message}");
    }
}
