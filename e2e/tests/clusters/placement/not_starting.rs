//! What cannot start in a cluster says why on the hub, and moves after the placement's patience, whatever keeps it.

use e2e::cluster::gpu::H100;
use e2e::failure::Failure;
use e2e::fleet::Fleet;
use e2e::{objects, sample};
use serde_json::{Value, json};

use super::shares::{SOON, decided_anew, says_of};

/// A quota in the namespace of the sample in east, in force.
async fn quota(fleet: &Fleet, hard: Value) -> Result<(), Failure> {
    let quota = json!({
        "apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "tight", "namespace": sample::NAMESPACE},
        "spec": {"hard": hard},
    });
    let east = fleet.cluster("east")?.cluster();
    objects::apply(east, &quota.to_string()).await?;
    fleet
        .eventually("the quota is in force", SOON, || async {
            objects::expect_in_force(&objects::get(east, "ResourceQuota", sample::NAMESPACE, "tight").await?)
        })
        .await
}

/// Waits until an object of the hub says words that hold these, in a condition that is not True.
async fn says(fleet: &Fleet, kind: &str, name: &str, condition: &str, words: &[&str]) -> Result<(), Failure> {
    fleet
        .eventually(&format!("{kind} {name} says {words:?}"), SOON, || async {
            let found = objects::get(fleet.hub().cluster(), kind, sample::NAMESPACE, name).await?;
            match objects::condition(&found, condition) {
                Some((status, _, message))
                    if status == "False" && words.iter().all(|word| message.contains(word)) =>
                {
                    Ok(())
                }
                other => Err(Failure::new(format!("{other:?}"))),
            }
        })
        .await
}

async fn impatient(fleet: &Fleet, name: &str) -> Result<(), Failure> {
    let change = json!({"spec": {"failover": {"unschedulableAfter": "1s"}}});
    objects::patch(fleet.hub().cluster(), "NIMPlacement", sample::NAMESPACE, name, change).await
}

#[tokio::test]
async fn what_cannot_start_says_why_on_the_hub_and_moves() -> Result<(), Failure> {
    let fleet =
        Fleet::new().cluster("east").gpus(H100, 8, 2).cluster("west").gpus(H100, 8, 1).start().await?;
    pods_that_a_quota_refuses(&fleet).await?;
    a_cache_whose_pods_are_refused(&fleet).await
}

async fn pods_that_a_quota_refuses(fleet: &Fleet) -> Result<(), Failure> {
    let hub = fleet.hub().cluster();
    quota(fleet, json!({"requests.nvidia.com/gpu": "0"})).await?;
    let patient = json!({"clusterAffinity": {"clusterNames": ["east"]}});
    sample::place(fleet, sample::NAME, &patient).await?;
    let message = says_of(fleet, sample::NAME, "east", "PodsNotCreated").await?;
    assert!(message.contains("exceeded quota: tight"), "{message}");
    let words = ["east: ", "exceeded quota: tight, requested: requests.nvidia.com/gpu=1"];
    says(fleet, "NIMService", sample::NAME, "Ready", &words).await?;
    says(fleet, "NIMPlacement", sample::NAME, "Available", &words).await?;
    fleet
        .eventually("an event tells it", SOON, || async {
            let events = objects::list(hub, "Event", sample::NAMESPACE).await?;
            let tells = |event: &&Value| event["type"] == "Warning" && event["reason"] == "PodsNotCreated";
            let kinds: Vec<&str> = events
                .iter()
                .filter(tells)
                .filter_map(|event| event["involvedObject"]["kind"].as_str())
                .collect();
            if kinds.contains(&"NIMPlacement") && kinds.contains(&"NIMService") {
                return Ok(());
            }
            Err(Failure::new(format!("{kinds:?}")))
        })
        .await?;
    fleet
        .eventually("the hub knows the claim of the cache", SOON, || async {
            let cache = objects::get(hub, "NIMCache", sample::NAMESPACE, sample::NAME).await?;
            let is_told = cache["status"]["pvc"] == format!("{}-pvc", sample::NAME);
            if is_told { Ok(()) } else { Err(Failure::new(cache["status"].to_string())) }
        })
        .await?;
    let anywhere = json!({"spec": {"clusterAffinity": null}});
    objects::patch(hub, "NIMPlacement", sample::NAMESPACE, sample::NAME, anywhere).await?;
    impatient(fleet, sample::NAME).await?;
    assert_eq!(sample::ready(fleet, sample::NAME).await?, ["west"]);
    decided_anew(fleet, sample::NAME, 1).await?;
    assert_eq!(sample::ready(fleet, sample::NAME).await?, ["west"], "it does not come back");
    objects::delete(hub, "NIMPlacement", sample::NAMESPACE, sample::NAME).await
}

async fn a_cache_whose_pods_are_refused(fleet: &Fleet) -> Result<(), Failure> {
    let hub = fleet.hub().cluster();
    let name = "second";
    quota(fleet, json!({"pods": "0"})).await?;
    sample::place(fleet, name, &json!({"clusterAffinity": {"clusterNames": ["east"]}})).await?;
    let words = ["east: ", "exceeded quota: tight"];
    says(fleet, "NIMCache", name, "Ready", &words).await?;
    says(fleet, "NIMService", name, "Ready", &words).await?;
    says(fleet, "NIMPlacement", name, "Available", &words).await?;
    let anywhere = json!({"spec": {"clusterAffinity": null}});
    objects::patch(hub, "NIMPlacement", sample::NAMESPACE, name, anywhere).await?;
    impatient(fleet, name).await?;
    assert_eq!(sample::ready(fleet, name).await?, ["west"]);
    Ok(())
}
