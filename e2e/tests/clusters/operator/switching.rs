//! A NIMService that changes its platform leaves nothing of the old one behind.

use e2e::cluster::gpu::H100;
use e2e::failure::Failure;
use e2e::objects;
use e2e::site::Site;
use serde_json::json;

use super::service::{NAMESPACE, SOON, apply, gone, kserve, ready, there};

#[tokio::test]
async fn standalone_to_kserve_and_back_leaves_nothing() -> Result<(), Failure> {
    let site = Site::new().gpus(H100, 8, 1).with(&["InferenceService"]).start().await?;
    kserve(&site).await?;
    apply(&site, "moving", json!({})).await?;
    ready(&site, "moving").await?;

    apply(&site, "moving", json!({"inferencePlatform": "kserve"})).await?;
    there(&site, "InferenceService", "moving").await?;
    gone(&site, "Deployment", "moving").await?;
    gone(&site, "Service", "moving").await?;

    apply(&site, "moving", json!({"inferencePlatform": "standalone"})).await?;
    ready(&site, "moving").await?;
    gone(&site, "InferenceService", "moving").await?;
    for kind in ["Deployment", "Service", "ServiceAccount", "Role", "RoleBinding"] {
        site.eventually(&format!("one {kind} is left"), SOON, || async {
            let found = objects::list(site.cluster(), kind, NAMESPACE).await?;
            let names = found.iter().filter_map(|one| one["metadata"]["name"].as_str());
            let ours: Vec<&str> = names.filter(|name| *name != "default").collect();
            if ours == ["moving"] { Ok(()) } else { Err(Failure::new(format!("{ours:?}"))) }
        })
        .await?;
    }
    Ok(())
}
