//! A spoke of the version before: what it says is read from the bytes it sent, and it understands what it is answered.

use std::collections::BTreeSet;
use std::sync::Arc;

use prost::Message;

use super::*;
use crate::fleet::ClusterName;
use crate::identity::EpochKey;
use crate::link::outbox::Outbox;
use crate::link::session::{Effect, Event, Session, View};
use crate::link::terms::Terms;

/// What a spoke of 0.1 said in one session, recorded when that was the present: messages one after the other, each
/// after its length.
const SPOKE_0_1: &[u8] = include_bytes!("../../../../../proto/recorded/0.1/spoke.bin");

fn recorded() -> Vec<FromSpoke> {
    let mut rest = SPOKE_0_1;
    let mut said = Vec::new();
    while !rest.is_empty() {
        let message = v1::SpokeMessage::decode_length_delimited(&mut rest).unwrap();
        said.push(from_spoke(message, Timestamp::UNIX_EPOCH).unwrap());
    }
    said
}

#[test]
fn a_spoke_of_0_1_is_served() {
    let now = std::time::Instant::now();
    let east: ClusterName = "east".parse().unwrap();
    let terms = Terms::of(1, Duration::from_secs(10), [0.0; 2]);
    let mut session = Session::new(east, Timestamp::UNIX_EPOCH, terms, EpochKey::new([7; 32]), now);
    let epoch =
        Epoch { hub_id: "8d6c2b54-0d8f-4b6c-9a2c-5a1f4a0f7f01".into(), term: 7, incarnation: "i".into() };
    let mut outbox = Outbox::default();
    let object = |kind: &str, name: &str| ObjectRef {
        uid: format!("uid-of-{name}"),
        api_version: "apps.nvidia.com/v1alpha1".into(),
        kind: kind.into(),
        namespace: "models".into(),
        name: name.into(),
    };
    let desired = |kind, name, generation, hash: &str| DesiredObject {
        object: object(kind, name),
        generation,
        hash: hash.repeat(32),
        payload: Arc::from(b"{}".as_slice()),
        gang: None,
    };
    // Its cache has an older version, its service is as it should be, and one has to go.
    outbox.set_desired(desired("NIMCache", "weights", 3, "c1"));
    outbox.set_desired(desired("NIMService", "llama", 3, "51"));
    outbox.set_removal(Removal {
        object: object("NIMService", "old"),
        policy: RemovalPolicy::Delete,
        reason: String::new(),
        decided: Timestamp::UNIX_EPOCH,
        cause: Cause::Admin,
    });
    let mut said = Vec::new();
    for message in recorded() {
        let mut effects =
            session.on(Event::Said(message), &mut View { now, epoch: &epoch, outbox: &mut outbox });
        if matches!(effects[..], [Effect::Claim(_)]) {
            effects = session.on(Event::Claimed(true), &mut View { now, epoch: &epoch, outbox: &mut outbox });
        }
        said.extend(effects);
    }
    let to_it: Vec<_> = said.iter().filter(|effect| matches!(effect, Effect::Send(_))).collect();
    let [
        Effect::Send(ToSpoke::Welcome { in_sync: false, .. }),
        Effect::Send(ToSpoke::Delta { upserts, tombstones, .. }),
    ] = &to_it[..]
    else {
        panic!("{to_it:#?}")
    };
    let upserted: BTreeSet<_> = upserts.iter().map(|object| object.object.name.as_str()).collect();
    assert_eq!(upserted, BTreeSet::from(["weights"]), "no question that it does not know");
    assert_eq!(tombstones.len(), 1);
    assert!(
        said.iter().any(|effect| matches!(effect, Effect::Report(crate::link::LinkEvent::Status { .. })))
    );
    assert!(
        said.iter().any(|effect| matches!(effect, Effect::Report(crate::link::LinkEvent::Capacity { .. })))
    );
}

#[test]
fn what_is_new_in_a_message_is_passed_over_by_whoever_does_not_know_it() {
    // A field of the future in a message of the future in an envelope of today.
    let bytes = [0xfa, 0x07, 0x03, 0x08, 0x96, 0x01];
    let message = v1::SpokeMessage::decode(bytes.as_slice()).unwrap();
    assert!(from_spoke(message, Timestamp::UNIX_EPOCH).is_none());
}

#[test]
fn tainted_nodes_are_counted_with_their_pool_and_sets_are_read() {
    let group = |free, set| v1::NodeGroup { free, nodes: 1, set, ..v1::NodeGroup::default() };
    let tainted = v1::TaintedNodes { set: 1, nodes: 1, allocatable: 4, groups: vec![group(3, Some(1))] };
    let pool = v1::GpuPool {
        nodes: 1,
        capacity: 12,
        allocatable: 8,
        free: 8,
        free_per_node: [(8, 1)].into(),
        groups: vec![group(8, Some(0))],
        tainted: vec![tainted],
        ..v1::GpuPool::default()
    };
    let taint = v1::NodeTaint { key: "sku".into(), value: "gpu".into(), effect: "NoSchedule".into() };
    let node_sets = v1::NodeSets {
        sets: vec![v1::NodeSet::default(), v1::NodeSet { taints: vec![taint], nodes: 1 }],
        labels: vec![v1::NodeLabel { key: "zone".into(), value: "a".into(), sets: 1, partial: false }],
        untold: Vec::new(),
    };
    let report =
        v1::CapacityReport { pools: vec![pool], node_sets: Some(node_sets), ..v1::CapacityReport::default() };
    let read = capacity::from_spoke(report, Timestamp::UNIX_EPOCH);
    let pool = &read.pools[0];
    assert_eq!((pool.nodes, pool.capacity, pool.allocatable, pool.free), (2, 12, 12, 11));
    assert_eq!(pool.groups.iter().map(|group| (group.free, group.set)).collect::<Vec<_>>(), [(3, 1), (8, 0)]);
    let known = read.nodes.unwrap();
    assert_eq!((known.tolerated(&[], true).0, known.values("zone").collect::<Vec<_>>()), (0b01, vec!["a"]));
    // An agent that tells no sets says nothing against any node.
    let old = v1::GpuPool { groups: vec![group(8, None)], ..v1::GpuPool::default() };
    let report = v1::CapacityReport { pools: vec![old], ..v1::CapacityReport::default() };
    let read = capacity::from_spoke(report, Timestamp::UNIX_EPOCH);
    assert_eq!((read.pools[0].groups[0].set, read.nodes), (crate::fleet::Sets::ANY, None));
}

#[test]
fn a_gang_goes_with_its_object_and_the_largest_fit_is_read_as_far_as_it_is_told() {
    let object = DesiredObject {
        object: ObjectRef {
            uid: "u".into(),
            api_version: "apps.nvidia.com/v1alpha1".into(),
            kind: "NIMService".into(),
            namespace: "models".into(),
            name: "wide".into(),
        },
        generation: 1,
        hash: "h".into(),
        payload: Arc::from(b"{}".as_slice()),
        gang: Some(Gang {
            resource: "nvidia.com/gpu".into(),
            products: vec!["H100".into()],
            gpus_per_node: 8,
            nodes: 2,
            groups: 3,
            priority: -1,
            tolerations: vec![NodeToleration { key: "sku".into(), ..NodeToleration::default() }],
        }),
    };
    let sent = to_upsert(&object).gang.unwrap();
    assert_eq!((sent.resource.as_str(), sent.products), ("nvidia.com/gpu", vec!["H100".to_owned()]));
    assert_eq!((sent.gpus_per_node, sent.nodes, sent.groups, sent.priority), (8, 2, 3, -1));
    assert_eq!(sent.tolerations[0].key, "sku");

    let read = |fit| {
        let class = i32::from(v1::RejectionClass::NoRoom);
        let rejected = v1::Rejected { class, fit, ..v1::Rejected::default() };
        let outcome = Some(v1::result::Outcome::Rejected(rejected));
        match from_result(v1::Result { outcome, ..v1::Result::default() }).unwrap().answer {
            Answer::Rejected { class: RejectionClass::NoRoom { judged, groups }, .. } => {
                (judged.as_millisecond(), groups)
            }
            other => panic!("{other:?}"),
        }
    };
    let fit =
        |observed_at_ms| Some(v1::LargestFit { observed_at_ms, groups: 1, ..v1::LargestFit::default() });
    assert_eq!((read(fit(7)), read(None), read(fit(i64::MAX))), ((7, 1), (0, 0), (0, 1)));
}
