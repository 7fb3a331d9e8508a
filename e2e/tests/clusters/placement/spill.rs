//! What is too much for the first clusters of a placement spills to the next ones and comes back when told, and neither that
//! nor a loss ever leads to a cluster that the placement rules out.

use e2e::cluster::gpu::H100;
use e2e::failure::Failure;
use e2e::fleet::Fleet;
use e2e::{objects, sample};
use serde_json::json;

use super::shares::{SOON, are_shares, decided_anew, until_shares};

/// The sample with so many replicas.
fn replicas(count: u32) -> String {
    sample::MANIFEST.replace("  replicas: 1\n", &format!("  replicas: {count}\n"))
}

/// Has so many GPUs of `first` work, and waits until the hub knows.
async fn work(fleet: &Fleet, gpus: u32, free: u32) -> Result<(), Failure> {
    let works = json!({"nvidia.com/gpu": gpus.to_string()});
    let status = json!({"capacity": works, "allocatable": works});
    objects::play_status(fleet.cluster("first")?.cluster(), "Node", "", "first-0", status).await?;
    fleet
        .eventually(&format!("the hub knows that {free} GPUs of first are free"), SOON, || async {
            let known = objects::get(fleet.hub().cluster(), "GPUCluster", "", "first").await?;
            let pool = &known["status"]["gpus"][0];
            let same = pool["allocatable"] == gpus && pool["free"] == free;
            if same { Ok(()) } else { Err(Failure::new(pool.to_string())) }
        })
        .await
}

async fn resides(fleet: &Fleet, cluster: &str, place: &str) -> Result<(), Failure> {
    let label = json!({"metadata": {"labels": {"residency": place}}});
    objects::patch(fleet.hub().cluster(), "GPUCluster", "", cluster, label).await
}

/// Succeeds when a cluster has never been given anything.
async fn untouched(fleet: &Fleet, cluster: &str) -> Result<(), Failure> {
    for kind in ["NIMService", "NIMCache"] {
        objects::absent(fleet.cluster(cluster)?.cluster(), kind, sample::NAMESPACE, sample::NAME).await?;
    }
    Ok(())
}

#[tokio::test]
async fn what_spills_or_is_lost_stays_within_its_residency_and_returns_when_told() -> Result<(), Failure> {
    let plan = Fleet::new().cluster("first").gpus(H100, 4, 1).cluster("second").gpus(H100, 4, 1);
    let fleet = plan.cluster("abroad").gpus(H100, 8, 1).start().await?;
    let hub = fleet.hub().cluster();
    resides(&fleet, "first", "eu").await?;
    resides(&fleet, "second", "eu").await?;
    work(&fleet, 1, 1).await?;
    let mut rules = json!({
        "replicaScheduling": {"type": "Divided"},
        "clusterAffinity": {"required": [{"matchLabels": {"residency": "eu"}}]},
        "tiers": [
            {"name": "own", "clusterNames": ["first"]}, {"name": "rest", "clusterNames": ["second", "abroad"]},
        ],
        "failover": {"onUnreachable": "Replace", "lostAfter": "3s"},
    });
    objects::apply(hub, &replicas(3)).await?;
    objects::apply(hub, &sample::placement(sample::NAME, &rules)).await?;
    until_shares(&fleet, sample::NAME, &[("first", 1), ("second", 2)]).await?;

    // More than is free where it may be goes nowhere else.
    objects::apply(hub, &replicas(7)).await?;
    until_shares(&fleet, sample::NAME, &[("first", 1), ("second", 4)]).await?;
    // The status follows the slices, and may be of an earlier decision until then.
    for words in ["5 of 7 replicas; no room for 2 more in first, second", "1 AffinityMismatch (abroad: "] {
        fleet
            .eventually(&format!("the placement says {words}"), SOON, || async {
                let message = sample::says(&fleet, sample::NAME, "Scheduled", "PartiallyScheduled").await?;
                if message.contains(words) { Ok(()) } else { Err(Failure::new(message)) }
            })
            .await?;
    }
    objects::apply(hub, &replicas(3)).await?;
    until_shares(&fleet, sample::NAME, &[("first", 1), ("second", 2)]).await?;
    assert_eq!(sample::ready(&fleet, sample::NAME).await?, ["first", "second"]);

    // There is room at home again: what has spilled stays until somebody says that it shall come back.
    work(&fleet, 4, 3).await?;
    decided_anew(&fleet, sample::NAME, 1).await?;
    are_shares(&fleet, sample::NAME, &[("first", 1), ("second", 2)]).await?;
    let told = json!({"metadata": {"annotations": {"nimfleet.io/rebalance": "home"}}});
    objects::patch(hub, "NIMPlacement", sample::NAMESPACE, sample::NAME, told).await?;
    until_shares(&fleet, sample::NAME, &[("first", 3)]).await?;
    // The status follows the slices.
    fleet
        .eventually("the placement says that it has come back", SOON, || async {
            let status = &sample::placed(&fleet, sample::NAME).await?["status"];
            let is_told = status["observedRebalance"] == "home";
            if is_told { Ok(()) } else { Err(Failure::new(status.to_string())) }
        })
        .await?;
    assert_eq!(sample::ready(&fleet, sample::NAME).await?, ["first"]);
    let second = fleet.cluster("second")?.cluster();
    let left = || objects::absent(second, "NIMService", sample::NAMESPACE, sample::NAME);
    fleet.eventually("second is left", SOON, left).await?;

    // One that keeps to its clusters, which nothing is said of by default.
    rules["failover"] = json!({"lostAfter": "3s"});
    sample::place(&fleet, "keeps", &rules).await?;
    until_shares(&fleet, "keeps", &[("first", 1)]).await?;

    // The cluster is lost, and only those have room that are ruled out.
    resides(&fleet, "second", "us").await?;
    fleet.cluster("first")?.link().cut().await;
    let message = sample::says(&fleet, sample::NAME, "FailoverHeld", "NoFailoverTarget").await?;
    assert!(message.contains("first is lost, and no other cluster can take over"), "{message}");
    are_shares(&fleet, sample::NAME, &[("first", 3)]).await?;
    left().await?;
    untouched(&fleet, "abroad").await?;

    // One that is not: it takes over.
    resides(&fleet, "second", "eu").await?;
    until_shares(&fleet, sample::NAME, &[("second", 3)]).await?;
    assert_eq!(sample::ready(&fleet, sample::NAME).await?, ["second"]);
    are_shares(&fleet, "keeps", &[("first", 1)]).await?;
    untouched(&fleet, "abroad").await
}
