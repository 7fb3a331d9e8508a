//! GPUs count as they lie: whole nodes for services over nodes, slices for those who ask for slices.

use e2e::cluster::gpu::H100;
use e2e::failure::Failure;
use e2e::fleet::Fleet;
use e2e::{foreign, objects, sample};
use serde_json::{Value, json};

use super::shares::{SOON, has_platform};

/// A service with so many replicas of these GPUs, and more of its spec.
fn service(name: &str, replicas: u32, gpus: &Value, more: &Value) -> String {
    let mut object = json!({
        "apiVersion": "apps.nvidia.com/v1alpha1", "kind": "NIMService",
        "metadata": {"name": name, "namespace": sample::NAMESPACE},
        "spec": {
            "image": {"repository": "nvcr.io/nim/example", "tag": "1"}, "authSecret": "ngc-api-secret",
            "storage": {"emptyDir": {}}, "replicas": replicas, "resources": {"limits": gpus},
        },
    });
    for (field, value) in more.as_object().into_iter().flatten() {
        object["spec"][field] = value.clone();
    }
    object.to_string()
}

/// Applies a service with a placement of its own, waits for what comes of it, and gives back its clusters and what is said of
/// the others.
async fn place(
    fleet: &Fleet,
    name: &str,
    manifest: &str,
    outcome: &str,
) -> Result<(Vec<String>, String), Failure> {
    let hub = fleet.hub().cluster();
    objects::apply(hub, manifest).await?;
    objects::apply(hub, &sample::placement(name, &json!({}))).await?;
    sample::says(fleet, name, "Scheduled", outcome).await?;
    let placement = sample::placed(fleet, name).await?;
    Ok((sample::clusters_of(&placement), placement["status"]["refusals"].to_string()))
}

#[tokio::test]
async fn sixteen_gpus_seat_a_service_over_two_nodes_only_where_they_are_two_whole_nodes_and_slices_are_found_where_they_are()
-> Result<(), Failure> {
    let fleet =
        Fleet::new().cluster("split").gpus(H100, 1, 16).cluster("whole").gpus(H100, 8, 2).start().await?;
    for name in ["split", "whole"] {
        foreign::install(fleet.cluster(name)?.cluster(), &["LeaderWorkerSet"]).await?;
    }
    for name in ["split", "whole"] {
        has_platform(&fleet, name, "lws").await?;
    }
    let over_nodes = json!({
        "multiNode": {"parallelism": {"tensor": 8, "pipeline": 2}, "backendType": "lws"},
    });
    let wide = |name: &str| service(name, 1, &json!({"nvidia.com/gpu": 8}), &over_nodes);
    let (clusters, refusals) = place(&fleet, "wide", &wide("wide"), "Placed").await?;
    assert_eq!(clusters, ["whole"]);
    let numbers =
        "split: NIMService wide needs 2 × 8 GPUs per replica, each on one node; largest free block is 1";
    assert!(refusals.contains("InsufficientGPUs") && refusals.contains(numbers), "{refusals}");
    let whole = fleet.cluster("whole")?.cluster();
    let group = fleet
        .eventually("the group of two pods is there", SOON, || {
            objects::get(whole, "LeaderWorkerSet", sample::NAMESPACE, "wide-lws")
        })
        .await?;
    assert_eq!(group["spec"]["leaderWorkerTemplate"]["size"], 2, "{group}");

    // A second one finds the GPUs taken that the first was given, whether or not its pods are there.
    let (clusters, refusals) = place(&fleet, "second", &wide("second"), "NoClusterFits").await?;
    assert!(clusters.is_empty() && refusals.contains("16 more promised"), "{clusters:?} {refusals}");

    // One node cuts its GPU into slices.
    let slices = json!({"nvidia.com/gpu": "0", "nvidia.com/mig-1g.10gb": "7"});
    let node = json!({"capacity": slices, "allocatable": slices});
    objects::play_status(fleet.cluster("split")?.cluster(), "Node", "", "split-0", node).await?;
    let service_of = |name: &str, replicas: u32| {
        service(name, replicas, &json!({"nvidia.com/mig-1g.10gb": 1}), &json!({}))
    };
    let (clusters, refusals) = place(&fleet, "small", &service_of("small", 3), "Placed").await?;
    assert_eq!(clusters, ["split"]);
    assert!(refusals.contains("NoGPU") && refusals.contains("nvidia.com/mig-1g.10gb"), "{refusals}");
    let (clusters, refusals) = place(&fleet, "many", &service_of("many", 5), "NoClusterFits").await?;
    assert!(clusters.is_empty() && refusals.contains("room for 4"), "{clusters:?} {refusals}");
    Ok(())
}
