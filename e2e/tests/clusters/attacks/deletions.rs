//! The deletion guard: budgets, restarts, and what is said of what it holds.

use std::time::Duration;

use e2e::cluster::Cluster;
use e2e::cluster::gpu::H100;
use e2e::failure::Failure;
use e2e::fleet::Fleet;
use e2e::objects;
use futures::future::try_join_all;
use serde_json::json;

const SOON: Duration = Duration::from_mins(1);
const NAMESPACE: &str = "guarded";
const PLACEMENT: &str = "all";
/// More than may go within ten minutes from a cluster that holds so few.
const SERVICES: usize = 12;

fn name(number: usize) -> String {
    format!("s{number:02}")
}

fn service(number: usize) -> String {
    json!({
        "apiVersion": "apps.nvidia.com/v1alpha1", "kind": "NIMService",
        "metadata": {"name": name(number), "namespace": NAMESPACE, "labels": {"set": "guarded"}},
        "spec": {
            "image": {"repository": "nvcr.io/nim/meta/llama-3.1-8b-instruct", "tag": "1.8"},
            "authSecret": "ngc-api-secret", "replicas": 1, "storage": {"emptyDir": {}},
            "resources": {"limits": {"nvidia.com/gpu": 1}},
        },
    })
    .to_string()
}

/// How many of the services a cluster has.
async fn count(cluster: &Cluster) -> Result<usize, Failure> {
    Ok(objects::list(cluster, "NIMService", NAMESPACE).await?.len())
}

async fn until_count(fleet: &Fleet, cluster: &str, expected: usize) -> Result<(), Failure> {
    let found = fleet.cluster(cluster)?.cluster();
    let check = || async {
        let count = count(found).await?;
        if count == expected { Ok(()) } else { Err(Failure::new(format!("{count} services"))) }
    };
    fleet.eventually(&format!("{cluster} has {expected} services"), SOON, check).await
}

/// Waits until an object of the hub has `DeletionHeld` with this status and these words, and gives its message.
async fn told(fleet: &Fleet, kind: &str, name: &str, status: &str, words: &str) -> Result<String, Failure> {
    let namespace = if kind == "GPUCluster" { "" } else { NAMESPACE };
    let check = || async {
        let found = objects::get(fleet.hub().cluster(), kind, namespace, name).await?;
        objects::expect(&found, "DeletionHeld", status)?;
        let (_, _, message) = objects::condition(&found, "DeletionHeld").unwrap_or_default();
        if message.contains(words) { Ok(message) } else { Err(Failure::new(message)) }
    };
    fleet.eventually(&format!("{kind} {name} has DeletionHeld={status}: {words}"), SOON, check).await
}

/// Waits until three kinds of objects say that deletions are held, each with the numbers and the same command; gives that
/// command.
async fn told_everywhere(
    fleet: &Fleet,
    cluster: &str,
    service: &str,
    numbers: &str,
) -> Result<String, Failure> {
    let mut commands = Vec::new();
    for (kind, name) in [("GPUCluster", cluster), ("NIMPlacement", PLACEMENT), ("NIMService", service)] {
        // Deletions may come one after the other; the numbers follow them.
        let message = told(fleet, kind, name, "True", numbers).await?;
        let (_, rest) = message.split_once("kubectl ").expect("a command");
        commands.push(rest.split_once(';').expect("the command's end").0.to_owned());
    }
    commands.dedup();
    assert_eq!(commands.len(), 1, "{commands:?}");
    Ok(commands.remove(0))
}

/// How many events about `DeletionHeld` an object has.
async fn events(fleet: &Fleet, kind: &str, name: &str) -> Result<usize, Failure> {
    let all = objects::list(fleet.hub().cluster(), "Event", "").await?;
    let about = |event: &&serde_json::Value| {
        event["involvedObject"]["kind"] == kind
            && event["involvedObject"]["name"] == name
            && event["reason"] == "TooManyDeletions"
    };
    Ok(all.iter().filter(about).count())
}

#[tokio::test]
async fn deletions_have_one_budget_whoever_decided_them_and_a_restart_does_not_refill_it()
-> Result<(), Failure> {
    let fleet =
        Fleet::new().cluster("east").gpus(H100, 8, 2).cluster("west").gpus(H100, 8, 2).start().await?;
    let hub = fleet.hub().cluster();
    let (east, west) = (fleet.cluster("east")?, fleet.cluster("west")?);
    let manifests: Vec<String> = (0..SERVICES).map(service).collect();
    try_join_all(manifests.iter().map(|manifest| objects::apply(hub, manifest))).await?;
    let placement = json!({
        "apiVersion": "nimfleet.io/v1alpha1", "kind": "NIMPlacement",
        "metadata": {"name": PLACEMENT, "namespace": NAMESPACE},
        "spec": {
            "resourceSelectors": [{"kind": "NIMService", "labelSelector": {"matchLabels": {"set": "guarded"}}}],
            "numberOfClusters": 1,
            "failover": {"onUnreachable": "Replace", "lostAfter": "10s"},
        },
    });
    objects::apply(hub, &placement.to_string()).await?;
    let available = || async {
        let found = objects::get(hub, "NIMPlacement", NAMESPACE, PLACEMENT).await?;
        objects::expect(&found, "Available", "True")
    };
    fleet.eventually("all services are available", SOON, available).await?;
    until_count(&fleet, "east", SERVICES).await?;

    // A hub that calls everything a failover has no more than anybody else: all twelve were replaced, and all are held.
    east.link().cut().await;
    until_count(&fleet, "west", SERVICES).await?;
    fleet.eventually("all services are available in west", SOON, available).await?;
    east.link().heal().await;
    let numbers =
        "12 more deletions would make 12 within 10 min, of 12 objects in this cluster; more than 10 wait";
    let command = told_everywhere(&fleet, "east", &name(0), numbers).await?;
    assert_eq!(count(east.cluster()).await?, SERVICES, "something was deleted although all is held");
    hub.kubectl(&command.split(' ').collect::<Vec<_>>(), None).await?;
    until_count(&fleet, "east", 0).await?;
    for (kind, name) in [("GPUCluster", "east"), ("NIMPlacement", PLACEMENT), ("NIMService", "s00")] {
        told(&fleet, kind, name, "False", "").await?;
        assert!(events(&fleet, kind, name).await? <= 1, "{kind} {name} has many events about one thing");
    }
    // The hub publishes events from a queue of their own.
    let event = || async {
        let found = events(&fleet, "NIMPlacement", PLACEMENT).await?;
        if found > 0 { Ok(found) } else { Err(Failure::new("no event")) }
    };
    assert_eq!(fleet.eventually("an event tells of it", SOON, event).await?, 1);

    // Up to ten go unasked, one by one or together.
    for number in 0..5 {
        objects::delete(hub, "NIMService", NAMESPACE, &name(number)).await?;
        until_count(&fleet, "west", SERVICES - number - 1).await?;
    }
    let more: Vec<String> = (5..9).map(name).collect();
    try_join_all(more.iter().map(|name| objects::delete(hub, "NIMService", NAMESPACE, name))).await?;
    until_count(&fleet, "west", 3).await?;

    // A restart of the spoke is no new budget.
    west.kill_spoke();
    west.restart_spoke()?;
    fleet.eventually("west is connected", SOON, || fleet.hub().connected("west")).await?;
    objects::delete(hub, "NIMPlacement", NAMESPACE, PLACEMENT).await?;
    let last: Vec<String> = (9..SERVICES).map(name).collect();
    try_join_all(last.iter().map(|name| objects::delete(hub, "NIMService", NAMESPACE, name))).await?;
    let numbers =
        "3 more deletions would make 12 within 10 min, of 12 objects in this cluster; more than 10 wait";
    let command = told_everywhere(&fleet, "west", &name(11), numbers).await?;
    assert_eq!(count(west.cluster()).await?, 3);
    hub.kubectl(&command.split(' ').collect::<Vec<_>>(), None).await?;
    until_count(&fleet, "west", 0).await?;
    fleet
        .eventually("the placement is gone", SOON, || {
            objects::absent(hub, "NIMPlacement", NAMESPACE, PLACEMENT)
        })
        .await
}
