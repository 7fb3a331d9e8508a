//! Divided replicas: where they go, and that none is lost or doubled.

use proptest::prelude::*;

use super::builder::{Build, H100, adopt, at, chosen, pool, request, service, shares};
use crate::tests::schedule;
use crate::{
    Division, OnUnreachable, Reason, Request,
    fleet::{Fleet, FleetEvent},
};

/// Clusters `c0`, `c1`, … with one node of 8 GPUs each, of which so many are free.
fn fleet(free: &[u32]) -> Fleet {
    free.iter().enumerate().fold(Fleet::default(), |fleet, (i, free)| {
        fleet.joined(&format!("c{i}"), vec![pool(H100, 81_559, &[(*free, 1)], 8)])
    })
}

fn divided(gpus: u32, replicas: u32, clusters: Option<u32>) -> Request {
    let mut request = request("chat", vec![service("llm", gpus, replicas)]);
    request.policy.division = Division::Divided;
    request.policy.clusters = clusters;
    request
}

fn owned(shares: &[(&str, u32)]) -> Vec<(String, u32)> {
    shares.iter().map(|(cluster, replicas)| ((*cluster).to_owned(), *replicas)).collect()
}

#[test]
fn free_capacity_weighs() {
    for (free, replicas, clusters, expected) in [
        (vec![8, 4], 6, Some(2), vec![("c0", 4), ("c1", 2)]),
        (vec![8, 8], 3, Some(2), vec![("c0", 2), ("c1", 1)]),
        (vec![8, 8, 8], 8, None, vec![("c0", 8)]),
        (vec![8, 6, 8], 12, None, vec![("c0", 6), ("c2", 6)]),
        (vec![8, 8], 1, Some(2), vec![("c0", 1)]),
    ] {
        let decision = schedule(&divided(1, replicas, clusters), &fleet(&free));
        assert_eq!(shares(&decision, "llm"), owned(&expected), "{free:?} {replicas}");
        assert!(decision.outcome.complete, "{decision:?}");
        assert!(decision.chosen.iter().all(|row| row.replicas[0].divided));
    }
}

#[test]
fn what_finds_no_place_is_partial() {
    let decision = schedule(&divided(4, 5, None), &fleet(&[8, 7]));
    assert_eq!(shares(&decision, "llm"), owned(&[("c0", 2), ("c1", 1)]));
    assert_eq!((decision.outcome.complete, decision.outcome.reason), (false, Reason::PartiallyScheduled));
    assert!(
        decision
            .outcome
            .message
            .starts_with("2 of 2 clusters, 3 of 5 replicas; no room for 2 more in c0, c1"),
        "{}",
        decision.outcome.message
    );
}

#[test]
fn growing_leaves_what_runs_and_shrinking_keeps_the_shape() {
    let mut fleet = fleet(&[8, 8]);
    let mut wants = divided(1, 4, Some(2));
    for (replicas, expected) in [
        (4, [("c0", 2), ("c1", 2)]),
        (5, [("c0", 3), ("c1", 2)]),
        (12, [("c0", 6), ("c1", 6)]),
        (6, [("c0", 3), ("c1", 3)]),
    ] {
        wants.workloads[0].need.replicas = replicas;
        let decision = schedule(&wants, &fleet);
        assert_eq!(shares(&decision, "llm"), owned(&expected));
        adopt(&mut fleet, &mut wants, &decision);
    }
}

#[test]
fn an_autoscaled_service_is_never_given_a_number() {
    let mut wants = divided(1, 2, Some(2));
    wants.workloads[0].need.autoscaled = true;
    let decision = schedule(&wants, &fleet(&[8, 8]));
    assert_eq!(chosen(&decision), ["c0"]);
    assert!(!decision.chosen[0].replicas[0].divided && decision.chosen[0].replicas[0].replicas == 2);
}

#[test]
fn a_lost_share_moves_only_as_a_whole() {
    let mut fleet = fleet(&[8, 8, 4]);
    let mut wants = divided(1, 16, None);
    let decision = schedule(&wants, &fleet);
    assert_eq!(shares(&decision, "llm"), owned(&[("c0", 8), ("c1", 8)]));
    adopt(&mut fleet, &mut wants, &decision);
    wants.policy.failover.on_unreachable = OnUnreachable::Replace;
    wants.now = at(1000);
    let fleet = fleet.silent("c0", 10);
    let decision = schedule(&wants, &fleet);
    assert_eq!(chosen(&decision), ["c0", "c1"], "only four of eight find a place");
    let fleet = fleet.joined("c3", vec![pool(H100, 81_559, &[(8, 1)], 8)]);
    let decision = schedule(&wants, &fleet);
    assert!(decision.outcome.complete, "{decision:?}");
    assert!(decision.removed.is_empty(), "what it runs most likely serves");
    assert!(decision.chosen[0].cluster.as_str() == "c0" && decision.chosen[0].is_replaced(), "{decision:?}");
}

proptest! {
    #[test]
    fn no_replica_is_lost_or_doubled(
        free in prop::collection::vec(0u32..=8, 1..6),
        steps in prop::collection::vec((1u32..30, prop::option::of(1u32..6)), 1..6),
        gpus in 1u32..=4,
    ) {
        let mut fleet = fleet(&free);
        let mut wants = divided(gpus, 1, None);
        for (replicas, clusters) in steps {
            wants.workloads[0].need.replicas = replicas;
            wants.policy.clusters = clusters;
            let decision = schedule(&wants, &fleet);
            let given: u32 = shares(&decision, "llm").iter().map(|(_, replicas)| replicas).sum();
            prop_assert!(given <= replicas);
            prop_assert_eq!(decision.outcome.given_replicas, given);
            if decision.outcome.complete {
                prop_assert_eq!(given, replicas);
            }
            for (cluster, share) in shares(&decision, "llm") {
                let index: usize = cluster[1..].parse().unwrap();
                prop_assert!(share * gpus <= free[index], "{} has {} of {}", cluster, share, free[index]);
                prop_assert!(share > 0);
            }
            if let Some(clusters) = clusters {
                prop_assert!(decision.chosen.len() <= clusters as usize);
            }
            prop_assert_eq!(&decision, &schedule(&wants, &fleet));
            adopt(&mut fleet, &mut wants, &decision);
            // What is settled stays settled.
            let again = schedule(&wants, &fleet);
            prop_assert_eq!(shares(&again, "llm"), shares(&decision, "llm"));
            fleet.apply(FleetEvent::Granted {
                placement: wants.placement.clone(), grants: wants.grants(&wants.previous),
            });
        }
    }
}
