//! Every platform comes to Ready. Controllers of other products are played: the test writes what they report.

use e2e::cluster::gpu::H100;
use e2e::failure::Failure;
use e2e::objects;
use e2e::site::Site;
use serde_json::json;

use super::service::{NAMESPACE, apply, gone, ready, there};

#[tokio::test]
async fn every_platform_comes_to_ready() -> Result<(), Failure> {
    let site = Site::new()
        .gpus(H100, 8, 1)
        .with(&["LeaderWorkerSet", "InferenceService", "HTTPRoute", "InferencePool"])
        .start()
        .await?;
    standalone(&site).await?;
    over_nodes(&site).await?;
    kserve(&site).await
}

async fn standalone(site: &Site) -> Result<(), Failure> {
    let router = json!({
        "hostDomainName": "models.example.com",
        "gateway": {"name": "gate", "namespace": "gateways"},
        "eppConfig": {
            "containerSpec": {"name": "epp", "image": {"repository": "registry.example/epp", "tag": "v1"}},
            "config": {"plugins": [{"type": "queue-scorer"}], "schedulingProfiles": [
                {"name": "default", "plugins": [{"pluginRef": "queue-scorer"}]},
            ]},
        },
    });
    apply(site, "alone", json!({"expose": {"service": {"port": 8000}, "router": router}})).await?;
    let found = ready(site, "alone").await?;
    assert_eq!(found["status"]["state"], "Ready");
    assert_eq!(found["status"]["availableReplicas"], 1);
    let route = there(site, "HTTPRoute", "alone").await?;
    assert_eq!(route["spec"]["hostnames"][0], format!("alone.{NAMESPACE}.models.example.com"));
    let pool = there(site, "InferencePool", "alone").await?;
    assert_eq!(pool["spec"]["endpointPickerRef"]["name"], "alone-epp");
    there(site, "Deployment", "alone-epp").await?;
    objects::delete(site.cluster(), "NIMService", NAMESPACE, "alone").await?;
    for kind in ["HTTPRoute", "InferencePool", "Deployment", "Service", "NIMService"] {
        gone(site, kind, "alone").await?;
    }
    Ok(())
}

async fn over_nodes(site: &Site) -> Result<(), Failure> {
    let parallelism = json!({"parallelism": {"pipeline": 2, "tensor": 8}});
    apply(site, "wide", json!({"multiNode": parallelism, "replicas": 2})).await?;
    let set = there(site, "LeaderWorkerSet", "wide-lws").await?;
    assert_eq!(set["spec"]["leaderWorkerTemplate"]["size"], 2);
    let hosts = there(site, "ConfigMap", "wide-mpi-config").await?;
    assert_eq!(hosts["data"].as_object().map(serde_json::Map::len), Some(2), "a host file per group");
    let available = json!({
        "replicas": 2, "readyReplicas": 2, "updatedReplicas": 2,
        "conditions": [{
            "type": "Available", "status": "True", "reason": "AllGroupsReady", "message": "",
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        }],
    });
    objects::play_status(site.cluster(), "LeaderWorkerSet", NAMESPACE, "wide-lws", available).await?;
    let found = ready(site, "wide").await?;
    assert_eq!(found["status"]["availableReplicas"], 2, "groups are counted");

    apply(site, "wide", json!({"multiNode": parallelism, "replicas": 3})).await?;
    site.eventually("the third host file is there", super::service::SOON, || async {
        let hosts = objects::get(site.cluster(), "ConfigMap", NAMESPACE, "wide-mpi-config").await?;
        hosts["data"].get("hostfile-2").map(drop).ok_or_else(|| Failure::new(hosts["data"].to_string()))
    })
    .await
}

async fn kserve(site: &Site) -> Result<(), Failure> {
    super::service::kserve(site).await?;
    let outside = json!({"service": {"port": 8000}, "ingress": {"enabled": true, "spec": {}}});
    apply(site, "served", json!({"inferencePlatform": "kserve", "expose": outside})).await?;
    there(site, "InferenceService", "served").await?;
    let reported = json!({
        "url": "http://served.models.example.com",
        "address": {"url": "http://served-predictor.models.svc.cluster.local"},
        "deploymentMode": "Standard",
        "conditions": [{"type": "PredictorReady", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}],
    });
    objects::play_status(site.cluster(), "InferenceService", NAMESPACE, "served", reported).await?;
    ready(site, "served").await?;
    site.eventually("it says where it is reached", super::service::SOON, || async {
        let found = objects::get(site.cluster(), "NIMService", NAMESPACE, "served").await?;
        let model = &found["status"]["model"];
        let is_told = model["externalEndpoint"] == "http://served.models.example.com";
        if is_told { Ok(()) } else { Err(Failure::new(model.to_string())) }
    })
    .await
}
