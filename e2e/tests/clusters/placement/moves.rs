//! What moves a placement, and how: the new copy first, and of what waits only what waits.

use e2e::cluster::Cluster;
use e2e::cluster::gpu::H100;
use e2e::failure::Failure;
use e2e::fleet::Fleet;
use e2e::{objects, sample};
use serde_json::json;

use super::shares::{SOON, are_shares, good_slot, in_good_slots, knows_labels, says_of, slot, until_shares};

#[tokio::test]
async fn a_drained_cluster_is_left_once_another_one_serves() -> Result<(), Failure> {
    let fleet =
        Fleet::new().cluster("east").gpus(H100, 8, 1).cluster("west").gpus(H100, 8, 1).start().await?;
    let (hub, east, west) =
        (fleet.hub().cluster(), fleet.cluster("east")?.cluster(), fleet.cluster("west")?.cluster());
    good_slot(&fleet, "east", "east-0").await?;
    slot(&fleet, "west", "west-0", "poor").await?;
    for cluster in ["east", "west"] {
        knows_labels(&fleet, cluster).await?;
    }
    objects::apply(hub, &in_good_slots(1)).await?;
    objects::apply(hub, &sample::placement(sample::NAME, &json!({}))).await?;
    assert_eq!(sample::ready(&fleet, sample::NAME).await?, ["east"]);
    let served = running(east).await?;

    // The new copy comes and finds no node: the old one goes on serving.
    objects::patch(hub, "GPUCluster", "", "east", json!({"spec": {"drain": true}})).await?;
    says_of(&fleet, sample::NAME, "west", "Unschedulable").await?;
    are_shares(&fleet, sample::NAME, &[("west", 1)]).await?;
    let message = says_of(&fleet, sample::NAME, "east", "Drained").await?;
    assert!(message.contains("this copy goes when the others are available"), "{message}");
    assert_eq!(running(east).await?, served, "the old copy was touched before the new one served");
    // Statuses of placement, service and cluster are written apart.
    fleet
        .eventually("the service says who serves", SOON, || async {
            let told = objects::get(hub, "NIMService", sample::NAMESPACE, sample::NAME).await?;
            match objects::condition(&told, "Ready") {
                Some((_, _, message)) if message.contains("until then east serves") => Ok(()),
                other => Err(Failure::new(format!("{other:?}"))),
            }
        })
        .await?;
    let old = objects::get(east, "NIMService", sample::NAMESPACE, sample::NAME).await?;
    objects::expect(&old, "Ready", "True")?;
    fleet
        .eventually("east says that it is not empty yet", SOON, || async {
            objects::expect(&objects::get(hub, "GPUCluster", "", "east").await?, "Drained", "False")
        })
        .await?;

    // It serves: the old one goes.
    good_slot(&fleet, "west", "west-0").await?;
    fleet
        .eventually("east is left", SOON, || {
            objects::absent(east, "NIMService", sample::NAMESPACE, sample::NAME)
        })
        .await?;
    let new = objects::get(west, "NIMService", sample::NAMESPACE, sample::NAME).await?;
    objects::expect(&new, "Ready", "True")?;
    fleet
        .eventually("east says that it is empty", SOON, || async {
            objects::expect(&objects::get(hub, "GPUCluster", "", "east").await?, "Drained", "True")
        })
        .await?;
    until_shares(&fleet, sample::NAME, &[("west", 1)]).await
}

#[tokio::test]
async fn of_replicas_that_find_no_node_for_too_long_only_these_move() -> Result<(), Failure> {
    let fleet =
        Fleet::new().cluster("east").gpus(H100, 1, 2).cluster("west").gpus(H100, 1, 2).start().await?;
    let hub = fleet.hub().cluster();
    // West could take both.
    for (cluster, node) in [("east", "east-0"), ("west", "west-0"), ("west", "west-1")] {
        good_slot(&fleet, cluster, node).await?;
    }
    for cluster in ["east", "west"] {
        knows_labels(&fleet, cluster).await?;
    }
    objects::apply(hub, &in_good_slots(2)).await?;
    let divided = json!({"replicaScheduling": {"type": "Divided"}});
    objects::apply(hub, &sample::placement(sample::NAME, &divided)).await?;

    // Within the placement's patience one runs and one waits, and the hub says so in the words of that cluster's scheduler.
    let message = says_of(&fleet, sample::NAME, "east", "Unschedulable").await?;
    assert!(message.contains("1 replica waits") && message.contains("0/2 nodes are available"), "{message}");
    are_shares(&fleet, sample::NAME, &[("east", 2)]).await?;
    let stays = running(fleet.cluster("east")?.cluster()).await?;
    assert_eq!(stays.len(), 1, "{stays:?}");
    let what = "the one that runs is ready";
    fleet
        .eventually(what, SOON, || async {
            let service = objects::get(hub, "NIMService", sample::NAMESPACE, sample::NAME).await?;
            let ready = service["status"]["availableReplicas"] == 1;
            ready.then_some(()).ok_or_else(|| Failure::new(service["status"].to_string()))
        })
        .await?;

    // The patience is over: the one that waits goes, the one that runs is not touched.
    let impatient = json!({"spec": {"failover": {"unschedulableAfter": "1s"}}});
    objects::patch(hub, "NIMPlacement", sample::NAMESPACE, sample::NAME, impatient).await?;
    until_shares(&fleet, sample::NAME, &[("east", 1), ("west", 1)]).await?;
    assert_eq!(sample::ready(&fleet, sample::NAME).await?, ["east", "west"]);
    assert_eq!(running(fleet.cluster("east")?.cluster()).await?, stays, "what ran was touched");
    Ok(())
}

/// uids of the service's pods that run.
async fn running(cluster: &Cluster) -> Result<Vec<String>, Failure> {
    let pods = objects::pods(cluster, sample::NAMESPACE, sample::NAME).await?;
    let running = pods.iter().filter(|pod| pod["status"]["phase"] == "Running");
    Ok(running.map(|pod| pod["metadata"]["uid"].as_str().unwrap_or_default().to_owned()).collect())
}
