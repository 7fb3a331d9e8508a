//! The link through every fault of a network: what was changed meanwhile arrives when it is over, and nothing is touched.

use std::time::Duration;

use e2e::cluster::gpu::H100;
use e2e::failure::Failure;
use e2e::fault_proxy::Network;
use e2e::fleet::Fleet;
use e2e::sample;
use jiff::Timestamp;

use super::watching::{arrived, change, deployments, nothing_deleted};

async fn running() -> Result<Fleet, Failure> {
    let fleet = Fleet::new().cluster("east").gpus(H100, 8, 1).audited().start().await?;
    sample::place(&fleet, sample::NAME, &serde_json::json!({})).await?;
    sample::ready(&fleet, sample::NAME).await?;
    Ok(fleet)
}

#[tokio::test]
async fn after_every_fault_of_the_link_the_fleet_converges() -> Result<(), Failure> {
    let fleet = running().await?;
    let east = fleet.cluster("east")?;
    let (before, since) = (deployments(east.cluster()).await?, Timestamp::now());
    for (what, fault) in [
        ("cut", Network::Cut),
        ("half-open", Network::HalfOpen),
        ("1 B/s", Network::Rate(1)),
        ("killed when idle", Network::IdleAfter(Duration::from_millis(500))),
        ("latency", Network::Latency(Duration::from_millis(300))),
    ] {
        let mark = what.replace([' ', '/'], "-");
        match fault {
            Network::Cut => east.link().cut().await,
            other => east.link().set(other),
        }
        change(&fleet, sample::NAME, &mark).await?;
        tokio::time::sleep(Duration::from_secs(4)).await;
        east.link().heal().await;
        let took = arrived(&fleet, "east", sample::NAME, &mark).await?;
        println!("{what} for 4 s: converged {} ms after it was over", took.as_millis());
        sample::ready(&fleet, sample::NAME).await?;
    }
    let after = deployments(east.cluster()).await?;
    assert_eq!(before.keys().collect::<Vec<_>>(), after.keys().collect::<Vec<_>>());
    for (name, (uid, _)) in &before {
        assert_eq!(uid, &after[name].0, "{name} was made anew");
    }
    nothing_deleted(east.cluster(), since)
}

#[tokio::test]
async fn a_link_that_works_badly_still_works() -> Result<(), Failure> {
    let fleet = running().await?;
    let east = fleet.cluster("east")?;
    for (what, fault) in [
        ("latency of 300 ms", Network::Latency(Duration::from_millis(300))),
        ("20 kB/s", Network::Rate(20_000)),
        ("killed when idle for 3 s", Network::IdleAfter(Duration::from_secs(3))),
    ] {
        let mark = what.replace([' ', '/'], "-");
        east.link().set(fault);
        // Long enough for an idle connection to be killed once.
        tokio::time::sleep(Duration::from_secs(4)).await;
        change(&fleet, sample::NAME, &mark).await?;
        let took = arrived(&fleet, "east", sample::NAME, &mark).await?;
        println!("{what}: arrived within {} ms", took.as_millis());
        east.link().heal().await;
    }
    sample::ready(&fleet, sample::NAME).await.map(drop)
}

#[tokio::test]
async fn an_api_server_that_was_away_catches_up_on_its_return() -> Result<(), Failure> {
    let fleet = running().await?;
    let east = fleet.cluster("east")?;
    let before = deployments(east.cluster()).await?;
    east.cluster().kill_api_server();
    change(&fleet, sample::NAME, "while-it-was-away").await?;
    tokio::time::sleep(Duration::from_secs(10)).await;
    east.cluster().start_api_server().await?;
    let took = arrived(&fleet, "east", sample::NAME, "while-it-was-away").await?;
    println!("API server away for 10 s: converged {} ms after it was ready", took.as_millis());
    sample::ready(&fleet, sample::NAME).await?;
    let after = deployments(east.cluster()).await?;
    assert!(before.iter().all(|(name, (uid, _))| after[name].0 == *uid), "{before:?} {after:?}");
    Ok(())
}
