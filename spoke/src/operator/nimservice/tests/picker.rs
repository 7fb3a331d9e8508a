//! The endpoint picker and its pool.

use super::exposed::{child_named, exposed, has, removed, stored};
use super::*;
use crate::operator::engine::decide::{Decision, Seen, decide};

pub(super) fn picked(config: Value) -> Rendered<Verdict> {
    let mut epp = json!({
        "containerSpec": {"name": "mine", "image": {"repository": "registry.k8s.io/epp", "tag": "v1.3.1"}},
    });
    for (key, value) in config.as_object().cloned().unwrap_or_default() {
        epp[key] = value;
    }
    exposed(json!({"router": {"eppConfig": epp}}))
}

pub(super) fn simple() -> Value {
    let plugins = json!([{"type": "kv-cache-utilization-scorer"}]);
    let profiles = json!([{"name": "default", "plugins": [{"pluginRef": "kv-cache-utilization-scorer"}]}]);
    json!({"config": {"plugins": plugins, "schedulingProfiles": profiles}})
}

#[test]
fn accept_endpoint_picker() {
    let rendered = picked(simple());
    let of_picker = |one: &&Child| one.name.contains("-epp") || one.kind == ChildKind::InferencePool;
    let bodies: Vec<_> = rendered.children.iter().filter(of_picker).map(|one| &one.body).collect();
    assert_eq!(bodies.len(), 7);
    insta::assert_json_snapshot!("endpoint_picker", bodies);
}

#[test]
fn a_picker_of_the_users_own_making_is_kept_as_it_is() {
    let probe = json!({"grpc": {"port": 7003}});
    let rendered = picked(json!({
        "configMapRef": {"name": "theirs", "key": "plugins.yaml"},
        "ports": [{"containerPort": 7002, "name": "a"}],
        "readinessProbe": probe, "livenessProbe": probe, "startupProbe": probe,
        "containerSpec": {
            "name": "e", "command": ["/epp"], "args": ["--x"],
            "env": [{"name": "A", "value": "a"}, {"name": "A", "value": "b"}],
            "image": {"repository": "r", "tag": "", "pullPolicy": "Always", "pullSecrets": ["theirs"]},
        },
    }));
    assert!(!has(&rendered, ChildKind::ConfigMap));
    let pod = &child_named(&rendered, ChildKind::Deployment, "llama-epp")["spec"]["template"]["spec"];
    assert_eq!(pod["volumes"], json!([{"name": "epp-config", "configMap": {"name": "theirs"}}]));
    assert_eq!(pod["imagePullSecrets"], json!([{"name": "ngc-secret"}, {"name": "theirs"}]));
    let mount = json!([{"name": "epp-config", "mountPath": "/config", "readOnly": true}]);
    let container = json!({
        "name": "epp", "image": "r:latest", "imagePullPolicy": "Always", "command": ["/epp"], "args": ["--x"],
        "env": [{"name": "A", "value": "b"}], "volumeMounts": mount,
        "ports": [{"containerPort": 7002, "name": "a", "protocol": "TCP"}],
        "readinessProbe": probe, "livenessProbe": probe, "startupProbe": probe,
    });
    assert_eq!(pod["containers"], json!([container]));
    let without_args = picked(json!({"configMapRef": {"name": "theirs", "key": "plugins.yaml"}}));
    let pod = &child_named(&without_args, ChildKind::Deployment, "llama-epp")["spec"]["template"]["spec"];
    assert_eq!(pod["containers"][0]["args"][9], "/config/plugins.yaml");
}

#[test]
fn b28_parameters_reach_the_picker_as_objects() {
    let plugins = json!([
        {"type": "a", "name": "n", "parameters": "eyJ0aHJlc2hvbGQiOiA1LCAiZGVlcCI6IHsieCI6IFsxXX19"},
        {"type": "b", "parameters": "not base64"},
    ]);
    let rendered = picked(
        json!({"config": {"apiVersion": "v1", "plugins": plugins, "schedulingProfiles": [], "more": {"k": 1}}}),
    );
    let map = child_named(&rendered, ChildKind::ConfigMap, "llama-epp-config");
    let read: Value = serde_saphyr::from_str(map["data"]["default-plugins.yaml"].as_str().unwrap()).unwrap();
    assert_eq!(
        read,
        json!({
            "apiVersion": "v1", "data": null, "more": {"k": 1}, "schedulingProfiles": [],
            "plugins": [
                {"name": "n", "type": "a", "parameters": {"threshold": 5, "deep": {"x": [1]}}},
                {"name": "", "type": "b", "parameters": "not base64"},
            ],
        })
    );
}

#[test]
fn b28_the_pool_refers_to_the_port_the_picker_listens_on() {
    for (ports, number) in [
        (json!([]), 9002),
        (json!([{"containerPort": 7002}]), 7002),
        (
            json!([{"containerPort": 7001, "name": "x"}, {"containerPort": 7002, "name": "grpc-ext-proc"}]),
            7002,
        ),
    ] {
        let mut config = simple();
        config["ports"] = ports;
        let rendered = picked(config);
        let pool = child_named(&rendered, ChildKind::InferencePool, "llama");
        assert_eq!(pool["spec"]["endpointPickerRef"]["port"]["number"], number);
        let service = child_named(&rendered, ChildKind::Service, "llama-epp");
        let served = service["spec"]["ports"].as_array().unwrap();
        assert!(served.iter().any(|port| port["port"] == number), "{served:?}");
    }
}

#[test]
fn b01_a_pool_that_changes_is_applied() {
    let before = stored(&picked(simple()), "u1");
    let mut patch = json!({"labels": {"team": "a"}});
    let epp = json!({"containerSpec": {"name": "e", "image": {"repository": "r", "tag": "t"}}, "config": simple()["config"]});
    patch["expose"] = json!({"service": {"port": 9000}, "router": {"eppConfig": epp}});
    let after = rendered(patch, None);
    let pool = after.children.iter().find(|one| one.kind == ChildKind::InferencePool).unwrap();
    assert_eq!(pool.body["spec"]["targetPorts"], json!([{"number": 9000}]));
    let (_, live) = before.iter().find(|(kind, _)| *kind == ChildKind::InferencePool).unwrap();
    let owner = subject().owner;
    assert_eq!(
        decide(pool, &pool.stamped(&owner), &owner, Seen { live: Some(live), ..Seen::default() }),
        Decision::Apply
    );
}

#[test]
fn b16_a_service_that_is_named_as_our_picker_keeps_its_objects() {
    let mut beside = subject();
    beside.owner = Owner { name: "llama-epp".into(), uid: "u2".into(), ..beside.owner };
    let theirs =
        NimServices::render(&service(json!({})), &beside, &Refs::default(), &ClusterFacts::default());
    assert_eq!(removed(&theirs, "u2", &rendered(json!({}), None)), []);
    // With a picker the names meet: the later one is told, and changes nothing.
    let mut live = stored(&theirs, "u2");
    for owner in live.iter_mut().flat_map(|(_, object)| object.metadata.owner_references.iter_mut().flatten())
    {
        owner.name = "llama-epp".into();
    }
    let owner = subject().owner;
    for one in picked(simple()).children.iter().filter(|one| one.name == "llama-epp") {
        let (_, live) = live.iter().find(|(kind, _)| *kind == one.kind).unwrap();
        let decision =
            decide(one, &one.stamped(&owner), &owner, Seen { live: Some(live), ..Seen::default() });
        assert!(matches!(decision, Decision::Conflict(_)), "{:?}", one.kind);
    }
}
