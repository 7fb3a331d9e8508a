//! A product that is installed after the operator is used from then on, and one that goes holds up no deletion.

use e2e::cluster::gpu::H100;
use e2e::failure::Failure;
use e2e::site::Site;
use e2e::{foreign, objects};
use serde_json::json;

use super::service::{NAMESPACE, apply, gone, ready, says, there};

#[tokio::test]
async fn a_definition_that_comes_late_is_used() -> Result<(), Failure> {
    let site = Site::new().gpus(H100, 8, 1).start().await?;
    let metrics = json!({"enabled": true, "serviceMonitor": {"interval": "30s"}});
    apply(&site, "watched", json!({"metrics": metrics})).await?;
    let message = says(&site, "watched", "ServiceMonitorUnavailable").await?;
    assert!(message.contains("servicemonitors.monitoring.coreos.com"), "{message}");
    // What does not need it is there all the same.
    there(&site, "Deployment", "watched").await?;

    foreign::install(site.cluster(), &["ServiceMonitor"]).await?;
    ready(&site, "watched").await?;
    let old = there(&site, "ServiceMonitor", "watched").await?;

    // It is watched like any other: what is deleted by hand comes back.
    objects::delete(site.cluster(), "ServiceMonitor", NAMESPACE, "watched").await?;
    site.eventually("the ServiceMonitor is back", super::service::SOON, || async {
        let found = objects::get(site.cluster(), "ServiceMonitor", NAMESPACE, "watched").await?;
        if found["metadata"]["uid"] == old["metadata"]["uid"] {
            return Err(Failure::new("it is still the old one"));
        }
        Ok(())
    })
    .await?;

    objects::delete(site.cluster(), "CustomResourceDefinition", "", "servicemonitors.monitoring.coreos.com")
        .await?;
    objects::delete(site.cluster(), "NIMService", NAMESPACE, "watched").await?;
    gone(&site, "NIMService", "watched").await
}
