//! What a NIMService becomes on KServe, and what it says of it.
#![allow(clippy::needless_pass_by_value, reason = "literals are handed over as they are written")]

use std::collections::BTreeSet;

use serde_json::json;

use super::mode::ANNOTATION;
use super::*;
use crate::operator::cluster::{ClusterFacts, Platform};
use crate::operator::diagnosis::{Diagnosis, StartingPod};
use crate::operator::engine::child::Child;
use crate::operator::engine::kind::{Kind, Outcome};
use crate::operator::engine::template;
use crate::operator::nimservice::NimServices;
use crate::operator::nimservice::scene::Refs;
use crate::operator::nimservice::tests::subject;

/// A NIMService on KServe, changed by merging `patch` into its spec.
fn service(patch: &Value) -> NIMService {
    let mut spec = json!({
        "image": {"repository": "nvcr.io/nim/meta/llama", "tag": "1.12.0", "pullSecrets": ["ngc-secret"]},
        "authSecret": "ngc-api-secret",
        "storage": {"emptyDir": {}},
        "replicas": 2,
        "inferencePlatform": "kserve",
    });
    for (key, value) in patch.as_object().cloned().unwrap_or_default() {
        spec[key] = value;
    }
    serde_json::from_value(json!({"metadata": {"name": "llama"}, "spec": spec})).unwrap()
}

fn rendered_on(mode: &str, patch: &Value, facts: &ClusterFacts) -> Rendered<Verdict> {
    let refs = Refs { kserve: Seen::in_use(mode), ..Refs::default() };
    NimServices::render(&service(patch), &subject(), &refs, facts)
}

fn rendered(mode: &str, patch: &Value) -> Rendered<Verdict> {
    rendered_on(mode, patch, &ClusterFacts::default())
}

fn body(rendered: &Rendered<Verdict>) -> &Value {
    let found = rendered.children.iter().find(|child| child.kind == ChildKind::InferenceService);
    &found.unwrap_or_else(|| panic!("no InferenceService")).body
}

fn kinds(children: &[Child]) -> BTreeSet<ChildKind> {
    children.iter().map(|child| child.kind).collect()
}

fn failure(rendered: &Rendered<Verdict>) -> &Failure {
    match &rendered.verdict {
        Verdict::Fails(why) | Verdict::Waits(why) => why,
        Verdict::Complete { .. } => panic!("everything was rendered"),
    }
}

#[test]
fn accept_kserve_modes_and_shapes() {
    let patch =
        json!({"nodeSelector": {"pool": "gpu"}, "expose": {"service": {"port": 9000, "metricsPort": 9002}}});
    for mode in ["Standard", "RawDeployment", "Knative", "Serverless", "ModelMesh"] {
        let rendered = rendered(mode, &patch);
        assert!(rendered.complete);
        insta::assert_json_snapshot!(mode, body(&rendered));
    }
}

#[test]
fn a_mode_that_kserve_does_not_change_to_changes_no_pod() {
    let asks = |word: &str| json!({"annotations": {ANNOTATION: word, "team": "a"}});
    let with = |seen: Seen, patch: Value| {
        let refs = Refs { kserve: seen, ..Refs::default() };
        let rendered = NimServices::render(&service(&patch), &subject(), &refs, &ClusterFacts::default());
        template::of(ChildKind::InferenceService, body(&rendered)).unwrap()
    };
    for (in_use, before, other) in [
        ("Standard", Some("RawDeployment"), "Knative"),
        ("Standard", Some("Standard"), "Serverless"),
        ("Standard", None, "Knative"),
        ("Serverless", Some("Serverless"), "Standard"),
        ("Knative", Some("Serverless"), "RawDeployment"),
    ] {
        let runs = match before {
            Some(word) => asks(word),
            None => json!({"annotations": {"team": "a"}}),
        };
        let seen = || Seen::in_use(in_use).on_pods(before);
        let kept = with(seen(), asks(other));
        assert_eq!(kept, with(seen(), runs), "{in_use} {before:?} {other}");
    }
}

#[test]
fn a_model_that_loads_past_the_deadline_of_kserves_deployment_is_still_starting() {
    let template = json!({"spec": {"containers": [{"name": "kserve-container",
        "startupProbe": {"periodSeconds": 10, "failureThreshold": 120}}]}});
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "llama-predictor", "generation": 1, "ownerReferences": [
            {"apiVersion": "serving.kserve.io/v1beta1", "kind": "InferenceService", "name": "llama", "uid": "i", "controller": true}]},
        "spec": {"replicas": 2, "template": template},
        "status": {"observedGeneration": 1, "replicas": 2, "updatedReplicas": 2,
            "conditions": [{"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}]},
    });
    let live = json!({
        "metadata": {"name": "llama", "uid": "i"}, "spec": {"predictor": {"minReplicas": 2, "maxReplicas": 2}},
        "status": {"deploymentMode": "Standard", "conditions": [{"type": "PredictorReady", "status": "False"}]},
    });
    let began = subject().now;
    let pod = StartingPod {
        name: "llama-predictor-a".into(),
        uid: "p".into(),
        created: Some(began),
        running_since: Some(began),
        hindrance: None,
        is_being_made: false,
        awaits_scheduler: None,
        has_failed: false,
        leaves_by: None,
        claims: Vec::new(),
    };
    let ingress = json!({"expose": {"ingress": {"enabled": true, "spec": {"ingressClassName": "nginx"}}}});
    let says = |minutes: i64| {
        let now = began + jiff::SignedDuration::from_mins(minutes);
        let refs = Refs {
            kserve: Seen::in_use("Standard").made(serde_json::from_value(deployment.clone()).unwrap()),
            diagnosis: Diagnosis::of(vec![pod.clone()], now),
            ..Refs::default()
        };
        let (service, subject) = (service(&ingress), Subject { now, ..subject() });
        let rendered = NimServices::render(&service, &subject, &refs, &ClusterFacts::default());
        let mut outcome = Outcome::default();
        let found = serde_json::from_value(live.clone()).unwrap();
        outcome.live.insert((ChildKind::InferenceService, "llama".into()), Arc::new(found));
        let report = NimServices::report(&service, &subject, &refs, &rendered, &outcome);
        let conditions = report.status["conditions"].as_array().unwrap().clone();
        let ready = conditions.into_iter().find(|one| one["type"] == "Ready").unwrap();
        (ready["message"].as_str().unwrap().to_owned(), report.again)
    };
    let (message, again) = says(12);
    let starting =
        "deployment \"llama-predictor\" is still starting (10 min of at most 20); without effect on KServe";
    assert!(message.starts_with(starting), "{message}");
    assert_eq!(again, Again::After(Duration::from_mins(8)));
    let (message, _) = says(21);
    let overdue = "deployment \"llama-predictor\" exceeded its progress deadline; without effect on KServe";
    assert!(message.starts_with(overdue), "{message}");
}

#[test]
fn accept_kserve_autoscaling_is_kserves_own() {
    let metric = json!({"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 70}}});
    let patch = json!({"replicas": null, "scale": {"enabled": true, "hpa": {"minReplicas": 2, "maxReplicas": 5, "metrics": [metric]}}});
    let rendered = rendered("Standard", &patch);
    let body = body(&rendered);
    assert_eq!(body["metadata"]["annotations"]["serving.kserve.io/autoscalerClass"], "hpa");
    let predictor = &body["spec"]["predictor"];
    let scaling = json!({"metrics": [metric]});
    for (field, value) in [("minReplicas", json!(2)), ("maxReplicas", json!(5)), ("autoScaling", scaling)] {
        assert_eq!(predictor[field], value, "{field}");
    }
    assert!(!kinds(&rendered.children).contains(&ChildKind::HorizontalPodAutoscaler));
}

#[test]
fn b11_containers_beside_the_model_are_told_nothing_of_other_nodes() {
    let own = json!([{"name": "OWN", "value": "1"}]);
    let patch = json!({
        "initContainers": [{"name": "before", "image": {"repository": "r", "tag": "t"}, "env": own}],
        "sidecarContainers": [{"name": "beside", "image": {"repository": "r", "tag": "t"}}],
    });
    let on_kserve = rendered("Standard", &patch);
    let predictor = &body(&on_kserve)["spec"]["predictor"];
    let mut plain = patch.clone();
    plain["inferencePlatform"] = json!("standalone");
    let standalone = rendered("Standard", &plain);
    let deployment = standalone.children.iter().find(|child| child.kind == ChildKind::Deployment).unwrap();
    let pod = &deployment.body["spec"]["template"]["spec"];
    for path in ["/initContainers/0/env", "/containers/1/env", "/containers/0/env"] {
        let env = predictor.pointer(path).unwrap();
        assert_eq!(Some(env), pod.pointer(path), "{path}");
        let text = env.to_string();
        assert!(!text.contains("NIM_MULTI_NODE") && !text.contains("NIM_NODE_RANK"), "{path}: {text}");
    }
}

/// A NIMService that is being deleted is never rendered: the engine lets it go without asking for KServe's mode. What is
/// left to show here is that no answer of KServe's makes rendering anything but a failure that changes nothing.
#[test]
fn b15_a_kserve_that_is_gone_fails_the_object_and_touches_nothing() {
    for setup in [Setup::NotFound, Setup::Ambiguous(vec!["a".into(), "b".into()])] {
        let refs = Refs { kserve: Seen { setup, ..Seen::default() }, ..Refs::default() };
        let rendered = NimServices::render(&service(&json!({})), &subject(), &refs, &ClusterFacts::default());
        assert!(rendered.children.is_empty() && rendered.remove.is_empty() && !rendered.complete);
        let why = failure(&rendered).clone();
        assert!(why.reason.starts_with("KServe"), "{}", why.reason);
        let report =
            NimServices::report(&service(&json!({})), &subject(), &refs, &rendered, &Outcome::default());
        assert_eq!(report.again, Again::After(AGAIN), "nothing tells when KServe is back");
    }
}

#[test]
fn b17_a_switch_of_the_platform_leaves_nothing_of_the_other_behind() {
    let shared = BTreeSet::from([ChildKind::ServiceAccount, ChildKind::Role, ChildKind::RoleBinding]);
    let on = |platform: &str, more: &[(&str, Value)]| {
        let mut patch = json!({"inferencePlatform": platform});
        for (field, value) in more {
            patch[*field] = value.clone();
        }
        let rendered = rendered("Standard", &patch);
        assert!(rendered.complete, "only a complete rendering prunes");
        kinds(&rendered.children)
    };
    let (standalone, kserve) = (on("standalone", &[]), on("kserve", &[]));
    let both: BTreeSet<_> = standalone.intersection(&kserve).copied().collect();
    assert_eq!(both, shared, "what both have has the same name and is kept");
    for left in standalone.symmetric_difference(&kserve) {
        assert!(NimServices::PRUNED.contains(left), "{left:?} would be left behind");
    }
    let monitored = on("kserve", &[("metrics", json!({"enabled": true, "serviceMonitor": {}}))]);
    for left in monitored.difference(&kserve) {
        assert!(NimServices::PRUNED.contains(left), "{left:?} would be left behind");
    }
}

#[test]
fn accept_kserve_exclusions_name_field_and_remedy() {
    let gateway = json!({"name": "g", "namespace": "n"});
    let router = |kind: &str, value: Value| json!({"expose": {"router": {"hostDomainName": "a.example", kind: value}}});
    let nodes = json!({"multiNode": {"parallelism": {"pipeline": 2, "tensor": 8}}});
    for (mode, patch, words) in [
        ("Standard", nodes.clone(), "spec.multiNode is not supported by KServe: set spec.inferencePlatform"),
        ("Knative", nodes, "spec.multiNode"),
        ("Knative", json!({"scale": {"enabled": true, "hpa": {"maxReplicas": 2}}}), "spec.scale.enabled"),
        ("Serverless", json!({"expose": {"ingress": {"enabled": true}}}), "spec.expose.ingress.enabled"),
        ("Serverless", router("ingress", json!({"ingressClass": "n"})), "spec.expose.router.ingress"),
        ("Knative", router("gateway", gateway.clone()), "spec.expose.router.gateway"),
        ("Knative", json!({"metrics": {"enabled": true}}), "spec.metrics.enabled"),
        (
            "Knative",
            json!({"expose": {"service": {"port": 8000, "grpcPort": 8001}}}),
            "spec.expose.service.grpcPort",
        ),
    ] {
        let rendered = rendered(mode, &patch);
        assert!(rendered.children.is_empty() && !rendered.complete, "{words}");
        let why = failure(&rendered);
        assert_eq!(why.reason, "InvalidSpec");
        assert!(why.message.starts_with(words), "{}", why.message);
    }
    for patch in
        [router("gateway", gateway), json!({"expose": {"service": {"port": 8000, "grpcPort": 8001}}})]
    {
        assert!(rendered("Standard", &patch).complete, "{patch}");
    }
    let one_node = json!({"multiNode": {"parallelism": {"pipeline": 1, "tensor": 8}}});
    assert!(rendered("Standard", &one_node).complete);
}

#[test]
fn the_model_is_for_the_cluster_unless_asked_otherwise() {
    let visibility = |patch: Value| {
        let rendered = rendered("Standard", &patch);
        body(&rendered)["metadata"]["labels"]["networking.kserve.io/visibility"].clone()
    };
    assert_eq!(visibility(json!({})), "cluster-local");
    assert_eq!(visibility(json!({"labels": {"networking.kserve.io/visibility": "exposed"}})), "exposed");
    assert!(visibility(json!({"expose": {"ingress": {"enabled": true}}})).is_null());
    let router = json!({"hostDomainName": "a.example", "ingress": {"ingressClass": "n"}});
    assert!(visibility(json!({"expose": {"router": router}})).is_null());
}

#[test]
fn an_empty_annotation_asks_for_no_mode() {
    let rendered = rendered("Knative", &json!({"annotations": {"serving.kserve.io/deploymentMode": ""}}));
    assert_eq!(body(&rendered)["metadata"]["annotations"]["serving.kserve.io/deploymentMode"], "Knative");
}

#[test]
fn a_command_and_probes_of_the_users_own_are_kept_in_every_mode() {
    let probe = json!({"probe": {"tcpSocket": {"port": 1}, "failureThreshold": 7}});
    let patch = json!({"command": ["serve"], "args": ["--fast"], "startupProbe": probe, "livenessProbe": {"enabled": false}});
    for mode in ["Standard", "Knative"] {
        let rendered = rendered(mode, &patch);
        let serving = &body(&rendered)["spec"]["predictor"]["containers"][0];
        assert_eq!((&serving["command"], &serving["args"]), (&json!(["serve"]), &json!(["--fast"])));
        assert_eq!(serving["startupProbe"], probe["probe"]);
        assert!(serving["livenessProbe"].is_null());
    }
}

#[test]
fn seccomp_is_for_the_modes_that_have_a_security_context() {
    let facts = ClusterFacts { platform: Platform::Tkgs, ..ClusterFacts::default() };
    let context = |mode: &str| {
        let rendered = rendered_on(mode, &json!({}), &facts);
        body(&rendered)["spec"]["predictor"]["securityContext"].clone()
    };
    assert_eq!(context("Standard")["seccompProfile"]["type"], "RuntimeDefault");
    assert!(context("Knative").is_null() && context("ModelMesh").is_null());
}

#[test]
fn the_container_that_serves_has_the_name_that_kserve_looks_for() {
    let beside =
        |name: &str| json!({"sidecarContainers": [{"name": name, "image": {"repository": "r", "tag": "t"}}]});
    for mode in ["Standard", "Knative"] {
        let rendered = rendered(mode, &beside("proxy"));
        let containers = &body(&rendered)["spec"]["predictor"]["containers"];
        assert_eq!(
            (&containers[0]["name"], &containers[1]["name"]),
            (&json!("kserve-container"), &json!("proxy"))
        );
    }
    let refused = rendered("Standard", &beside("kserve-container"));
    let why = failure(&refused);
    assert!(why.message.starts_with("spec.sidecarContainers[0].name is kserve-container"), "{}", why.message);
}

#[test]
fn what_of_an_ingress_has_no_effect_is_named() {
    let said = |expose: Value| {
        let spec = service(&json!({"expose": expose})).spec;
        limits::without_effect(&spec, true)
    };
    let rules = json!({"ingressClassName": "nginx", "rules": [{"host": "my.example.com"}]});
    assert_eq!(
        said(json!({"ingress": {"enabled": true, "annotations": {"a": "b"}, "spec": rules}})).unwrap(),
        "without effect on KServe: spec.expose.ingress.annotations, spec.expose.ingress.spec (KServe's own settings say \
         class, host and paths of its Ingress)"
    );
    let router = json!({"hostDomainName": "example.com", "ingress": {"ingressClass": "nginx"}});
    assert_eq!(
        said(json!({"router": router})).unwrap(),
        "without effect on KServe: spec.expose.router.hostDomainName, spec.expose.router.ingress (KServe's own settings \
         say class, host and paths of its Ingress)"
    );
    assert_eq!(said(json!({"ingress": {"enabled": true}})), None, "it only says that there is a way in");
    assert_eq!(said(json!({"ingress": {"enabled": false, "spec": rules}})), None);
}

#[test]
fn a_mode_that_cannot_be_changed_is_kept_and_told() {
    let asked = json!({"annotations": {"serving.kserve.io/deploymentMode": "Knative"}});
    let refs = Refs { kserve: Seen::in_use("Standard").on_pods(Some("Standard")), ..Refs::default() };
    let rendered = NimServices::render(&service(&asked), &subject(), &refs, &ClusterFacts::default());
    let found = body(&rendered);
    for annotations in [&found["metadata"]["annotations"], &found["spec"]["predictor"]["annotations"]] {
        assert_eq!(annotations["serving.kserve.io/deploymentMode"], "Standard");
    }
    assert!(found["metadata"]["annotations"]["serving.kserve.io/enable-metric-aggregation"].is_null());
    let told = readiness("llama", &service(&asked).spec, &Seen::in_use("Standard"), &json!({"metadata": {}}));
    assert!(told.message.contains("stays in mode Standard"), "{}", told.message);
}

#[test]
fn accept_kserve_readiness_is_the_predictors() {
    let with = |status: &str| {
        let other = json!({"type": "IngressReady", "status": "True"});
        json!({"status": {"conditions": [other, {"type": "PredictorReady", "status": status, "message": "m"}]}})
    };
    let spec = service(&json!({})).spec;
    for (live, ready, message) in [
        (Value::Null, false, "Waiting for InferenceService \"llama\" creation"),
        (
            json!({"metadata": {}}),
            false,
            "Waiting for InferenceService \"llama\" reporting Predictor readiness",
        ),
        (with("False"), false, "m"),
        (with("Unknown"), false, "m"),
        (with("True"), true, "m"),
    ] {
        let found = readiness("llama", &spec, &Seen::default(), &live);
        assert_eq!((found.ready, found.message.as_str()), (ready, message), "{live}");
    }
    let behaviour =
        json!({"scale": {"enabled": true, "hpa": {"maxReplicas": 2, "behavior": {"scaleDown": {}}}}});
    let found = readiness("llama", &service(&behaviour).spec, &Seen::default(), &with("True"));
    assert_eq!(found.message, "m; without effect on KServe: spec.scale.hpa.behavior");
    let mut live =
        json!({"status": {"url": "http://llama.example", "address": {"url": "http://llama.models.svc"}}});
    assert_eq!(endpoints(&live), ("http://llama.models.svc".to_owned(), "http://llama.example".to_owned()));
    live["metadata"]["labels"][VISIBILITY] = json!("cluster-local");
    assert_eq!(
        endpoints(&live),
        ("http://llama.models.svc".to_owned(), String::new()),
        "nothing leads there"
    );
}
