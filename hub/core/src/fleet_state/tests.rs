//! What of that which spokes say is news, and to whom.

use super::*;
use crate::fleet::{Admin, HeldObject, RejectionClass};

fn result(uid: &str, answer: Answer) -> LinkEvent {
    let results = vec![ObjectResult { uid: uid.into(), hash: "h".into(), answer }];
    LinkEvent::Results { cluster: "east".parse().unwrap(), results }
}

fn live() -> (FleetState, PlacementKey) {
    let mut live = FleetState::default();
    let owner = PlacementKey { namespace: "ns".into(), name: "p".into() };
    live.claims.insert("u".into(), owner.clone());
    let cluster: ClusterName = "east".parse().unwrap();
    live.fleet.apply(FleetEvent::Admin { cluster, admin: Admin::default() });
    (live, owner)
}

#[test]
fn an_answer_is_told_and_stays_until_the_object_is_gone() {
    let (mut live, owner) = live();
    let refused = Answer::Rejected { class: RejectionClass::Invalid, message: "no".into() };
    let touched = live.hear(result("u", refused.clone()), Timestamp::UNIX_EPOCH);
    assert!(touched.placements.contains(&owner) && !touched.capacity, "another cluster may have to take it");
    let touched = live.hear(result("u", Answer::Accepted), Timestamp::UNIX_EPOCH);
    assert!(touched.placements.contains(&owner), "it is denied no longer");
    let touched = live.hear(result("u", Answer::Accepted), Timestamp::UNIX_EPOCH);
    assert_eq!(touched, Touched::default(), "that is known");
    let retrying = Answer::Retrying { message: "timeout".into() };
    let touched = live.hear(result("u", retrying), Timestamp::UNIX_EPOCH);
    assert!(touched.reports.contains(&owner) && touched.placements.is_empty());
    live.hear(result("u", refused.clone()), Timestamp::UNIX_EPOCH);
    assert_eq!(live.answer("east", "u").unwrap().answer, refused);
    let touched = live.hear(result("u", Answer::Gone), Timestamp::UNIX_EPOCH);
    assert!(touched.placements.contains(&owner), "its row has to leave");
    assert!(live.answer("east", "u").is_none() && live.is_gone("east", "u"));
    live.settle("east", "u");
    assert!(!live.is_gone("east", "u"));
}

#[test]
fn a_refusal_that_is_heard_again_is_no_news_and_keeps_its_time() {
    let (mut live, owner) = live();
    let refused = || Answer::Rejected { class: RejectionClass::Conflict, message: "no".into() };
    let at = |second| Timestamp::from_second(second).unwrap();
    assert!(live.hear(result("u", refused()), at(10)).placements.contains(&owner));
    assert_eq!(live.hear(result("u", refused()), at(130)), Touched::default());
    assert_eq!(live.refused_since("east", "u"), Some(at(10)));
    let other = Answer::Rejected { class: RejectionClass::Invalid, message: "no".into() };
    assert!(live.hear(result("u", other), at(140)).placements.contains(&owner));
    assert_eq!(live.refused_since("east", "u"), Some(at(10)), "it is refused all along");
    live.hear(result("u", Answer::Accepted), at(150));
    assert_eq!(live.refused_since("east", "u"), None);
}

#[test]
fn a_cluster_that_left_is_forgotten() {
    let (mut live, _) = live();
    live.hear(result("u", Answer::Accepted), Timestamp::UNIX_EPOCH);
    live.hear(result("v", Answer::Gone), Timestamp::UNIX_EPOCH);
    live.forget_cluster(&"east".parse().unwrap());
    assert!(live.answer("east", "u").is_none() && !live.is_gone("east", "v"));
    assert!(live.fleet.cluster("east").is_none());
}

fn object(uid: &str, name: &str) -> ObjectRef {
    ObjectRef {
        uid: uid.into(),
        api_version: "apps.nvidia.com/v1alpha1".into(),
        kind: "NIMService".into(),
        namespace: "ns".into(),
        name: name.into(),
    }
}

fn orphans(names: &[&str]) -> LinkEvent {
    let held = |name: &&str| HeldObject {
        object: object(&format!("old-{name}"), name),
        generation: 1,
        hash: "h".into(),
    };
    LinkEvent::Orphans { cluster: "east".parse().unwrap(), objects: names.iter().map(held).collect() }
}

fn names(live: &FleetState) -> Vec<&str> {
    let of_east = live.orphans.values().flatten();
    of_east.map(|object| object.name.as_str()).collect()
}

fn status(object: ObjectRef, ready_replicas: u32, second: i64) -> LinkEvent {
    let status = ObjectStatus {
        object,
        generation: 1,
        hash: "h".into(),
        state: "Ready".into(),
        conditions: Vec::new(),
        ready_replicas,
        wanted_replicas: 2,
        observed_at: Timestamp::from_second(second).unwrap(),
        profiles: Vec::new(),
        unschedulable: None,
        claim: String::new(),
    };
    LinkEvent::Status { cluster: "east".parse().unwrap(), objects: vec![status] }
}

#[test]
fn a_status_that_is_known_is_told_to_nobody_but_those_who_wait() {
    let (mut live, owner) = live();
    let hear = |live: &mut FleetState, ready, second| {
        live.hear(status(object("u", "a"), ready, second), Timestamp::UNIX_EPOCH)
    };
    assert!(hear(&mut live, 1, 1).reports.contains(&owner));
    assert_eq!(hear(&mut live, 1, 2), Touched::default());
    assert!(hear(&mut live, 2, 3).reports.contains(&owner));
    live.wanting.insert(owner.clone());
    let touched = hear(&mut live, 2, 4);
    assert!(touched.reports.is_empty() && touched.placements.contains(&owner));
}

#[test]
fn orphans_are_a_whole_list_and_go_one_by_one() {
    let (mut live, _) = live();
    assert!(live.hear(orphans(&["a", "b", "c"]), Timestamp::UNIX_EPOCH).cluster);
    assert!(live.hear(orphans(&["a", "b"]), Timestamp::UNIX_EPOCH).cluster);
    assert_eq!(names(&live), ["a", "b"]);
    // Made anew on the hub, it has another uid and the same name.
    let event = status(object("new-a", "a"), 1, 0);
    assert!(live.hear(event, Timestamp::UNIX_EPOCH).cluster);
    assert_eq!(names(&live), ["b"]);
    assert!(!live.hear(result("old-b", Answer::Accepted), Timestamp::UNIX_EPOCH).cluster);
    assert!(live.hear(result("old-b", Answer::Gone), Timestamp::UNIX_EPOCH).cluster);
    assert!(names(&live).is_empty());
}

#[test]
fn what_is_being_removed_is_waited_for_through_a_reconnect() {
    let (mut live, _) = live();
    live.hear(orphans(&["a", "b"]), Timestamp::UNIX_EPOCH);
    live.doomed.insert("east".parse().unwrap(), BTreeSet::from(["old-a".to_owned()]));
    // A session no longer lists what it has been told to remove.
    live.hear(orphans(&["b"]), Timestamp::UNIX_EPOCH);
    assert_eq!(names(&live), ["b", "a"]);
    live.hear(orphans(&[]), Timestamp::UNIX_EPOCH);
    assert_eq!(names(&live), ["a"]);
}
