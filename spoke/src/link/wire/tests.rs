//! A hub of the version before: what it says is read from the bytes it sent, and it is answered in words it knows.

use std::time::Instant;

use prost::Message;

use super::*;
use crate::link::deletion_guard::DeletionGuard;
use crate::link::session::{Effect, End, Event, Judgement, Session};

/// What a hub of 0.1 said in one session, recorded when that was the present: messages one after the other, each
/// after its length.
const HUB_0_1: &[u8] = include_bytes!("../../../../proto/recorded/0.1/hub.bin");

fn recorded() -> Vec<FromHub> {
    let mut rest = HUB_0_1;
    let mut said = Vec::new();
    while !rest.is_empty() {
        said.push(from_hub(v1::HubMessage::decode_length_delimited(&mut rest).unwrap()).unwrap());
    }
    said
}

#[test]
fn a_hub_of_0_1_is_served() {
    let (mut guard, now) = (DeletionGuard::default(), Instant::now());
    let held = |name: &str| HeldObject {
        object: ObjectRef {
            uid: format!("uid-of-{name}"),
            api_version: "apps.nvidia.com/v1alpha1".into(),
            kind: "NIMService".into(),
            namespace: "models".into(),
            name: name.into(),
        },
        generation: 1,
        hash: "1".into(),
    };
    let (mut session, _) = Session::new(None, vec![held("old")], now);
    let mut did = Vec::new();
    for message in recorded() {
        let is_goodbye = matches!(message, FromHub::GoAway(_));
        if is_goodbye {
            // Deletions wait for a moment.
            let later = now + Duration::from_secs(1);
            let effects = session.on(Event::Tick, &mut guard, later);
            if let [Effect::StoreReleases(version, _)] = effects[..] {
                did.extend(session.on(Event::ReleasesStored(version), &mut guard, later));
            }
            did.extend(effects);
        }
        let effects = session.on(Event::Said(message), &mut guard, now);
        if matches!(effects[..], [Effect::AcceptEpoch(_)]) {
            did.extend(session.on(Event::EpochJudged(Judgement::Obeyed), &mut guard, now));
        }
        did.extend(effects);
    }
    assert!(
        did.contains(&Effect::Send(ToHub::Index { held: vec![held("old")], last: true, buckets: vec![] })),
        "it waits for a whole index: {did:#?}"
    );
    let mut work: Vec<_> = did
        .iter()
        .filter_map(|effect| match effect {
            Effect::Deliver(work, _) => Some((work.uid(), work.hash().len())),
            _ => None,
        })
        .collect();
    work.sort_unstable();
    let expected =
        [("uid-of-llama", 64), ("uid-of-old", 0), ("uid-of-old-weights", 0), ("uid-of-weights", 64)];
    assert_eq!(work, expected);
    assert!(matches!(did.last(), Some(Effect::Close(End::GoneAway(_)))));
}

#[test]
fn what_a_newer_hub_says_and_we_do_not_know_is_passed_over() {
    let bytes = [0xfa, 0x07, 0x03, 0x08, 0x96, 0x01];
    assert!(from_hub(v1::HubMessage::decode(bytes.as_slice()).unwrap()).is_none());
}

#[test]
fn a_policy_that_we_do_not_know_removes_nothing() {
    let tombstone = v1::Tombstone { policy: 77, ..v1::Tombstone::default() };
    assert_eq!(from_tombstone(tombstone), None);
}

#[test]
fn a_gang_comes_with_its_object_and_the_largest_fit_goes_with_the_refusal() {
    let gang = v1::Gang {
        resource: "nvidia.com/gpu".into(),
        products: vec!["H100".into()],
        gpus_per_node: 8,
        nodes: 2,
        groups: 3,
        priority: -1,
        tolerations: vec![v1::NodeToleration { key: "sku".into(), ..v1::NodeToleration::default() }],
    };
    let upsert = v1::Upsert { gang: Some(gang), ..v1::Upsert::default() };
    let read = from_upsert(upsert).gang.unwrap();
    assert_eq!((read.resource.as_str(), read.products), ("nvidia.com/gpu", vec!["H100".to_owned()]));
    assert_eq!((read.gpus_per_node, read.nodes, read.groups, read.priority), (8, 2, 3, -1));
    assert_eq!(read.tolerations[0].key, "sku");
    assert_eq!(from_upsert(v1::Upsert::default()).gang, None, "a hub that says nothing of it");

    let fit = LargestFit { observed_at_ms: 7, groups: 1, nodes: 1, gpus_per_node: 8 };
    let outcome = Outcome::Rejected { class: RejectionClass::NoRoom(fit), message: "1 × 8".into() };
    let v1::result::Outcome::Rejected(said) = to_outcome(outcome) else { panic!("no refusal") };
    assert_eq!(
        (said.class(), said.held, said.message.as_str()),
        (v1::RejectionClass::NoRoom, false, "1 × 8")
    );
    let fit = said.fit.unwrap();
    assert_eq!((fit.observed_at_ms, fit.groups, fit.nodes, fit.gpus_per_node), (7, 1, 1, 8));
    let outcome = Outcome::Rejected { class: RejectionClass::Invalid, message: String::new() };
    assert!(matches!(to_outcome(outcome), v1::result::Outcome::Rejected(said) if said.fit.is_none()));
}
