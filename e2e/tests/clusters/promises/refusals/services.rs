//! The rules of a NIMService, but for its devices.

use serde_json::{Value, json};

use super::{Kind, Row, with};

/// A spec that no rule is against.
pub(super) fn base() -> Value {
    json!({
        "image": {"repository": "nvcr.io/nim/meta/llama-3.2-1b-instruct", "tag": "1.12.0"},
        "authSecret": "ngc-api-secret",
        "storage": {"nimCache": {"name": "llama"}},
        "expose": {"service": {"port": 8000}},
    })
}

fn row(number: &'static str, named: &'static str, broken: &Value, mended: &Value) -> Row {
    Row {
        number,
        kind: Kind::Service,
        stored: None,
        broken: with(base(), broken),
        mended: with(base(), mended),
        named,
    }
}

fn change(number: &'static str, named: &'static str, stored: &Value, broken: &Value, mended: &Value) -> Row {
    let stored = with(base(), stored);
    let (broken, mended) = (with(stored.clone(), broken), with(stored.clone(), mended));
    Row { stored: Some(stored), broken, mended, ..row(number, named, &json!({}), &json!({})) }
}

/// A row of a service on KServe in serverless mode, which takes the same in its standard mode.
fn knative(number: &'static str, named: &'static str, mode: &str, asks: &Value) -> Row {
    let on = |mode: &str| {
        let kserve =
            json!({"inferencePlatform": "kserve", "annotations": {"serving.kserve.io/deploymentMode": mode}});
        with(kserve, asks)
    };
    row(number, named, &on(mode), &on("Standard"))
}

pub(super) fn rows() -> Vec<Row> {
    let domain = json!({"expose": {"router": {"hostDomainName": "example.com"}}});
    let ingress = json!({"expose": {"router": {"ingress": {"ingressClass": "nginx"}}}});
    let gateway = json!({"expose": {"router": {"gateway": {"name": "main", "namespace": "edge"}}}});
    let legacy = json!({"expose": {"ingress": {"enabled": true, "spec": {"ingressClassName": "nginx"}}}});
    let scaled = json!({"scale": {"enabled": true, "hpa": {"maxReplicas": 3}}});
    let measured = json!({"metrics": {"enabled": true, "serviceMonitor": {"interval": "30s"}}});
    let multi_node = |nodes: u32| json!({"multiNode": {"parallelism": {"pipeline": nodes, "tensor": 8}}});
    let pvc = |pvc: Value| json!({"storage": {"nimCache": null, "pvc": pvc}});
    vec![
        row("S1", "spec.image.repository: ", &json!({"image": {"repository": ""}}), &json!({})),
        row("S2", "spec.image.tag: ", &json!({"image": {"tag": ""}}), &json!({})),
        row(
            "S4",
            "spec.storage.sharedMemorySizeLimit: Invalid value: \"0\"",
            &json!({"storage": {"sharedMemorySizeLimit": "0"}}),
            &json!({"storage": {"sharedMemorySizeLimit": "16Gi"}}),
        ),
        row(
            "S5",
            "spec.storage: ",
            // As NVIDIA's operator stores what is not set.
            &json!({"storage": {"nimCache": {"name": null}, "pvc": {}, "hostPath": ""}}),
            &json!({"storage": {"nimCache": null, "emptyDir": {}}}),
        ),
        row(
            "S6",
            "spec.storage: Invalid value: 2",
            &json!({"storage": {"hostPath": "/models"}}),
            &json!({"storage": {"nimCache": null, "pvc": {}, "hostPath": "/models"}}),
        ),
        row(
            "S7",
            "spec.storage.nimCache.name: ",
            &json!({"storage": {"nimCache": {"name": null, "profile": "abc"}}}),
            &json!({"storage": {"nimCache": {"profile": "abc"}}}),
        ),
        row(
            "S8",
            "spec.storage.pvc.name: ",
            &pvc(json!({"size": "50Gi"})),
            &pvc(json!({"size": "50Gi", "create": true})),
        ),
        row(
            "S9",
            "spec.storage.pvc.volumeAccessMode: Invalid value: \"Sometimes\"",
            &pvc(json!({"name": "models", "volumeAccessMode": "Sometimes"})),
            &pvc(json!({"name": "models", "volumeAccessMode": "ReadWriteOncePod"})),
        ),
        row("S10", "spec.expose.router.hostDomainName: ", &gateway, &with(gateway.clone(), &domain)),
        row(
            "S11",
            "spec.expose.router: ",
            &with(with(gateway.clone(), &ingress), &domain),
            &with(ingress.clone(), &domain),
        ),
        row(
            "S12",
            "spec.metrics.serviceMonitor: ",
            &json!({"metrics": {"enabled": true, "serviceMonitor": {}}}),
            &measured,
        ),
        row("S13", "spec.scale.hpa: ", &json!({"scale": {"enabled": true}}), &scaled),
        row("S14", "spec.replicas", &with(scaled.clone(), &json!({"replicas": 2})), &scaled),
        row(
            "S15",
            "spec.resources.claims: ",
            &json!({"resources": {"claims": [{"name": "gpu"}]}}),
            &json!({"resources": {"limits": {"nvidia.com/gpu": "1"}}}),
        ),
        knative("S34", "spec.scale.enabled: ", "Knative", &scaled),
        knative("S35", "spec.expose.ingress.enabled: ", "Serverless", &legacy),
        knative("S36", "spec.expose.router.ingress: ", "Knative", &with(ingress.clone(), &domain)),
        knative("S37", "spec.expose.router.gateway: ", "Serverless", &with(gateway.clone(), &domain)),
        knative("S38", "spec.metrics.enabled: ", "Knative", &measured),
        row(
            "S39",
            "spec.multiNode: ",
            &with(multi_node(2), &json!({"inferencePlatform": "kserve"})),
            &multi_node(2),
        ),
        row("S41", "expose.ingress", &with(with(legacy.clone(), &ingress), &domain), &legacy),
        row(
            "S43",
            "spec.expose.service.grpcPort: ",
            &with(
                with(gateway.clone(), &domain),
                &json!({"expose": {"router": {"gateway": {"grpcRoutesEnabled": true}}}}),
            ),
            &with(
                with(gateway.clone(), &domain),
                &json!({"expose": {"service": {"grpcPort": 50051}, "router": {"gateway": {"grpcRoutesEnabled": true}}}}),
            ),
        ),
    ]
}

/// What may not change.
pub(super) fn changes() -> Vec<Row> {
    let multi_node = |nodes: u32| json!({"multiNode": {"parallelism": {"pipeline": nodes, "tensor": 8}}});
    let pvc = json!({"storage": {"nimCache": null, "pvc": {"create": true, "size": "50Gi", "subPath": ""}}});
    vec![
        change("S44", "spec.multiNode: ", &multi_node(2), &multi_node(3), &json!({"replicas": 2})),
        change(
            "S45",
            "spec.storage.pvc: ",
            &pvc,
            &json!({"storage": {"pvc": {"size": "60Gi"}}}),
            &json!({"replicas": 2, "storage": {"pvc": {"annotations": {}, "subPath": null, "name": ""}}}),
        ),
        change(
            "S46",
            "spec.draResources is immutable",
            &json!({"draResources": [{"resourceClaimName": "one"}]}),
            &json!({"draResources": [{"resourceClaimName": "other"}]}),
            &json!({"replicas": 1}),
        ),
    ]
}

/// What is taken with a warning.
pub(super) fn warnings() -> Vec<Row> {
    let ingress = json!({"expose": {"router": {"hostDomainName": "example.com", "ingress": {"ingressClass": "nginx"}}}});
    let balanced = with(ingress.clone(), &json!({"expose": {"service": {"type": "LoadBalancer"}}}));
    vec![
        row("S3", "spec.authSecret: ", &json!({"authSecret": null}), &json!({})),
        row(
            "S40",
            "spec.expose.ingress.enabled: ",
            &json!({"expose": {"ingress": {"enabled": true}}}),
            &ingress,
        ),
        row("S42", "spec.expose: ", &balanced, &ingress),
        row(
            "A1",
            "spec.storage.pvc.size: Invalid value: \"50GB\"",
            &json!({"storage": {"nimCache": null, "pvc": {"create": true, "size": "50GB"}}}),
            &json!({"storage": {"nimCache": null, "pvc": {"create": true, "size": "50G"}}}),
        ),
    ]
}
