//! What makes a NeMo microservice reachable, scaled and scraped, and what of its spec reaches the pods.

use crds::compare::holds;

use super::*;
use crate::operator::engine::decide::{Decision, Seen, decide, superfluous};

fn exposed(expose: &Value) -> Rendered<Verdict> {
    of(&json!({"expose": expose}))
}

fn routed(more: &Value) -> Rendered<Verdict> {
    let mut gateway = json!({"name": "g", "namespace": "gateways"});
    for (key, value) in more.as_object().cloned().unwrap_or_default() {
        gateway[key] = value;
    }
    exposed(
        &json!({"router": {"hostDomainName": "example.com", "gateway": gateway}, "service": {"port": 9000}}),
    )
}

/// The children as an API server holds them.
fn stored(rendered: &Rendered<Verdict>) -> Vec<(ChildKind, DynamicObject)> {
    let owner = subject::<Guardrails>("sample").owner;
    let object = |child: &Child| {
        let mut body = child.stamped(&owner).body;
        body["metadata"]["uid"] = json!(format!("uid-{}", child.name));
        (child.kind, serde_json::from_value(body).unwrap())
    };
    rendered.children.iter().map(object).collect()
}

#[test]
fn nemo_accept_each_optional_part_comes_and_goes_with_its_switch() {
    let older = json!({"ingress": {"enabled": true, "annotations": {"a": "b"},
        "spec": {"ingressClassName": "nginx", "host": "rails.example", "paths": [{"path": "/v1", "pathType": "Exact"}, {}]}}});
    let router = json!({"router": {"hostDomainName": "example.com",
        "ingress": {"ingressClass": "nginx", "tlsSecretName": "tls"}}});
    let bare = of(&json!({}));
    for (patch, kind) in [
        (json!({"expose": older}), ChildKind::Ingress),
        (json!({"expose": router}), ChildKind::Ingress),
        (
            json!({"expose": {"router": {"hostDomainName": "e.com", "gateway": {"name": "g", "namespace": "n"}}}}),
            ChildKind::HttpRoute,
        ),
        (
            json!({"scale": {"enabled": true, "hpa": {"minReplicas": 2, "maxReplicas": 4}}}),
            ChildKind::HorizontalPodAutoscaler,
        ),
        (json!({"metrics": {"enabled": true}}), ChildKind::ServiceMonitor),
    ] {
        let with = of(&patch);
        insta::assert_json_snapshot!(
            format!("{kind:?} of {}", patch.as_object().unwrap().keys().next().unwrap())
                .to_lowercase()
                .replace(' ', "_")
                + if patch["expose"]["ingress"].is_object() { "_older" } else { "" },
            child(&with, kind)
        );
        assert!(!kinds(&bare).contains(&kind), "{kind:?} is there without being asked for");
        let live = stored(&with);
        let gone = superfluous(
            &subject::<Guardrails>("sample").owner,
            &bare.children,
            live.iter().map(|(kind, one)| (*kind, one)),
        );
        assert_eq!(gone.iter().map(|gone| gone.0).collect::<Vec<_>>(), [kind]);
        assert!(Nemo::<Guardrails>::PRUNED.contains(&kind), "{kind:?} would stay");
    }
}

#[test]
fn nemo_b02_a_route_that_is_switched_off_is_not_made() {
    assert!(kinds(&routed(&json!({}))).contains(&ChildKind::HttpRoute));
    assert!(!kinds(&routed(&json!({"httpRoutesEnabled": false}))).contains(&ChildKind::HttpRoute));
}

#[test]
fn a_backend_of_the_users_replaces_the_service() {
    let rule = |rendered: &Rendered<Verdict>| {
        child(rendered, ChildKind::HttpRoute)["spec"]["rules"][0]["backendRefs"][0].clone()
    };
    assert_eq!(rule(&routed(&json!({}))), json!({"name": "sample", "port": 9000}));
    let other = json!({"name": "pool", "group": "g", "kind": "InferencePool"});
    assert_eq!(rule(&routed(&json!({"backendRef": other}))), other);
}

#[test]
fn nemo_b21_a_host_needs_a_domain() {
    let rendered = exposed(&json!({"router": {"ingress": {"ingressClass": "nginx"}}}));
    let why = failure(&rendered);
    assert_eq!(why.reason, "InvalidSpec");
    assert!(why.message.starts_with("spec.expose.router.hostDomainName is required"), "{}", why.message);
}

#[test]
fn nemo_b14_a_monitor_is_found_again_whatever_labels_it_is_given() {
    let rendered = of(&json!({"metrics": {"enabled": true, "serviceMonitor": {
        "additionalLabels": {"release": "prom", "app.kubernetes.io/managed-by": "someone"}}}}));
    let labels = &child(&rendered, ChildKind::ServiceMonitor)["metadata"]["labels"];
    assert_eq!(labels["release"], "prom");
    assert_eq!(labels["app.kubernetes.io/managed-by"], "k8s-nim-operator");
}

#[test]
fn nemo_accept_an_autoscaler_keeps_its_replicas_and_without_it_the_spec_counts() {
    let scaled = of(&json!({"scale": {"enabled": true, "hpa": {"minReplicas": 2, "maxReplicas": 4}}}));
    let deployment = scaled.children.iter().find(|child| child.kind == ChildKind::Deployment).unwrap();
    assert_eq!(deployment.body["spec"]["replicas"], Value::Null);
    let stamped = deployment.stamped(&subject::<Guardrails>("sample").owner);
    assert_eq!(deployment.sent(&stamped, None)["spec"]["replicas"], 2);
    assert_eq!(deployment.sent(&stamped, Some(&json!({"spec": {"replicas": 3}})))["spec"]["replicas"], 3);
    assert_eq!(child(&of(&json!({"replicas": 2})), ChildKind::Deployment)["spec"]["replicas"], 2);
}

#[test]
fn nemo_b06_words_that_look_like_other_types_stay_words() {
    let rendered = of(&json!({"nodeSelector": {"gpu": "true", "rack": "12"}, "runtimeClass": "10"}));
    let pod = &template(&rendered)["spec"];
    assert_eq!(pod["nodeSelector"], json!({"gpu": "true", "rack": "12"}));
    assert_eq!(pod["runtimeClassName"], "10");
}

#[test]
fn nemo_b11_a_label_app_of_the_users_does_not_break_the_selector() {
    let rendered = of(&json!({"labels": {"app": "mine", "team": "rails"}}));
    let labels = &template(&rendered)["metadata"]["labels"];
    assert_eq!((&labels["app"], &labels["team"]), (&json!("sample"), &json!("rails")));
    let deployment = child(&rendered, ChildKind::Deployment);
    assert_eq!(deployment["spec"]["selector"]["matchLabels"], json!({"app": "sample"}));
}

#[test]
fn nemo_b25_how_long_a_taint_is_borne_is_kept() {
    let tolerations =
        json!([{"key": "k", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 60}]);
    let rendered = of(&json!({"tolerations": tolerations}));
    assert_eq!(template(&rendered)["spec"]["tolerations"], tolerations);
}

#[test]
fn nemo_b09_the_older_pod_affinity_counts_where_the_newer_field_says_nothing() {
    let term = json!({"topologyKey": "zone", "labelSelector": {"matchLabels": {"app": "x"}}});
    let rendered = of(&json!({"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}));
    let affinity = &template(&rendered)["spec"]["affinity"]["podAffinity"];
    assert_eq!(affinity["requiredDuringSchedulingIgnoredDuringExecution"][0]["topologyKey"], "zone");
}

#[test]
fn nemo_b29_the_version_of_the_operator_changes_no_label() {
    let rendered = of(&json!({}));
    for body in bodies(&rendered) {
        assert_eq!(body["metadata"]["labels"]["app.kubernetes.io/operator-version"], "", "{body}");
    }
}

#[test]
fn nemo_b15_edits_of_children_are_written_over() {
    let rendered = of(&json!({"replicas": 1}));
    let owner = subject::<Guardrails>("sample").owner;
    for (child, (kind, mut live)) in rendered.children.iter().zip(stored(&rendered)) {
        let stamped = child.stamped(&owner);
        let looked = true;
        assert_eq!(
            decide(child, &stamped, &owner, Seen { live: Some(&live), looked, ..Seen::default() }),
            Decision::Leave,
            "{kind:?}"
        );
        live.metadata.labels.as_mut().unwrap().clear();
        assert!(!holds(&stamped.body, &serde_json::to_value(&live).unwrap()));
        assert_eq!(
            decide(child, &stamped, &owner, Seen { live: Some(&live), looked, ..Seen::default() }),
            Decision::Apply,
            "{kind:?}"
        );
    }
}
