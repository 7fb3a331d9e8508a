//! A running placement moves for a cause only.

use jiff::SignedDuration;

use super::builder::{Build, H100, adopt, at, chosen, name, pool, report, request, row, service, status};
use crate::tests::schedule;
use crate::{
    Decision, Failover, OnUnreachable, Reason, Request,
    fleet::{Effect, Fleet, FleetEvent, Link},
};

fn two() -> Fleet {
    let pools = || vec![pool(H100, 81_559, &[(8, 1)], 8)];
    Fleet::default().joined("east", pools()).joined("west", pools())
}

/// A placement that runs in east, with its 8 GPUs in use.
fn running() -> (Fleet, Request) {
    let mut fleet = two();
    let mut wants = request("chat", vec![service("llm", 8, 1)]);
    let decision = schedule(&wants, &fleet);
    assert_eq!(chosen(&decision), ["east"]);
    adopt(&mut fleet, &mut wants, &decision);
    let statuses = vec![status("llm", 1, 5)];
    let fleet = fleet
        .with(FleetEvent::Status { cluster: name("east"), statuses, at: at(5) })
        .reports("east", report(vec![pool(H100, 81_559, &[(0, 1)], 8)], 6));
    wants.now = at(10);
    (fleet, wants)
}

fn stays(decision: &Decision) {
    assert_eq!(chosen(decision), ["east"], "{decision:?}");
    assert_eq!(decision.chosen[0].reason, Reason::Sticky);
    assert!(decision.removed.is_empty() && decision.outcome.complete, "{decision:?}");
}

fn leaves(decision: &Decision, reason: Reason) {
    assert_eq!(decision.removed.len(), 1, "{decision:?}");
    assert_eq!((decision.removed[0].cluster.as_str(), decision.removed[0].reason), ("east", reason));
    assert_eq!(chosen(decision), ["west"]);
}

#[test]
fn a_full_cluster_keeps_what_fills_it() {
    let (fleet, wants) = running();
    stays(&schedule(&wants, &fleet));
}

#[test]
fn what_still_starts_is_not_told_off() {
    let mut fleet = two();
    let mut wants = request("chat", vec![service("llm", 8, 1)]);
    let decision = schedule(&wants, &fleet);
    adopt(&mut fleet, &mut wants, &decision);
    // Its pod is bound, and loads its model for half an hour.
    let fleet = fleet.reports("east", report(vec![pool(H100, 81_559, &[(0, 1)], 8)], 6));
    stays(&schedule(&wants, &fleet));
}

#[test]
fn nothing_but_the_users_word_ends_a_stay() {
    let (fleet, wants) = running();
    let cases: [(&str, Fleet); 5] = [
        ("a taint for newcomers", fleet.clone().tainted("east", "drain", Effect::NoSchedule)),
        ("silence", fleet.clone().silent("east", 7)),
        ("withdrawn acceptance", fleet.clone().admin("east", |admin| admin.accepted = false)),
        ("no GPUs any more", fleet.clone().reports("east", report(Vec::new(), 8))),
        ("a better cluster", fleet.clone().joined("alps", vec![pool(H100, 81_559, &[(8, 9)], 8)])),
    ];
    for (what, fleet) in cases {
        let decision = schedule(&wants, &fleet);
        assert_eq!(chosen(&decision), ["east"], "{what}");
        assert!(decision.removed.is_empty(), "{what}");
    }
}

#[test]
fn the_users_word_ends_a_stay() {
    let (fleet, wants) = running();
    let mut excluded = wants.clone();
    excluded.policy.affinity.exclude = vec!["east".into()];
    leaves(&schedule(&excluded, &fleet), Reason::Excluded);
    let mut named = wants.clone();
    named.policy.affinity.cluster_names = vec!["west".into()];
    leaves(&schedule(&named, &fleet), Reason::AffinityMismatch);
    let tainted = fleet.clone().tainted("east", "drain", Effect::NoExecute);
    leaves(&schedule(&wants, &tainted), Reason::UntoleratedTaint);
    let left = fleet.with(FleetEvent::Left { cluster: name("east") });
    leaves(&schedule(&wants, &left), Reason::ClusterNotFound);
}

#[test]
fn a_restarted_hub_that_has_heard_nobody_changes_nothing() {
    let (_, mut wants) = running();
    wants.policy.failover = Failover { on_unreachable: OnUnreachable::Replace, ..Failover::default() };
    let mut fleet = Fleet::default();
    for cluster in ["east", "west"] {
        fleet = fleet.admin(cluster, |admin| admin.accepted = true).silent(cluster, 9);
    }
    fleet.apply(FleetEvent::Granted {
        placement: wants.placement.clone(),
        grants: wants.grants(&wants.previous),
    });
    let decision = schedule(&wants, &fleet);
    stays(&decision);
    assert_eq!(decision.retry_at, Some(at(9 + 300)));
}

#[test]
fn a_lost_cluster_is_replaced_when_that_is_wanted_and_possible() {
    let (fleet, mut wants) = running();
    let fleet = fleet.silent("east", 10);
    assert!(matches!(fleet.cluster("east").unwrap().link, Link::Unreachable { .. }));
    wants.policy.failover.lost_after = SignedDuration::from_secs(60);
    wants.now = at(70);
    stays(&schedule(&wants, &fleet));
    wants.policy.failover.on_unreachable = OnUnreachable::Replace;
    let decision = schedule(&wants, &fleet);
    assert_eq!(chosen(&decision), ["east", "west"]);
    assert!(decision.chosen[0].is_replaced() && decision.removed.is_empty(), "{decision:?}");
    let full = fleet.clone().reports("west", report(vec![pool(H100, 81_559, &[(7, 1)], 8)], 11));
    stays(&schedule(&wants, &full));
    wants.now = at(69);
    stays(&schedule(&wants, &fleet));
}

#[test]
fn a_scale_up_that_does_not_fit_is_said_and_does_not_move() {
    let (fleet, mut wants) = running();
    wants.workloads[0].need.replicas = 2;
    let decision = schedule(&wants, &fleet);
    assert_eq!(chosen(&decision), ["east"]);
    assert_eq!(decision.outcome.reason, Reason::PartiallyScheduled);
    assert!(
        decision.outcome.message.contains("stays in east with 1 of 2 replicas")
            && decision.outcome.message.contains("largest free block is 0"),
        "{}",
        decision.outcome.message
    );
    assert_eq!(decision.chosen[0].replicas[0].replicas, 1);
    // More nodes come: now it fits.
    let fleet = fleet.reports("east", report(vec![pool(H100, 81_559, &[(0, 1), (8, 1)], 8)], 9));
    let decision = schedule(&wants, &fleet);
    assert!(decision.outcome.complete && decision.chosen[0].replicas[0].replicas == 2, "{decision:?}");
}

#[test]
fn fewer_clusters_drop_the_least_useful_first() {
    let mut wants = request("chat", vec![service("llm", 1, 1)]);
    wants.policy.clusters = Some(2);
    let mut fleet = two();
    let decision = schedule(&wants, &fleet);
    adopt(&mut fleet, &mut wants, &decision);
    wants.policy.clusters = Some(1);
    let decision = schedule(&wants, &fleet.clone());
    assert_eq!((chosen(&decision), decision.removed[0].reason), (vec!["east"], Reason::NotNeeded));
    let decision = schedule(&wants, &fleet.silent("east", 1));
    assert_eq!(chosen(&decision), ["west"]);
}

#[test]
fn what_is_decided_is_decided_again() {
    let (fleet, wants) = running();
    let first = schedule(&wants, &fleet);
    assert_eq!(first, schedule(&wants, &fleet));
    let mut again = wants.clone();
    again.previous = first.chosen.iter().map(row).collect();
    again.now = at(3600);
    let rows = |decision: &Decision| decision.chosen.iter().map(row).collect::<Vec<_>>();
    assert_eq!(rows(&schedule(&again, &fleet)), rows(&first));
}
