//! Who may speak for a cluster, and for how long: certificates end, are renewed, revoked, and their CA is replaced, while
//! what runs is not touched.

use std::time::{Duration, Instant};

use e2e::cluster::gpu::H100;
use e2e::failure::Failure;
use e2e::fleet::{Fleet, NAMESPACE};
use e2e::objects;
use e2e::sample;
use e2e::soak::soak;
use jiff::Timestamp;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

const SOON: Duration = Duration::from_mins(2);

async fn cluster(fleet: &Fleet, name: &str) -> Result<Value, Failure> {
    objects::get(fleet.hub().cluster(), "GPUCluster", "", name).await
}

async fn admit(fleet: &Fleet, name: &str, spec: Value) -> Result<(), Failure> {
    let clusters: Api<crds::fleet::GPUCluster> = Api::all(fleet.hub().cluster().client());
    clusters.patch(name, &PatchParams::default(), &Patch::Merge(json!({"spec": spec}))).await?;
    Ok(())
}

/// How long after `since` the hub had no session any more, by its own count.
async fn cut_within_a_second(fleet: &Fleet, what: &str, since: Instant) -> Result<(), Failure> {
    let sessions = || async {
        let metrics = fleet.hub().daemon().metrics().await?;
        let line = metrics.lines().find(|line| line.starts_with("nimfleet_hub_connected_clusters "));
        if line.is_some_and(|line| line.ends_with(" 0")) {
            Ok(())
        } else {
            Err(Failure::new("a session is up"))
        }
    };
    fleet.eventually(what, SOON, sessions).await?;
    let took = since.elapsed();
    assert!(took < Duration::from_secs(1), "{what} took {took:?}");
    Ok(())
}

#[tokio::test]
async fn certificates_are_renewed_while_reports_flow() -> Result<(), Failure> {
    let seen = soak(1, "15s", Duration::from_secs(30)).await?;
    assert!(seen.is_good() && seen.renewals >= 2, "{seen:?}");
    Ok(())
}

#[tokio::test]
async fn a_session_ends_with_the_right_to_it_and_comes_back_with_a_token() -> Result<(), Failure> {
    let fleet = Fleet::new().cluster("east").gpus(H100, 8, 1).start().await?;
    let (hub, east) = (fleet.hub(), fleet.cluster("east")?);
    sample::place(&fleet, "kept", &json!({})).await?;
    sample::ready(&fleet, "kept").await?;
    let deployment = || objects::get(east.cluster(), "Deployment", sample::NAMESPACE, "kept");
    let before = deployment().await?;

    // The admin takes acceptance back, and gives it again.
    let since = Instant::now();
    admit(&fleet, "east", json!({"accepted": false})).await?;
    cut_within_a_second(&fleet, "it is no longer accepted", since).await?;
    admit(&fleet, "east", json!({"accepted": true})).await?;
    fleet.eventually("east is connected again", SOON, || hub.connected("east")).await?;

    // Its certificate is revoked while it stays.
    let serial =
        cluster(&fleet, "east").await?["status"]["certificateSerial"].as_str().unwrap_or_default().to_owned();
    let since = Instant::now();
    admit(&fleet, "east", json!({"revokedCertificates": [&serial[..16]]})).await?;
    cut_within_a_second(&fleet, "its certificate is revoked", since).await?;
    let says = fleet.eventually("the GPUCluster says so", SOON, || async {
        let found = cluster(&fleet, "east").await?;
        match objects::condition(&found, "CertificateValid") {
            Some((_, reason, message)) if reason == "CertificateRevoked" => Ok(message),
            other => Err(Failure::new(format!("{other:?}"))),
        }
    });
    assert!(says.await?.contains("join-command"));
    east.kill_spoke();
    east.restart_spoke()?;
    fleet
        .eventually("the spoke is told what helps", SOON, || async {
            let log = std::fs::read_to_string(east.spoke().log())?;
            if log.contains("revokedCertificates") { Ok(()) } else { Err(Failure::new("not in its log")) }
        })
        .await?;
    // The hub says so a few seconds after the session has ended; it does not come up again.
    fleet
        .eventually("east is told as silent", SOON, || async {
            match hub.connected("east").await {
                Err(_) => Ok(()),
                Ok(()) => Err(Failure::new("it is told as connected")),
            }
        })
        .await?;
    let metrics = hub.daemon().metrics().await?;
    assert!(metrics.contains("nimfleet_hub_connected_clusters 0\n"), "a revoked key came back: {metrics}");
    east.start_spoke(&hub.invite("east").await?)?;
    fleet.eventually("a new token lets it in", SOON, || hub.connected("east")).await?;
    let after = deployment().await?;
    assert_eq!(after["metadata"]["uid"], before["metadata"]["uid"]);
    assert_eq!(after["metadata"]["generation"], before["metadata"]["generation"], "what runs was touched");
    Ok(())
}

#[tokio::test]
async fn the_ca_is_replaced_when_every_cluster_has_followed() -> Result<(), Failure> {
    let fleet = Fleet::new()
        .certificates("12s")
        .cluster("east")
        .cpu_nodes(1)
        .cluster("west")
        .cpu_nodes(1)
        .start()
        .await?;
    let (hub, west) = (fleet.hub(), fleet.cluster("west")?);
    let authority = |of: &Value| of["status"]["certificateAuthority"].as_str().unwrap_or_default().to_owned();
    let old = fleet
        .eventually("the hub tells by whom east is known", SOON, || async {
            let old = authority(&cluster(&fleet, "east").await?);
            if old.is_empty() { Err(Failure::new("it tells nobody")) } else { Ok(old) }
        })
        .await?;

    // One is off, and longer than its certificate lives.
    west.kill_spoke();
    let begun = hub.rotate_ca(&[]).await?;
    assert!(begun.contains("begun") && begun.contains("step 1 of 2"), "{begun}");
    fleet
        .eventually("the rollover waits for west by name", SOON, || async {
            let east = cluster(&fleet, "east").await?;
            if east["status"]["trustedAuthorities"].as_array().is_none_or(|trusted| trusted.len() != 2) {
                return Err(Failure::new(format!("east: {}", east["status"]["trustedAuthorities"])));
            }
            let waits = hub.rotate_ca(&[]).await?;
            if waits.contains("waits for west") && !waits.contains("waits for east") {
                Ok(())
            } else {
                Err(Failure::new(waits))
            }
        })
        .await?;
    let expired = fleet.eventually("what happens to west is said", SOON, || async {
        let found = cluster(&fleet, "west").await?;
        match objects::condition(&found, "CertificateValid") {
            Some((_, reason, message)) if reason == "CertificateExpired" => Ok(message),
            other => Err(Failure::new(format!("{other:?} at {}", Timestamp::now()))),
        }
    });
    assert!(expired.await?.contains("by proof of its key"));

    // It comes back by its old key, without a token of use, and the rollover goes to its end.
    west.restart_spoke()?;
    fleet
        .eventually("both have followed and the old CA is dropped", SOON, || async {
            let (east, west) = (cluster(&fleet, "east").await?, cluster(&fleet, "west").await?);
            let secret = objects::get(hub.cluster(), "Secret", NAMESPACE, "nimfleet-hub-ca").await?;
            let fields: Vec<_> =
                secret["data"].as_object().into_iter().flatten().map(|(name, _)| name.as_str()).collect();
            let trusted = |of: &Value| of["status"]["trustedAuthorities"].as_array().map_or(0, Vec::len);
            let done = authority(&east) != old && authority(&west) == authority(&east);
            if done && fields == ["tls.crt", "tls.key"] && trusted(&east) == 1 && trusted(&west) == 1 {
                return Ok(());
            }
            Err(Failure::new(format!("{} {} {fields:?}", authority(&east), authority(&west))))
        })
        .await?;
    // Each has begun a session with its new certificate.
    for name in ["east", "west"] {
        fleet.eventually(&format!("{name} is connected"), SOON, || hub.connected(name)).await?;
    }
    Ok(())
}
