//! What exposes a model, from specs.

use serde_json::{Value, json};

use super::*;
use crate::operator::engine::kind::Rendered;
use crate::operator::nimservice::Verdict;
use crate::operator::nimservice::tests::{child, failure, rendered};

fn exposed(expose: Value) -> Rendered<Verdict> {
    rendered(json!({ "expose": expose }), None)
}

fn routed(router: Value) -> Rendered<Verdict> {
    exposed(json!({"service": {"port": 9000, "grpcPort": 50051}, "router": router}))
}

fn kinds(rendered: &Rendered<Verdict>) -> Vec<(ChildKind, String)> {
    rendered.children.iter().map(|child| (child.kind, child.name.clone())).collect()
}

fn picker(more: Value) -> Value {
    let mut epp =
        json!({"containerSpec": {"name": "epp", "image": {"repository": "r/epp", "tag": "v1.3.1"}}});
    for (field, value) in more.as_object().cloned().unwrap_or_default() {
        epp[field] = value;
    }
    json!({
        "hostDomainName": "example.com",
        "gateway": {"name": "gate", "namespace": "gates"},
        "eppConfig": epp,
    })
}

fn inline() -> Value {
    json!({
        "plugins": [{"type": "kv-cache-utilization-scorer"}],
        "schedulingProfiles": [{"name": "default", "plugins": [{"pluginRef": "kv-cache-utilization-scorer"}]}],
    })
}

#[test]
fn accept_routers_become_these_objects() {
    let ingress = routed(json!({
        "hostDomainName": "example.com", "annotations": {"a": "b", "openshift.io/required-scc": "mine"},
        "ingress": {"ingressClass": "nginx", "tlsSecretName": "tls"},
    }));
    insta::assert_json_snapshot!("ingress", child(&ingress.children, ChildKind::Ingress));
    let routes = routed(json!({
        "hostDomainName": "example.com",
        "gateway": {"name": "gate", "namespace": "gates", "grpcRoutesEnabled": true},
    }));
    insta::assert_json_snapshot!("http_route", child(&routes.children, ChildKind::HttpRoute));
    insta::assert_json_snapshot!("grpc_route", child(&routes.children, ChildKind::GrpcRoute));
}

#[test]
fn accept_the_endpoint_picker_becomes_these_objects() {
    let plain = kinds(&exposed(json!({})));
    let with = routed(picker(json!({"config": inline()})));
    let more: Vec<&Value> = with
        .children
        .iter()
        .filter(|child| {
            child.kind != ChildKind::HttpRoute && !plain.contains(&(child.kind, child.name.clone()))
        })
        .map(|child| &child.body)
        .collect();
    insta::assert_json_snapshot!("endpoint_picker", more);
}

#[test]
fn accept_autoscaling_and_monitoring() {
    let scaled = rendered(
        json!({
            "replicas": null,
            "scale": {"enabled": true, "annotations": {"a": "b"}, "hpa": {
                "minReplicas": 2, "maxReplicas": 5,
                "metrics": [
                    {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}},
                    {"type": "Object", "object": {"metric": {"name": "gpu"}, "describedObject": {"kind": "Service", "name": "x", "apiVersion": "v1"}, "target": {"type": "Value", "value": "10"}}},
                ],
            }},
            "metrics": {"enabled": true, "serviceMonitor": {
                "additionalLabels": {"release": "prometheus", "app.kubernetes.io/name": "mine"},
                "annotations": {"c": "d"}, "interval": "30s", "scrapeTimeout": "10s",
            }},
            "expose": {"service": {"port": 8000, "metricsPort": 8002}},
        }),
        None,
    );
    insta::assert_json_snapshot!("autoscaler", child(&scaled.children, ChildKind::HorizontalPodAutoscaler));
    insta::assert_json_snapshot!("monitor", child(&scaled.children, ChildKind::ServiceMonitor));
    let deployment = scaled.children.iter().find(|one| one.kind == ChildKind::Deployment).unwrap();
    assert!(deployment.body["spec"]["replicas"].is_null(), "replicas are the autoscaler's");
    assert_eq!(deployment.seed, Some(("/spec/replicas", json!(2))), "but for the first");

    let limitless = rendered(json!({"scale": {"enabled": true, "hpa": {"maxReplicas": 0}}}), None);
    assert!(failure(&limitless.verdict).message.contains("spec.scale.hpa.maxReplicas"));
    let stored = rendered(json!({"scale": {"hpa": {"maxReplicas": 0, "minReplicas": 1}}}), None);
    assert!(stored.complete, "what the other operator stored asks for nothing");
}

#[test]
fn what_is_missing_is_named() {
    let gateway = json!({"name": "gate", "namespace": "gates", "grpcRoutesEnabled": true});
    for (expose, field) in [
        (json!({"router": {"ingress": {"ingressClass": "n"}}}), "spec.expose.router.hostDomainName"),
        (json!({"router": {"gateway": gateway}}), "spec.expose.router.hostDomainName"),
        (
            json!({"router": {"hostDomainName": "example.com", "gateway": gateway}}),
            "spec.expose.service.grpcPort",
        ),
        (json!({"router": picker(json!({}))}), "spec.expose.router.eppConfig"),
    ] {
        let rendered = exposed(expose);
        assert!(!rendered.complete, "nothing is pruned");
        let message = &failure(&rendered.verdict).message;
        assert!(message.contains(field), "{message} lacks {field}");
    }
}

#[test]
fn b01_a_pool_follows_its_spec_by_apply() {
    let pool = |port: i32, label: &str| {
        let patch = json!({
            "labels": {"team": label},
            "expose": {"service": {"port": port}, "router": picker(json!({"config": inline()}))},
        });
        let rendered = rendered(patch, None);
        let pool =
            rendered.children.into_iter().find(|child| child.kind == ChildKind::InferencePool).unwrap();
        assert_eq!(pool.keep, crate::operator::engine::child::Keep::Owned);
        pool.body
    };
    assert_eq!(pool(9000, "a")["spec"]["targetPorts"][0]["number"], 9000);
    assert_ne!(pool(9000, "a"), pool(9000, "b"), "labels change it, too");
}

#[test]
fn b16_a_service_called_like_the_picker_of_another_is_not_its_own() {
    use crate::operator::engine::decide::superfluous;
    let live = json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {
            "name": "llama-epp", "namespace": "models", "uid": "d",
            "ownerReferences": [{"apiVersion": "v", "kind": "NIMService", "name": "llama-epp", "uid": "other", "controller": true}],
        },
    });
    let live = serde_json::from_value(live).unwrap();
    let without = exposed(json!({}));
    let owner = crate::operator::nimservice::tests::subject().owner;
    let found = superfluous(&owner, &without.children, [(ChildKind::Deployment, &live)].into_iter());
    assert_eq!(found, [], "its owner has another uid");
}

#[test]
fn b17_a_monitor_that_is_switched_off_is_pruned() {
    use crate::operator::engine::kind::Kind;
    use crate::operator::nimservice::NimServices;
    let on = rendered(json!({"metrics": {"enabled": true}}), None);
    let off = rendered(json!({"metrics": {"enabled": false}}), None);
    assert!(kinds(&on).contains(&(ChildKind::ServiceMonitor, "llama".to_owned())));
    assert!(off.complete && !kinds(&off).iter().any(|(kind, _)| *kind == ChildKind::ServiceMonitor));
    for (kind, _) in kinds(&on) {
        let kept = [ChildKind::PersistentVolumeClaim];
        assert!(NimServices::PRUNED.contains(&kind) || kept.contains(&kind), "{kind:?}");
    }
}

#[test]
fn b28_parameters_are_objects_and_own_ports_count() {
    let mut config = inline();
    // {"threshold": 5}
    config["plugins"][0]["parameters"] = json!("eyJ0aHJlc2hvbGQiOiA1fQ==");
    let ports =
        json!([{"name": "health", "containerPort": 7003}, {"name": "grpc-ext-proc", "containerPort": 7002}]);
    let with = routed(picker(json!({"config": config, "ports": ports})));
    let map = child(&with.children, ChildKind::ConfigMap);
    let text = map["data"]["default-plugins.yaml"].as_str().unwrap();
    let read: Value = serde_saphyr::from_str(text).unwrap();
    assert_eq!(read["plugins"][0]["parameters"]["threshold"], 5, "{text}");
    let pool = child(&with.children, ChildKind::InferencePool);
    assert_eq!(pool["spec"]["endpointPickerRef"]["port"]["number"], 7002);
}

#[test]
fn a_configuration_of_the_users_is_mounted_and_none_is_made() {
    let given = json!({"configMapRef": {"name": "mine", "key": "plugins.yaml"}});
    let with = routed(picker(given));
    assert!(!kinds(&with).iter().any(|(kind, _)| *kind == ChildKind::ConfigMap));
    let deployment = &with
        .children
        .iter()
        .find(|child| child.kind == ChildKind::Deployment && child.name == "llama-epp")
        .unwrap()
        .body["spec"]["template"]["spec"];
    assert_eq!(deployment["volumes"][0]["configMap"]["name"], "mine");
    assert!(deployment["containers"][0]["args"].to_string().contains("/config/plugins.yaml"));
}

#[test]
fn the_outside_address_is_the_hosts() {
    let ingress = |host: Value, service: &str| {
        json!({
            "spec": {"rules": [{"host": host, "http": {"paths": [{"backend": {"service": {"name": service}}}]}}]},
            "status": {"loadBalancer": {"ingress": [{"ip": "1.2.3.4"}]}},
        })
    };
    for (object, expected) in [
        (ingress(json!("h.example.com"), "llama"), Some("h.example.com")),
        (ingress(json!("h.example.com"), "other"), Some("1.2.3.4")),
        (ingress(Value::Null, "llama"), Some("1.2.3.4")),
        (json!({}), None),
    ] {
        assert_eq!(ingress::address(&object, "llama").as_deref(), expected, "{object}");
    }
}
