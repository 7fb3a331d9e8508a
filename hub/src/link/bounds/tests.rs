//! Each bound by table: what is at it stays, what is beyond it is cut and says so.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::*;
use crate::fleet::{
    CachedProfile, DeviceGroup, HeldCache, NodeGroup, Platform, Pool, RejectionClass, StorageClass,
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
    }
}

fn only(mut said: FromSpoke) -> (ObjectStatus, u64) {
    let cut = cut(&mut said);
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
                assert!(told.len() < SENTENCE + 64 && cut == 1, "{case}");
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
    assert_eq!(cut(&mut said), 2);
    assert!(matches!(said, FromSpoke::Index { held, .. } if held.len() == 2));
    let result = |uid: &str| ObjectResult { uid: uid.to_owned(), hash: String::new(), answer: Answer::Gone };
    let mut said = FromSpoke::Ack { delta: 1, results: vec![result("a"), result(&long)] };
    assert_eq!(cut(&mut said), 1);
    let mut said = FromSpoke::Status(vec![ObjectStatus { object: object(&long), ..status(vec![]) }]);
    assert_eq!(cut(&mut said), 1);
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
        assert_eq!(cut(&mut said), 1, "{said:?}");
        assert!(format!("{said:?}").len() < 2 * SENTENCE);
    }
}

#[test]
fn a_capacity_report_is_bounded_in_every_list() {
    let long = "x".repeat(10_000);
    let pool = Pool {
        product: long.clone(),
        resource: long.clone(),
        driver_version: long.clone(),
        groups: vec![NodeGroup::default(); 10_000],
        free_per_node: (0..10_000).map(|free| (free, 1)).collect(),
        ..Pool::default()
    };
    let profile = CachedProfile { name: long.clone(), tags: BTreeMap::new() };
    let cache = HeldCache {
        namespace: long.clone(),
        name: long.clone(),
        model: long.clone(),
        profiles: vec![profile; 2000],
    };
    let platform = Platform { name: long.clone(), version: long.clone(), served: vec![long.clone(); 1000] };
    let class = StorageClass { name: long.clone(), ..StorageClass::default() };
    let tags: BTreeMap<_, _> = (0..1000).map(|tag| (tag.to_string(), long.clone())).collect();
    let device = DeviceGroup { class: long.clone(), attributes: tags, ..DeviceGroup::default() };
    let mut said = FromSpoke::Capacity(Capacity {
        observed_at: Timestamp::UNIX_EPOCH,
        received_at: Timestamp::UNIX_EPOCH,
        kubernetes_version: long.clone(),
        region: long.clone(),
        zone: long.clone(),
        provider: long,
        pools: vec![pool; POOLS + 1],
        platforms: vec![platform; PLATFORMS + 1],
        caches: vec![cache; 3],
        storage: Some(vec![class; 5000]),
        devices: Some(vec![device; 1100]),
        ..Capacity::default()
    });
    assert!(cut(&mut said) > 0);
    let FromSpoke::Capacity(capacity) = said else { panic!("{said:?}") };
    assert_eq!((capacity.pools.len(), capacity.platforms.len()), (POOLS, PLATFORMS));
    assert!(capacity.pools.iter().all(|pool| pool.free_per_node.len() == NODES));
    assert_eq!(capacity.pools[0].free_per_node.keys().next_back(), Some(&9999), "the emptiest nodes stay");
    assert!(capacity.pools.iter().all(|pool| pool.groups.len() == NODES));
    assert!(capacity.platforms.iter().all(|platform| platform.served.len() == PLATFORMS));
    assert!(capacity.caches.iter().all(|cache| cache.profiles.len() == PROFILES));
    let (storage, devices) = (capacity.storage.unwrap(), capacity.devices.unwrap());
    assert_eq!((storage.len(), devices.len()), (ROWS, ROWS));
    assert!(devices.iter().all(|group| group.attributes.is_empty()), "a tag that long is nobody's");
    let short = |text: &str| text.len() < WORD + 64;
    assert!(
        short(&capacity.region)
            && short(&capacity.pools[0].product)
            && short(&capacity.caches[0].profiles[0].name)
            && short(&storage[0].name)
    );
}

#[test]
fn what_an_agent_says_of_itself_and_what_a_cache_holds_is_bounded() {
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
    assert!(cut(&mut said) > 0);
    let FromSpoke::Hello(hello) = said else { panic!("{said:?}") };
    assert!(hello.epoch_proof.is_empty(), "no such proof is right");
    assert_eq!((hello.cluster.as_str(), hello.agent.capabilities.len()), ("east", CAPABILITIES - 1));
    assert!(hello.agent.limits.len() < WORD + 64 && hello.instance.id.len() < NAME + 64);
    let tags: BTreeMap<_, _> = (0..1000).map(|number| (number.to_string(), String::new())).collect();
    let profiles = vec![CachedProfile { name: long, tags }; PROFILES + 1];
    let (status, _) = only(FromSpoke::Status(vec![ObjectStatus { profiles, ..status(vec![]) }]));
    assert_eq!((status.profiles.len(), status.profiles[0].tags.len()), (PROFILES, TAGS));
}
