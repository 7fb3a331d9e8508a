//! Hub and spoke over real sockets and TLS in one process, with memory in place of API servers.

// A helper that fails is a test that fails; the lints know tests by their attribute only.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod foreign;
mod hostile;
mod hub_side;
mod lifetimes;
mod spoke_side;

use std::sync::Arc;
use std::time::Duration;

use ::hub::link::{EpochStore as _, Membership};
use ::spoke::deliver;
use ::spoke::link::LinkState;
use hub_core::epoch;
use hub_core::identity::{CaHash, EpochKey};
use hub_core::link::{Cause, DesiredObject, GoAwayReason, LinkEvent, Removal, RemovalPolicy, UnprovenEpoch};
use hub_scheduler::fleet;
use hub_side::{Hub, World, accepted};
use jiff::Timestamp;
use proto::v1;
use proto::v1::fleet_sync_client::FleetSyncClient;
use spoke_side::Spoke;

const EAST: &str = "east";

fn desired(uid: &str, hash: &str) -> DesiredObject {
    let object = fleet::ObjectRef {
        uid: uid.to_owned(),
        api_version: "apps.nvidia.com/v1alpha1".to_owned(),
        kind: "NIMService".to_owned(),
        namespace: "models".to_owned(),
        name: uid.to_owned(),
    };
    DesiredObject {
        object,
        generation: 1,
        hash: hash.to_owned(),
        payload: Arc::from(b"{}".as_slice()),
        gang: None,
    }
}

fn refused_with(state: &LinkState, words: &[&str]) -> bool {
    matches!(state, LinkState::Refused { message } if words.iter().all(|word| message.contains(word)))
}

/// A hub that has accepted `east`, and a spoke that is connected to it.
async fn connected() -> (Hub, Spoke) {
    let mut hub = Hub::start().await;
    let mut spoke = Spoke::of(&hub.join(EAST).await);
    spoke.start();
    spoke.until("it is connected", LinkState::is_connected).await;
    hub.until("it says so", |event| matches!(event, LinkEvent::Connected { .. })).await;
    (hub, spoke)
}

#[tokio::test]
async fn a_spoke_joins_when_accepted_and_then_objects_and_statuses_flow() {
    let mut hub = Hub::start().await;
    hub.world.stand(Membership::Pending);
    let mut spoke = Spoke::of(&hub.join(EAST).await);
    spoke.start();
    spoke
        .until(
            "it waits",
            |state| matches!(state, LinkState::Pending { message } if message.contains("accepted")),
        )
        .await;
    hub.world.stand(accepted());
    spoke.until("it is connected", LinkState::is_connected).await;

    let east = EAST.parse().unwrap();
    hub.desired.set_desired(&east, desired("a", "1"));
    let accepted = |event: &LinkEvent| {
        matches!(event, LinkEvent::Results { results, .. }
        if results.iter().any(|result| result.uid == "a" && result.hash == "1" && result.answer == fleet::Answer::Accepted))
    };
    hub.until("a is accepted", accepted).await;
    assert_eq!(spoke.cluster.hash_of("a").as_deref(), Some("1"));

    spoke.statuses.put(spoke_side::status("a", "Ready"));
    let ready = |event: &LinkEvent| {
        matches!(event, LinkEvent::Status { objects, .. }
        if objects.iter().any(|status| status.object.uid == "a" && status.state == "Ready"))
    };
    hub.until("a is Ready", ready).await;

    let removal = Removal {
        object: desired("a", "1").object,
        policy: RemovalPolicy::Delete,
        reason: "moved".to_owned(),
        decided: Timestamp::now(),
        cause: Cause::Admin,
    };
    hub.desired.set_removal(&east, removal);
    let gone = |event: &LinkEvent| {
        matches!(event, LinkEvent::Results { results, .. }
        if results.iter().any(|result| result.uid == "a" && result.answer == fleet::Answer::Gone))
    };
    hub.until("a is gone", gone).await;
    assert_eq!(spoke.cluster.hash_of("a"), None);
}

#[tokio::test]
async fn a_restarted_hub_finds_its_spoke_in_sync_and_sends_nothing() {
    let (mut hub, mut spoke) = connected().await;
    let east = EAST.parse().unwrap();
    hub.desired.set_desired(&east, desired("a", "1"));
    hub.until("a is accepted", |event| matches!(event, LinkEvent::Results { .. })).await;
    let before = spoke.cluster.calls();

    let address = hub.address;
    let world = hub.stop().await;
    spoke.until("it has noticed", |state| !state.is_connected()).await;
    world.raise();
    let mut hub = Hub::start_with(world, address).await;
    hub.desired.set_desired(&east, desired("a", "1"));
    let in_sync =
        |event: &LinkEvent| matches!(event, LinkEvent::Results { results, .. } if results.len() == 1);
    hub.until("a is in sync", in_sync).await;
    assert_eq!(spoke.cluster.calls(), before, "nothing was applied again");
    assert_eq!(hub.counters.upserts.get(), 0);
}

#[tokio::test]
async fn a_restarted_spoke_needs_no_token() {
    let (_hub, mut spoke) = connected().await;
    spoke.stop().await;
    spoke.settings.token = None;
    spoke.start();
    spoke.until("it is connected", LinkState::is_connected).await;
}

/// An epoch of the hub that the hub has forgotten, proven by `key`.
fn lost_epoch(key: &EpochKey, cluster_uid: &str) -> deliver::Epoch {
    let lost = epoch::Epoch { hub_id: "hub".to_owned(), term: 41, incarnation: "lost".to_owned() };
    let proof = key.prove(&lost, &EAST.parse().unwrap(), cluster_uid).to_vec();
    let epoch::Epoch { hub_id, term, incarnation } = lost;
    deliver::Epoch { hub_id, term, incarnation, proof }
}

#[tokio::test]
async fn a_hub_behind_what_the_spoke_has_seen_raises_its_term_first() {
    let hub = Hub::start().await;
    let mut spoke = Spoke::of(&hub.join(EAST).await);
    spoke.cluster.accept(lost_epoch(&hub.world.key(), &spoke.settings.cluster_uid));
    spoke.start();
    spoke.until("it is connected", LinkState::is_connected).await;
    let obeyed = spoke.cluster.epoch().unwrap();
    let raised: epoch::Epoch = hub.world.epoch();
    assert_eq!((obeyed.term, raised.term), (42, 42));
    let east = EAST.parse().unwrap();
    assert!(hub.world.key().verifies(&obeyed.proof, &raised, &east, &spoke.settings.cluster_uid));
}

#[tokio::test]
async fn a_spoke_that_does_not_prove_its_epoch_stays_out_and_raises_nothing() {
    let mut hub = Hub::start().await;
    let mut spoke = Spoke::of(&hub.join(EAST).await);
    spoke.cluster.accept(lost_epoch(&EpochKey::new([9; 32]), &spoke.settings.cluster_uid));
    spoke.start();
    spoke.until("it is told", |state| refused_with(state, &["term 41", "at term 1:"])).await;
    let told = hub.until("so is the hub", |event| matches!(event, LinkEvent::EpochUnproven { .. })).await;
    let LinkEvent::EpochUnproven { epoch, .. } = told else { panic!("{told:?}") };
    assert_eq!(epoch, UnprovenEpoch { theirs: 41, ours: 1, has_proof: true });
    assert_eq!(hub.world.epoch().term, 1);
    assert!(hub.counters.unproven_epochs.get() >= 1);
}

#[tokio::test]
async fn another_hub_is_refused_by_the_spoke() {
    let hub = Hub::start().await;
    let mut spoke = Spoke::of(&hub.join(EAST).await);
    spoke.cluster.accept(deliver::Epoch {
        hub_id: "other".to_owned(),
        term: 1,
        ..lost_epoch(&hub.world.key(), "")
    });
    spoke.start();
    spoke.until("it refuses", |state| refused_with(state, &["obeys hub other"])).await;
    assert_eq!(spoke.counters.epochs_refused.get(), 1);
}

#[tokio::test]
async fn a_wrong_ca_hash_is_refused_before_the_token_is_shown() {
    let hub = Hub::start().await;
    let mut join = hub.join(EAST).await;
    join.ca_hash = CaHash::reported(&format!("sha256:{}", "00".repeat(32)));
    let mut spoke = Spoke::of(&join);
    spoke.start();
    spoke.until("it refuses", |state| refused_with(state, &[join.ca_hash.as_str(), "join-command"])).await;
    assert_eq!(hub.counters.certificates.get() + hub.counters.refused_enrolments.get(), 0);
}

#[tokio::test]
async fn a_name_that_the_hub_does_not_advertise_is_named() {
    // Its certificate is for localhost and 127.0.0.1.
    let hub = Hub::start_with(World::new(), "127.0.0.2:0".parse().unwrap()).await;
    let mut spoke = Spoke::of(&hub.join(EAST).await);
    spoke.start();
    spoke.until("it says which name", |state| refused_with(state, &["127.0.0.2", "--advertise"])).await;
}

#[tokio::test]
async fn nobody_at_the_address_is_said_with_the_address() {
    let hub = Hub::start().await;
    let join = hub.join(EAST).await;
    let address = hub.address.to_string();
    hub.stop().await;
    let mut spoke = Spoke::of(&join);
    spoke.start();
    let told =
        |state: &LinkState| matches!(state, LinkState::Connecting { problem } if problem.contains(&address));
    spoke.until("it says where", told).await;
}

#[tokio::test]
async fn a_wrong_token_is_refused_with_the_remedy() {
    let hub = Hub::start().await;
    let mut spoke = Spoke::of(&hub.join(EAST).await);
    spoke.settings.token = Some(format!("abcdef.{}", "0".repeat(32)));
    spoke.start();
    spoke.until("it is told", |state| refused_with(state, &["wrong", "join-command"])).await;
    assert!(hub.counters.refused_enrolments.get() >= 1);
}

#[tokio::test]
async fn another_clusters_name_is_refused_on_the_stream() {
    let (_hub, mut spoke) = connected().await;
    spoke.stop().await;
    spoke.settings.cluster = "west".to_owned();
    spoke.start();
    spoke.until("it is refused", |state| refused_with(state, &["\"west\"", "certificate for east"])).await;
}

#[tokio::test]
async fn nothing_but_enrolment_goes_without_a_certificate() {
    let hub = Hub::start().await;
    let mut client = FleetSyncClient::new(hub.dial_without_certificate().await);
    let refused = client.connect(tokio_stream::empty::<v1::SpokeMessage>()).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::Unauthenticated, "{refused:?}");
}

#[tokio::test]
async fn of_two_agents_of_one_identity_the_newer_stays() {
    let (_hub, mut old) = connected().await;
    let mut new = old.twin(1);
    new.start();
    new.until("it is connected", LinkState::is_connected).await;
    old.until("it is told", |state| refused_with(state, &["newer agent"])).await;
    // The old one dials again and again, and never gets in.
    tokio::time::timeout(
        Duration::from_secs(2),
        new.until("it is thrown out", |state| !state.is_connected()),
    )
    .await
    .expect_err("the newer one stays");
}

#[tokio::test]
async fn a_cluster_that_is_no_longer_accepted_is_cut_at_once() {
    let (mut hub, mut spoke) = connected().await;
    hub.world.stand(Membership::Pending);
    hub.desired.disconnect(&EAST.parse().unwrap(), GoAwayReason::NotAccepted, "spec.accepted is false");
    spoke.until("it is told", |state| refused_with(state, &["spec.accepted"])).await;
    hub.until("it is over", |event| matches!(event, LinkEvent::Disconnected { .. })).await;
}

#[tokio::test]
async fn a_hub_that_has_not_read_its_own_state_lets_nobody_in() {
    let (hub, mut spoke) = connected().await;
    let address = hub.address;
    let world = hub.stop().await;
    let hub = Hub::start_closed(world, address).await;
    let starting = |state: &LinkState| matches!(state, LinkState::Connecting { problem } if problem.contains("is starting"));
    spoke.until("it is told to wait", starting).await;
    hub.desired.open();
    spoke.until("it is connected", LinkState::is_connected).await;
}

#[tokio::test]
async fn a_fault_of_the_spokes_api_server_is_tried_again_and_is_no_rejection() {
    let (mut hub, spoke) = connected().await;
    spoke.cluster.fail_next(2);
    hub.desired.set_desired(&EAST.parse().unwrap(), desired("a", "1"));
    let is_verdict = |result: &fleet::ObjectResult| !matches!(result.answer, fleet::Answer::Retrying { .. });
    let judged = |event: &LinkEvent| matches!(event, LinkEvent::Results { results, .. } if results.iter().any(is_verdict));
    let answered = hub.until("a is answered", judged).await;
    let LinkEvent::Results { results, .. } = answered else { panic!("{answered:?}") };
    assert_eq!(results[0].answer, fleet::Answer::Accepted);
    assert_eq!(spoke.counters.delivery_retries.get(), 2);
}
