//! Enrolled identities, spent tokens, dropped CAs and reused cluster names.

use std::time::Duration;

use e2e::failure::Failure;
use e2e::fleet::{Fleet, NAMESPACE};
use e2e::objects;
use proto::v1::GoAwayReason;
use proto::v1::hub_message::Message as FromHub;
use serde_json::json;

use super::hostile_spoke::{HostileSpoke, denied, goodbye};

const SOON: Duration = Duration::from_mins(1);

/// Makes a GPUCluster that its admin has accepted beforehand.
async fn accepted(fleet: &Fleet, name: &str) -> Result<(), Failure> {
    let manifest = json!({
        "apiVersion": "nimfleet.io/v1alpha1", "kind": "GPUCluster",
        "metadata": {"name": name}, "spec": {"accepted": true},
    });
    objects::apply(fleet.hub().cluster(), &manifest.to_string()).await
}

async fn deleted(fleet: &Fleet, name: &str) -> Result<(), Failure> {
    let hub = fleet.hub().cluster();
    objects::delete(hub, "GPUCluster", "", name).await?;
    fleet.eventually("it is gone", SOON, || objects::absent(hub, "GPUCluster", "", name)).await
}

#[tokio::test]
async fn an_identity_is_of_one_cluster_one_gpucluster_and_one_token() -> Result<(), Failure> {
    let fleet = Fleet::new().start().await?;
    let (mut west, invitation) = HostileSpoke::joined(&fleet, "west", "uid-a").await?;
    let first = west.certificate.clone();

    // A token is spent: whoever has it and its key gets what was issued for it, and nothing new.
    let again = west.enrol(&invitation.token).await.unwrap();
    assert_eq!(again, first, "a spent token gave another certificate");
    let thief = HostileSpoke::new(&fleet, "west", "uid-a").await?;
    denied("another key", thief.enrol(&invitation.token).await, "join-command");

    // It is held to the cluster that it was issued for, at each session and renewal.
    let open = west.connection().await;
    let (welcome, session) = west.session(&open, west.hello(None)).await;
    assert!(matches!(welcome, FromHub::Welcome(_)), "{welcome:?}");
    west.renew(&open).await.expect("a good certificate renews");
    west.cluster_uid = "uid-b".to_owned();
    let copied = west.session(&open, west.hello(None)).await.0;
    assert!(goodbye(&copied).message.contains("uid-b"), "{copied:?}");
    denied("a copy renews", west.renew(&open).await, "uid-b");
    west.cluster_uid = "uid-a".to_owned();

    // The name is used again, for the same cluster: what was certified before stays void, on what is open too.
    deleted(&fleet, "west").await?;
    assert_eq!(session.goodbye().await.reason(), GoAwayReason::NotAccepted);
    accepted(&fleet, "west").await?;
    let hub = fleet.hub();
    fleet
        .eventually("the hub knows the new west", SOON, || async {
            let found = objects::get(hub.cluster(), "GPUCluster", "", "west").await?;
            objects::expect(&found, "Accepted", "True")
        })
        .await?;
    let word = west.session(&open, west.hello(None)).await.0;
    let refused = goodbye(&word);
    assert_eq!(refused.reason(), GoAwayReason::Revoked, "{refused:?}");
    assert!(refused.message.contains("join-command"), "{refused:?}");
    denied("a certificate of a deleted GPUCluster renews", west.renew(&open).await, "join-command");
    denied("its spent token", west.enrol(&invitation.token).await, "join-command");
    let word = west.answer(None).await;
    assert_eq!(goodbye(&word).reason(), GoAwayReason::Revoked, "on a new connection: {word:?}");

    // Another cluster takes the name with a token of its own.
    let (other, _) = HostileSpoke::joined(&fleet, "west", "uid-c").await?;
    let word = other.answer(None).await;
    assert!(matches!(word, FromHub::Welcome(_)), "{word:?}");
    let word = west.answer(None).await;
    assert_eq!(goodbye(&word).reason(), GoAwayReason::Revoked, "{word:?}");
    // The hub welcomes a session before it writes of whom it is.
    fleet
        .eventually("the GPUCluster is of the other cluster", SOON, || async {
            let found = objects::get(hub.cluster(), "GPUCluster", "", "west").await?;
            let uid = &found["status"]["clusterUID"];
            if uid == "uid-c" { Ok(()) } else { Err(Failure::new(uid.to_string())) }
        })
        .await
}

#[tokio::test]
async fn a_certificate_of_a_dropped_ca_renews_nothing_on_a_connection_that_is_open() -> Result<(), Failure> {
    let fleet = Fleet::new().start().await?;
    let (west, _) = HostileSpoke::joined(&fleet, "west", "uid").await?;
    let open = west.connection().await;
    west.renew(&open).await.expect("a good certificate renews");
    let hub = fleet.hub();
    hub.rotate_ca(&["west"]).await?;
    fleet
        .eventually("the old CA is dropped", SOON, || async {
            let secret = objects::get(hub.cluster(), "Secret", NAMESPACE, "nimfleet-hub-ca").await?;
            let fields: Vec<_> =
                secret["data"].as_object().into_iter().flatten().map(|(name, _)| name).collect();
            if fields == ["tls.crt", "tls.key"] { Ok(()) } else { Err(Failure::new(format!("{fields:?}"))) }
        })
        .await?;
    // The hub stores what it trusts before it goes by it.
    let answer = fleet
        .eventually("it renews no longer", SOON, || async {
            let answer = west.renew(&open).await;
            if answer.is_err() { Ok(answer) } else { Err(Failure::new("it renews")) }
        })
        .await?;
    denied("it renews", answer, "no longer trusts");
    let word = west.session(&open, west.hello(None)).await.0;
    assert_eq!(goodbye(&word).reason(), GoAwayReason::Revoked, "{word:?}");
    Ok(())
}
