//! A cluster that NVIDIA's operator ran is taken over without a restart: its objects, as that operator leaves them
//! (`fixtures/take-over`, recorded), are put on a cluster under its field manager; then our operator starts.

use std::collections::BTreeMap;
use std::time::Duration;

use e2e::cluster::Cluster;
use e2e::cluster::gpu::H100;
use e2e::failure::Failure;
use e2e::objects;
use e2e::site::Site;
use kube::Api;
use kube::api::{DynamicObject, PatchParams, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use serde_json::{Value, json};

use crate::service::SOON;

/// Name of the NIMService and of its Deployment in every fixture.
const NAME: &str = "meta-llama-3-2-1b-instruct";
/// What controller-runtime programs call themselves when nobody gives them another name.
const THEIRS: &str = "manager";

const FIXTURES: [(&str, &str); 4] = [
    ("cache", include_str!("../../fixtures/take-over/cache.json")),
    ("claim", include_str!("../../fixtures/take-over/claim.json")),
    ("hugging-face", include_str!("../../fixtures/take-over/hugging-face.json")),
    ("ingress", include_str!("../../fixtures/take-over/ingress.json")),
];

#[tokio::test]
async fn no_pod_template_changes_when_a_cluster_is_taken_over() -> Result<(), Failure> {
    let site = Site::new().gpus(H100, 8, 1).prepare().await?;
    let cluster = site.cluster();
    let mut before = BTreeMap::new();
    for (namespace, text) in FIXTURES {
        cluster.kubectl(&["create", "namespace", namespace], None).await?;
        let objects: Vec<Value> = serde_json::from_str(&text.replace("take-over", namespace))?;
        leave(cluster, objects).await?;
        before.insert(namespace, rolled_out(&site, namespace).await?);
    }

    site.start_operator().await?;
    for (namespace, _) in FIXTURES {
        site.eventually(&format!("{namespace} is taken over"), SOON, || async {
            let found = objects::get(cluster, "NIMService", namespace, NAME).await?;
            objects::expect(&found, "Ready", "True")?;
            let deployment = objects::get(cluster, "Deployment", namespace, NAME).await?;
            let marked = &deployment["metadata"]["annotations"]["nimfleet.io/desired-hash"];
            if marked.is_string() { Ok(()) } else { Err(Failure::new("the Deployment is not yet ours")) }
        })
        .await?;
    }
    // Whatever would still be written is written by now.
    tokio::time::sleep(Duration::from_secs(3)).await;
    for (namespace, old) in &before {
        let new = objects::get(cluster, "Deployment", namespace, NAME).await?;
        assert_eq!(new["spec"]["template"], old["spec"]["template"], "{namespace}");
        assert_eq!(new["spec"], old["spec"], "{namespace}");
    }
    what_is_no_longer_wanted_goes(&site).await
}

/// The fields that the other operator wrote are ours to take away, too.
async fn what_is_no_longer_wanted_goes(site: &Site) -> Result<(), Failure> {
    let cluster = site.cluster();
    let change = json!({"spec": {"env": null, "authSecret": "other"}});
    objects::patch(cluster, "NIMService", "hugging-face", NAME, change).await?;
    site.eventually("the variable is gone", SOON, || async {
        let found = objects::get(cluster, "Deployment", "hugging-face", NAME).await?;
        let env = found["spec"]["template"]["spec"]["containers"][0]["env"].to_string();
        if env.contains("hf://") || env.contains("hf-secret") { Err(Failure::new(env)) } else { Ok(()) }
    })
    .await
}

/// Puts objects where they would be, each owned by what made it.
async fn leave(cluster: &Cluster, all: Vec<Value>) -> Result<(), Failure> {
    let mut uids: BTreeMap<(String, String), Value> = BTreeMap::new();
    for mut object in all {
        for owner in object["metadata"]["ownerReferences"].as_array_mut().into_iter().flatten() {
            let text = |field: &str| owner[field].as_str().unwrap_or_default().to_owned();
            owner["uid"] = uids.get(&(text("kind"), text("name"))).cloned().unwrap_or_default();
        }
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (kind, name) = (text(&object["kind"]), text(&object["metadata"]["name"]));
        let (version, namespace) = (text(&object["apiVersion"]), text(&object["metadata"]["namespace"]));
        let (group, version) = version.split_once('/').unwrap_or(("", &version));
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, &kind));
        let api: Api<DynamicObject> = Api::namespaced_with(cluster.client(), &namespace, &resource);
        let status = object["status"].take();
        let params = PostParams { field_manager: Some(THEIRS.to_owned()), ..PostParams::default() };
        let made = api.create(&params, &serde_json::from_value(object)?).await?;
        if status.is_object() {
            let patch = kube::api::Patch::Merge(json!({ "status": status }));
            let params = PatchParams { field_manager: Some(THEIRS.to_owned()), ..PatchParams::default() };
            api.patch_status(&name, &params, &patch).await?;
        }
        uids.insert((kind, name), json!(made.metadata.uid));
    }
    Ok(())
}

/// The Deployment once its pods run.
async fn rolled_out(site: &Site, namespace: &str) -> Result<Value, Failure> {
    site.eventually(&format!("{namespace} runs before the take-over"), SOON, || async {
        let found = objects::get(site.cluster(), "Deployment", namespace, NAME).await?;
        objects::expect(&found, "Available", "True")?;
        Ok(found)
    })
    .await
}
