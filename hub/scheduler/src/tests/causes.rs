//! What makes a placement move, and how: never before another cluster can take over, never more at once than it may.

use super::builder::{
    Build, H100, adopt, at, chosen, name, pool, report, request, row, service, shares, status,
};
use crate::tests::schedule;
use crate::{
    Cause, Decision, Division, Reason, Request, Tier,
    failover::Allowance,
    fleet::{Agent, Fleet, FleetEvent, ObjectCondition, ObjectStatus, Potential, Truth, Unschedulable},
    need::{GpuNeed, Need},
};

fn fleet(clusters: &[&str]) -> Fleet {
    clusters.iter().fold(Fleet::default(), |fleet, cluster| {
        fleet.joined(cluster, vec![pool(H100, 81_559, &[(8, 1)], 8)])
    })
}

/// Decides, and does what a controller does.
fn step(wants: &mut Request, fleet: &mut Fleet, seconds: i64) -> Decision {
    wants.now = at(seconds);
    let decision = schedule(wants, fleet);
    adopt(fleet, wants, &decision);
    if decision.rebalanced.is_some() {
        wants.rebalance = None;
    }
    decision
}

fn says(fleet: Fleet, cluster: &str, statuses: Vec<ObjectStatus>, seconds: i64) -> Fleet {
    fleet.with(FleetEvent::Status { cluster: name(cluster), statuses, at: at(seconds) })
}

/// Not ready, since pods find no node.
fn unschedulable(uid: &str, ready: u32, seconds: i64) -> ObjectStatus {
    let condition = ObjectCondition {
        kind: "Ready".into(),
        status: Truth::False,
        reason: "Unschedulable".into(),
        message: "0/3 nodes are available".into(),
        last_transition: at(seconds),
    };
    ObjectStatus { conditions: vec![condition], state: "NotReady".into(), ..status(uid, ready, seconds) }
}

fn drained(fleet: Fleet, cluster: &str) -> Fleet {
    fleet.admin(cluster, |admin| admin.drain = true)
}

fn states(decision: &Decision) -> Vec<(&str, Reason)> {
    decision.chosen.iter().map(|row| (row.cluster.as_str(), row.reason)).collect()
}

#[test]
fn a_drained_cluster_is_left_when_others_serve() {
    let mut fleet = fleet(&["east", "west"]);
    let mut wants = request("chat", vec![service("llm", 8, 1)]);
    step(&mut wants, &mut fleet, 1);
    let mut fleet = drained(says(fleet, "east", vec![status("llm", 1, 2)], 2), "east");
    let decision = step(&mut wants, &mut fleet, 10);
    assert_eq!(states(&decision), [("east", Reason::Drained), ("west", Reason::Placed)]);
    assert!(decision.removed.is_empty() && decision.outcome.complete, "surge first: {decision:?}");
    let mut fleet =
        says(fleet, "west", vec![ObjectStatus { state: "NotReady".into(), ..status("llm", 0, 20) }], 20);
    let decision = step(&mut wants, &mut fleet, 20);
    assert!(decision.removed.is_empty(), "west still starts, and east is not taken back: {decision:?}");
    let mut fleet = says(fleet, "west", vec![status("llm", 1, 30)], 30);
    let decision = step(&mut wants, &mut fleet, 30);
    assert_eq!(chosen(&decision), ["west"]);
    assert_eq!((decision.removed[0].cluster.as_str(), decision.removed[0].reason), ("east", Reason::Drained));
}

#[test]
fn what_no_other_cluster_can_take_stays_in_a_drained_one_and_is_told() {
    let mut fleet = fleet(&["east"]).joined("west", vec![pool(H100, 81_559, &[(4, 1)], 8)]);
    let mut wants = request("chat", vec![service("llm", 8, 1)]);
    step(&mut wants, &mut fleet, 1);
    let mut fleet = drained(fleet, "east");
    let decision = step(&mut wants, &mut fleet, 10);
    assert_eq!(states(&decision), [("east", Reason::Sticky)]);
    let hold = decision.hold.expect("it is told");
    assert_eq!(hold.reason, Reason::NoFailoverTarget);
    assert!(hold.message.starts_with("east drains, and no other cluster can take over"), "{}", hold.message);
    let fresh = schedule(&request("other", vec![service("other", 1, 1)]), &fleet);
    assert_eq!(chosen(&fresh), ["west"], "nothing new comes");
    assert_eq!(fresh.refused[0].reason, Reason::Draining);
}

#[test]
fn what_a_cluster_refuses_goes_elsewhere_after_a_while_and_what_works_there_stays() {
    let placed = || {
        let mut fleet = fleet(&["east", "west"]);
        let mut wants = request("chat", vec![service("llm", 8, 1)]);
        step(&mut wants, &mut fleet, 1);
        wants.rejected.insert("east".into(), at(10));
        (wants, fleet)
    };
    let (mut wants, mut fleet) = placed();
    let decision = step(&mut wants, &mut fleet, 20);
    assert_eq!(states(&decision), [("east", Reason::Sticky)], "somebody may mend it");
    assert_eq!(decision.retry_at, Some(at(130)), "unschedulableAfter is two minutes");
    let decision = step(&mut wants, &mut fleet, 130);
    assert_eq!(states(&decision), [("east", Reason::Rejected), ("west", Reason::Placed)]);
    let mut fleet = says(fleet, "west", vec![status("llm", 1, 140)], 140);
    let decision = step(&mut wants, &mut fleet, 140);
    assert_eq!((chosen(&decision), decision.removed[0].reason), (vec!["west"], Reason::Rejected));

    // A new version is refused, and the one before goes on.
    let (mut wants, fleet) = placed();
    let mut fleet = says(fleet, "east", vec![status("llm", 1, 11)], 11);
    assert_eq!(states(&step(&mut wants, &mut fleet, 999)), [("east", Reason::Sticky)]);

    // Where no other cluster can take it, what each of them lacks is said.
    let (mut wants, fleet) = placed();
    let mut fleet = drained(fleet, "west");
    let hold = step(&mut wants, &mut fleet, 130).hold.expect("it is told");
    let words = "east refuses an object, and no other cluster can take over: refused: 1 Draining (west: ";
    assert!(hold.message.starts_with(words), "{}", hold.message);
}

#[test]
fn the_hubs_own_cluster_is_never_a_candidate_and_keeps_nothing() {
    let mut fleet = fleet(&["east", "local"]);
    let mut wants = request("chat", vec![service("llm", 8, 1)]);
    wants.policy.affinity.cluster_names = vec!["local".into()];
    let decision = step(&mut wants, &mut fleet, 1);
    assert_eq!(chosen(&decision), ["local"], "nobody knows yet");
    let agent = |uid: &str| Agent { cluster_uid: uid.into(), ..Agent::default() };
    let fleet = fleet
        .with(FleetEvent::Connected { cluster: name("local"), agent: agent("hub"), at: at(2) })
        .with(FleetEvent::Connected { cluster: name("east"), agent: agent("east"), at: at(2) })
        .with(FleetEvent::Hub { uid: "hub".into() });
    wants.now = at(3);
    let decision = schedule(&wants, &fleet);
    assert!(decision.chosen.is_empty(), "{decision:?}");
    assert_eq!(decision.removed[0].reason, Reason::HubItself);
    let fresh = schedule(&request("other", vec![service("other", 1, 1)]), &fleet);
    assert_eq!(chosen(&fresh), ["east"]);
    let (refused, message) = (&fresh.refused[0], "it is the hub's own cluster");
    assert_eq!((refused.cluster.as_str(), refused.reason), ("local", Reason::HubItself));
    assert!(
        refused.message.starts_with(message) && !refused.message.contains("delete"),
        "{}",
        refused.message
    );
}

#[test]
fn a_drain_that_is_called_off_keeps_what_serves() {
    let mut fleet = fleet(&["east", "west"]);
    let mut wants = request("chat", vec![service("llm", 8, 1)]);
    step(&mut wants, &mut fleet, 1);
    let mut fleet = drained(says(fleet, "east", vec![status("llm", 1, 2)], 2), "east");
    step(&mut wants, &mut fleet, 10);
    let fleet = fleet.admin("east", |admin| admin.drain = false);
    let mut fleet =
        says(fleet, "west", vec![ObjectStatus { state: "NotReady".into(), ..status("llm", 0, 20) }], 20);
    let decision = step(&mut wants, &mut fleet, 20);
    assert_eq!(states(&decision), [("east", Reason::Sticky)], "{decision:?}");
    assert_eq!(decision.removed[0].cluster.as_str(), "west");
}

#[test]
fn the_budget_is_how_many_are_left_at_once() {
    for (budget, moving) in [(1, 1), (2, 2), (9, 3)] {
        let mut fleet = fleet(&["a", "b", "c", "x", "y", "z"]);
        let mut wants = request("chat", vec![service("llm", 8, 1)]);
        wants.policy.clusters = Some(3);
        wants.policy.eviction_budget = budget;
        step(&mut wants, &mut fleet, 1);
        for cluster in ["a", "b", "c"] {
            fleet = drained(says(fleet, cluster, vec![status("llm", 1, 2)], 2), cluster);
        }
        for seconds in 10..12 {
            let decision = step(&mut wants, &mut fleet, seconds);
            let left = decision.chosen.iter().filter(|row| row.is_replaced()).count();
            assert_eq!(left, moving, "budget {budget}: {decision:?}");
            assert_eq!(decision.hold.is_some(), moving < 3);
        }
        // The first have taken over: the next may go.
        for cluster in ["x", "y", "z"] {
            fleet = says(fleet, cluster, vec![status("llm", 1, 20)], 20);
        }
        step(&mut wants, &mut fleet, 20);
        let decision = step(&mut wants, &mut fleet, 21);
        let left = decision.chosen.iter().filter(|row| row.is_replaced()).count();
        assert_eq!(left, moving.min(3 - moving), "budget {budget}: {decision:?}");
    }
}

#[test]
fn pending_replicas_move_and_running_ones_stay() {
    let mut fleet = fleet(&["east", "west"]);
    let mut wants = request("chat", vec![service("llm", 2, 4)]);
    wants.policy.division = Division::Divided;
    let decision = step(&mut wants, &mut fleet, 1);
    assert_eq!(shares(&decision, "llm"), [("east".to_owned(), 4)]);
    let mut fleet = says(fleet, "east", vec![unschedulable("llm", 3, 10)], 10);
    let decision = step(&mut wants, &mut fleet, 129);
    assert_eq!(shares(&decision, "llm"), [("east".to_owned(), 4)], "not for two minutes yet");
    assert_eq!(decision.retry_at, Some(at(130)));
    let decision = step(&mut wants, &mut fleet, 130);
    assert_eq!(shares(&decision, "llm"), [("east".to_owned(), 3), ("west".to_owned(), 1)]);
    assert!(decision.removed.is_empty() && decision.outcome.complete);
    let mut fleet = says(fleet, "east", vec![status("llm", 3, 140)], 140);
    let decision = step(&mut wants, &mut fleet, 200);
    assert_eq!(shares(&decision, "llm"), [("east".to_owned(), 3), ("west".to_owned(), 1)], "and stay there");
}

#[test]
fn replicas_that_have_a_node_and_still_start_stay() {
    let mut fleet = fleet(&["east", "west"]);
    let mut wants = request("chat", vec![service("llm", 2, 4)]);
    wants.policy.division = Division::Divided;
    step(&mut wants, &mut fleet, 1);
    let pending = Unschedulable { replicas: 1, message: "0/3 nodes are available".into(), since: at(10) };
    let starting = ObjectStatus { unschedulable: Some(pending), ..unschedulable("llm", 0, 10) };
    let mut capacity = fleet.cluster("east").unwrap().capacity.clone().unwrap();
    capacity.bound = Some([("llm".to_owned(), 3)].into());
    fleet.apply(FleetEvent::Capacity { cluster: name("east"), capacity });
    let decision = step(&mut wants, &mut says(fleet, "east", vec![starting], 10), 130);
    assert_eq!(shares(&decision, "llm"), [("east".to_owned(), 3), ("west".to_owned(), 1)]);
}

#[test]
fn pending_replicas_without_another_place_wait_where_they_are() {
    let mut fleet = fleet(&["east"]);
    let mut wants = request("chat", vec![service("llm", 2, 4)]);
    wants.policy.division = Division::Divided;
    step(&mut wants, &mut fleet, 1);
    let mut fleet = says(fleet, "east", vec![unschedulable("llm", 3, 10)], 10);
    let decision = step(&mut wants, &mut fleet, 500);
    assert_eq!(shares(&decision, "llm"), [("east".to_owned(), 4)]);
    assert!(decision.hold.expect("it is told").message.starts_with("east has no node for its pods"));
    wants.policy.failover.unschedulable_after = jiff::SignedDuration::ZERO;
    let mut fleet = fleet.joined("west", vec![pool(H100, 81_559, &[(8, 1)], 8)]);
    let decision = step(&mut wants, &mut fleet, 501);
    assert_eq!((chosen(&decision), &decision.hold), (vec!["east"], &None), "zero waits for ever");
}

#[test]
fn a_cluster_where_nothing_finds_a_node_is_replaced_as_a_whole() {
    let mut fleet = fleet(&["east", "west"]);
    let mut wants = request("chat", vec![service("llm", 4, 2)]);
    step(&mut wants, &mut fleet, 1);
    let mut fleet = says(fleet, "east", vec![unschedulable("llm", 0, 10)], 10);
    assert_eq!(chosen(&step(&mut wants, &mut fleet, 129)), ["east"]);
    let decision = step(&mut wants, &mut fleet, 130);
    assert_eq!(states(&decision), [("east", Reason::Unschedulable), ("west", Reason::Placed)]);
    let mut fleet = says(fleet, "west", vec![status("llm", 2, 140)], 140);
    let decision = step(&mut wants, &mut fleet, 141);
    assert_eq!((chosen(&decision), decision.removed[0].reason), (vec!["west"], Reason::Unschedulable));
}

#[test]
fn one_of_two_replicas_that_must_run_together_is_told_and_stays() {
    let mut fleet = fleet(&["east", "west"]);
    let mut wants = request("chat", vec![service("llm", 4, 2)]);
    step(&mut wants, &mut fleet, 1);
    let mut fleet = says(fleet, "east", vec![unschedulable("llm", 1, 10)], 10);
    let decision = step(&mut wants, &mut fleet, 500);
    assert_eq!(chosen(&decision), ["east"]);
    assert!(!decision.outcome.complete);
    let words = "1 of 2 replicas of NIMService llm waits for a node in east";
    assert!(decision.outcome.message.contains(words), "{}", decision.outcome.message);
}

#[test]
fn what_no_longer_fits_goes_where_it_does() {
    let lws = |seconds| {
        let mut capacity = report(vec![pool(H100, 81_559, &[(8, 1)], 8)], seconds);
        capacity.platforms.push(crate::fleet::Platform { name: "lws".into(), ..Default::default() });
        capacity
    };
    let mut fleet = fleet(&["east", "west"]);
    let mut wants = request("chat", vec![service("llm", 4, 1)]);
    step(&mut wants, &mut fleet, 1);
    // Its user makes it a service of two nodes, and east cannot run such a thing.
    wants.workloads[0].need.platforms = ["lws"].into();
    wants.workloads[0].need.gpu = Some(GpuNeed { resource: "nvidia.com/gpu".into(), per_pod: 4, pods: 2 });
    let broken = ObjectStatus { state: "Failed".into(), ..status("llm", 0, 10) };
    let mut fleet = says(fleet, "east", vec![broken], 10).reports("west", lws(11));
    assert_eq!(chosen(&step(&mut wants, &mut fleet, 100)), ["east"], "patience as for a node");
    let decision = step(&mut wants, &mut fleet, 130);
    assert_eq!(states(&decision), [("east", Reason::NoLongerFits), ("west", Reason::Placed)]);
}

#[test]
fn to_rebalance_is_to_choose_anew_once() {
    let tier = |cluster: &str| Tier {
        name: cluster.into(),
        clusters: crate::ClusterSet { names: vec![cluster.into()], selector: None },
        least: 0,
    };
    let mut fleet = Fleet::default()
        .joined("home", vec![pool(H100, 81_559, &[(0, 1)], 8)])
        .joined("rent", vec![pool(H100, 81_559, &[(8, 1)], 8)]);
    let mut wants = request("chat", vec![service("llm", 8, 1)]);
    wants.policy.tiers = vec![tier("home"), tier("rent")];
    assert_eq!(chosen(&step(&mut wants, &mut fleet, 1)), ["rent"], "it spills");
    let fleet = says(fleet, "rent", vec![status("llm", 1, 2)], 2);
    let mut fleet = fleet.reports("home", report(vec![pool(H100, 81_559, &[(8, 1)], 8)], 3));
    assert_eq!(chosen(&step(&mut wants, &mut fleet, 10)), ["rent"], "and does not come back by itself");
    wants.rebalance = Some("2026-01-01".into());
    let decision = step(&mut wants, &mut fleet, 20);
    assert_eq!(states(&decision), [("home", Reason::Placed), ("rent", Reason::Rebalanced)]);
    assert_eq!(decision.rebalanced.as_deref(), Some("2026-01-01"));
    let starting = ObjectStatus { state: "NotReady".into(), ..status("llm", 0, 25) };
    let mut fleet = says(fleet, "home", vec![starting], 25);
    let decision = step(&mut wants, &mut fleet, 25);
    assert_eq!(states(&decision), [("home", Reason::Sticky), ("rent", Reason::Rebalanced)]);
    let mut fleet = says(fleet, "home", vec![status("llm", 1, 30)], 30);
    let decision = step(&mut wants, &mut fleet, 30);
    assert_eq!((chosen(&decision), decision.removed[0].reason), (vec!["home"], Reason::Rebalanced));
}

/// A wish waits for the pace of the whole fleet, says so, and is asked again when there is more.
#[test]
fn to_rebalance_waits_for_its_turn() {
    let mut fleet = fleet(&["east"]);
    let mut wants = request("chat", vec![service("llm", 4, 1)]);
    step(&mut wants, &mut fleet, 1);
    let full = report(vec![pool(H100, 81_559, &[(1, 1)], 8)], 3);
    let mut fleet = says(fleet, "east", vec![status("llm", 1, 2)], 2)
        .reports("east", full)
        .joined("west", vec![pool(H100, 81_559, &[(8, 4)], 32)]);
    wants.rebalance = Some("now".into());
    wants.allowance.relocation = Allowance { now: 0, more_at: Some(at(67)) };
    let decision = step(&mut wants, &mut fleet, 20);
    assert_eq!((states(&decision), &decision.rebalanced), (vec![("east", Reason::Sticky)], &None));
    assert_eq!((decision.paced_until.relocation, decision.retry_at), (Some(at(67)), Some(at(67))));
    assert_eq!(decision.hold.as_ref().map(|hold| hold.reason), Some(Reason::FailoverPaced), "{decision:?}");
    wants.allowance.relocation = Allowance::FREE;
    let decision = step(&mut wants, &mut fleet, 67);
    assert_eq!(states(&decision), [("east", Reason::Rebalanced), ("west", Reason::Placed)]);
    assert_eq!((decision.moves.relocation, decision.moves.failover), (1, 0));
}

#[test]
fn to_rebalance_where_it_is_best_changes_nothing() {
    let mut fleet = fleet(&["east", "west"]);
    let mut wants = request("chat", vec![service("llm", 4, 1)]);
    step(&mut wants, &mut fleet, 1);
    let mut fleet = says(fleet, "east", vec![status("llm", 1, 2)], 2)
        .reports("east", report(vec![pool(H100, 81_559, &[(4, 1)], 8)], 3));
    wants.rebalance = Some("now".into());
    let decision = step(&mut wants, &mut fleet, 20);
    assert_eq!(
        (states(&decision), decision.rebalanced.as_deref()),
        (vec![("east", Reason::Sticky)], Some("now"))
    );
}

#[test]
fn shares_are_rebalanced_by_surge() {
    let mut fleet = fleet(&["east", "west"]);
    let mut wants = request("chat", vec![service("llm", 1, 8)]);
    wants.policy.division = Division::Divided;
    assert_eq!(shares(&step(&mut wants, &mut fleet, 1), "llm"), [("east".to_owned(), 8)]);
    let fleet = says(fleet, "east", vec![status("llm", 8, 2)], 2);
    let mut fleet = fleet.reports("east", report(vec![pool(H100, 81_559, &[(0, 1)], 8)], 3));
    wants.policy.clusters = Some(2);
    wants.rebalance = Some("now".into());
    let owned = |east, west| vec![("east".to_owned(), east), ("west".to_owned(), west)];
    let decision = step(&mut wants, &mut fleet, 20);
    assert_eq!(shares(&decision, "llm"), owned(8, 4), "east keeps all until west is ready");
    assert_eq!(decision.rebalanced, None);
    assert!(decision.is_waiting(Some("now")), "that west is ready has to be noticed");
    let mut fleet = says(fleet, "west", vec![status("llm", 4, 30)], 30)
        .reports("west", report(vec![pool(H100, 81_559, &[(4, 1)], 8)], 31));
    let decision = step(&mut wants, &mut fleet, 40);
    assert_eq!((shares(&decision, "llm"), decision.rebalanced.as_deref()), (owned(4, 4), Some("now")));
    assert!(!decision.is_waiting(Some("now")), "it has been followed");
}

#[test]
fn a_stored_reason_names_the_cause() {
    for cause in [
        Cause::Lost,
        Cause::Drain,
        Cause::Unschedulable,
        Cause::NoLongerFits,
        Cause::Rejected,
        Cause::Rebalance,
    ] {
        assert_eq!(Cause::of(cause.reason().as_str()), cause);
    }
    let decision = schedule(&request("chat", vec![service("llm", 8, 1)]), &fleet(&["east"]));
    assert_eq!(row(&decision.chosen[0]).replaced, None);
}

#[test]
fn what_an_autoscaler_brings_is_waited_for_before_a_pod_waits_too_long() {
    let mut fleet = fleet(&["east", "west"]);
    let mut wants = request("chat", vec![service("llm", 8, 1)]);
    step(&mut wants, &mut fleet, 1);
    let fleet = fleet.admin("east", |admin| {
        admin.potential = vec![Potential {
            product: H100.into(),
            resource: "nvidia.com/gpu".into(),
            gpus_per_node: 8,
            max_nodes: 2,
            memory_mib: 81_559,
            delay: jiff::SignedDuration::from_mins(10),
        }];
    });
    let mut fleet = says(fleet, "east", vec![unschedulable("llm", 0, 2)], 2);
    // Two minutes of patience, and ten for the node.
    assert_eq!(chosen(&step(&mut wants, &mut fleet, 700)), ["east"]);
    assert_eq!(chosen(&step(&mut wants, &mut fleet, 723)), ["east", "west"]);
}

/// A cache that its service brings, and what it says.
fn cache(state: &str, reason: &str, seconds: i64) -> ObjectStatus {
    let condition = ObjectCondition {
        kind: "NIM_CACHE_JOB_PENDING".into(),
        status: Truth::True,
        reason: reason.into(),
        message: "0/2 nodes are available".into(),
        last_transition: at(seconds),
    };
    ObjectStatus { conditions: vec![condition], state: state.into(), ..status("model", 0, seconds) }
}

#[test]
fn a_service_whose_cache_cannot_be_filled_moves_with_it() {
    for reason in ["Unschedulable", "PodsNotCreated", "QuotaExceeded"] {
        let mut model = service("model", 0, 0);
        model.need = Need::default();
        let mut fleet = fleet(&["east", "west"]);
        let mut wants = request("chat", vec![service("llm", 4, 1), model]);
        step(&mut wants, &mut fleet, 1);
        let idle = ObjectStatus { state: "NotReady".into(), ..status("llm", 0, 10) };
        let mut fleet = says(fleet, "east", vec![idle, cache("Pending", reason, 10)], 10);
        assert_eq!(chosen(&step(&mut wants, &mut fleet, 129)), ["east"], "{reason}");
        let decision = step(&mut wants, &mut fleet, 130);
        assert_eq!(
            states(&decision),
            [("east", Reason::Unschedulable), ("west", Reason::Placed)],
            "{reason}"
        );
    }
    // What serves needs no cache to be filled anew.
    let mut model = service("model", 0, 0);
    model.need = Need::default();
    let mut fleet = fleet(&["east", "west"]);
    let mut wants = request("chat", vec![service("llm", 4, 1), model]);
    step(&mut wants, &mut fleet, 1);
    let serves = vec![status("llm", 1, 10), cache("Pending", "Unschedulable", 10)];
    let mut fleet = says(fleet, "east", serves, 10);
    assert_eq!(chosen(&step(&mut wants, &mut fleet, 500)), ["east"]);
}

#[test]
fn a_replica_of_which_only_some_pods_have_a_node_cannot_start() {
    let mut fleet = fleet(&["east", "west"]);
    let mut wide = service("llm", 4, 1);
    wide.need.gpu = Some(GpuNeed { resource: "nvidia.com/gpu".into(), per_pod: 4, pods: 2 });
    let mut wants = request("chat", vec![wide]);
    step(&mut wants, &mut fleet, 1);
    let mut capacity = fleet.cluster("east").unwrap().capacity.clone().unwrap();
    capacity.bound = Some([("llm".to_owned(), 1)].into());
    fleet.apply(FleetEvent::Capacity { cluster: name("east"), capacity });
    let mut fleet = says(fleet, "east", vec![unschedulable("llm", 0, 10)], 10);
    let decision = step(&mut wants, &mut fleet, 130);
    assert_eq!(states(&decision), [("east", Reason::Unschedulable), ("west", Reason::Placed)]);
}
