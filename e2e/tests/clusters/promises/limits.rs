//! A cluster's owner says what a hub may do there; whoever holds the hub cannot do more, and is told.

use std::time::Duration;

use e2e::cluster::gpu::H100;
use e2e::failure::Failure;
use e2e::fleet::Fleet;
use e2e::{objects, sample};
use serde_json::{Value, json};

/// A change on the hub is seen everywhere well within this time.
const SOON: Duration = Duration::from_mins(1);

/// The sample's service, with its model on a folder of the node.
fn on_a_host_path(env: &str) -> String {
    let service = json!({
        "apiVersion": "apps.nvidia.com/v1alpha1", "kind": "NIMService",
        "metadata": {"name": sample::NAME, "namespace": sample::NAMESPACE},
        "spec": {
            "image": {"repository": "nvcr.io/nim/meta/llama-3.2-1b-instruct", "tag": "1.12.0"},
            "authSecret": "ngc-api-secret", "replicas": 1, "env": [{"name": "STEP", "value": env}],
            "resources": {"limits": {"nvidia.com/gpu": "1"}},
            "storage": {"hostPath": "/data/models"},
        },
    });
    service.to_string()
}

/// What a cluster's service says in the variable STEP, and its uid.
async fn step(fleet: &Fleet, cluster: &str) -> Result<(String, String), Failure> {
    let cluster = fleet.cluster(cluster)?.cluster();
    let service = objects::get(cluster, "NIMService", sample::NAMESPACE, sample::NAME).await?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    Ok((text(&service["spec"]["env"][0]["value"]), text(&service["metadata"]["uid"])))
}

async fn set_limits(fleet: &Fleet, cluster: &str, limits: Value) -> Result<(), Failure> {
    let member = fleet.cluster(cluster)?;
    member.limit(fleet.ground(), &limits).await?;
    member.restart_spoke()?;
    Ok(())
}

async fn step_becomes(fleet: &Fleet, cluster: &str, expected: &str) -> Result<(), Failure> {
    let what = format!("{cluster} has step {expected}");
    let check = || async {
        match step(fleet, cluster).await?.0 {
            found if found == expected => Ok(()),
            found => Err(Failure::new(format!("it has {found:?}"))),
        }
    };
    fleet.eventually(&what, SOON, check).await
}

#[tokio::test]
async fn what_an_owner_denies_runs_elsewhere_and_what_runs_goes_on() -> Result<(), Failure> {
    let allowed = json!({"hostPaths": ["/data"]});
    let fleet =
        Fleet::new().cluster("east").gpus(H100, 8, 1).limits(json!({"contact": "gpu-team@example.com"}));
    let fleet = fleet.cluster("west").gpus(H100, 8, 1).limits(allowed.clone()).start().await?;
    let hub = fleet.hub().cluster();

    // East comes first by name and denies; west takes it, and the hub says why not east, and whom to ask.
    objects::apply(hub, &on_a_host_path("first")).await?;
    objects::apply(hub, &sample::placement(sample::NAME, &json!({}))).await?;
    step_becomes(&fleet, "west", "first").await?;
    let refusal = fleet
        .eventually("the refusal is shown", SOON, || async {
            let placement = sample::placed(&fleet, sample::NAME).await?;
            objects::expect(&placement, "Scheduled", "True")?;
            let refusals = placement["status"]["refusals"].as_array().cloned().unwrap_or_default();
            let denied = refusals.into_iter().find(|refusal| refusal["reason"] == "PolicyDenied");
            denied.ok_or_else(|| Failure::new(placement.to_string()))
        })
        .await?;
    assert_eq!(refusal["clusters"], json!(["east"]));
    let said = refusal["message"].as_str().unwrap_or_default();
    for word in ["spec.storage.hostPath", "\"/data/models\"", "limits.hostPaths", "gpu-team@example.com"] {
        assert!(said.contains(word), "{word} is not in: {said}");
    }
    let east = fleet.cluster("east")?;
    objects::absent(east.cluster(), "NIMService", sample::NAMESPACE, sample::NAME).await?;
    objects::absent(east.cluster(), "Namespace", "", sample::NAMESPACE).await?;
    let event = || async {
        let events = objects::list(hub, "Event", sample::NAMESPACE).await?;
        let told = events.iter().find(|event| event["reason"] == "PolicyDenied");
        told.map(drop).ok_or_else(|| Failure::new("no event of it"))
    };
    fleet.eventually("an event tells", SOON, event).await?;
    let metrics = fleet.hub().daemon().metrics().await?;
    assert!(metrics.contains("nimfleet_hub_link_rejections_total{class=\"PolicyDenied\"} 1"), "{metrics}");
    let metrics = east.spoke().metrics().await?;
    assert!(
        metrics.contains("objects_rejected_total{class=\"PolicyDenied\"} 1"),
        "asked once, not again: {metrics}"
    );

    // West's owner has other thoughts: what runs there runs on, but no change of it is let in.
    let (_, uid) = step(&fleet, "west").await?;
    set_limits(&fleet, "west", json!({})).await?;
    fleet.eventually("west is back", SOON, || fleet.hub().connected("west")).await?;
    objects::apply(hub, &on_a_host_path("second")).await?;
    let said = sample::says(&fleet, sample::NAME, "Degraded", "PolicyDenied").await?;
    assert!(said.contains("west") && said.contains("limits.hostPaths"), "{said}");
    assert_eq!(step(&fleet, "west").await?, ("first".to_owned(), uid.clone()), "it runs on as it was");

    // The limit is widened again: what was denied comes by itself, to the same object.
    set_limits(&fleet, "west", allowed).await?;
    step_becomes(&fleet, "west", "second").await?;
    assert_eq!(step(&fleet, "west").await?.1, uid);
    Ok(())
}

#[tokio::test]
async fn where_every_owner_denies_the_placement_says_so_until_one_allows() -> Result<(), Failure> {
    let fleet = Fleet::new().cluster("east").gpus(H100, 8, 1).start().await?;
    objects::apply(fleet.hub().cluster(), &on_a_host_path("first")).await?;
    objects::apply(fleet.hub().cluster(), &sample::placement(sample::NAME, &json!({}))).await?;
    sample::says(&fleet, sample::NAME, "Scheduled", "PolicyDenied").await?;
    set_limits(&fleet, "east", json!({"hostPaths": ["/data"]})).await?;
    step_becomes(&fleet, "east", "first").await?;
    Ok(())
}
