//! Pods are replaced when their user changes something, and never because of the operator or its cluster: what is rendered
//! otherwise waits for the user's next change.

use e2e::cluster::gpu::H100;
use e2e::failure::Failure;
use e2e::objects;
use e2e::site::Site;
use serde_json::{Value, json};

use super::service::{NAMESPACE, SOON, apply, kserve, ready, there};

/// Every pod of this platform gets a seccomp profile, which is a difference that no user asked for.
const TANZU: &str = "node.vmware.com/tkg=yes";
const OVER_NODES: &str = "wide-lws";

#[tokio::test]
async fn a_fact_of_the_cluster_replaces_no_pod_until_the_user_changes_it() -> Result<(), Failure> {
    let site = Site::new().gpus(H100, 8, 2).with(&["LeaderWorkerSet", "InferenceService"]).start().await?;
    let cluster = site.cluster();
    kserve(&site).await?;
    let groups = json!({"multiNode": {"parallelism": {"pipeline": 2, "tensor": 8}}});
    let predictor = json!({"inferencePlatform": "kserve"});
    apply(&site, "alone", json!({})).await?;
    apply(&site, "wide", groups.clone()).await?;
    apply(&site, "served", predictor.clone()).await?;
    there(&site, "LeaderWorkerSet", OVER_NODES).await?;
    there(&site, "InferenceService", "served").await?;
    let available = json!([{"type": "Available", "status": "True", "reason": "AllGroupsReady", "message": "",
        "lastTransitionTime": "2026-01-01T00:00:00Z"}]);
    let status = json!({"replicas": 1, "readyReplicas": 1, "updatedReplicas": 1, "conditions": available});
    objects::play_status(cluster, "LeaderWorkerSet", NAMESPACE, OVER_NODES, status).await?;
    let status = json!({"deploymentMode": "Standard", "conditions": [{"type": "PredictorReady", "status": "True",
        "lastTransitionTime": "2026-01-01T00:00:00Z"}]});
    objects::play_status(cluster, "InferenceService", NAMESPACE, "served", status).await?;
    for name in ["alone", "wide", "served"] {
        ready(&site, name).await?;
    }
    let before = templates(&site).await?;

    let nodes = objects::list(cluster, "Node", "").await?;
    for node in nodes.iter().filter_map(|node| node["metadata"]["name"].as_str()) {
        cluster.kubectl(&["label", "node", node, TANZU], None).await?;
    }
    // A service that is made now shows that the operator has seen it.
    site.eventually("new pods are rendered for the platform", SOON, || async {
        apply(&site, "probe", json!({})).await?;
        let found = objects::get(cluster, "Deployment", NAMESPACE, "probe").await?;
        if has_profile(&found["spec"]["template"]) {
            return Ok(());
        }
        objects::delete(cluster, "NIMService", NAMESPACE, "probe").await?;
        Err(Failure::new("the platform is not known yet"))
    })
    .await?;
    // More replicas do not let it out: nobody changed what a pod is.
    let scaled = |more: &Value| {
        let mut more = more.clone();
        more["replicas"] = json!(2);
        more
    };
    apply(&site, "alone", scaled(&json!({}))).await?;
    apply(&site, "wide", scaled(&groups)).await?;
    apply(&site, "served", scaled(&predictor)).await?;
    site.eventually("all are scaled", SOON, || async {
        let count = |kind: &'static str, name: &'static str, at: &'static str| {
            let site = &site;
            async move {
                let found = objects::get(site.cluster(), kind, NAMESPACE, name).await?;
                Ok::<_, Failure>(found.pointer(at).cloned().unwrap_or_default())
            }
        };
        let counts = [
            count("Deployment", "alone", "/spec/replicas").await?,
            count("LeaderWorkerSet", OVER_NODES, "/spec/replicas").await?,
            count("InferenceService", "served", "/spec/predictor/minReplicas").await?,
        ];
        if counts.iter().all(|count| *count == 2) { Ok(()) } else { Err(Failure::new(format!("{counts:?}"))) }
    })
    .await?;
    assert_eq!(templates(&site).await?, before, "what runs goes on as it is");
    site.operator().kill();
    site.start_operator().await?;
    let mut drifted =
        json!({"spec": {"template": {"metadata": {"annotations": {"openshift.io/required-scc": "other"}}}}});
    objects::patch(cluster, "Deployment", NAMESPACE, "alone", drifted.take()).await?;
    site.eventually("what was changed by hand is put back", SOON, || async {
        if templates(&site).await? == before { Ok(()) } else { Err(Failure::new("not yet")) }
    })
    .await?;

    let said = json!({"env": [{"name": "MINE", "value": "1"}], "replicas": 2});
    apply(&site, "alone", said).await?;
    site.eventually("the user's change brings the rest", SOON, || async {
        let found = objects::get(cluster, "Deployment", NAMESPACE, "alone").await?;
        let template = &found["spec"]["template"];
        if has_profile(template) && template.to_string().contains("MINE") {
            Ok(())
        } else {
            Err(Failure::new(template.to_string()))
        }
    })
    .await
}

fn has_profile(template: &Value) -> bool {
    template.to_string().contains("seccompProfile")
}

/// What makes pods, of a Deployment, a LeaderWorkerSet and an InferenceService.
async fn templates(site: &Site) -> Result<[Value; 3], Failure> {
    let of = |kind: &'static str, name: &'static str| objects::get(site.cluster(), kind, NAMESPACE, name);
    let mut served = of("InferenceService", "served").await?;
    for field in ["minReplicas", "maxReplicas"] {
        served["spec"]["predictor"][field] = Value::Null;
    }
    let served =
        json!([served["metadata"]["labels"], served["metadata"]["annotations"], served["spec"]["predictor"]]);
    Ok([
        of("Deployment", "alone").await?["spec"]["template"].clone(),
        of("LeaderWorkerSet", OVER_NODES).await?["spec"]["leaderWorkerTemplate"].clone(),
        served,
    ])
}
