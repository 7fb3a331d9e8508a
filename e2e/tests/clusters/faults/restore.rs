//! A hub that was restored from an old backup, or lost everything: the clusters run on, and the hub says what it found.

use std::time::Duration;

use e2e::cluster::gpu::H100;
use e2e::failure::Failure;
use e2e::fleet::Fleet;
use e2e::{objects, sample};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::watching::{SOON, deployments, measures, nothing_deleted, of_cluster, says, told};

/// How many services are added after the backup.
const ADDED: usize = 20;

fn name(number: usize) -> String {
    format!("late-{number:02}")
}

/// A service without GPUs and cache: many of them become ready in seconds.
fn service(name: &str) -> Value {
    json!({
        "apiVersion": "apps.nvidia.com/v1alpha1", "kind": "NIMService",
        "metadata": {"name": name, "namespace": sample::NAMESPACE, "labels": {"added": "late"}},
        "spec": {
            "image": {"repository": "nvcr.io/nim/example", "tag": "1"}, "authSecret": "ngc-api-secret",
            "storage": {"emptyDir": {"sizeLimit": "1Gi"}}, "replicas": 1,
            "expose": {"service": {"type": "ClusterIP", "port": 8000}},
        },
    })
}

/// One placement for all that is labelled late.
fn placement() -> String {
    json!({
        "apiVersion": "nimfleet.io/v1alpha1", "kind": "NIMPlacement",
        "metadata": {"name": "late", "namespace": sample::NAMESPACE},
        "spec": {"resourceSelectors": [{"kind": "NIMService", "labelSelector": {"matchLabels": {"added": "late"}}}]},
    })
    .to_string()
}

async fn apply_late(fleet: &Fleet, numbers: std::ops::Range<usize>) -> Result<(), Failure> {
    for number in numbers {
        objects::apply(fleet.hub().cluster(), &service(&name(number)).to_string()).await?;
    }
    objects::apply(fleet.hub().cluster(), &placement()).await
}

async fn all_ready(fleet: &Fleet, numbers: std::ops::Range<usize>) -> Result<(), Failure> {
    for number in numbers {
        fleet
            .eventually(&format!("{} is Ready", name(number)), SOON, || async {
                let hub = fleet.hub().cluster();
                let found = objects::get(hub, "NIMService", sample::NAMESPACE, &name(number)).await?;
                objects::expect(&found, "Ready", "True")
            })
            .await?;
    }
    Ok(())
}

async fn standing() -> Result<Fleet, Failure> {
    let fleet = Fleet::new().cluster("east").gpus(H100, 8, 1).audited().start().await?;
    sample::place(&fleet, sample::NAME, &json!({})).await?;
    sample::ready(&fleet, sample::NAME).await?;
    Ok(fleet)
}

#[tokio::test]
async fn a_hub_restored_from_a_backup_deletes_nothing_and_says_what_it_found() -> Result<(), Failure> {
    let fleet = standing().await?;
    let (hub, east) = (fleet.hub().cluster(), fleet.cluster("east")?.cluster());
    let backup = hub.back_up().await?;
    apply_late(&fleet, 0..ADDED).await?;
    all_ready(&fleet, 0..ADDED).await?;
    let (before, since) = (deployments(east).await?, Timestamp::now());
    assert_eq!(before.len(), ADDED + 1);

    fleet.hub().kill();
    hub.restore(&backup).await?;
    fleet.hub().restart()?;
    let message = fleet
        .eventually("the hub says that twenty are unknown", SOON, || async {
            let message = says(&fleet, "east", "Orphans", "True", "UnknownToHub").await?;
            if message.starts_with("20 objects") { Ok(message) } else { Err(Failure::new(message)) }
        })
        .await?;
    assert!(message.contains("NIMService nim-service/late-00"), "{message}");
    assert!(!message.contains("late-15"), "the names are bounded: {message}");
    measures(&fleet, "nimfleet_hub_orphans 20").await?;
    told(&fleet, "GPUCluster", "UnknownToHub").await?;
    sample::ready(&fleet, sample::NAME).await?;
    tokio::time::sleep(Duration::from_secs(5)).await;
    nothing_deleted(east, since)?;
    assert_eq!(deployments(east).await?, before, "something was restarted");

    // Half of them is adopted: applied again, they are the hub's without a pod being touched.
    apply_late(&fleet, 0..10).await?;
    all_ready(&fleet, 0..10).await?;
    fleet
        .eventually("ten are adopted", SOON, || async {
            let (_, _, message) = of_cluster(&fleet, "east", "Orphans").await?;
            if message.starts_with("10 objects") { Ok(()) } else { Err(Failure::new(message)) }
        })
        .await?;
    nothing_deleted(east, since)?;
    assert_eq!(deployments(east).await?, before, "something was restarted");

    // A word that names another number is not followed; the right one is, and is taken off.
    let confirm = |count: &str| {
        let annotations = json!({"nimfleet.io/confirm-orphan-removal": count});
        objects::patch(hub, "GPUCluster", "", "east", json!({"metadata": {"annotations": annotations}}))
    };
    confirm("20").await?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    nothing_deleted(east, since)?;
    confirm("10").await?;
    says(&fleet, "east", "Orphans", "False", "AsExpected").await?;
    // The workloads follow when Kubernetes' garbage collector comes by.
    let adopted: Vec<String> =
        before.keys().filter(|one| !(10..ADDED).any(|n| **one == name(n))).cloned().collect();
    fleet
        .eventually("exactly the rest has gone", SOON, || async {
            let left: Vec<String> = deployments(east).await?.into_keys().collect();
            if left == adopted { Ok(()) } else { Err(Failure::new(format!("{left:?}"))) }
        })
        .await?;
    fleet
        .eventually("the word is taken off", SOON, || async {
            let found = objects::get(hub, "GPUCluster", "", "east").await?;
            match &found["metadata"]["annotations"]["nimfleet.io/confirm-orphan-removal"] {
                Value::Null => Ok(()),
                other => Err(Failure::new(other.to_string())),
            }
        })
        .await
}

#[tokio::test]
async fn a_hub_that_lost_everything_deletes_nothing() -> Result<(), Failure> {
    let fleet = standing().await?;
    let (hub, member) = (fleet.hub().cluster(), fleet.cluster("east")?);
    let east = member.cluster();
    let (before, since) = (deployments(east).await?, Timestamp::now());
    // All that is left are the definitions and the roles, as after installing the charts on a new cluster.
    let bare = hub.back_up().await?.without(&[
        "/nimfleet.io/gpuclusters/",
        "/nimfleet.io/nimplacements/",
        "/nimfleet.io/nimplacementdecisions/",
        "/apps.nvidia.com/nim",
        "/secrets/nimfleet/",
        "/configmaps/nimfleet/nimfleet-hub-state",
    ]);
    fleet.hub().kill();
    hub.restore(&bare).await?;
    fleet.hub().restart()?;
    fleet.eventually("the new hub is ready", SOON, || fleet.hub().ready()).await?;
    tokio::time::sleep(Duration::from_secs(5)).await;
    nothing_deleted(east, since)?;
    assert_eq!(deployments(east).await?, before);

    // Joined to the new hub by its admin, the spoke still obeys the one it knew, and says so.
    member.forget_identity().await?;
    member.start_spoke(&fleet.hub().invite("east").await?)?;
    fleet.eventually("east knocks", SOON, || fleet.hub().accept("east")).await?;
    fleet
        .eventually("the spoke refuses the other hub", SOON, || async {
            let log = std::fs::read_to_string(member.spoke().log())?;
            let words = "this cluster obeys hub";
            if log.contains(words) { Ok(()) } else { Err(Failure::new("it has not said so")) }
        })
        .await?;
    nothing_deleted(east, since)?;
    assert_eq!(deployments(east).await?, before);
    Ok(())
}
