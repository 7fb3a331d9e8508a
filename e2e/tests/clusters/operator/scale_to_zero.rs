//! A service that an autoscaler may stop begins stopped, says so, and is scaled by nobody else.

use e2e::cluster::gpu::H100;
use e2e::failure::Failure;
use e2e::objects;
use e2e::site::Site;
use serde_json::{Value, json};

use super::service::{NAMESPACE, SOON, apply, ready, service, there};

/// An autoscaler that asks a queue how many replicas there shall be.
fn scale(least: i32, metrics: &Value) -> Value {
    let hpa = json!({"minReplicas": least, "maxReplicas": 4, "metrics": metrics});
    json!({"replicas": null, "scale": {"enabled": true, "hpa": hpa}})
}

fn queue() -> Value {
    json!({"type": "External", "external": {"metric": {"name": "queue_depth"}, "target": {"type": "AverageValue", "averageValue": "5"}}})
}

fn processor() -> Value {
    json!({"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}})
}

/// What the API server says of a service that it refuses.
async fn refused(site: &Site, more: Value) -> Result<String, Failure> {
    match objects::apply(site.cluster(), &service("refused", more).to_string()).await {
        Ok(()) => Err(Failure::new("it was taken")),
        Err(refusal) => Ok(refusal.to_string()),
    }
}

/// Scales the Deployment, as an autoscaler does.
async fn scaled(site: &Site, replicas: i32) -> Result<(), Failure> {
    let replicas = format!("--replicas={replicas}");
    site.cluster().kubectl(&["-n", NAMESPACE, "scale", "deployment", "idle", &replicas], None).await?;
    Ok(())
}

async fn until_scaled_to_zero(site: &Site, expected: &str) -> Result<Value, Failure> {
    site.eventually(&format!("ScaledToZero is {expected}"), SOON, || async {
        let found = objects::get(site.cluster(), "NIMService", NAMESPACE, "idle").await?;
        objects::expect(&found, "ScaledToZero", expected)?;
        Ok(found)
    })
    .await
}

#[tokio::test]
async fn a_service_that_its_autoscaler_may_stop_begins_stopped_and_says_so() -> Result<(), Failure> {
    let site = Site::new().gpus(H100, 8, 1).gate("HPAScaleToZero").start().await?;

    // While nothing runs only a metric of something else tells of load; and five of them are enough.
    let refusal = refused(&site, scale(0, &json!([processor()]))).await?;
    assert!(
        refusal.contains("minReplicas 0 needs at least one metric of type External or Object"),
        "{refusal}"
    );
    let mut without = scale(0, &json!([]));
    without["scale"]["hpa"] = json!({"minReplicas": 0, "maxReplicas": 4});
    let refusal = refused(&site, without).await?;
    assert!(refusal.contains("minReplicas 0 needs"), "{refusal}");
    let refusal = refused(&site, scale(1, &Value::from(vec![queue(); 6]))).await?;
    assert!(refusal.contains("must have at most 5 items"), "{refusal}");

    apply(&site, "idle", scale(0, &json!([processor(), queue()]))).await?;
    let stopped = until_scaled_to_zero(&site, "True").await?;
    assert_eq!(stopped["status"]["state"], "NotReady");
    let autoscaler = there(&site, "HorizontalPodAutoscaler", "idle").await?;
    assert_eq!(autoscaler["spec"]["minReplicas"], 0);
    let deployment = there(&site, "Deployment", "idle").await?;
    assert_eq!(deployment["spec"]["replicas"], 0, "it begins with nothing");

    scaled(&site, 2).await?;
    until_scaled_to_zero(&site, "False").await?;
    // It may be Ready with the first replica.
    site.eventually("two replicas serve", SOON, || async {
        let found = ready(&site, "idle").await?;
        let available = &found["status"]["availableReplicas"];
        if *available == 2 { Ok(()) } else { Err(Failure::new(found["status"].to_string())) }
    })
    .await?;
    scaled(&site, 0).await?;
    until_scaled_to_zero(&site, "True").await?;

    // One that may not be stopped says nothing of it.
    apply(&site, "idle", scale(1, &json!([queue()]))).await?;
    scaled(&site, 1).await?;
    let found = ready(&site, "idle").await?;
    assert_eq!(objects::condition(&found, "ScaledToZero"), None, "{}", found["status"]);
    Ok(())
}
