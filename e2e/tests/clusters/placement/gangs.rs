//! Nodes that a service needs together are looked for by the spoke at the moment when it is sent: what the hub has heard may
//! be of before.

use std::time::Duration;

use e2e::cluster::Cluster;
use e2e::cluster::gpu::H100;
use e2e::failure::Failure;
use e2e::fault_proxy::Network;
use e2e::fleet::Fleet;
use e2e::{foreign, objects, sample};
use serde_json::{Value, json};

use super::shares::{SOON, has_platform, until_shares};

/// How long words take to the hub and back while it is to decide by old ones; a decision takes a fraction of it.
const SLOW: Duration = Duration::from_secs(4);

/// What the spoke says.
const NUMBERS: &str = "2 × 8 free GPUs are needed, each on one node and all of one product; the largest fit is 1 × 8 \
                       (NVIDIA-H100-80GB-HBM3)";

/// A service over two whole nodes.
fn over_two_nodes(name: &str) -> String {
    let object = json!({
        "apiVersion": "apps.nvidia.com/v1alpha1", "kind": "NIMService",
        "metadata": {"name": name, "namespace": sample::NAMESPACE},
        "spec": {
            "image": {"repository": "nvcr.io/nim/example", "tag": "1"}, "authSecret": "ngc-api-secret",
            "storage": {"emptyDir": {}}, "replicas": 1, "resources": {"limits": {"nvidia.com/gpu": 8}},
            "multiNode": {"parallelism": {"tensor": 8, "pipeline": 2}, "backendType": "lws"},
        },
    });
    object.to_string()
}

/// Somebody of the cluster takes all GPUs of a node.
async fn take(cluster: &Cluster, node: &str) -> Result<(), Failure> {
    let gpus = json!({"nvidia.com/gpu": 8});
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": node, "namespace": "default"},
        "spec": {
            "nodeName": node,
            "containers": [{"name": "own", "image": "example", "resources": {"limits": gpus, "requests": gpus}}],
        },
    });
    objects::apply(cluster, &pod.to_string()).await
}

async fn until_free(fleet: &Fleet, cluster: &str, free: u32) -> Result<(), Failure> {
    fleet
        .eventually(&format!("the hub knows that {free} GPUs of {cluster} are free"), SOON, || async {
            let known = objects::get(fleet.hub().cluster(), "GPUCluster", "", cluster).await?;
            let is = &known["status"]["gpus"][0]["free"];
            if *is == free { Ok(()) } else { Err(Failure::new(is.to_string())) }
        })
        .await
}

/// The service is placed by what the hub has heard of east, of which somebody takes a node at that moment.
async fn place_while_a_node_is_taken(fleet: &Fleet, name: &str, more: &Value) -> Result<(), Failure> {
    let (hub, east) = (fleet.hub().cluster(), fleet.cluster("east")?);
    objects::apply(hub, &over_two_nodes(name)).await?;
    east.link().set(Network::Latency(SLOW));
    take(east.cluster(), "east-0").await?;
    objects::apply(hub, &sample::placement(name, more)).await
}

/// How often east has refused for want of room, by its own count and by the hub's.
async fn refused(fleet: &Fleet, times: u32) -> Result<(), Failure> {
    let (hub, east) = (fleet.hub().daemon(), fleet.cluster("east")?.spoke());
    let at_hub = &format!("nimfleet_hub_link_rejections_total{{class=\"NoRoom\"}} {times}\n");
    let at_east = &format!("objects_rejected_total{{class=\"NoRoom\"}} {times}\n");
    fleet
        .eventually(&format!("{times} refusals are counted"), SOON, || async {
            for (metrics, line) in [(hub.metrics().await?, at_hub), (east.metrics().await?, at_east)] {
                if !metrics.contains(line) {
                    return Err(Failure::new(format!("{line} is not in {metrics}")));
                }
            }
            Ok(())
        })
        .await
}

/// Whoever took the GPUs of a node gives them back.
async fn give_back(fleet: &Fleet, cluster: &Cluster, node: &str) -> Result<(), Failure> {
    objects::delete(cluster, "Pod", "default", node).await?;
    let gone = || objects::absent(cluster, "Pod", "default", node);
    fleet.eventually(&format!("the pod on {node} is gone"), SOON, gone).await
}

async fn nothing_in(cluster: &Cluster, name: &str) -> Result<(), Failure> {
    objects::absent(cluster, "NIMService", sample::NAMESPACE, name).await?;
    objects::absent(cluster, "LeaderWorkerSet", sample::NAMESPACE, &format!("{name}-lws")).await
}

#[tokio::test]
async fn nodes_that_were_taken_since_the_last_report_are_seen_before_anything_is_applied()
-> Result<(), Failure> {
    let fleet =
        Fleet::new().cluster("east").gpus(H100, 8, 2).cluster("west").gpus(H100, 8, 2).start().await?;
    let (hub, east, west) =
        (fleet.hub().cluster(), fleet.cluster("east")?.cluster(), fleet.cluster("west")?.cluster());
    for cluster in [east, west] {
        foreign::install(cluster, &["LeaderWorkerSet"]).await?;
    }
    for cluster in ["east", "west"] {
        has_platform(&fleet, cluster, "lws").await?;
        until_free(&fleet, cluster, 16).await?;
    }

    // East comes first by name, and its spoke sees what the hub cannot know yet.
    place_while_a_node_is_taken(&fleet, "wide", &json!({})).await?;
    until_shares(&fleet, "wide", &[("west", 1)]).await?;
    refused(&fleet, 1).await?;
    nothing_in(east, "wide").await?;
    objects::absent(east, "Namespace", "", sample::NAMESPACE).await?;
    let told = fleet
        .eventually("the placement says why it is not in east", SOON, || async {
            let placement = sample::placed(&fleet, "wide").await?;
            objects::expect(&placement, "Scheduled", "True")?;
            let refusals = placement["status"]["refusals"].as_array().cloned().unwrap_or_default();
            let told = refusals.into_iter().find(|refusal| refusal["reason"] == "NoRoom");
            told.ok_or_else(|| Failure::new(placement["status"].to_string()))
        })
        .await?;
    assert_eq!(told["clusters"], json!(["east"]));
    let said = told["message"].as_str().unwrap_or_default();
    assert!(said.contains("NIMService wide: ") && said.contains(NUMBERS), "{said}");
    fleet
        .eventually("an event tells", SOON, || async {
            let events = objects::list(hub, "Event", sample::NAMESPACE).await?;
            let told = events.iter().find(|event| event["reason"] == "NoRoom");
            told.map(drop).ok_or_else(|| Failure::new("no event of it"))
        })
        .await?;
    let there = || objects::get(west, "NIMService", sample::NAMESPACE, "wide");
    fleet.eventually("west has it", SOON, there).await?;

    // The hub's picture is right at once, and what is there already is not asked whether there is room.
    until_free(&fleet, "east", 8).await?;
    fleet.cluster("east")?.link().set(Network::Whole);
    for node in ["west-0", "west-1"] {
        take(west, node).await?;
    }
    until_free(&fleet, "west", 0).await?;
    fleet.cluster("west")?.restart_spoke()?;
    let changed = json!({"spec": {"env": [{"name": "STEP", "value": "second"}]}});
    objects::patch(hub, "NIMService", sample::NAMESPACE, "wide", changed).await?;
    fleet
        .eventually("west has the change", SOON, || async {
            let env = there().await?["spec"]["env"].to_string();
            if env.contains("second") { Ok(()) } else { Err(Failure::new(env)) }
        })
        .await?;

    // Where no other cluster will do it waits, with the numbers, and comes when a report shows that there is room.
    give_back(&fleet, east, "east-0").await?;
    until_free(&fleet, "east", 16).await?;
    let only_east = json!({"clusterAffinity": {"clusterNames": ["east"]}});
    place_while_a_node_is_taken(&fleet, "lone", &only_east).await?;
    let message = sample::says(&fleet, "lone", "Scheduled", "NoRoom").await?;
    assert!(message.contains("1 NoRoom (east: NIMService lone: ") && message.contains(NUMBERS), "{message}");
    nothing_in(east, "lone").await?;
    until_free(&fleet, "east", 8).await?;
    fleet.cluster("east")?.link().set(Network::Whole);
    sample::says(&fleet, "lone", "Scheduled", "NoRoom").await?;
    refused(&fleet, 2).await?;
    give_back(&fleet, east, "east-0").await?;
    until_shares(&fleet, "lone", &[("east", 1)]).await?;
    fleet
        .eventually("east has it", SOON, || objects::get(east, "NIMService", sample::NAMESPACE, "lone"))
        .await?;
    refused(&fleet, 2).await?;
    until_shares(&fleet, "wide", &[("west", 1)]).await
}
