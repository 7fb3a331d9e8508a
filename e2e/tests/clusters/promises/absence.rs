//! A hub or a spoke that is away deletes nothing, and nothing is written when nothing changes.

use std::time::Duration;

use e2e::cluster::gpu::H100;
use e2e::failure::Failure;
use e2e::fleet::Fleet;
use e2e::{objects, sample};
use jiff::Timestamp;
use serde_json::json;

const SOON: Duration = Duration::from_mins(1);
/// Long enough for every resync and retry of a few seconds to show; a longer watch belongs to the benchmarks.
const QUIET: Duration = Duration::from_secs(15);
/// So soon what belongs into a namespace is there again after the namespace has gone: the longest pause between two attempts is
/// a minute.
const COMES_BACK: Duration = Duration::from_mins(2);
/// Both of our identities: system:serviceaccount:nimfleet:…
const OURS: &str = "system:serviceaccount:nimfleet:";

async fn standing() -> Result<Fleet, Failure> {
    let fleet = Fleet::new().cluster("east").gpus(H100, 8, 1).audited().start().await?;
    sample::place(&fleet, sample::NAME, &json!({})).await?;
    sample::ready(&fleet, sample::NAME).await?;
    Ok(fleet)
}

/// Waits until nobody of ours has written for three seconds, and gives back the moment from which it is quiet.
async fn settled(fleet: &Fleet) -> Result<Timestamp, Failure> {
    let (hub, east) = (fleet.hub().cluster(), fleet.cluster("east")?.cluster());
    fleet
        .eventually("the fleet settles", 2 * SOON, || async {
            let since = Timestamp::now();
            tokio::time::sleep(Duration::from_secs(3)).await;
            let writes = [hub.audit().writes_by(OURS, since), east.audit().writes_by(OURS, since)].concat();
            if writes.is_empty() { Ok(since) } else { Err(Failure::new(format!("{writes:?}"))) }
        })
        .await
}

#[tokio::test]
async fn a_steady_fleet_writes_nothing() -> Result<(), Failure> {
    let fleet = standing().await?;
    let since = settled(&fleet).await?;
    tokio::time::sleep(QUIET).await;
    for cluster in [fleet.hub().cluster(), fleet.cluster("east")?.cluster()] {
        let writes = cluster.audit().writes_by(OURS, since);
        assert!(writes.is_empty(), "{}: {writes:?}", cluster.name());
    }
    Ok(())
}

#[tokio::test]
async fn a_hub_that_restarts_touches_no_workload() -> Result<(), Failure> {
    let fleet = standing().await?;
    let east = fleet.cluster("east")?.cluster();
    let since = settled(&fleet).await?;
    fleet.hub().kill();
    tokio::time::sleep(Duration::from_secs(2)).await;
    fleet.hub().restart()?;
    fleet.eventually("the hub is ready again", SOON, || fleet.hub().ready()).await?;
    fleet.eventually("east is connected again", SOON, || fleet.hub().connected("east")).await?;
    assert_eq!(sample::ready(&fleet, sample::NAME).await?, ["east"]);
    tokio::time::sleep(Duration::from_secs(5)).await;
    for resource in ["deployments", "nimservices", "nimcaches", "jobs", "services", "persistentvolumeclaims"]
    {
        let writes: Vec<_> =
            east.audit().writes_to(resource, since).into_iter().filter(|w| w.user.contains(OURS)).collect();
        assert!(writes.is_empty(), "{resource}: {writes:?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_spoke_that_restarts_without_a_hub_heals_its_cluster() -> Result<(), Failure> {
    let fleet = standing().await?;
    let member = fleet.cluster("east")?;
    let east = member.cluster();
    member.spoke().kill();
    fleet.hub().kill();
    objects::delete(east, "Deployment", sample::NAMESPACE, sample::NAME).await?;
    let gone = || objects::absent(east, "Deployment", sample::NAMESPACE, sample::NAME);
    fleet.eventually("the Deployment is gone", SOON, gone).await?;
    member.spoke().start()?;
    fleet
        .eventually("the Deployment is back", SOON, || {
            objects::get(east, "Deployment", sample::NAMESPACE, sample::NAME)
        })
        .await?;

    // And again, while the spoke watches: at once.
    objects::delete(east, "Deployment", sample::NAMESPACE, sample::NAME).await?;
    fleet
        .eventually("the Deployment is back again", Duration::from_secs(30), || async {
            let found = objects::get(east, "Deployment", sample::NAMESPACE, sample::NAME).await?;
            match found["metadata"]["deletionTimestamp"].as_str() {
                None => Ok(()),
                Some(_) => Err(Failure::new("the old one is still going")),
            }
        })
        .await?;

    fleet.hub().restart()?;
    fleet.eventually("east is connected again", SOON, || fleet.hub().connected("east")).await?;
    sample::ready(&fleet, sample::NAME).await?;
    Ok(())
}

#[tokio::test]
async fn a_namespace_that_took_its_time_to_go_is_filled_again_without_a_hub() -> Result<(), Failure> {
    let fleet = standing().await?;
    let east = fleet.cluster("east")?.cluster();
    let holder = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "holder", "namespace": sample::NAMESPACE, "finalizers": ["example.com/hold"]},
    });
    objects::apply(east, &holder.to_string()).await?;
    let service = || objects::get(east, "NIMService", sample::NAMESPACE, sample::NAME);
    let before = service().await?["metadata"]["uid"].clone();
    east.kubectl(&["delete", "namespace", sample::NAMESPACE, "--wait=false"], None).await?;
    let words = format!("namespace {} is Terminating", sample::NAMESPACE);
    fleet
        .eventually("the hub says what is in the way", COMES_BACK * 2, || async {
            let status = sample::placed(&fleet, sample::NAME).await?["status"].to_string();
            if status.contains(&words) { Ok(()) } else { Err(Failure::new(status)) }
        })
        .await?;

    fleet.hub().kill();
    let free = json!({"metadata": {"finalizers": null}});
    objects::patch(east, "ConfigMap", sample::NAMESPACE, "holder", free).await?;
    fleet
        .eventually("all of it is made again and Ready", COMES_BACK, || async {
            let found = service().await?;
            if found["metadata"]["uid"] == before {
                return Err(Failure::new("the old one is still going"));
            }
            objects::expect(&found, "Ready", "True")
        })
        .await?;
    fleet.hub().restart()?;
    fleet.eventually("east is connected again", SOON, || fleet.hub().connected("east")).await?;
    assert_eq!(sample::ready(&fleet, sample::NAME).await?, ["east"]);
    Ok(())
}
