//! Certificates come and go, and the session stays: renewal, return, rollover, revocation, and what a proxy does to them.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use ::hub::pki::{AUTHORITY_LIFE, Rotation};
use ::spoke::link::{LinkState, Proxy};
use e2e::fault_proxy::{FaultProxy, Network};
use hub_core::identity::{CaHash, Member, SpokeCertificate, Stage};
use hub_core::link::{GoAwayReason, LinkEvent};
use jiff::{SignedDuration, Timestamp};

use crate::hub_side::{Hub, World};
use crate::spoke_side::{Spoke, status};
use crate::{EAST, connected, desired, refused_with};

const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

/// A hub whose certificates live so long, and a spoke that is connected to it.
async fn connected_for(seconds: i64) -> (Hub, Spoke, SpokeCertificate) {
    let world = World::new();
    world.certify_for(SignedDuration::from_secs(seconds));
    let mut hub = Hub::start_with(world, ANY).await;
    let mut spoke = Spoke::of(&hub.join(EAST).await);
    spoke.start();
    let (certificate, _) = identified(&mut hub, "the spoke is known", |_, _| true).await;
    (hub, spoke, certificate)
}

/// The first word on who the spoke is that is so.
async fn identified(
    hub: &mut Hub,
    what: &str,
    is_it: impl Fn(&SpokeCertificate, &[CaHash]) -> bool,
) -> (SpokeCertificate, Vec<CaHash>) {
    let event = hub.until(what, |event| {
        assert!(!matches!(event, LinkEvent::Disconnected { .. }), "the session broke before: {what}");
        matches!(event, LinkEvent::Identified { certificate, trusted, .. } if is_it(certificate, trusted))
    });
    match event.await {
        LinkEvent::Identified { certificate, trusted, .. } => (certificate, trusted),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn certificates_follow_one_another_while_statuses_flow() {
    let (mut hub, spoke, first) = connected_for(9).await;
    hub.desired.set_desired(&EAST.parse().unwrap(), desired("a", "1"));
    hub.until("a is accepted", |event| matches!(event, LinkEvent::Results { .. })).await;
    let (begin, mut longest, mut serials) = (Instant::now(), Duration::ZERO, vec![first.serial.clone()]);
    for number in 0.. {
        // The first certificate has ended by then; two more come in time, or later on a busy machine.
        let lasted = begin.elapsed();
        if lasted > Duration::from_secs(12) && serials.len() >= 3 || lasted > Duration::from_secs(40) {
            break;
        }
        let state = format!("S{number}");
        let told = Instant::now();
        spoke.statuses.put(status("a", &state));
        loop {
            let event = hub.until("the status arrives", |_| true).await;
            match event {
                LinkEvent::Disconnected { .. } => panic!("the session broke"),
                LinkEvent::Identified { certificate, .. } => serials.push(certificate.serial),
                LinkEvent::Status { objects, .. } if objects.iter().any(|object| object.state == state) => {
                    break;
                }
                _ => {}
            }
        }
        longest = longest.max(told.elapsed());
    }
    assert!(serials.len() >= 3, "renewed too seldom: {serials:?}");
    assert!(serials.iter().all(|serial| serial[..16] == first.serial[..16]), "one family: {serials:?}");
    assert!(longest < Duration::from_secs(5), "a status took {longest:?}");
    assert!(hub.counters.renewals.get() >= 2 && spoke.counters.failed_renewals.get() == 0);
    assert_eq!(spoke.counters.enrolments.get(), 1);
}

#[tokio::test]
async fn an_agent_whose_certificate_ended_while_it_was_off_comes_back_by_its_key() {
    let life = 6;
    let (mut hub, mut spoke, _) = connected_for(life).await;
    hub.desired.set_desired(&EAST.parse().unwrap(), desired("a", "1"));
    hub.until("a is accepted", |event| matches!(event, LinkEvent::Results { .. })).await;
    let before = spoke.cluster.calls();
    spoke.stop().await;
    spoke.settings.token = None;
    // Whatever it holds by now was certified before it was stopped.
    tokio::time::sleep(Duration::from_secs(life.unsigned_abs() + 3)).await;
    spoke.start();
    spoke.until("it is back", LinkState::is_connected).await;
    assert_eq!(spoke.counters.enrolments.get(), 2, "once by token, once by its key");
    assert_eq!(spoke.cluster.calls(), before, "nothing was applied again");
    assert_eq!(spoke.cluster.hash_of("a").as_deref(), Some("1"));
}

#[tokio::test]
async fn a_certificate_that_ended_too_long_ago_needs_a_token() {
    let world = World::new();
    world.certify_for(SignedDuration::from_secs(6));
    world.return_within(SignedDuration::ZERO);
    let hub = Hub::start_with(world, ANY).await;
    let mut spoke = Spoke::of(&hub.join(EAST).await);
    spoke.start();
    spoke.until("it is connected", LinkState::is_connected).await;
    spoke.stop().await;
    tokio::time::sleep(Duration::from_secs(8)).await;
    spoke.start();
    spoke.until("it is told", |state| refused_with(state, &["expired at", "join-command"])).await;
    spoke.stop().await;
    spoke.settings.token = Some(hub.join(EAST).await.token.to_string());
    spoke.start();
    spoke.until("the new token lets it in", LinkState::is_connected).await;
}

#[tokio::test]
async fn the_ca_is_replaced_under_a_session_that_stays() {
    let (mut hub, mut spoke, first) = connected_for(8).await;
    let a = first.authority.clone();
    let began = hub.authorities.rotate(Timestamp::now(), AUTHORITY_LIFE, &[]).await.unwrap();
    let Rotation::Began(b) = began else { panic!("{began:?}") };
    let both = |trusted: &[CaHash]| trusted.contains(&a) && trusted.contains(&b);
    let (certificate, trusted) = identified(&mut hub, "both are trusted", |_, trusted| both(trusted)).await;
    let member = |certificate: &SpokeCertificate, trusted: &[CaHash]| Member {
        cluster: EAST.parse().unwrap(),
        trusted: trusted.to_vec(),
        authority: Some(certificate.authority.clone()),
        connected: true,
    };
    let stage = hub.authorities.advance(&[member(&certificate, &trusted)]).await.unwrap();
    assert_eq!(stage, Some(Stage::Retiring));
    let (certificate, trusted) =
        identified(&mut hub, "the new one certifies it", |certificate, _| certificate.authority == b).await;
    let stage = hub.authorities.advance(&[member(&certificate, &trusted)]).await.unwrap();
    assert_eq!(stage, Some(Stage::Stable));
    identified(&mut hub, "the old one is trusted no longer", |_, trusted| trusted == [b.clone()]).await;
    spoke.stop().await;
    spoke.settings.token = None;
    spoke.start();
    spoke.until("what it has kept is good", LinkState::is_connected).await;
    assert_eq!(spoke.counters.enrolments.get(), 1);
}

#[tokio::test]
async fn who_is_left_behind_by_a_rollover_is_cut_and_needs_a_token() {
    let (mut hub, mut spoke, _) = connected_for(3600).await;
    hub.authorities.rotate(Timestamp::now(), AUTHORITY_LIFE, &[EAST.parse().unwrap()]).await.unwrap();
    assert_eq!(hub.authorities.advance(&[]).await.unwrap(), Some(Stage::Retiring));
    assert_eq!(hub.authorities.advance(&[]).await.unwrap(), Some(Stage::Stable));
    spoke.until("it is cut", |state| refused_with(state, &["no longer trusts", "join-command"])).await;
    hub.until("it is over", |event| matches!(event, LinkEvent::Disconnected { .. })).await;
    spoke.stop().await;
    let join = hub.join(EAST).await;
    spoke.settings.token = Some(join.token.to_string());
    spoke.settings.ca_hash = join.ca_hash.as_str().parse().unwrap();
    spoke.start();
    spoke.until("the new token lets it in", LinkState::is_connected).await;
}

#[tokio::test]
async fn a_revoked_certificate_is_cut_and_neither_renewed_nor_replaced_but_by_a_token() {
    let (mut hub, mut spoke, certificate) = connected_for(3600).await;
    let family = certificate.serial[..16].to_owned();
    hub.world.revoke(&family);
    hub.desired.disconnect(&EAST.parse().unwrap(), GoAwayReason::Revoked, "it is revoked");
    spoke.until("it is cut", |state| refused_with(state, &["revoked"])).await;
    spoke.stop().await;
    spoke.start();
    spoke.until("it stays out", |state| refused_with(state, &["revoked"])).await;
    spoke.stop().await;
    spoke.settings.token = Some(hub.join(EAST).await.token.to_string());
    spoke.start();
    let event = hub.until("it is another one", |event| {
        matches!(event, LinkEvent::Identified { certificate, .. } if certificate.serial[..16] != family)
    });
    event.await;
    spoke.until("the new token lets it in", LinkState::is_connected).await;
}

#[tokio::test]
async fn an_identity_that_was_copied_to_another_cluster_is_refused() {
    let (_hub, mut spoke) = connected().await;
    spoke.stop().await;
    spoke.settings.cluster_uid = "another".to_owned();
    spoke.start();
    spoke.until("it is told", |state| refused_with(state, &["another", "not to be copied"])).await;
}

#[tokio::test]
async fn a_second_agent_is_told_of_with_where_it_is() {
    let (mut hub, mut old) = connected().await;
    let mut new = old.twin(1);
    // Stopped before the other starts: by itself it would come back once more.
    old.stop().await;
    new.start();
    new.until("it is connected", LinkState::is_connected).await;
    old.start();
    let event = hub.until("both are told of", |event| matches!(event, LinkEvent::Duplicate { .. })).await;
    let LinkEvent::Duplicate { message, .. } = event else { panic!("{event:?}") };
    assert!(message.contains("first") && message.contains("127.0.0.1"), "{message}");
    assert!(new.is(LinkState::is_connected), "the newer one is not disturbed");
    assert_eq!(hub.counters.duplicate_agents.get(), 1);
}

#[tokio::test]
async fn the_link_goes_through_the_proxy_of_the_environment_with_its_credentials() {
    let hub = Hub::start().await;
    let proxy = FaultProxy::connect_proxy(ANY, Some("me:s3cret")).await.unwrap();
    let mut spoke = Spoke::of(&hub.join(EAST).await);
    spoke.settings.proxy = Proxy::new(&format!("http://me:wrong@{}", proxy.address()), "").unwrap();
    spoke.start();
    let refused = |state: &LinkState| {
        matches!(state, LinkState::Connecting { problem }
        if problem.contains("authorization required") && !problem.contains("wrong"))
    };
    spoke.until("the proxy refuses", refused).await;
    spoke.stop().await;
    spoke.settings.proxy = Proxy::new(&format!("http://me:s3cret@{}", proxy.address()), "").unwrap();
    spoke.start();
    spoke.until("it is connected", LinkState::is_connected).await;
    let through = proxy.opened();
    assert!(through >= 2, "enrolment and session: {through}");
    spoke.stop().await;
    spoke.settings.proxy =
        Proxy::new(&format!("http://me:s3cret@{}", proxy.address()), "127.0.0.0/8").unwrap();
    spoke.start();
    spoke.until("it is connected straight", LinkState::is_connected).await;
    assert_eq!(proxy.opened(), through, "NO_PROXY was not heard");
}

#[tokio::test]
async fn a_proxy_that_cuts_what_is_idle_does_not_cut_the_session() {
    for (keepalive, survives) in [(Duration::from_millis(200), true), (Duration::from_mins(1), false)] {
        let world = World::new();
        world.beat_every(Duration::from_secs(20));
        let hub = Hub::start_with(world, ANY).await;
        let proxy = FaultProxy::start(ANY, hub.address).await.unwrap();
        proxy.set(Network::IdleAfter(Duration::from_secs(3)));
        let mut join = hub.join(EAST).await;
        join.address = proxy.address().to_string();
        let mut spoke = Spoke::of(&join);
        spoke.settings.keepalive = keepalive;
        spoke.start();
        spoke.until("it is connected", LinkState::is_connected).await;
        let broke = spoke.until("it breaks", |state| !state.is_connected());
        let broke = tokio::time::timeout(Duration::from_secs(10), broke).await.is_ok();
        assert_eq!(broke, !survives, "asked every {keepalive:?}");
    }
}
