//! A quota refuses what exceeds it, with numbers, and never removes what runs.

use std::time::Duration;

use e2e::cluster::gpu::H100;
use e2e::failure::Failure;
use e2e::fleet::Fleet;
use e2e::{objects, sample};
use serde_json::json;

const SOON: Duration = Duration::from_mins(1);

fn quota(gpus: u32) -> String {
    json!({
        "apiVersion": "nimfleet.io/v1alpha1", "kind": "GPUQuota",
        "metadata": {"name": "team", "namespace": sample::NAMESPACE},
        "spec": {"limits": [{"product": "H100", "gpus": gpus}]},
    })
    .to_string()
}

/// Waits until the quota says that so many of its GPUs are used, and whether that is too many.
async fn used(fleet: &Fleet, summary: &str, exceeded: &str) -> Result<(), Failure> {
    fleet
        .eventually(&format!("the quota says {summary}"), SOON, || async {
            let quota = objects::get(fleet.hub().cluster(), "GPUQuota", sample::NAMESPACE, "team").await?;
            objects::expect(&quota, "Enforced", "True")?;
            objects::expect(&quota, "Exceeded", exceeded)?;
            match quota["status"]["summary"].as_str() {
                Some(is) if is == summary => Ok(()),
                other => Err(Failure::new(format!("{other:?}"))),
            }
        })
        .await
}

#[tokio::test]
async fn a_quota_refuses_with_numbers_gives_way_and_removes_nothing() -> Result<(), Failure> {
    let fleet = Fleet::new().cluster("east").gpus(H100, 8, 1).start().await?;
    let hub = fleet.hub().cluster();
    sample::place(&fleet, sample::NAME, &json!({})).await?;
    sample::says(&fleet, sample::NAME, "Scheduled", "Placed").await?;
    objects::apply(hub, &quota(2)).await?;
    used(&fleet, "H100: 1/2", "False").await?;

    // Two replicas are one more than is left, whatever is free.
    objects::apply(hub, &sample::named("late").replace("replicas: 1", "replicas: 2")).await?;
    objects::apply(hub, &sample::placement("late", &json!({}))).await?;
    let message = sample::says(&fleet, "late", "Scheduled", "QuotaExceeded").await?;
    let numbers = "needs 2 GPUs (H100), 1 of 2 left in GPUQuota team";
    assert!(message.contains(&format!("refused: 1 QuotaExceeded (east: {numbers}")), "{message}");
    let refusals = sample::placed(&fleet, "late").await?["status"]["refusals"].to_string();
    assert!(refusals.contains(numbers), "{refusals}");
    objects::absent(fleet.cluster("east")?.cluster(), "NIMService", sample::NAMESPACE, "late").await?;

    // More is given: it comes by itself.
    objects::apply(hub, &quota(3)).await?;
    sample::says(&fleet, "late", "Scheduled", "Placed").await?;
    used(&fleet, "H100: 3/3", "False").await?;

    // Less than is taken: nothing moves, and it is said.
    objects::apply(hub, &quota(0)).await?;
    used(&fleet, "H100: 3/0", "True").await?;
    for name in [sample::NAME, "late"] {
        assert_eq!(sample::clusters_of(&sample::placed(&fleet, name).await?), ["east"]);
    }
    Ok(())
}
