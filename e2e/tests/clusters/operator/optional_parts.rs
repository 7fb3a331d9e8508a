//! What a NIMService no longer asks for goes, and what merely has its name stays.

use e2e::cluster::gpu::H100;
use e2e::failure::Failure;
use e2e::objects;
use e2e::site::Site;
use serde_json::json;

use super::service::{NAMESPACE, apply, gone, ready, there};

#[tokio::test]
async fn each_optional_part_goes_when_it_is_switched_off() -> Result<(), Failure> {
    let kinds = ["HTTPRoute", "GRPCRoute", "InferencePool", "ServiceMonitor"];
    let site = Site::new().gpus(H100, 8, 1).with(&kinds).start().await?;
    let port = json!({"port": 8000, "grpcPort": 8001});
    let gateway = json!({"name": "gate", "namespace": "gateways", "grpcRoutesEnabled": true});
    let picker = json!({
        "containerSpec": {"name": "epp", "image": {"repository": "registry.example/epp", "tag": "v1"}},
        "config": {"plugins": [{"type": "queue-scorer"}], "schedulingProfiles": []},
    });
    let scale = json!({"enabled": true, "hpa": {"minReplicas": 1, "maxReplicas": 3}});
    let metrics = json!({"enabled": true, "serviceMonitor": {"interval": "30s"}});
    let router = json!({"hostDomainName": "example.com", "gateway": gateway, "eppConfig": picker});
    let everything = json!({
        "expose": {"service": port, "router": router}, "scale": scale, "metrics": metrics, "replicas": null,
    });
    apply(&site, "full", everything).await?;
    ready(&site, "full").await?;
    let parts = [
        ("HTTPRoute", "full"),
        ("GRPCRoute", "full"),
        ("InferencePool", "full"),
        ("HorizontalPodAutoscaler", "full"),
        ("ServiceMonitor", "full"),
        ("Deployment", "full-epp"),
        ("Service", "full-epp"),
        ("ConfigMap", "full-epp-config"),
        ("Role", "full-epp"),
    ];
    for (kind, name) in parts {
        there(&site, kind, name).await?;
    }
    autoscaler_keeps_its_replicas(&site).await?;

    apply(&site, "full", json!({"expose": {"service": port}, "replicas": 1})).await?;
    for (kind, name) in parts {
        gone(&site, kind, name).await?;
    }
    site.eventually("replicas are the spec's again", super::service::SOON, || async {
        let found = ready(&site, "full").await?;
        match &found["status"]["availableReplicas"] {
            available if *available == 1 => Ok(()),
            available => Err(Failure::new(format!("{available} replicas are available"))),
        }
    })
    .await?;

    let ingress = json!({"hostDomainName": "example.com", "ingress": {"ingressClass": "nginx"}});
    apply(&site, "full", json!({"expose": {"service": port, "router": ingress}})).await?;
    there(&site, "Ingress", "full").await?;
    apply(&site, "full", json!({"expose": {"service": port}})).await?;
    gone(&site, "Ingress", "full").await
}

/// What an autoscaler set stays when the NIMService is rendered anew.
async fn autoscaler_keeps_its_replicas(site: &Site) -> Result<(), Failure> {
    let cluster = site.cluster();
    cluster.kubectl(&["scale", "deployment", "full", "-n", NAMESPACE, "--replicas=3"], None).await?;
    let change = json!({"spec": {"image": {"tag": "1.13.0"}}});
    objects::patch(cluster, "NIMService", NAMESPACE, "full", change).await?;
    site.eventually("the new image is rendered", super::service::SOON, || async {
        let found = objects::get(cluster, "Deployment", NAMESPACE, "full").await?;
        let image = &found["spec"]["template"]["spec"]["containers"][0]["image"];
        if image.as_str().is_some_and(|image| image.ends_with(":1.13.0")) {
            assert_eq!(found["spec"]["replicas"], 3);
            return Ok(());
        }
        Err(Failure::new(image.to_string()))
    })
    .await
}

#[tokio::test]
async fn foreign_objects_of_the_same_name_stay() -> Result<(), Failure> {
    let site = Site::new().gpus(H100, 8, 1).start().await?;
    let theirs = json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
        "metadata": {"name": "shared", "namespace": NAMESPACE},
        "spec": {"defaultBackend": {"service": {"name": "other", "port": {"number": 80}}}},
    });
    objects::apply(site.cluster(), &theirs.to_string()).await?;
    // The names of the second are those that the first would have for an endpoint picker.
    apply(&site, "shared", json!({})).await?;
    apply(&site, "shared-epp", json!({})).await?;
    ready(&site, "shared").await?;
    ready(&site, "shared-epp").await?;
    apply(&site, "shared", json!({"replicas": 2})).await?;
    ready(&site, "shared").await?;
    let kept = there(&site, "Ingress", "shared").await?;
    assert_eq!(kept["spec"]["defaultBackend"]["service"]["name"], "other");
    ready(&site, "shared-epp").await?;

    // And where one wants a name that is taken, it says whose it is and touches nothing.
    let router = json!({"hostDomainName": "example.com", "ingress": {"ingressClass": "nginx"}});
    apply(&site, "shared", json!({"expose": {"service": {"port": 8000}, "router": router}})).await?;
    let message = super::service::says(&site, "shared", "IngressConflict").await?;
    assert!(message.contains("shared") && message.contains("not ours"), "{message}");
    let kept = there(&site, "Ingress", "shared").await?;
    assert_eq!(kept["spec"]["defaultBackend"]["service"]["name"], "other");
    Ok(())
}
