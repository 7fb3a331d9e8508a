//! A NIM sample applied on the hub runs where it can, says why there, and follows its source.

use std::time::Duration;

use e2e::cluster::gpu::{H100, L40S};
use e2e::failure::Failure;
use e2e::fleet::Fleet;
use e2e::{objects, sample};
use serde_json::json;

const SOON: Duration = Duration::from_mins(1);

/// The one deployment of the service in a cluster: its image and replicas.
async fn runs(fleet: &Fleet, cluster: &str, name: &str) -> Result<(String, i64), Failure> {
    let found =
        objects::get(fleet.cluster(cluster)?.cluster(), "Deployment", sample::NAMESPACE, name).await?;
    let image = found["spec"]["template"]["spec"]["containers"][0]["image"].as_str().unwrap_or_default();
    Ok((image.to_owned(), found["spec"]["replicas"].as_i64().unwrap_or_default()))
}

/// A fleet of one GPU cluster that runs the sample.
async fn running() -> Result<Fleet, Failure> {
    let fleet = Fleet::new().cluster("east").gpus(H100, 8, 1).start().await?;
    sample::place(&fleet, sample::NAME, &json!({})).await?;
    sample::ready(&fleet, sample::NAME).await?;
    Ok(fleet)
}

#[tokio::test]
async fn a_sample_becomes_ready_where_it_can_run_and_the_rest_is_explained() -> Result<(), Failure> {
    let fleet = Fleet::new().cluster("east").gpus(H100, 8, 1).cluster("plain").cpu_nodes(1).start().await?;
    sample::place(&fleet, sample::NAME, &json!({})).await?;
    assert_eq!(sample::ready(&fleet, sample::NAME).await?, ["east"]);
    let (image, replicas) = runs(&fleet, "east", sample::NAME).await?;
    assert_eq!((image.as_str(), replicas), ("nvcr.io/nim/meta/llama-3.2-1b-instruct:1.12.0", 1));

    // Why not elsewhere: the cluster, the filter and the numbers.
    let placement = sample::placed(&fleet, sample::NAME).await?;
    let refusals = placement["status"]["refusals"].as_array().cloned().unwrap_or_default();
    let refusal = refusals.iter().find(|r| r["clusters"] == json!(["plain"])).expect("plain is explained");
    assert_eq!(refusal["reason"], "NoGPU", "{refusal}");
    objects::absent(fleet.cluster("plain")?.cluster(), "NIMService", sample::NAMESPACE, sample::NAME).await
}

#[tokio::test]
async fn a_new_image_on_the_hub_reaches_the_deployment() -> Result<(), Failure> {
    let fleet = running().await?;
    let newer = json!({"spec": {"image": {"tag": "1.13.0"}}});
    objects::patch(fleet.hub().cluster(), "NIMService", sample::NAMESPACE, sample::NAME, newer).await?;
    fleet
        .eventually("the new image runs", SOON, || async {
            match runs(&fleet, "east", sample::NAME).await? {
                (image, _) if image.ends_with(":1.13.0") => Ok(()),
                (image, _) => Err(Failure::new(image)),
            }
        })
        .await?;
    sample::ready(&fleet, sample::NAME).await?;
    Ok(())
}

#[tokio::test]
async fn what_is_deleted_on_the_hub_goes_everywhere() -> Result<(), Failure> {
    let fleet = running().await?;
    let (hub, east) = (fleet.hub().cluster(), fleet.cluster("east")?.cluster());
    for kind in ["NIMService", "NIMCache"] {
        objects::delete(hub, kind, sample::NAMESPACE, sample::NAME).await?;
    }
    for kind in ["NIMService", "NIMCache", "Deployment", "Job"] {
        let name = if kind == "Job" { format!("{}-job", sample::NAME) } else { sample::NAME.to_owned() };
        let gone = || objects::absent(east, kind, sample::NAMESPACE, &name);
        fleet.eventually(&format!("{kind} is gone in east"), SOON, gone).await?;
    }
    for kind in ["NIMService", "NIMCache"] {
        let gone = || objects::absent(hub, kind, sample::NAMESPACE, sample::NAME);
        fleet.eventually(&format!("{kind} is gone on the hub"), SOON, gone).await?;
    }
    Ok(())
}

#[tokio::test]
async fn what_one_cluster_cannot_hold_spills_to_a_second() -> Result<(), Failure> {
    let fleet =
        Fleet::new().cluster("big").gpus(H100, 4, 1).cluster("small").gpus(L40S, 2, 1).start().await?;
    let hub = fleet.hub().cluster();
    // Six replicas of one GPU each: four fit the first cluster, two the second.
    let six = sample::MANIFEST.replace("replicas: 1", "replicas: 6");
    objects::apply(hub, &six).await?;
    objects::apply(hub, &sample::placement(sample::NAME, &json!({"replicaScheduling": {"type": "Divided"}})))
        .await?;
    assert_eq!(sample::ready(&fleet, sample::NAME).await?, ["big", "small"]);
    assert_eq!(runs(&fleet, "big", sample::NAME).await?.1, 4);
    assert_eq!(runs(&fleet, "small", sample::NAME).await?.1, 2);

    // Both are full now. A second placement takes nothing of theirs, and is told the numbers.
    sample::place(&fleet, "late", &json!({})).await?;
    let message = sample::says(&fleet, "late", "Scheduled", "NoClusterFits").await?;
    assert!(message.contains("big") || message.contains("small") || message.contains("GPU"), "{message}");
    let placement = sample::placed(&fleet, "late").await?;
    assert!(placement.to_string().contains("InsufficientGPUs"), "{placement}");
    Ok(())
}

#[tokio::test]
async fn a_broken_service_does_not_stop_its_neighbour() -> Result<(), Failure> {
    let fleet = Fleet::new().cluster("east").gpus(H100, 8, 1).start().await?;
    let hub = fleet.hub().cluster();
    // The claim has no size: no policy refuses that, as the operator does when it comes to make the claim.
    let broken = json!({
        "apiVersion": "apps.nvidia.com/v1alpha1", "kind": "NIMService",
        "metadata": {"name": "broken", "namespace": sample::NAMESPACE},
        "spec": {
            "image": {"repository": "nvcr.io/nim/example", "tag": "1"}, "authSecret": "ngc-api-secret",
            "storage": {"pvc": {"create": true}},
        },
    });
    objects::apply(hub, &broken.to_string()).await?;
    objects::apply(hub, &sample::placement("broken", &json!({}))).await?;
    sample::place(&fleet, sample::NAME, &json!({})).await?;
    sample::ready(&fleet, sample::NAME).await?;
    fleet
        .eventually("the hub shows what is wrong", SOON, || async {
            let service = objects::get(hub, "NIMService", sample::NAMESPACE, "broken").await?;
            objects::expect(&service, "Ready", "False")?;
            let (_, _, message) = objects::condition(&service, "Ready").expect("just seen");
            let failed = objects::condition(&service, "Failed").map(|(_, _, m)| m).unwrap_or_default();
            if format!("{message} {failed}").contains("storage") {
                Ok(())
            } else {
                Err(Failure::new(service.to_string()))
            }
        })
        .await
}
