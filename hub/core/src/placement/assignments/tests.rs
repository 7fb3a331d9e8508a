//! What the rows become when clusters, objects and placements come and go.

use super::*;

fn object(kind: &str, uid: &str) -> PlacedObject {
    PlacedObject {
        kind: kind.into(),
        name: format!("{uid}-name"),
        uid: uid.into(),
        replicas: None,
        policy: None,
    }
}

fn placed(uids: &[(&str, &str)]) -> PlacedAssignment {
    PlacedAssignment {
        reason: "Placed".into(),
        score: 7,
        since: Timestamp::UNIX_EPOCH,
        objects: uids.iter().map(|(kind, uid)| object(kind, uid)).collect(),
        replaced: false,
    }
}

const BOTH: &[(&str, &str)] = &[("NIMService", "s"), ("NIMCache", "c")];

fn rows(clusters: &[&str]) -> Assignments {
    Assignments {
        placed: clusters.iter().map(|c| ((*c).to_owned(), placed(BOTH))).collect(),
        ..Assignments::default()
    }
}

struct World {
    fate: DeletionIntent,
    gone: Vec<(&'static str, &'static str)>,
    joined: Vec<&'static str>,
}

impl Default for World {
    fn default() -> Self {
        Self { fate: DeletionIntent::Unplaced, gone: Vec::new(), joined: vec!["east", "west"] }
    }
}

fn next(before: &Assignments, target: &[&str], world: &World) -> Assignments {
    plan(Input {
        before,
        target: rows(target).placed,
        left: BTreeMap::from([("east".to_owned(), "NoExecute".to_owned())]),
        fate: &|_| world.fate,
        gone: &|cluster, uid| world.gone.contains(&(cluster, uid)),
        joined: &|cluster| world.joined.contains(&cluster),
        now: Timestamp::from_second(100).unwrap(),
    })
}

fn leaving(rows: &Assignments) -> Vec<(&str, &str, RemovalPolicy)> {
    rows.leaving().map(|(cluster, _, o)| (cluster, o.uid.as_str(), o.policy.unwrap_or_default())).collect()
}

#[test]
fn what_stays_is_untouched() {
    let before = rows(&["east", "west"]);
    assert_eq!(next(&before, &["east", "west"], &World::default()), before);
}

#[test]
fn a_left_cluster_loses_services_and_keeps_caches() {
    let after = next(&rows(&["east"]), &["west"], &World::default());
    assert_eq!(after.placed.keys().collect::<Vec<_>>(), ["west"]);
    assert_eq!(leaving(&after), [("east", "s", RemovalPolicy::Delete), ("east", "c", RemovalPolicy::Retain)]);
    assert_eq!(after.removing["east"].reason, "NoExecute");
    assert_eq!(after.removing["east"].since.as_second(), 100);
}

#[test]
fn only_kinds_that_keep_data_outlive_their_place() {
    let kept: Vec<_> = ["NIMService", "NIMCache", "NemoCustomizer", "NemoDatastore", "NemoEntitystore"]
        .into_iter()
        .filter(|kind| policy(kind, DeletionIntent::Unplaced) == RemovalPolicy::Retain)
        .collect();
    assert_eq!(kept, ["NIMCache", "NemoDatastore"]);
}

#[test]
fn what_is_deleted_on_the_hub_is_deleted_everywhere_and_what_is_missing_is_retained() {
    for (fate, expected) in
        [(DeletionIntent::Deleted, RemovalPolicy::Delete), (DeletionIntent::Unknown, RemovalPolicy::Retain)]
    {
        let after = next(&rows(&["east"]), &[], &World { fate, ..World::default() });
        assert_eq!(leaving(&after), [("east", "s", expected), ("east", "c", expected)], "{fate:?}");
    }
}

#[test]
fn a_row_goes_object_by_object_as_the_spoke_says_gone() {
    let leaving_both = next(&rows(&["east"]), &[], &World::default());
    let one = World { gone: vec![("east", "s"), ("west", "c")], ..World::default() };
    let after = next(&leaving_both, &[], &one);
    assert_eq!(leaving(&after), [("east", "c", RemovalPolicy::Retain)]);
    assert_eq!(after.removing["east"].since.as_second(), 100, "waiting began when it began");
    let all = World { gone: vec![("east", "s"), ("east", "c")], ..World::default() };
    assert!(next(&after, &[], &all).is_empty());
}

#[test]
fn gone_means_nothing_for_an_object_that_shall_run() {
    let world = World { gone: vec![("east", "s"), ("east", "c")], ..World::default() };
    let before = rows(&["east"]);
    assert_eq!(next(&before, &["east"], &world), before);
}

#[test]
fn an_object_that_comes_back_leaves_no_more() {
    let leaving_both = next(&rows(&["east"]), &[], &World::default());
    let after = next(&leaving_both, &["east"], &World::default());
    assert!(after.removing.is_empty());
    assert_eq!(after.placed.keys().collect::<Vec<_>>(), ["east"]);
}

#[test]
fn a_retained_object_is_deleted_once_the_hub_deletes_it() {
    let retained = next(&rows(&["east"]), &[], &World::default());
    let after = next(&retained, &[], &World { fate: DeletionIntent::Deleted, ..World::default() });
    assert!(leaving(&after).iter().all(|(_, _, policy)| *policy == RemovalPolicy::Delete));
}

#[test]
fn a_cluster_that_left_the_fleet_blocks_nothing() {
    let both = next(&rows(&["east"]), &["west"], &World::default());
    let world = World { joined: vec!["west"], ..World::default() };
    let after = next(&both, &["west"], &world);
    assert!(after.removing.is_empty());
    assert_eq!(after.placed.keys().collect::<Vec<_>>(), ["west"]);
}

#[test]
fn a_replaced_assignment_leaves_for_its_reason() {
    let mut before = rows(&["east", "west"]);
    if let Some(row) = before.placed.get_mut("east") {
        row.replaced = true;
    }
    let mut target = before.placed.clone();
    target.remove("east");
    let after = plan(Input {
        before: &before,
        target,
        left: BTreeMap::from([("east".to_owned(), "Replaced".to_owned())]),
        fate: &|_| DeletionIntent::Unplaced,
        gone: &|_, _| false,
        joined: &|_| true,
        now: Timestamp::UNIX_EPOCH,
    });
    assert_eq!(after.removing["east"].reason, "Replaced");
    assert!(after.placed.contains_key("west"));
}

#[test]
fn a_word_of_an_earlier_stay_says_nothing_of_the_next() {
    let (both, east) = (rows(&["east", "west"]), rows(&["east"]));
    let leaves = next(&both, &["east"], &World::default());
    assert_eq!(settled(&both, &leaves), [("west", "s"), ("west", "c")], "whatever was said is of before");
    assert!(settled(&leaves, &leaves).is_empty(), "it is waited for");
    assert_eq!(settled(&leaves, &both), [("west", "s"), ("west", "c")], "it runs again");
    assert_eq!(settled(&leaves, &east), [("west", "s"), ("west", "c")], "it is written down");
}
