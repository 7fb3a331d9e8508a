//! Who keeps scarce GPUs.

use super::builder::{Build, H100, adopt, at, chosen, name, pending, pool, report, request, service, status};
use crate::tests::schedule;
use crate::{
    Reason, Request,
    fleet::{Fleet, FleetEvent, ObjectStatus, PlacementKey},
};

fn one(fleet: Fleet) -> Fleet {
    fleet.joined("east", vec![pool(H100, 81_559, &[(8, 1)], 8)])
}

fn wants(name: &str, priority: i32) -> Request {
    let mut wants = request(name, vec![service(name, 8, 1)]);
    wants.policy.priority = priority;
    wants
}

/// A placement that was promised all GPUs of the only cluster at second 1.
fn promised(priority: i32) -> (Fleet, Request) {
    let (mut fleet, mut first) = (one(Fleet::default()), wants("first", priority));
    let decision = schedule(&first, &fleet);
    assert_eq!(chosen(&decision), ["east"]);
    adopt(&mut fleet, &mut first, &decision);
    (fleet, first)
}

fn says(fleet: Fleet, status: ObjectStatus, seconds: i64) -> Fleet {
    fleet.with(FleetEvent::Status { cluster: name("east"), statuses: vec![status], at: at(seconds) })
}

#[test]
fn who_was_promised_first_keeps_it_among_equals() {
    let (fleet, _) = promised(5);
    for (priority, expected) in [(4, 0), (5, 0), (6, 1)] {
        let decision = schedule(&wants("second", priority), &fleet);
        assert_eq!(decision.chosen.len(), expected, "{priority}: {decision:?}");
    }
}

#[test]
fn what_runs_is_never_taken() {
    let (fleet, _) = promised(0);
    let fleet = says(fleet, status("first", 1, 5), 5)
        .reports("east", report(vec![pool(H100, 81_559, &[(0, 1)], 8)], 6));
    assert!(schedule(&wants("second", 9), &fleet).chosen.is_empty());
    // Its pod is bound and loads its model: the report says so, whatever its status does.
    let (fleet, _) = promised(0);
    let fleet = fleet.reports("east", report(vec![pool(H100, 81_559, &[(0, 1)], 8)], 6));
    assert!(schedule(&wants("second", 9), &fleet).chosen.is_empty());
}

#[test]
fn what_was_taken_is_looked_for_elsewhere_once_it_finds_no_node() {
    let (mut fleet, first) = promised(0);
    let mut second = wants("second", 9);
    let decision = schedule(&second, &fleet);
    adopt(&mut fleet, &mut second, &decision);
    let lower: Vec<&PlacementKey> = fleet.outranked(&name("east"), 9).collect();
    assert_eq!(lower, [&first.placement], "who is to be told");
    let decision = schedule(&first, &fleet);
    assert_eq!(chosen(&decision), ["east"], "it may be starting: nobody has said that it is not");
    let fleet = says(fleet, pending("first", 0, 10), 10);
    let decision = schedule(&Request { now: at(11), ..first.clone() }, &fleet);
    assert_eq!((decision.removed[0].reason, decision.chosen.len()), (Reason::Preempted, 0), "{decision:?}");
    let more = fleet.joined("west", vec![pool(H100, 81_559, &[(8, 1)], 8)]);
    let decision = schedule(&Request { now: at(11), ..first }, &more);
    assert_eq!((chosen(&decision), decision.removed[0].reason), (vec!["west"], Reason::Preempted));
}

#[test]
fn a_restarted_hub_takes_nothing_from_anybody() {
    let (mut fleet, first) = promised(0);
    let mut second = wants("second", 9);
    let decision = schedule(&second, &fleet);
    adopt(&mut fleet, &mut second, &decision);
    // Nothing has been heard of either, and the report shows that somebody runs.
    let fleet = fleet.reports("east", report(vec![pool(H100, 81_559, &[(0, 1)], 8)], 6));
    for wants in [first, second] {
        let decision = schedule(&wants, &fleet);
        assert_eq!((chosen(&decision), decision.removed.len()), (vec!["east"], 0));
    }
}

#[test]
fn whoever_was_scaled_to_nothing_has_taken_nothing() {
    let (mut fleet, first) = promised(0);
    let mut second = wants("second", 9);
    second.workloads[0].need.replicas = 0;
    let decision = schedule(&second, &fleet);
    assert_eq!(chosen(&decision), ["east"]);
    adopt(&mut fleet, &mut second, &decision);
    // The cluster's own pods have the GPUs.
    let fleet = says(fleet, pending("first", 0, 10), 10)
        .reports("east", report(vec![pool(H100, 81_559, &[(0, 1)], 8)], 10));
    let decision = schedule(&Request { now: at(11), ..first }, &fleet);
    assert_eq!((chosen(&decision), decision.removed.len()), (vec!["east"], 0));
}
