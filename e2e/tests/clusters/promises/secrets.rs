//! A listed Secret goes where its placement goes, and its value is seen nowhere else.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use e2e::cluster::Cluster;
use e2e::cluster::gpu::H100;
use e2e::failure::Failure;
use e2e::fleet::{Daemon, Fleet};
use e2e::{objects, sample};
use serde_json::json;

/// A change on the hub is seen everywhere well within this time.
const SOON: Duration = Duration::from_mins(1);
/// The Secret that travels.
const NAME: &str = "canary";

/// A value that nothing else contains.
fn canary() -> String {
    format!("canary-{:016x}", RandomState::new().build_hasher().finish())
}

fn secret(value: &str) -> String {
    json!({
        "apiVersion": "v1", "kind": "Secret", "type": "Opaque",
        "metadata": {"name": NAME, "namespace": sample::NAMESPACE}, "stringData": {"key": value},
    })
    .to_string()
}

async fn value(cluster: &Cluster) -> Result<String, Failure> {
    let secret = objects::get(cluster, "Secret", sample::NAMESPACE, NAME).await?;
    let data = secret["data"]["key"].as_str().unwrap_or_default();
    Ok(String::from_utf8_lossy(&BASE64_STANDARD.decode(data).unwrap_or_default()).into_owned())
}

async fn holds(fleet: &Fleet, cluster: &Cluster, expected: &str) -> Result<(), Failure> {
    let check = || async {
        let found = value(cluster).await?;
        if found == expected { Ok(()) } else { Err(Failure::new("another value")) }
    };
    fleet.eventually(&format!("{} has the value", cluster.name()), SOON, check).await
}

/// Everything that a cluster's API server shows, but for Secrets.
async fn objects_of(cluster: &Cluster) -> Result<String, Failure> {
    let kinds = cluster.kubectl(&["api-resources", "--verbs=list", "--output=name"], None).await?;
    let kinds: Vec<&str> = kinds.lines().filter(|kind| *kind != "secrets").collect();
    let kinds = kinds.join(",");
    let arguments = ["get", &kinds, "--all-namespaces", "--output=json", "--show-managed-fields"];
    Ok(cluster.kubectl(&arguments, None).await?)
}

/// Everything that a process has said.
async fn words_of(daemon: &Daemon) -> Result<String, Failure> {
    let log = std::fs::read_to_string(daemon.log()).map_err(|error| Failure::new(error.to_string()))?;
    Ok(log + &daemon.metrics().await?)
}

/// Fails where a value is seen, as it is or as API servers write it.
fn unseen(place: &str, text: &str, values: &[&str]) {
    assert!(text.len() > 1000, "{place} was looked at");
    for value in values {
        for form in [(*value).to_owned(), BASE64_STANDARD.encode(value), hex::encode(value)] {
            assert!(!text.contains(form.trim_end_matches('=')), "the value is seen in {place}");
        }
    }
}

#[tokio::test]
async fn a_listed_secret_travels_with_its_placement_and_is_seen_nowhere_else() -> Result<(), Failure> {
    let accepted = json!({"secrets": {"accepted": [NAME]}});
    let fleet = Fleet::new().cluster("east").gpus(H100, 8, 1).limits(accepted.clone());
    let fleet = fleet.cluster("west").gpus(H100, 8, 1).limits(accepted).start().await?;
    let (hub, east, west) =
        (fleet.hub().cluster(), fleet.cluster("east")?.cluster(), fleet.cluster("west")?.cluster());
    let (first, second, foreign) = (canary(), canary(), canary());

    // Placed in the east alone.
    objects::apply(hub, &secret(&first)).await?;
    let in_the_east = json!({"secrets": [NAME], "clusterAffinity": {"clusterNames": ["east"]}});
    sample::place(&fleet, sample::NAME, &in_the_east).await?;
    holds(&fleet, east, &first).await?;
    sample::ready(&fleet, sample::NAME).await?;
    objects::absent(west, "Secret", sample::NAMESPACE, NAME).await?;

    // A change is noticed at the latest with the next look; a new hub looks at once.
    objects::apply(hub, &secret(&second)).await?;
    fleet.hub().kill();
    fleet.hub().restart()?;
    holds(&fleet, east, &second).await?;

    // Moved to the west, where somebody's own Secret has that name: it is left alone, and the hub is told.
    objects::apply(west, &secret(&foreign)).await?;
    let to_the_west = json!({"spec": {"clusterAffinity": {"clusterNames": ["west"]}}});
    objects::patch(hub, "NIMPlacement", sample::NAMESPACE, sample::NAME, to_the_west).await?;
    let said = sample::says(&fleet, sample::NAME, "Degraded", "Rejected").await?;
    assert!(said.contains("Secret canary") && said.contains("belongs to its own people"), "{said}");
    let gone = || objects::absent(east, "Secret", sample::NAMESPACE, NAME);
    fleet.eventually("it has left the east", SOON, gone).await?;
    assert_eq!(value(west).await?, foreign);

    // Wherever one may look.
    let values = [first.as_str(), second.as_str()];
    for cluster in [hub, east, west] {
        unseen(cluster.name(), &objects_of(cluster).await?, &values);
    }
    unseen("the hub's words", &words_of(fleet.hub().daemon()).await?, &values);
    for member in fleet.clusters() {
        unseen(member.name(), &words_of(member.spoke()).await?, &values);
    }
    Ok(())
}

#[tokio::test]
async fn a_secret_that_no_owner_accepts_or_that_is_not_there_is_told() -> Result<(), Failure> {
    let fleet = Fleet::new().cluster("east").gpus(H100, 8, 1).start().await?;
    sample::place(&fleet, sample::NAME, &json!({"secrets": [NAME]})).await?;
    let said = sample::says(&fleet, sample::NAME, "Degraded", "SecretUnavailable").await?;
    assert!(said.contains("spec.secrets") && said.contains(NAME), "{said}");
    objects::apply(fleet.hub().cluster(), &secret(&canary())).await?;
    let retouched = json!({"metadata": {"labels": {"retouched": "yes"}}});
    objects::patch(fleet.hub().cluster(), "NIMPlacement", sample::NAMESPACE, sample::NAME, retouched).await?;
    let said = sample::says(&fleet, sample::NAME, "Degraded", "PolicyDenied").await?;
    assert!(said.contains("limits.secrets.accepted"), "{said}");
    // Secret and service are delivered each for itself.
    let east = fleet.cluster("east")?.cluster();
    let service = || objects::get(east, "NIMService", sample::NAMESPACE, sample::NAME);
    fleet.eventually("the service runs all the same", SOON, service).await.map(drop)
}

#[tokio::test]
async fn a_secret_of_several_placements_leaves_with_the_last_of_them() -> Result<(), Failure> {
    let accepted = json!({"secrets": {"accepted": [NAME]}});
    let fleet = Fleet::new().cluster("east").gpus(H100, 8, 1).limits(accepted).start().await?;
    let (hub, east, shared) = (fleet.hub().cluster(), fleet.cluster("east")?.cluster(), canary());
    objects::apply(hub, &secret(&shared)).await?;
    for name in ["one", "other"] {
        sample::place(&fleet, name, &json!({"secrets": [NAME]})).await?;
        sample::ready(&fleet, name).await?;
    }
    holds(&fleet, east, &shared).await?;
    for (name, last) in [("one", false), ("other", true)] {
        objects::delete(hub, "NIMPlacement", sample::NAMESPACE, name).await?;
        let gone = || objects::absent(east, "NIMService", sample::NAMESPACE, name);
        fleet.eventually(&format!("{name} has left"), SOON, gone).await?;
        let gone = || objects::absent(hub, "NIMPlacement", sample::NAMESPACE, name);
        fleet.eventually(&format!("{name} is gone"), SOON, gone).await?;
        if last {
            let gone = || objects::absent(east, "Secret", sample::NAMESPACE, NAME);
            fleet.eventually("the Secret has left", SOON, gone).await?;
        } else {
            assert_eq!(value(east).await?, shared, "the other still lists it");
        }
    }
    Ok(())
}
