//! What makes a NIMService reachable, scaled and scraped.

use std::sync::Arc;

use super::picker::{picked, simple};
use super::*;
use crate::operator::engine::decide::superfluous;

pub(super) fn exposed(expose: Value) -> Rendered<Verdict> {
    rendered(json!({"expose": expose}), None)
}

fn gateway(more: Value) -> Value {
    let mut gateway = json!({"name": "g", "namespace": "gateways"});
    for (key, value) in more.as_object().cloned().unwrap_or_default() {
        gateway[key] = value;
    }
    json!({"router": {"hostDomainName": "example.com", "annotations": {"a": "b"}, "gateway": gateway}, "service": {"port": 9000}})
}

pub(super) fn has(rendered: &Rendered<Verdict>, kind: ChildKind) -> bool {
    rendered.children.iter().any(|one| one.kind == kind)
}

pub(super) fn child_named<'a>(rendered: &'a Rendered<Verdict>, kind: ChildKind, name: &str) -> &'a Value {
    let found = rendered.children.iter().find(|one| one.kind == kind && one.name == name);
    &found.unwrap_or_else(|| panic!("no {kind:?} {name}")).body
}

/// The children as an API server holds them, made for the NIMService of this uid.
pub(super) fn stored(rendered: &Rendered<Verdict>, uid: &str) -> Vec<(ChildKind, DynamicObject)> {
    let owner = Owner { uid: uid.to_owned(), ..subject().owner };
    let object = |one: &Child| {
        let mut body = one.stamped(&owner).body;
        body["metadata"]["uid"] = json!(format!("{uid}-{}", one.name));
        (one.kind, serde_json::from_value(body).unwrap())
    };
    rendered.children.iter().map(object).collect()
}

/// Kinds and names that are removed once `after` is rendered, of what was made for `uid`.
pub(super) fn removed(
    before: &Rendered<Verdict>,
    uid: &str,
    after: &Rendered<Verdict>,
) -> Vec<(ChildKind, String)> {
    let live = stored(before, uid);
    let gone = superfluous(&subject().owner, &after.children, live.iter().map(|(kind, one)| (*kind, one)));
    gone.into_iter().map(|(kind, name, _)| (kind, name)).collect()
}

fn outcome(objects: Vec<(ChildKind, Value)>) -> Outcome {
    let live = objects.into_iter().map(|(kind, mut object)| {
        object["metadata"] = json!({"name": "llama"});
        ((kind, "llama".to_owned()), Arc::new(serde_json::from_value(object).unwrap()))
    });
    Outcome { live: live.collect(), ..Outcome::default() }
}

fn outside(objects: Vec<(ChildKind, Value)>) -> String {
    let (service, refs, facts) = (service(json!({})), Refs::default(), ClusterFacts::default());
    let subject = subject();
    let scene = Scene { subject: &subject, spec: &service.spec, refs: &refs, facts: &facts };
    exposure::endpoints(&scene, &outcome(objects)).1
}

#[test]
fn accept_ingress_of_the_router() {
    let router = json!({
        "hostDomainName": "example.com.", "annotations": {"a": "b", "openshift.io/required-scc": "mine"},
        "ingress": {"ingressClass": "nginx", "tlsSecretName": "tls"},
    });
    let rendered = exposed(json!({"router": router}));
    insta::assert_json_snapshot!("ingress_of_the_router", child(&rendered.children, ChildKind::Ingress));
}

#[test]
fn accept_ingress_as_the_user_wrote_it() {
    let spec = json!({"ingressClassName": "nginx", "rules": [{"host": "h", "http": {"paths": [
        {"path": "/v1", "pathType": "Prefix", "backend": {"service": {"name": "llama", "port": {"number": 8000}}}},
    ]}}]});
    let older = json!({"enabled": true, "annotations": {"older": "yes"}, "spec": spec});
    let router = json!({"annotations": {"newer": "yes"}});
    let rendered = exposed(json!({"ingress": older, "router": router}));
    let ingress = child(&rendered.children, ChildKind::Ingress);
    assert_eq!(ingress["spec"], spec);
    assert_eq!(ingress["metadata"]["annotations"]["older"], "yes");
    assert!(ingress["metadata"]["annotations"]["newer"].is_null());
}

#[test]
fn accept_routes_of_a_gateway() {
    let expose = json!({"grpcRoutesEnabled": true});
    let mut expose = gateway(expose);
    expose["service"]["grpcPort"] = json!(50051);
    let rendered = exposed(expose);
    insta::assert_json_snapshot!("http_route", child(&rendered.children, ChildKind::HttpRoute));
    insta::assert_json_snapshot!("grpc_route", child(&rendered.children, ChildKind::GrpcRoute));
}

#[test]
fn a_backend_of_the_user_takes_the_place_of_the_service_for_http_only() {
    let pool = json!({"group": "inference.networking.k8s.io", "kind": "InferencePool", "name": "llama"});
    let mut expose = gateway(json!({"backendRef": pool, "grpcRoutesEnabled": true}));
    expose["service"]["grpcPort"] = json!(50051);
    let rendered = exposed(expose);
    let backend =
        |kind: ChildKind| child(&rendered.children, kind)["spec"]["rules"][0]["backendRefs"].clone();
    assert_eq!(backend(ChildKind::HttpRoute), json!([pool]));
    assert_eq!(backend(ChildKind::GrpcRoute), json!([{"name": "llama", "port": 50051}]));
}

#[test]
fn routes_are_made_as_they_are_turned_on() {
    for (more, http, grpc) in [
        (json!({}), true, false),
        (json!({"httpRoutesEnabled": false}), false, false),
        (json!({"httpRoutesEnabled": true, "grpcRoutesEnabled": false}), true, false),
    ] {
        let rendered = exposed(gateway(more.clone()));
        assert!(rendered.complete);
        let made = (has(&rendered, ChildKind::HttpRoute), has(&rendered, ChildKind::GrpcRoute));
        assert_eq!(made, (http, grpc), "{more}");
    }
}

#[test]
fn what_cannot_be_exposed_or_scaled_names_its_field() {
    let nothing = json!({"router": {"eppConfig": {"containerSpec": {"name": "e", "image": {"repository": "r", "tag": "t"}}}}});
    for (patch, reason, field) in [
        (
            json!({"expose": gateway(json!({"grpcRoutesEnabled": true}))}),
            "GRPCRouteFailed",
            "spec.expose.service.grpcPort",
        ),
        (
            json!({"expose": {"router": {"ingress": {"ingressClass": "n"}}}}),
            "InvalidSpec",
            "spec.expose.router.hostDomainName",
        ),
        (json!({"expose": nothing}), "ConfigMapFailed", "spec.expose.router.eppConfig"),
        (json!({"scale": {"enabled": true}}), "InvalidSpec", "spec.scale.hpa.maxReplicas"),
        (
            json!({"scale": {"enabled": true, "hpa": {"maxReplicas": 0}}}),
            "InvalidSpec",
            "spec.scale.hpa.maxReplicas",
        ),
    ] {
        let rendered = rendered(patch, None);
        let why = failure(&rendered.verdict);
        assert_eq!(why.reason, reason);
        assert!(why.message.starts_with(field), "{}", why.message);
        assert!(!rendered.complete, "what runs is left alone");
    }
}

#[test]
fn b06_the_service_selects_leaders_only_where_there_are_some() {
    let selector = |nodes: i32| {
        let shape = json!({"parallelism": {"pipeline": nodes, "tensor": 8}});
        let refs = Refs { claims: claims::Seen::of_group(b"key", Value::Null), ..Refs::default() };
        let spec = service(json!({"multiNode": shape}));
        let rendered = NimServices::render(&spec, &subject(), &refs, &ClusterFacts::default());
        child_named(&rendered, ChildKind::Service, "llama")["spec"]["selector"].clone()
    };
    assert_eq!(selector(2), json!({"app": "llama-lws", "nim-llm-role": "leader"}));
    assert_eq!(selector(1), json!({"app": "llama"}));
}

#[test]
fn b12_the_service_keeps_the_name_that_all_else_refers_to() {
    let rendered = exposed(
        json!({"service": {"name": "mine", "labels": {"l": "x", "app.kubernetes.io/name": "y"}, "annotations": {"n": "m"}}}),
    );
    let service = child(&rendered.children, ChildKind::Service);
    assert_eq!(service["metadata"]["name"], "llama");
    assert_eq!(service["metadata"]["labels"]["l"], "x");
    assert_eq!(service["metadata"]["labels"]["app.kubernetes.io/name"], "llama", "the first map wins");
    assert_eq!(service["metadata"]["annotations"]["n"], "m");
}

#[test]
fn accept_autoscaler() {
    let metrics = json!([
        {"type": "Resource", "resource": {"name": "memory", "target": {"type": "Utilization", "averageUtilization": 70}}},
        {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}},
        {"type": "Object", "object": {"metric": {"name": "gpu_cache_usage_perc"}, "describedObject": {"apiVersion": "v1", "kind": "Service", "name": "llama"}, "target": {"type": "Value", "value": "500m"}}},
    ]);
    let behavior = json!({"scaleDown": {"stabilizationWindowSeconds": 60}});
    let hpa = json!({"minReplicas": 1, "maxReplicas": 2, "metrics": metrics, "behavior": behavior});
    let rendered = rendered(json!({"scale": {"enabled": true, "annotations": {"a": "b"}, "hpa": hpa}}), None);
    insta::assert_json_snapshot!("autoscaler", child(&rendered.children, ChildKind::HorizontalPodAutoscaler));
}

#[test]
fn accept_autoscaling_off_resets_to_the_spec() {
    let hpa = json!({"minReplicas": 3, "maxReplicas": 5});
    let on = rendered(json!({"replicas": null, "scale": {"enabled": true, "hpa": hpa}}), None);
    let of_model = |one: &&Child| one.kind == ChildKind::Deployment;
    let deployment = on.children.iter().find(of_model).unwrap();
    let owner = subject().owner;
    let scaled = json!({"spec": {"replicas": 4}});
    assert_eq!(deployment.sent(&deployment.stamped(&owner), None)["spec"]["replicas"], 3);
    assert_eq!(deployment.sent(&deployment.stamped(&owner), Some(&scaled))["spec"]["replicas"], 4);
    let off = rendered(json!({"replicas": 2, "scale": {"enabled": false, "hpa": hpa}}), None);
    let deployment = off.children.iter().find(of_model).unwrap();
    assert_eq!(deployment.sent(&deployment.stamped(&owner), Some(&scaled))["spec"]["replicas"], 2);
    let gone = removed(&on, "u1", &off);
    assert_eq!(gone, [(ChildKind::HorizontalPodAutoscaler, "llama".to_owned())]);
}

#[test]
fn accept_service_monitor() {
    let monitor = json!({
        "additionalLabels": {"release": "kube-prometheus-stack", "app.kubernetes.io/part-of": "theirs"},
        "annotations": {"a": "b"}, "interval": "30s", "scrapeTimeout": "10s",
    });
    let patch = json!({
        "metrics": {"enabled": true, "serviceMonitor": monitor}, "expose": {"service": {"metricsPort": 8002}},
    });
    let rendered = rendered(patch, None);
    insta::assert_json_snapshot!("service_monitor", child(&rendered.children, ChildKind::ServiceMonitor));
}

#[test]
fn b17_what_is_turned_off_is_removed() {
    let off = rendered(json!({}), None);
    let names = |list: &[ChildKind]| list.iter().map(|kind| (*kind, "llama".to_owned())).collect::<Vec<_>>();
    let mut routes = gateway(json!({"grpcRoutesEnabled": true}));
    routes["service"]["grpcPort"] = json!(50051);
    for (patch, gone) in [
        (json!({"metrics": {"enabled": true}}), names(&[ChildKind::ServiceMonitor])),
        (
            json!({"scale": {"enabled": true, "hpa": {"maxReplicas": 2}}}),
            names(&[ChildKind::HorizontalPodAutoscaler]),
        ),
        (json!({"expose": {"ingress": {"enabled": true}}}), names(&[ChildKind::Ingress])),
        (json!({"expose": routes}), names(&[ChildKind::HttpRoute, ChildKind::GrpcRoute])),
    ] {
        assert_eq!(removed(&rendered(patch, None), "u1", &off), gone);
        assert!(gone.iter().all(|(kind, _)| NimServices::PRUNED.contains(kind)));
    }
    let gone = removed(&picked(simple()), "u1", &off);
    assert_eq!(gone.len(), 7, "{gone:?}");
    assert!(gone.iter().all(|(kind, _)| NimServices::PRUNED.contains(kind)));
    let elsewhere = picked(json!({"configMapRef": {"name": "theirs", "key": "k"}}));
    let gone = removed(&picked(simple()), "u1", &elsewhere);
    assert_eq!(gone, [(ChildKind::ConfigMap, "llama-epp-config".to_owned())]);
}

#[test]
fn b16_objects_of_others_are_never_removed() {
    let off = rendered(json!({}), None);
    let mut routes = gateway(json!({"grpcRoutesEnabled": true}));
    routes["service"]["grpcPort"] = json!(50051);
    for theirs in [
        exposed(routes),
        exposed(json!({"ingress": {"enabled": true}})),
        rendered(json!({"scale": {"enabled": true, "hpa": {"maxReplicas": 2}}}), None),
        picked(simple()),
    ] {
        assert_eq!(removed(&theirs, "u2", &off), [], "another's objects of our names");
    }
}

#[test]
fn accept_the_outside_address() {
    let to = |service: &str, host: Value| json!({"host": host, "http": {"paths": [{"backend": {"service": {"name": service}}}]}});
    let ingress = |rules: Value, balancer: Value| {
        (
            ChildKind::Ingress,
            json!({"spec": {"rules": rules}, "status": {"loadBalancer": {"ingress": [balancer]}}}),
        )
    };
    let route = |kind: ChildKind, host: &str| (kind, json!({"spec": {"hostnames": [host]}}));
    let balanced = || {
        (
            ChildKind::Service,
            json!({"spec": {"type": "LoadBalancer", "clusterIP": "10.0.0.1"}, "status": {"loadBalancer": {"ingress": [{"ip": "fd00::2"}]}}}),
        )
    };
    let none = json!({});
    for (objects, expected) in [
        (
            vec![
                ingress(json!([to("other", json!("o")), to("llama", json!("h"))]), json!({"ip": "1.1.1.1"})),
                balanced(),
            ],
            "h",
        ),
        (vec![ingress(json!([to("other", json!("o"))]), json!({"hostname": "lb", "ip": "1.1.1.1"}))], "lb"),
        (vec![ingress(json!([to("llama", Value::Null)]), json!({"ip": "1.1.1.1"}))], "1.1.1.1"),
        (vec![ingress(json!([]), none.clone()), route(ChildKind::HttpRoute, "r")], "r"),
        (vec![route(ChildKind::GrpcRoute, "g"), balanced()], "g"),
        (vec![balanced()], "[fd00::2]:8000"),
        (vec![], ""),
    ] {
        assert_eq!(outside(objects), expected);
    }
}

#[test]
fn a_route_that_a_gateway_does_not_accept_is_told_with_the_remedy() {
    let route = |accepted: &str, generation: i64| {
        json!({"status": {"parents": [{
            "parentRef": {"name": "g", "namespace": "gateways"},
            "conditions": [{"type": "Accepted", "status": accepted, "observedGeneration": generation,
                "reason": "HostnameConflict", "message": "an HTTPRoute has it"}],
        }]}})
    };
    let service = service(json!({"expose": gateway(json!({"grpcRoutesEnabled": true}))}));
    let told = |grpc: Value| {
        let outcome = outcome(vec![(ChildKind::HttpRoute, route("True", 1)), (ChildKind::GrpcRoute, grpc)]);
        let rendered = NimServices::render(&service, &subject(), &Refs::default(), &ClusterFacts::default());
        let report = NimServices::report(&service, &subject(), &Refs::default(), &rendered, &outcome);
        let conditions = report.status["conditions"].as_array().unwrap().clone();
        conditions.into_iter().find(|one| one["type"] == "RouteNotAccepted")
    };
    let found = told(route("False", 1)).unwrap();
    let message = found["message"].as_str().unwrap();
    for word in ["GRPCRoute llama", "Gateway gateways/g", "HostnameConflict", "httpRoutesEnabled"] {
        assert!(message.contains(word), "{word} is not in: {message}");
    }
    assert_eq!(told(route("True", 1)), None);
    assert_eq!(told(json!({})), None, "no controller has said anything");
}
