//! Each bound by table: what is at it stays, what is beyond it is cut and says so.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::*;
use crate::fleet::{
    CachedProfile, DeviceGroup, HeldCache, NodeGroup, NodeLabel, NodeSet, Platform, Pool, RejectionClass,
    Sets, StorageClass, Unlabelled,
};
use crate::link::message::{Hello, Instance};

fn object(name: &str) -> ObjectRef {
    ObjectRef {
        uid: name.to_owned(),
        api_version: "apps.nvidia.com/v1alpha1".to_owned(),
        kind: "NIMService".to_owned(),
        namespace: "models".to_owned(),
        name: name.to_owned(),
    }
}

fn condition(kind: &str, message: &str) -> ObjectCondition {
    ObjectCondition {
        kind: kind.to_owned(),
        status: Truth::False,
        reason: "No".to_owned(),
        message: message.to_owned(),
        last_transition: Timestamp::UNIX_EPOCH,
    }
}

fn status(conditions: Vec<ObjectCondition>) -> ObjectStatus {
    ObjectStatus {
        object: object("a"),
        generation: 1,
        hash: "h".to_owned(),
        state: "Pending".to_owned(),
        conditions,
        ready_replicas: 0,
        wanted_replicas: 1,
        observed_at: Timestamp::UNIX_EPOCH,
        profiles: vec![],
        unschedulable: None,
        claim: String::new(),
    }
}

/// How many things of a message are not kept.
fn over(said: &mut FromSpoke) -> u64 {
    cut(said).iter().map(|excess| excess.reported - excess.kept).sum()
}

fn only(mut said: FromSpoke) -> (ObjectStatus, u64) {
    let cut = over(&mut said);
    match said {
        FromSpoke::Status(statuses) => (statuses.into_iter().next().unwrap(), cut),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_text_at_its_bound_stays_and_a_longer_one_says_what_was_cut() {
    let table = [
        ("at the bound", "x".repeat(SENTENCE), None),
        ("one more", "x".repeat(SENTENCE + 1), Some(1)),
        ("a mebibyte", "x".repeat(1 << 20), Some((1 << 20) - SENTENCE)),
        ("within a character", format!("{}é", "x".repeat(SENTENCE - 1)), Some(2)),
    ];
    for (case, message, more) in table {
        let (status, cut) = only(FromSpoke::Status(vec![status(vec![condition("Ready", &message)])]));
        let told = &status.conditions[0].message;
        match more {
            None => assert_eq!((told, cut), (&message, 0), "{case}"),
            Some(more) => {
                assert!(
                    told.ends_with(&format!("x… ({more} more bytes were cut by the hub)")),
                    "{case}: {told}"
                );
                assert_eq!(cut, u64::try_from(message.len() - SENTENCE).unwrap(), "{case}");
                assert!(told.len() < SENTENCE + 64, "{case}");
            }
        }
    }
}

#[test]
fn many_conditions_leave_those_that_tell_most_and_a_row_that_says_so() {
    let many = |count: usize| {
        let others = (1..count).map(|number| condition(&format!("C{number}"), ""));
        others.chain([condition("Ready", "why")]).collect::<Vec<_>>()
    };
    let (status_at, cut_at) = only(FromSpoke::Status(vec![status(many(CONDITIONS))]));
    assert_eq!((status_at.conditions.len(), cut_at), (CONDITIONS, 0));
    let (status_over, cut_over) = only(FromSpoke::Status(vec![status(many(1000))]));
    assert_eq!(status_over.conditions.len(), CONDITIONS);
    assert_eq!(cut_over, 969);
    assert_eq!(status_over.condition("Ready").map(|ready| ready.message.as_str()), Some("why"));
    let last = status_over.conditions.last().unwrap();
    assert_eq!(
        (last.kind.as_str(), last.message.as_str()),
        ("Truncated", "969 more conditions were cut by the hub")
    );
}

#[test]
fn what_is_named_by_more_than_a_name_is_nobodys() {
    let long = "n".repeat(NAME + 1);
    let hash = |hash: &str| HeldObject { object: object("a"), generation: 1, hash: hash.to_owned() };
    let named = |name: &str| HeldObject { object: object(name), generation: 1, hash: String::new() };
    let held = vec![named("a"), named(&long), hash(&long), named(&"n".repeat(NAME))];
    let mut said = FromSpoke::Index { held, last: true, buckets: BTreeSet::new() };
    assert_eq!(over(&mut said), 2);
    assert!(matches!(said, FromSpoke::Index { held, .. } if held.len() == 2));
    let result = |uid: &str| ObjectResult { uid: uid.to_owned(), hash: String::new(), answer: Answer::Gone };
    let mut said = FromSpoke::Ack { delta: 1, results: vec![result("a"), result(&long)] };
    assert_eq!(over(&mut said), 1);
    let mut said = FromSpoke::Status(vec![ObjectStatus { object: object(&long), ..status(vec![]) }]);
    assert_eq!(over(&mut said), 1);
    assert_eq!(said, FromSpoke::Status(vec![]));
}

#[test]
fn every_answer_that_has_a_message_is_cut() {
    let message = "x".repeat(100_000);
    let answers = [
        Answer::Rejected { class: RejectionClass::Invalid, message: message.clone() },
        Answer::Rejected {
            class: RejectionClass::NoRoom { judged: jiff::Timestamp::UNIX_EPOCH, groups: u32::MAX },
            message: message.clone(),
        },
        Answer::Held { reason: crate::fleet::HoldReason::Stale, message: message.clone() },
        Answer::Retrying { message },
    ];
    for answer in answers {
        let result = ObjectResult { uid: "a".to_owned(), hash: String::new(), answer };
        let mut said = FromSpoke::Ack { delta: 1, results: vec![result] };
        assert_eq!(cut(&mut said), [Excess { what: "bytes of long texts", reported: 100_000, kept: 2048 }]);
        assert!(format!("{said:?}").len() < 2 * SENTENCE);
    }
}

/// Rows within a row of a long report: more than are kept of each.
const INNER: usize = 70;
const GROUPS: u32 = 1100;

/// A report in which every list has `rows` rows, of words of `long` bytes; with lists in them if they are long.
fn report(rows: usize, long: usize) -> Capacity {
    let word = |number: usize| format!("{number:05}{}", "x".repeat(long));
    let (inner, groups) = if long > 0 { (INNER, GROUPS) } else { (0, 0) };
    let tags: BTreeMap<_, _> = (0..inner).map(|tag| (word(tag), word(tag))).collect();
    let nodes: BTreeMap<_, _> = (0..groups).map(|free| (free, 1)).collect();
    let pool = |number| Pool {
        product: word(number),
        resource: word(number),
        driver_version: word(number),
        groups: vec![NodeGroup::default(); groups as usize],
        free_per_node: nodes.clone(),
        ..Pool::default()
    };
    let platform =
        |number| Platform { name: word(number), version: word(number), served: vec![word(0); inner] };
    let profile = CachedProfile { name: word(0), tags: BTreeMap::new() };
    let cache = |number| HeldCache {
        namespace: word(0),
        name: word(number),
        model: word(0),
        profiles: vec![profile.clone(); inner],
    };
    let device = |number| DeviceGroup {
        class: word(number),
        driver: word(0),
        attributes: tags.clone(),
        free_per_node: nodes.clone(),
        ..DeviceGroup::default()
    };
    let class = |number| StorageClass { name: word(number), ..StorageClass::default() };
    Capacity {
        kubernetes_version: word(0),
        region: word(0),
        zone: word(0),
        provider: word(0),
        pools: (0..rows).map(pool).collect(),
        platforms: (0..rows).map(platform).collect(),
        caches: (0..rows).map(cache).collect(),
        storage: Some((0..rows).map(class).collect()),
        devices: Some((0..rows).map(device).collect()),
        bound: Some((0..rows).map(|number| (word(number), 1)).collect()),
        cut: vec![word(0); rows],
        ..Capacity::default()
    }
}

fn kept(capacity: Capacity) -> (Capacity, Vec<String>) {
    let mut said = FromSpoke::Capacity(capacity);
    let excess = cut(&mut said).iter().map(ToString::to_string).collect();
    let FromSpoke::Capacity(capacity) = said else { panic!("{said:?}") };
    (capacity, excess)
}

#[test]
fn a_capacity_report_is_bounded_in_every_list() {
    let (capacity, excess) = kept(report(10_000, 0));
    let lengths = |capacity: &Capacity| {
        let (storage, devices) = (capacity.storage.as_ref().unwrap(), capacity.devices.as_ref().unwrap());
        [
            capacity.pools.len(),
            capacity.platforms.len(),
            capacity.caches.len(),
            storage.len(),
            devices.len(),
            capacity.cut.len(),
        ]
    };
    assert_eq!(lengths(&capacity), [POOLS, PLATFORMS, CACHES, ROWS, ROWS, PLATFORMS]);
    assert!(capacity.bound.unwrap().len() > 5000, "rather many objects");
    for expected in [
        "256 of 10000 GPU products",
        "64 of 10000 platforms",
        "4096 of 10000 model caches",
        "1024 of 10000 storage classes",
        "1024 of 10000 kinds of devices",
        "64 of 10000 names of lists that were cut",
    ] {
        assert!(excess.iter().any(|excess| excess == expected), "{expected}: {excess:?}");
    }
}

#[test]
fn a_capacity_report_is_bounded_in_bytes_whatever_is_long() {
    for (rows, long) in [(300, 2000), (1100, 300), (2000, 252), (100, 5000)] {
        let (capacity, _) = kept(report(rows, long));
        let (storage, devices) = (capacity.storage.unwrap_or_default(), capacity.devices.unwrap_or_default());
        let bound = capacity.bound.unwrap_or_default();
        let weights = [
            (capacity.pools.weight(), POOL_BYTES),
            (capacity.platforms.weight(), PLATFORM_BYTES),
            (capacity.caches.weight(), CACHE_BYTES),
            (storage.weight(), STORAGE_BYTES),
            (devices.weight(), DEVICE_BYTES),
            (bound.weight(), BOUND_BYTES),
            (capacity.cut.weight(), PLATFORMS * (WORD + 128)),
            (capacity.region.weight(), WORD + 128),
        ];
        for (weight, most) in weights {
            assert!(weight <= most + 64, "{weight} of {most}, {rows} rows of {long} bytes");
        }
        let rows_left =
            [capacity.pools.len(), capacity.platforms.len(), capacity.caches.len(), storage.len()];
        assert!(rows_left.iter().all(|rows| *rows > 0), "{rows_left:?}: the first rows stay");
        assert!(capacity.pools.iter().all(|pool| pool.free_per_node.len() <= NODES));
        let last = capacity.pools[0].free_per_node.keys().next_back();
        assert_eq!(last, Some(&(GROUPS - 1)), "the emptiest nodes stay");
    }
}

#[test]
fn labels_and_taints_of_nodes_are_bounded_or_not_known_at_all() {
    let with = |labels: usize, names: usize| {
        let label = |number| NodeLabel {
            key: format!("key-{number}"),
            value: "x".repeat(60),
            sets: Sets(1),
            partial: false,
        };
        let taint =
            NodeTaint { key: "\u{1b}sku".repeat(200), effect: "NoSchedule".into(), ..NodeTaint::default() };
        let set = NodeSet { taints: vec![taint], nodes: 1 };
        let mut known = NodeSets::new(vec![set], (0..labels).map(label).collect(), vec![]);
        known.unlabelled = Unlabelled { nodes: 1, names: vec!["n".repeat(300); names] };
        kept(Capacity { nodes: Some(Arc::new(known)), ..Capacity::default() })
    };
    let (capacity, _) = with(40, 100);
    let known = capacity.nodes.unwrap();
    assert_eq!((known.values("key-7").count(), known.unlabelled.names.len()), (1, SETS));
    // What is cut says so in a few bytes more.
    assert!(known.unlabelled.names[0].len() <= NAME + 64 && known.weight() < NODE_BYTES);
    let key = &known.sets()[0].taints[0].key;
    assert!(key.len() <= WORD + 64 && !key.contains(char::is_control), "{key:?}");
    // Some of the labels would say that no node has the others.
    let (capacity, excess) = with(4000, 1);
    assert_eq!(capacity.nodes, None);
    assert!(
        excess.iter().any(|excess| excess.ends_with("bytes of labels and taints of nodes")),
        "{excess:?}"
    );
}

#[test]
fn what_an_agent_says_of_itself_is_bounded() {
    let long = "x".repeat(10_000);
    let mut capabilities = vec![long.clone()];
    capabilities.extend((0..1000).map(|number| number.to_string()));
    let mut said = FromSpoke::Hello(Hello {
        cluster: "east".to_owned(),
        agent: Agent { cluster_uid: long.clone(), version: long.clone(), capabilities, limits: long.clone() },
        instance: Instance { id: long.clone(), started_ms: 1 },
        highest_epoch: None,
        epoch_proof: vec![0; 1 << 20],
        held: None,
    });
    assert!(over(&mut said) > 0);
    let FromSpoke::Hello(hello) = said else { panic!("{said:?}") };
    assert!(hello.epoch_proof.is_empty(), "no such proof is right");
    assert_eq!((hello.cluster.as_str(), hello.agent.capabilities.len()), ("east", CAPABILITIES - 1));
    assert!(hello.agent.limits.len() < WORD + 64 && hello.instance.id.len() < NAME + 64);
}

#[test]
fn what_a_cache_holds_is_bounded_in_rows_and_in_bytes() {
    let tags = |count: usize| (0..count).map(|number| (number.to_string(), String::new())).collect();
    let profile = |name: &str, count| CachedProfile { name: name.to_owned(), tags: tags(count) };
    let (short, _) = only(FromSpoke::Status(vec![ObjectStatus {
        profiles: vec![profile("p", 0); PROFILES + 1],
        ..status(vec![])
    }]));
    assert_eq!(short.profiles.len(), PROFILES);
    let (tagged, _) = only(FromSpoke::Status(vec![ObjectStatus {
        profiles: vec![profile("p", 1000); 2],
        ..status(vec![])
    }]));
    assert_eq!((tagged.profiles.len(), tagged.profiles[0].tags.len()), (2, TAGS));
    // Everything that can be long is: the words that tell how the object is stay.
    let mut conditions: Vec<_> =
        (0..40).map(|number| condition(&format!("C{number}"), &"x".repeat(9000))).collect();
    conditions.push(condition("Ready", &"r".repeat(2000)));
    let (long, cut) = only(FromSpoke::Status(vec![ObjectStatus {
        profiles: vec![profile(&"p".repeat(300), 64); 600],
        ..status(conditions)
    }]));
    assert!(long.weight() <= STATUS_BYTES && cut > 0, "{} bytes", long.weight());
    assert_eq!(long.condition("Ready").map(|ready| ready.message.len()), Some(2000));
    assert!(!long.profiles.is_empty());
}

#[test]
fn what_a_terminal_would_obey_is_a_space() {
    let (status, cut) = only(FromSpoke::Status(vec![status(vec![condition("Ready", "a\u{1b}[31mb\nc")])]));
    assert_eq!((status.conditions[0].message.as_str(), cut), ("a [31mb c", 0));
}
