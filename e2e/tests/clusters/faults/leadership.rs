//! Two hubs on one API server: one leads, the other takes over, and a deposed leader writes nothing more.

use std::time::Duration;

use e2e::cluster::gpu::H100;
use e2e::failure::Failure;
use e2e::fleet::{Daemon, Fleet, Hub, NAMESPACE};
use e2e::process::last_lines;
use e2e::{objects, sample};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use tokio::time::Instant;

use super::watching::{OURS, SOON, arrived, change, deployments, nothing_deleted};

/// The term in force: on the hub, or the highest that a spoke has accepted.
async fn term(cluster: &e2e::cluster::Cluster, name: &str) -> Result<u64, Failure> {
    let state = objects::get(cluster, "ConfigMap", NAMESPACE, name).await?;
    Ok(state["data"]["term"].as_str().unwrap_or_default().parse()?)
}

async fn leads(fleet: &Fleet, daemon: &Daemon) -> Result<Duration, Failure> {
    let begun = Instant::now();
    fleet.eventually("the other hub leads", SOON, || Hub::leads(daemon)).await?;
    Ok(begun.elapsed())
}

#[tokio::test]
async fn a_leader_that_hangs_past_its_lease_is_replaced_and_writes_nothing_more() -> Result<(), Failure> {
    let fleet = Fleet::new().cluster("east").gpus(H100, 8, 1).cluster("west").gpus(H100, 8, 1);
    let fleet = fleet.audited().standby().start().await?;
    let (hub, east) = (fleet.hub().cluster(), fleet.cluster("east")?.cluster());
    let (first, second) = (fleet.hub().daemon(), fleet.hub().standby()?);
    sample::place(&fleet, sample::NAME, &json!({})).await?;
    assert_eq!(sample::ready(&fleet, sample::NAME).await?, ["east"]);
    fleet.eventually("the other hub stands by", SOON, || async { Ok(second.ready().await?) }).await?;
    assert!(Hub::leads(second).await.is_err(), "two hubs lead");
    let (before, since, old_term) =
        (deployments(east).await?, Timestamp::now(), term(hub, "nimfleet-hub-state").await?);
    let of_first = hub.audit().writes_by(OURS, Timestamp::UNIX_EPOCH);
    let credential = of_first.first().map(|write| write.credential.clone()).unwrap_or_default();
    assert!(
        !credential.is_empty() && of_first.iter().all(|write| write.credential == credential),
        "{of_first:#?}"
    );

    // In the middle of its work: a change has just been made. What is new while it hangs is found by either of the two.
    change(&fleet, sample::NAME, "before").await?;
    first.freeze();
    sample::place(&fleet, "new", &json!({})).await?;
    let took = leads(&fleet, second).await?;
    println!("the leader hangs: the standby led after {} ms (the lease holds 10 s)", took.as_millis());
    let taken = Timestamp::now();
    change(&fleet, sample::NAME, "after").await?;
    let took = arrived(&fleet, "east", sample::NAME, "after").await?;
    println!("a change made then arrived after {} ms", took.as_millis());
    let new_term = term(hub, "nimfleet-hub-state").await?;
    assert!(new_term > old_term, "the term has not risen: {old_term}, {new_term}");
    assert_eq!(term(east, "nimfleet-spoke-state").await?, new_term);

    first.thaw();
    fleet
        .eventually("the deposed leader ends", SOON, || async {
            first.ended().map(drop).ok_or_else(|| Failure::new("it runs"))
        })
        .await?;
    // The spokes obey the new one, and every change reaches them once.
    change(&fleet, sample::NAME, "last").await?;
    arrived(&fleet, "east", sample::NAME, "last").await?;
    assert_eq!(sample::ready(&fleet, sample::NAME).await?, ["east"]);
    let late: Vec<_> = hub
        .audit()
        .requests()
        .into_iter()
        .filter(|r| r.is_write() && r.credential == credential && r.time >= taken && r.code < 400)
        .collect();
    assert!(late.is_empty(), "the deposed leader wrote: {late:#?}");
    let log = std::fs::read_to_string(first.log())?;
    assert!(log.contains("this hub ends, and comes back as a standby") || log.contains("lost to"), "{log}");
    nothing_deleted(east, since)?;
    sample::ready(&fleet, "new").await?;
    let after = deployments(east).await?;
    assert!(before.iter().all(|(name, (uid, _))| after[name].0 == *uid), "{before:?} {after:?}");
    let west = deployments(fleet.cluster("west")?.cluster()).await?;
    for name in [sample::NAME, "new"] {
        let holds = [&after, &west].iter().filter(|there| there.contains_key(name)).count();
        assert_eq!(holds, 1, "{name} is placed {holds} times: {after:?} {west:?}");
    }

    // Back as a standby, it takes over at once from a leader that is asked to stop.
    first.start()?;
    fleet.eventually("it stands by", SOON, || async { Ok(first.ready().await?) }).await?;
    assert!(Hub::leads(first).await.is_err(), "two hubs lead");
    let (stopping, asked) = (Instant::now(), Timestamp::now());
    let ended = second.stop();
    assert!(ended.is_some(), "it did not end when it was asked to: {}", last_lines(second.log(), 12));
    leads(&fleet, first).await?;
    println!("the leader was asked to stop: the standby led {} ms later", stopping.elapsed().as_millis());
    // By the Lease itself: until the new leader is ready a busy machine takes its time.
    let taken = ["get", "lease", "nimfleet-hub", "-n", NAMESPACE, "-o", "jsonpath={.spec.acquireTime}"];
    let taken: Timestamp = hub.kubectl(&taken, None).await?.trim().parse()?;
    let waited = taken.duration_since(asked);
    assert!(waited < SignedDuration::from_secs(10), "the lease was not released: {waited:?}");
    change(&fleet, sample::NAME, "released").await?;
    let took = arrived(&fleet, "east", sample::NAME, "released").await?;
    println!("a change made then arrived after {} ms", took.as_millis());
    Ok(())
}
