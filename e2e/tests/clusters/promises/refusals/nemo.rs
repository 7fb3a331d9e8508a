//! What the definitions of NeMo kinds refuse, in upstream's words, and what they take although upstream's rules trip
//! over it.

use e2e::cluster::{Cluster, Ground, Shape};
use e2e::failure::Failure;
use kube::Api;
use kube::api::{DynamicObject, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use serde_json::{Value, json};

use super::{NAMESPACE, manifests, with};

/// What the API server says to a NemoGuardrail with this spec, with nothing stored.
async fn said(cluster: &Cluster, spec: &Value) -> Result<Option<String>, Failure> {
    let resource =
        ApiResource::from_gvk(&GroupVersionKind::gvk("apps.nvidia.com", "v1alpha1", "NemoGuardrail"));
    let api: Api<DynamicObject> = Api::namespaced_with(cluster.client(), NAMESPACE, &resource);
    let object = json!({
        "apiVersion": "apps.nvidia.com/v1alpha1", "kind": "NemoGuardrail",
        "metadata": {"name": "rails", "namespace": NAMESPACE}, "spec": spec,
    });
    let dry = PostParams { dry_run: true, ..PostParams::default() };
    match api.create(&dry, &serde_json::from_value(object)?).await {
        Ok(_) => Ok(None),
        Err(kube::Error::Api(status)) if status.code == 422 => Ok(Some(status.message)),
        Err(error) => Err(error.into()),
    }
}

#[tokio::test]
async fn nemo_accept_schema_verdicts_have_upstreams_words() -> Result<(), Failure> {
    let ground = Ground::prepare().await?;
    let cluster = Cluster::start(&ground, "one", &Shape::new()).await?;
    let (crds, _) = manifests()?;
    cluster.kubectl(&["apply", "--server-side", "-f", "-"], Some(&crds)).await?;
    cluster.kubectl(&["wait", "--for=condition=Established", "--timeout=60s", "crd", "--all"], None).await?;
    let image = json!({"image": {"repository": "guardrails", "tag": "25.10"}});
    let older = json!({"enabled": true, "spec": {"ingressClassName": "nginx"}});
    let by_ingress = json!({"hostDomainName": "example.com", "ingress": {"ingressClass": "nginx"}});
    let gateway = json!({"name": "gate", "namespace": "gateways"});

    for (change, words) in [
        (
            json!({"expose": {"ingress": older, "router": by_ingress}}),
            ".spec.expose.ingress is deprecated, and will be removed",
        ),
        (
            json!({"replicas": 2, "scale": {"enabled": true, "hpa": {"maxReplicas": 3}}}),
            "spec.replicas cannot be set when spec.scale.enabled is true",
        ),
        (
            json!({"expose": {"service": {"grpcPort": 8001}}}),
            "unsupported field: spec.expose.service.grpcPort",
        ),
        (
            json!({"expose": {"service": {"metricsPort": 8002}}}),
            "unsupported field: spec.expose.service.metricsPort",
        ),
        (json!({"expose": {"ingress": {"enabled": true}}}), "spec cannot be nil when ingress is enabled"),
        (
            json!({"expose": {"router": {"gateway": with(gateway.clone(), &json!({"grpcRoutesEnabled": true}))}}}),
            "unsupported field: spec.expose.router.gateway.grpcRoutesEnabled",
        ),
        (
            json!({"expose": {"router": with(by_ingress.clone(), &json!({"gateway": gateway}))}}),
            "ingress and gateway cannot be specified together",
        ),
        (
            json!({"configStore": {"configMap": {"name": "rails"}, "pvc": {"create": true}}}),
            "Cannot set both ConfigMap and PVC in ConfigStore",
        ),
        (json!({"replicas": 0}), "should be greater than or equal to 1"),
        (json!({"image": null}), "spec.image: Required value"),
        (json!({"nimEndpoint": {"baseURL": "http://llm:8000"}}), "spec.nimEndpoint.baseURL"),
    ] {
        let answer = said(&cluster, &with(image.clone(), &change)).await?;
        assert!(answer.as_ref().is_some_and(|answer| answer.contains(words)), "{change}: {answer:?}");
    }
    // The first three are refused by upstream: "no such key".
    for change in [
        json!({}),
        json!({"expose": {}}),
        json!({"expose": {"router": by_ingress}}),
        json!({"expose": {"service": {}}}),
        json!({"expose": {"ingress": older, "router": {"hostDomainName": "example.com", "gateway": gateway}}}),
        json!({"scale": {"enabled": true}}),
    ] {
        assert_eq!(said(&cluster, &with(image.clone(), &change)).await?, None, "{change}");
    }
    Ok(())
}
