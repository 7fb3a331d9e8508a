//! Lost clusters: what replaces them when, what holds that back, and which copy stays when they return.

use jiff::SignedDuration;
use proptest::prelude::*;

use super::builder::{Build, H100, adopt, at, chosen, name, pool, report, request, service, status};
use crate::tests::schedule;
use crate::{
    Chosen, Decision, Division, Failover, OnUnreachable, Reason, Request,
    failover::{Allowance, Lane, PerLane},
    fleet::{Agent, Fleet, FleetEvent},
};

const LOST_AFTER: i64 = 300;

trait Story {
    fn back(self, cluster: &str, seconds: i64) -> Self;
    fn ready(self, cluster: &str, ready: bool, seconds: i64) -> Self;
}

impl Story for Fleet {
    fn back(self, cluster: &str, seconds: i64) -> Self {
        self.with(FleetEvent::Connected { cluster: name(cluster), agent: Agent::default(), at: at(seconds) })
    }

    fn ready(self, cluster: &str, ready: bool, seconds: i64) -> Self {
        let mut said = status("llm", u32::from(ready), seconds);
        said.state = if ready { "Ready" } else { "NotReady" }.into();
        self.with(FleetEvent::Status { cluster: name(cluster), statuses: vec![said], at: at(seconds) })
    }
}

fn of(clusters: &[&str]) -> Fleet {
    clusters
        .iter()
        .fold(Fleet::default(), |fleet, name| fleet.joined(name, vec![pool(H100, 81_559, &[(8, 1)], 8)]))
}

/// A placement of one cluster that wants replacement, running and ready in the first of them.
fn running(clusters: &[&str]) -> (Fleet, Request) {
    let (mut fleet, mut wants) = (of(clusters), request("chat", vec![service("llm", 8, 1)]));
    let lost_after = SignedDuration::from_secs(LOST_AFTER);
    wants.policy.failover =
        Failover { on_unreachable: OnUnreachable::Replace, lost_after, ..Failover::default() };
    let decision = schedule(&wants, &fleet);
    assert_eq!(chosen(&decision), [clusters[0]]);
    adopt(&mut fleet, &mut wants, &decision);
    (fleet.ready(clusters[0], true, 5), wants)
}

fn decide(wants: &Request, fleet: &Fleet, seconds: i64) -> Decision {
    schedule(&Request { now: at(seconds), ..wants.clone() }, fleet)
}

fn step(wants: &mut Request, fleet: &mut Fleet, seconds: i64) -> Decision {
    let decision = decide(wants, fleet, seconds);
    adopt(fleet, wants, &decision);
    decision
}

fn reason(decision: &Decision, cluster: &str) -> Option<Reason> {
    decision.chosen.iter().find(|row| row.cluster.as_str() == cluster).map(|row| row.reason)
}

fn held(decision: &Decision) -> Option<Reason> {
    decision.hold.as_ref().map(|hold| hold.reason)
}

/// East is lost at 10, and west has taken its place.
fn replaced() -> (Fleet, Request) {
    let (fleet, mut wants) = running(&["east", "west"]);
    let mut fleet =
        fleet.silent("east", 10).reports("west", report(vec![pool(H100, 81_559, &[(8, 1)], 8)], 9));
    assert_eq!(chosen(&decide(&wants, &fleet, 10 + LOST_AFTER - 1)), ["east"]);
    let decision = step(&mut wants, &mut fleet, 10 + LOST_AFTER);
    assert_eq!(reason(&decision, "east"), Some(Reason::Replaced), "{decision:?}");
    assert_eq!(reason(&decision, "west"), Some(Reason::Placed));
    assert!(
        decision.removed.is_empty() && decision.outcome.complete && decision.moves.failover == 1,
        "{decision:?}"
    );
    (fleet, wants)
}

#[test]
fn the_old_copy_goes_when_it_is_back_for_good_and_the_new_one_is_available() {
    let (fleet, wants) = replaced();
    // For as long as the old one is silent, both stay, whatever the new one is.
    for ready in [false, true] {
        let decision = decide(&wants, &fleet.clone().ready("west", ready, 400), 5000);
        assert_eq!(chosen(&decision), ["east", "west"]);
        assert_eq!((decision.removed.len(), decision.moves.failover), (0, 0));
    }
    let fleet = fleet.ready("west", true, 400).back("east", 1000).ready("east", true, 1001);
    let early = decide(&wants, &fleet, 1059);
    assert_eq!((chosen(&early).len(), early.retry_at), (2, Some(at(1060))));
    let decision = decide(&wants, &fleet, 1060);
    assert_eq!(chosen(&decision), ["west"]);
    assert_eq!(
        (decision.removed[0].cluster.as_str(), decision.removed[0].reason),
        ("east", Reason::Replaced)
    );
    // The clock of a return starts anew with every break.
    let flapped = fleet.clone().silent("east", 1050).back("east", 1052);
    assert_eq!(chosen(&decide(&wants, &flapped, 1100)).len(), 2);
    assert_eq!(chosen(&decide(&wants, &flapped, 1112)), ["west"]);
}

#[test]
fn of_two_copies_the_one_that_serves_stays() {
    let (fleet, wants) = replaced();
    let fleet = fleet.back("east", 1000).ready("east", true, 1001);
    // The new one has not spoken yet: neither goes.
    assert_eq!(chosen(&decide(&wants, &fleet, 1100)).len(), 2);
    // It is known not to serve: it goes, and the old one is as if nothing had been.
    let decision = decide(&wants, &fleet.clone().ready("west", false, 1002), 1100);
    assert_eq!((chosen(&decision), reason(&decision, "east")), (vec!["east"], Some(Reason::Sticky)));
    assert_eq!(
        (decision.removed[0].cluster.as_str(), decision.removed[0].reason),
        ("west", Reason::NotNeeded)
    );
    // Neither serves: both are waited for.
    let neither = fleet.ready("west", false, 1002).ready("east", false, 1003);
    assert_eq!(chosen(&decide(&wants, &neither, 1100)).len(), 2);
}

#[test]
fn a_replacement_that_is_lost_is_replaced_in_turn() {
    let (fleet, mut wants) = replaced();
    let pools = || vec![pool(H100, 81_559, &[(8, 1)], 8)];
    let fleet = ["a", "b", "c", "d", "e", "f"].iter().fold(fleet, |fleet, name| fleet.joined(name, pools()));
    let mut fleet = fleet.ready("west", true, 400).silent("west", 1000);
    let decision = step(&mut wants, &mut fleet, 1000 + LOST_AFTER);
    assert_eq!(chosen(&decision), ["a", "east", "west"], "{decision:?}");
    assert_eq!(reason(&decision, "west"), Some(Reason::Replaced));
    let fleet = fleet.ready("a", true, 1400).back("west", 2000).ready("west", true, 2001);
    assert_eq!(chosen(&decide(&wants, &fleet, 2060)), ["a", "east"]);
}

#[test]
fn what_is_held_keeps_the_old_decision_and_says_why() {
    let (fleet, wants) = running(&["east", "west"]);
    let lost = 10 + LOST_AFTER;
    let full =
        fleet.clone().silent("east", 10).reports("west", report(vec![pool(H100, 81_559, &[(7, 1)], 8)], 9));
    let returned = fleet.clone().silent("east", 10).silent("west", 200).back("west", 260);
    let braked = ["a", "b"]
        .iter()
        .fold(fleet.clone(), |fleet, name| fleet.joined(name, vec![pool(H100, 81_559, &[(8, 1)], 8)]));
    let braked = braked.silent("east", 10).silent("west", 12);
    for (what, fleet, expected) in [
        ("no other cluster has room", full, Reason::NoFailoverTarget),
        ("the other came back a moment ago", returned, Reason::NoFailoverTarget),
        ("half of the fleet is away", braked, Reason::ManyClustersLost),
    ] {
        let decision = decide(&wants, &fleet, lost);
        assert_eq!((chosen(&decision), held(&decision)), (vec!["east"], Some(expected)), "{what}");
        assert!(decision.removed.is_empty() && decision.moves.failover == 0, "{what}");
    }
    let mut paced = wants.clone();
    let spent = Allowance { now: 0, more_at: Some(at(lost + 7)) };
    let drained = fleet.clone().admin("east", |admin| admin.drain = true);
    for (fleet, lane, why) in [
        (fleet.silent("east", 10), Lane::Failover, "east is lost; "),
        (drained, Lane::Relocation, "east drains; "),
    ] {
        paced.allowance = PerLane::FREE;
        *paced.allowance.of_mut(lane) = spent;
        let decision = decide(&paced, &fleet, lost);
        assert_eq!((chosen(&decision), held(&decision)), (vec!["east"], Some(Reason::FailoverPaced)));
        assert_eq!(
            (decision.retry_at, *decision.paced_until.of(lane)),
            (Some(at(lost + 7)), Some(at(lost + 7)))
        );
        assert!(decision.hold.as_ref().unwrap().message.starts_with(why), "{decision:?}");
        // What the other lane has spent is no matter here.
        paced.allowance = PerLane { failover: spent, relocation: spent };
        *paced.allowance.of_mut(lane) = Allowance::FREE;
        let decision = decide(&paced, &fleet, lost);
        assert_eq!(*decision.moves.of(lane), 1, "{decision:?}");
        assert_eq!(decision.paced_until, PerLane::default());
    }
}

#[test]
fn a_returned_cluster_is_no_target_until_it_has_been_for_long_enough() {
    let wants = request("chat", vec![service("llm", 8, 1)]);
    let fleet = of(&["east"]).silent("east", 100).back("east", 140);
    let early = decide(&wants, &fleet, 199);
    assert_eq!((early.refused[0].reason, early.retry_at), (Reason::Settling, Some(at(200))));
    assert_eq!(chosen(&decide(&wants, &fleet, 200)), ["east"]);
    // A restart of its spoke is no outage.
    let restarted = of(&["east"]).silent("east", 100).back("east", 103);
    assert_eq!(chosen(&decide(&wants, &restarted, 104)), ["east"]);
}

#[test]
fn the_shares_of_a_lost_cluster_stay_there_until_others_serve_them() {
    let mut fleet = of(&["a", "b", "c"]);
    let mut wants = request("chat", vec![service("llm", 2, 6)]);
    let lost_after = SignedDuration::from_secs(LOST_AFTER);
    wants.policy.failover =
        Failover { on_unreachable: OnUnreachable::Replace, lost_after, ..Failover::default() };
    wants.policy.division = Division::Divided;
    let decision = schedule(&wants, &fleet);
    assert_eq!(chosen(&decision).len(), 2, "{decision:?}");
    adopt(&mut fleet, &mut wants, &decision);
    let (first, second) = (decision.chosen[0].clone(), decision.chosen[1].clone());
    let mut fleet = fleet.silent(first.cluster.as_str(), 10);
    let decision = step(&mut wants, &mut fleet, 10 + LOST_AFTER);
    let old = decision.chosen.iter().find(|row| row.cluster == first.cluster).unwrap();
    assert!(old.is_replaced() && old.replicas[0].replicas == first.replicas[0].replicas, "{decision:?}");
    assert!(old.replicas[0].divided, "its payload would grow to all replicas");
    let given = decision.chosen.iter().filter(|row| !row.is_replaced()).map(|row| row.replicas[0].replicas);
    assert_eq!(given.sum::<u32>(), 6);
    let fleet = fleet.back(first.cluster.as_str(), 1000).ready(second.cluster.as_str(), true, 1001);
    assert!(decide(&wants, &fleet, 1100).removed.is_empty(), "c does not serve yet");
    let fleet = fleet.ready("c", true, 1002);
    assert_eq!(decide(&wants, &fleet, 1100).removed[0].cluster, first.cluster);
}

#[derive(Debug, Clone, Copy)]
enum Turn {
    Silent(usize),
    Back(usize),
    Ready(usize, bool),
    Wait(i64),
}

fn turn() -> impl Strategy<Value = Turn> {
    prop_oneof![
        (0usize..4).prop_map(Turn::Silent),
        (0usize..4).prop_map(Turn::Back),
        (0usize..4, any::<bool>()).prop_map(|(cluster, ready)| Turn::Ready(cluster, ready)),
        (1i64..400).prop_map(Turn::Wait),
    ]
}

const FOUR: [&str; 4] = ["east", "north", "south", "west"];

proptest! {
    /// Whatever comes and goes: a copy that serves is never taken away unless another serves, nothing is removed for
    /// being replaced before the others are available, and exactly what is wanted counts.
    #[test]
    fn serving_is_never_taken_away(turns in prop::collection::vec(turn(), 1..60)) {
        let (mut fleet, mut wants) = running(&FOUR);
        let mut now = 10;
        for turn in turns {
            now += 1;
            fleet = match turn {
                Turn::Silent(index) => fleet.silent(FOUR[index], now),
                Turn::Back(index) => fleet.back(FOUR[index], now),
                Turn::Ready(index, ready) => fleet.ready(FOUR[index], ready, now),
                Turn::Wait(seconds) => {
                    now += seconds;
                    fleet
                }
            };
            let serves = |cluster: &str| {
                let connected = fleet.cluster(cluster).unwrap().link == crate::fleet::Link::Connected;
                let heard = fleet.statuses().get(&name(cluster), "llm");
                connected && heard.is_some_and(|heard| heard.status.is_ready())
            };
            let before: Vec<_> = wants.previous.iter().map(|row| row.cluster.to_string()).collect();
            let decision = decide(&wants, &fleet, now);
            if before.iter().any(|cluster| serves(cluster)) {
                prop_assert!(chosen(&decision).iter().any(|cluster| serves(cluster)), "{decision:?}");
            }
            let counts: Vec<&Chosen> = decision.chosen.iter().filter(|row| !row.is_replaced()).collect();
            prop_assert_eq!(counts.len(), 1, "{:?}", decision);
            for gone in &decision.removed {
                prop_assert!(counts.iter().all(|row| serves(row.cluster.as_str())), "{gone:?}: {decision:?}");
                prop_assert!(before.contains(&gone.cluster.to_string()));
            }
            adopt(&mut fleet, &mut wants, &decision);
        }
    }

    /// A link that flaps, each silence shorter than the placement's patience, moves nothing.
    #[test]
    fn flapping_moves_nothing(breaks in prop::collection::vec((1i64..LOST_AFTER, 1i64..120), 1..40)) {
        let (mut fleet, mut wants) = running(&["east", "west"]);
        let mut now = 10;
        for (silent, up) in breaks {
            fleet = fleet.silent("east", now);
            now += silent;
            let decision = step(&mut wants, &mut fleet, now);
            prop_assert_eq!(chosen(&decision), vec!["east"]);
            prop_assert!(decision.removed.is_empty());
            fleet = fleet.back("east", now);
            now += up;
            let decision = step(&mut wants, &mut fleet, now);
            prop_assert_eq!(chosen(&decision), vec!["east"]);
        }
    }
}

#[test]
fn of_many_that_come_back_at_once_the_first_is_waited_for_and_the_last_is_told() {
    let returned = ["a", "b", "c"].into_iter().zip([1000, 1010, 1020]);
    let fleet = of(&["a", "b", "c", "d"]);
    let fleet = returned.fold(fleet, |fleet, (cluster, second)| {
        fleet.silent(cluster, 900).back(cluster, second).reports(cluster, report(vec![], second))
    });
    let fleet = fleet.reports("d", report(vec![pool(H100, 81_559, &[(8, 1)], 8)], 1020));
    let mut wants = request("chat", vec![service("llm", 8, 1)]);
    wants.now = at(1030);
    let stable = wants.limits.stable_after.as_secs();
    let decision = schedule(&wants, &fleet);
    assert!(decision.outcome.complete);
    assert_eq!(decision.retry_at, Some(at(1020 + stable)), "nothing is wanted of them");
    wants.policy.clusters = Some(2);
    let decision = schedule(&wants, &fleet);
    assert!(!decision.outcome.complete);
    assert_eq!(decision.retry_at, Some(at(1000 + stable)));
}
