//! Lost clusters: others take over, the old copy goes last, flapping moves nothing, and a hub-side fault moves nothing.

use std::time::Duration;

use e2e::cluster::gpu::H100;
use e2e::failure::Failure;
use e2e::fleet::Fleet;
use e2e::{objects, sample};
use serde_json::json;
use tokio::time::Instant;

use super::watching::{SOON, deployments, measures, says, told};

/// The patience of the placements here: a short break and the way back must fit into it on a busy machine.
const LOST_AFTER: Duration = Duration::from_secs(20);

async fn running(clusters: &[&str]) -> Result<Fleet, Failure> {
    let plan = clusters.iter().fold(Fleet::new(), |plan, name| plan.cluster(name).gpus(H100, 8, 1));
    let fleet = plan.audited().start().await?;
    let failover =
        json!({"failover": {"onUnreachable": "Replace", "lostAfter": format!("{}s", LOST_AFTER.as_secs())}});
    sample::place(&fleet, sample::NAME, &failover).await?;
    assert_eq!(sample::ready(&fleet, sample::NAME).await?, [clusters[0]]);
    Ok(fleet)
}

/// The clusters that hold the placement, each with the state of its row.
async fn rows(fleet: &Fleet) -> Result<Vec<(String, String)>, Failure> {
    let mut rows = Vec::new();
    for decision in sample::decisions(fleet, sample::NAME).await? {
        let state = format!("{:?}", decision.state);
        rows.extend(decision.clusters.into_iter().map(|cluster| (cluster.name, state.clone())));
    }
    rows.sort();
    Ok(rows)
}

async fn until_rows(fleet: &Fleet, expected: &[(&str, &str)]) -> Result<(), Failure> {
    fleet
        .eventually(&format!("the rows are {expected:?}"), SOON, || async {
            let rows = rows(fleet).await?;
            let same = rows.len() == expected.len()
                && rows.iter().zip(expected).all(|((c, s), (name, state))| c == name && s == state);
            if same { Ok(()) } else { Err(Failure::new(format!("{rows:?}"))) }
        })
        .await
}

#[tokio::test]
async fn the_old_copy_of_a_lost_cluster_goes_when_it_is_back_and_the_new_one_serves() -> Result<(), Failure> {
    let fleet = running(&["east", "west"]).await?;
    let (east, west) = (fleet.cluster("east")?, fleet.cluster("west")?);
    let old = deployments(east.cluster()).await?;

    // Breaks that are shorter than the placement's patience, and together longer.
    let flaps = Instant::now();
    while flaps.elapsed() <= LOST_AFTER {
        east.link().cut().await;
        measures(&fleet, "nimfleet_hub_connected_clusters 1").await?;
        east.link().heal().await;
        measures(&fleet, "nimfleet_hub_connected_clusters 2").await?;
    }
    assert_eq!(rows(&fleet).await?, [("east".to_owned(), "Placed".to_owned())]);
    assert!(deployments(west.cluster()).await?.is_empty(), "short breaks have moved the model");

    // Before the cut: the hub may count from a moment before this task goes on.
    let cut = Instant::now();
    east.link().cut().await;
    until_rows(&fleet, &[("east", "Replaced"), ("west", "Placed")]).await?;
    println!("lostAfter {LOST_AFTER:?}: others took over {} ms after the cut", cut.elapsed().as_millis());
    assert!(cut.elapsed() >= LOST_AFTER, "it was not lost yet");
    assert_eq!(sample::ready(&fleet, sample::NAME).await?, ["west"]);
    assert_eq!(deployments(east.cluster()).await?, old, "the old copy was touched while nobody could tell");
    measures(&fleet, "nimfleet_hub_failovers_total 1").await?;

    let back = Instant::now();
    east.link().heal().await;
    until_rows(&fleet, &[("west", "Placed")]).await?;
    println!(
        "back: the old copy was gone after {} ms, of which it was watched for 3000",
        back.elapsed().as_millis()
    );
    assert!(back.elapsed() >= Duration::from_secs(3), "it was not watched");
    // The workload follows when Kubernetes' garbage collector comes by.
    fleet
        .eventually("nothing is left in east", SOON, || async {
            let left = deployments(east.cluster()).await?;
            if left.is_empty() { Ok(()) } else { Err(Failure::new(format!("{left:?}"))) }
        })
        .await?;
    assert_eq!(sample::ready(&fleet, sample::NAME).await?, ["west"]);
    Ok(())
}

#[tokio::test]
async fn clusters_that_vanish_together_fail_over_on_the_admins_word_alone() -> Result<(), Failure> {
    let fleet = running(&["east", "north", "west"]).await?;
    let (east, north, west) = (fleet.cluster("east")?, fleet.cluster("north")?, fleet.cluster("west")?);
    east.link().cut().await;
    north.link().cut().await;
    let message = sample::says(&fleet, sample::NAME, "FailoverHeld", "ManyClustersLost").await?;
    assert!(message.contains("2 of 3 clusters") && message.contains("confirm-failover=true"), "{message}");
    for cluster in ["east", "north"] {
        says(&fleet, cluster, "FailoverHeld", "True", "ManyClustersLost").await?;
    }
    measures(&fleet, "nimfleet_hub_failover_held_clusters 2").await?;
    measures(&fleet, "nimfleet_hub_failover_held_placements{reason=\"ManyClustersLost\"} 1").await?;
    told(&fleet, "NIMPlacement", "ManyClustersLost").await?;
    told(&fleet, "GPUCluster", "ManyClustersLost").await?;
    tokio::time::sleep(LOST_AFTER).await;
    assert_eq!(rows(&fleet).await?, [("east".to_owned(), "Placed".to_owned())]);
    assert!(deployments(west.cluster()).await?.is_empty(), "a fault of the hub has moved the model");

    // The admin has looked: east is really gone.
    let word = json!({"metadata": {"annotations": {"nimfleet.io/confirm-failover": "true"}}});
    objects::patch(fleet.hub().cluster(), "GPUCluster", "", "east", word).await?;
    until_rows(&fleet, &[("east", "Replaced"), ("west", "Placed")]).await?;
    assert_eq!(sample::ready(&fleet, sample::NAME).await?, ["west"]);

    // Those that return are free again, and the word is used up.
    east.link().heal().await;
    north.link().heal().await;
    for cluster in ["east", "north"] {
        says(&fleet, cluster, "FailoverHeld", "False", "AsExpected").await?;
    }
    measures(&fleet, "nimfleet_hub_failover_held_clusters 0").await?;
    until_rows(&fleet, &[("west", "Placed")]).await?;
    fleet
        .eventually("the word is taken off", SOON, || async {
            let east = objects::get(fleet.hub().cluster(), "GPUCluster", "", "east").await?;
            let word = &east["metadata"]["annotations"]["nimfleet.io/confirm-failover"];
            if word.is_null() { Ok(()) } else { Err(Failure::new(word.to_string())) }
        })
        .await
}
