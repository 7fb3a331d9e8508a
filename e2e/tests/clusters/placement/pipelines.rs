//! NIMPipelines and NIMBuilds are placed from the hub like other kinds: a pipeline goes whole to where all of it fits, a build
//! runs in every chosen cluster that holds its cache.

use std::time::Duration;

use e2e::cluster::gpu::{H100, L40S};
use e2e::failure::Failure;
use e2e::fleet::Fleet;
use e2e::{objects, sample};
use serde_json::{Value, json};

use super::shares::SOON;

/// NVIDIA's sample, unchanged: three services of one GPU each, on three caches.
const MANIFESTS: [&str; 4] = [
    include_str!("../../../fixtures/nvidia/nim/pipelines/rag/nimcache-llm.yaml"),
    include_str!("../../../fixtures/nvidia/nim/pipelines/rag/nimcache-embedding.yaml"),
    include_str!("../../../fixtures/nvidia/nim/pipelines/rag/nimcache-reranking.yaml"),
    include_str!("../../../fixtures/nvidia/nim/pipelines/rag/rag-pipeline.yaml"),
];
const PIPELINE: &str = "rag-pipeline";
/// The services of the sample; their caches have the same names.
const SERVICES: [&str; 3] = ["meta-llama3-8b-instruct", "nv-embedqa-1b-v2", "nv-rerankqa-1b-v2"];
/// Caching and a move with kwok take seconds; the time is for a busy machine.
const READY_WITHIN: Duration = Duration::from_mins(2);

fn selects(kind: &str, name: &str, more: &Value) -> String {
    let mut more = more.clone();
    more["resourceSelectors"] = json!([{"kind": kind, "name": name}]);
    sample::placement(name, &more)
}

/// Waits until an object of the hub is Ready, and gives it back.
async fn ready(fleet: &Fleet, kind: &str, name: &str) -> Result<Value, Failure> {
    fleet
        .eventually(&format!("{kind} {name} is Ready on the hub"), READY_WITHIN, || async {
            let found = objects::get(fleet.hub().cluster(), kind, sample::NAMESPACE, name).await?;
            objects::expect(&found, "Ready", "True")?;
            if found["status"]["state"] == "Ready" {
                Ok(found)
            } else {
                Err(Failure::new(found["status"].to_string()))
            }
        })
        .await
}

/// The refusal of a cluster: reason and message.
async fn refusal(fleet: &Fleet, placement: &str, cluster: &str) -> Result<(String, String), Failure> {
    let placed = sample::placed(fleet, placement).await?;
    let refusals = placed["status"]["refusals"].as_array().cloned().unwrap_or_default();
    let told = refusals.into_iter().find(|one| one["clusters"] == json!([cluster]));
    let told = told.ok_or_else(|| Failure::new(placed["status"].to_string()))?;
    let text = |field: &str| told[field].as_str().unwrap_or_default().to_owned();
    Ok((text("reason"), text("message")))
}

/// Waits until a cluster is refused for this reason with these words.
async fn refused(
    fleet: &Fleet,
    placement: &str,
    cluster: &str,
    (why, words): (&str, &str),
) -> Result<(), Failure> {
    fleet
        .eventually(&format!("{placement} is refused in {cluster}: {why}"), SOON, || async {
            let (reason, message) = refusal(fleet, placement, cluster).await?;
            if reason == why && message.contains(words) {
                Ok(())
            } else {
                Err(Failure::new(format!("{reason}: {message}")))
            }
        })
        .await
}

async fn until_in(fleet: &Fleet, placement: &str, clusters: &[&str]) -> Result<(), Failure> {
    fleet
        .eventually(&format!("{placement} is in {clusters:?}"), READY_WITHIN, || async {
            let placed = sample::placed(fleet, placement).await?;
            objects::expect(&placed, "Available", "True")?;
            let found = sample::clusters_of(&placed);
            if found == clusters { Ok(()) } else { Err(Failure::new(format!("{found:?}"))) }
        })
        .await
}

#[tokio::test]
async fn a_pipeline_goes_whole_to_where_all_of_it_fits() -> Result<(), Failure> {
    let fleet = Fleet::new()
        .cluster("big")
        .gpus(H100, 4, 1)
        .cluster("small")
        .gpus(L40S, 2, 1)
        .cluster("spare")
        .gpus(H100, 3, 1)
        .start()
        .await?;
    let (hub, big) = (fleet.hub().cluster(), fleet.cluster("big")?.cluster());
    for manifest in MANIFESTS {
        objects::apply(hub, manifest).await?;
    }

    // A service of it is no object of its own: whoever selects one is told what to select.
    objects::apply(hub, &sample::placement(SERVICES[0], &json!({}))).await?;
    let message = sample::says(&fleet, SERVICES[0], "Scheduled", "NoObjectsSelected").await?;
    let remedy = format!(
        "NIMPipeline {PIPELINE} makes NIMService {}: select kind NIMPipeline, name {PIPELINE}",
        SERVICES[0]
    );
    assert!(message.ends_with(&remedy), "{message}");
    objects::delete(hub, "NIMPlacement", sample::NAMESPACE, SERVICES[0]).await?;

    let more = json!({
        "failover": {"onUnreachable": "Replace", "lostAfter": "1s"},
        "tiers": [{"clusterNames": ["big"]}, {"clusterNames": ["small", "spare"]}],
    });
    objects::apply(hub, &selects("NIMPipeline", PIPELINE, &more)).await?;
    ready(&fleet, "NIMPipeline", PIPELINE).await?;
    until_in(&fleet, PIPELINE, &["big"]).await?;
    let words = format!("NIMPipeline {PIPELINE} (service ");
    refused(&fleet, PIPELINE, "small", ("InsufficientGPUs", &words)).await?;
    for name in SERVICES {
        let made = objects::get(big, "NIMService", sample::NAMESPACE, name).await?;
        objects::expect(&made, "Ready", "True")?;
        objects::absent(hub, "NIMService", sample::NAMESPACE, name).await?;
        ready(&fleet, "NIMCache", name).await?;
    }

    // What is changed on the hub reaches the services.
    let mut services =
        objects::get(hub, "NIMPipeline", sample::NAMESPACE, PIPELINE).await?["spec"]["services"].clone();
    services[2]["enabled"] = json!(false);
    services[0]["spec"]["env"] = json!([{"name": "STEP", "value": "second"}]);
    objects::patch(hub, "NIMPipeline", sample::NAMESPACE, PIPELINE, json!({"spec": {"services": services}}))
        .await?;
    fleet
        .eventually("the change is in big", SOON, || async {
            objects::absent(big, "NIMService", sample::NAMESPACE, SERVICES[2]).await?;
            let env = objects::get(big, "NIMService", sample::NAMESPACE, SERVICES[0]).await?["spec"]["env"]
                .to_string();
            if env.contains("second") { Ok(()) } else { Err(Failure::new(env)) }
        })
        .await?;
    ready(&fleet, "NIMPipeline", PIPELINE).await?;

    // It fails over as a whole, and goes as a whole.
    services[2]["enabled"] = json!(true);
    objects::patch(hub, "NIMPipeline", sample::NAMESPACE, PIPELINE, json!({"spec": {"services": services}}))
        .await?;
    let third = || objects::get(big, "NIMService", sample::NAMESPACE, SERVICES[2]);
    fleet.eventually("the third service is back", SOON, third).await?;
    ready(&fleet, "NIMPipeline", PIPELINE).await?;
    fleet.cluster("big")?.link().cut().await;
    until_in(&fleet, PIPELINE, &["spare"]).await?;
    ready(&fleet, "NIMPipeline", PIPELINE).await?;
    let spare = fleet.cluster("spare")?.cluster();
    objects::delete(hub, "NIMPipeline", sample::NAMESPACE, PIPELINE).await?;
    for name in SERVICES {
        let gone = || objects::absent(spare, "NIMService", sample::NAMESPACE, name);
        fleet.eventually(&format!("{name} is gone in spare"), SOON, gone).await?;
    }
    objects::get(spare, "NIMCache", sample::NAMESPACE, SERVICES[0]).await?;
    // The copy that nobody can reach serves until its cluster is back.
    objects::get(big, "NIMPipeline", sample::NAMESPACE, PIPELINE).await.map(drop)
}

/// A cache of what can be built from, and a build of it.
fn cache_and_build() -> String {
    let cache = json!({
        "apiVersion": "apps.nvidia.com/v1alpha1", "kind": "NIMCache",
        "metadata": {"name": "weights", "namespace": sample::NAMESPACE},
        "spec": {
            "source": {"ngc": {"modelPuller": "nvcr.io/nim/example:1", "authSecret": "ngc-api-secret", "model": {"buildable": true}}},
            "storage": {"pvc": {"create": true, "size": "1Gi", "volumeAccessMode": "ReadWriteOnce"}},
        },
    });
    let build = json!({
        "apiVersion": "apps.nvidia.com/v1alpha1", "kind": "NIMBuild",
        "metadata": {"name": "engine", "namespace": sample::NAMESPACE},
        "spec": {"nimCache": {"name": "weights"}, "image": {"repository": "nvcr.io/nim/example", "tag": "1"}},
    });
    format!("{cache}\n---\n{build}")
}

#[tokio::test]
async fn a_build_runs_in_every_chosen_cluster_that_holds_its_cache() -> Result<(), Failure> {
    let fleet = Fleet::new()
        .manifest("buildable_manifest.yaml")
        .cluster("east")
        .gpus(H100, 2, 1)
        .cluster("narrow")
        .gpus(H100, 1, 1)
        .cluster("west")
        .gpus(H100, 2, 1)
        .start()
        .await?;
    let hub = fleet.hub().cluster();
    objects::apply(hub, &cache_and_build()).await?;
    let quota = json!({"apiVersion": "nimfleet.io/v1alpha1", "kind": "GPUQuota",
        "metadata": {"name": "team", "namespace": sample::NAMESPACE}, "spec": {"limits": [{"product": "*", "gpus": 4}]}});
    objects::apply(hub, &quota.to_string()).await?;

    // Where its cache is not, and does not come along, there is nothing to build from.
    let own_places = json!({"propagateDependencies": false, "numberOfClusters": 2});
    objects::apply(hub, &selects("NIMBuild", "engine", &own_places)).await?;
    let message = sample::says(&fleet, "engine", "Scheduled", "NoClusterFits").await?;
    assert!(
        message.contains("3 ModelNotCached") && message.contains("builds from NIMCache nim-service/weights"),
        "{message}"
    );

    objects::apply(hub, &selects("NIMCache", "weights", &json!({"numberOfClusters": 3}))).await?;
    ready(&fleet, "NIMCache", "weights").await?;
    // Each cluster reports its cache in its own time, and is chosen then.
    fleet
        .eventually("the build is ready in two clusters", READY_WITHIN, || async {
            let build = ready(&fleet, "NIMBuild", "engine").await?;
            match objects::condition(&build, "Ready") {
                Some((.., message)) if message == "ready in 2 clusters: east, west" => Ok(()),
                other => Err(Failure::new(format!("{other:?}"))),
            }
        })
        .await?;
    // The profile takes two GPUs.
    refused(&fleet, "engine", "narrow", ("InsufficientGPUs", "needs 2 GPUs")).await?;
    for cluster in ["east", "west"] {
        let cache =
            objects::get(fleet.cluster(cluster)?.cluster(), "NIMCache", sample::NAMESPACE, "weights").await?;
        assert!(cache["status"]["profiles"].to_string().contains("input_profile"), "{}", cache["status"]);
    }
    // What is built takes no GPUs of its namespace any more.
    fleet
        .eventually("the quota is free again", SOON, || async {
            let quota = objects::get(hub, "GPUQuota", sample::NAMESPACE, "team").await?;
            match quota["status"]["summary"].as_str() {
                Some("*: 0/4") => Ok(()),
                other => Err(Failure::new(format!("{other:?}"))),
            }
        })
        .await
}
