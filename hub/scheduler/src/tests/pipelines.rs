//! A pipeline is where all of its services fit together; a build is where its cache is, and takes nothing once it is done.

use super::builder::{
    Build, H100, L40S, adopt, at, chosen, name, object, pool, report, request, service, status,
};
use crate::tests::schedule;
use crate::{
    Cause, Reason, Request, Workload,
    fleet::{Capacity, Fleet, FleetEvent, HeldCache, ObjectStatus, Unschedulable},
    need::{CacheKey, Life, Need},
    quota::{Charged, Limit, Quota, decide},
};

/// A pipeline of services that take so many GPUs, each of one replica.
fn pipeline(uid: &str, services: &[(&str, u32)]) -> Workload {
    let part = |(name, gpus): &(&str, u32)| Need {
        service: (*name).to_owned(),
        replicated: false,
        ..service(uid, *gpus, 1).need
    };
    let mut pipeline = Workload {
        object: object(uid),
        need: Need { services: services.iter().map(part).collect(), ..Need::default() },
    };
    pipeline.object.kind = "NIMPipeline".to_owned();
    pipeline
}

fn weights() -> CacheKey {
    CacheKey { namespace: "nim".into(), name: "weights".into() }
}

/// A build of so many GPUs from the cache `weights`.
fn build(uid: &str, gpus: u32) -> Workload {
    let need =
        Need { replicated: false, life: Life::Ending, cache: Some(weights()), ..service(uid, gpus, 1).need };
    let mut build = Workload { object: object(uid), need };
    build.object.kind = "NIMBuild".to_owned();
    build
}

fn holds_weights(capacity: Capacity) -> Capacity {
    let held = HeldCache {
        namespace: "nim".into(),
        name: "weights".into(),
        model: String::new(),
        profiles: Vec::new(),
    };
    Capacity { caches: vec![held], ..capacity }
}

fn says(fleet: Fleet, cluster: &str, status: ObjectStatus, seconds: i64) -> Fleet {
    fleet.with(FleetEvent::Status { cluster: name(cluster), statuses: vec![status], at: at(seconds) })
}

fn two_sizes() -> Fleet {
    Fleet::default()
        .joined("large", vec![pool(H100, 81_559, &[(8, 1)], 8)])
        .joined("small", vec![pool(L40S, 46_068, &[(4, 1)], 4)])
}

#[test]
fn a_pipeline_needs_room_for_all_of_its_services_at_once() {
    let fleet = two_sizes();
    let of = |services: &[(&str, u32)]| {
        let mut wants = request("rag", vec![pipeline("rag", services)]);
        wants.policy.clusters = Some(2);
        schedule(&wants, &fleet)
    };
    assert_eq!(chosen(&of(&[("llm", 2), ("embed", 1), ("rerank", 1)])), ["large", "small"]);
    let decision = of(&[("llm", 4), ("embed", 1)]);
    assert_eq!(chosen(&decision), ["large"]);
    let refused = &decision.refused[0];
    assert_eq!((refused.cluster.as_str(), refused.reason), ("small", Reason::InsufficientGPUs));
    assert!(refused.message.contains("NIMPipeline rag (service embed) needs 1 GPU"), "{}", refused.message);
    assert!(of(&[("llm", 8), ("embed", 1)]).chosen.is_empty());
}

#[test]
fn what_a_pipeline_was_promised_is_nobody_elses_until_its_pods_are_bound() {
    let mut fleet = two_sizes();
    let mut first = request("rag", vec![pipeline("rag", &[("llm", 4), ("embed", 2)])]);
    let decision = schedule(&first, &fleet);
    adopt(&mut fleet, &mut first, &decision);
    let free = |fleet: &Fleet, gpus: u32| {
        let mut other = request("other", vec![service("other", gpus, 1)]);
        other.policy.affinity.cluster_names = vec!["large".into()];
        chosen(&schedule(&other, fleet)) == ["large"]
    };
    assert!(free(&fleet, 2) && !free(&fleet, 5), "6 of 8 are promised");
    // The pods of one service are bound, by the pipeline's uid and the service's name: the other's GPUs are still promised.
    let bound = Some([("rag/llm".to_owned(), 1)].into());
    let capacity = Capacity { bound, ..report(vec![pool(H100, 81_559, &[(4, 1)], 8)], 5) };
    let fleet = fleet.reports("large", capacity);
    assert!(free(&fleet, 2) && !free(&fleet, 3));
    // An agent that does not tell bound pods is believed once the pipeline is ready.
    let fleet = says(fleet, "large", status("rag", 0, 6), 6)
        .reports("large", report(vec![pool(H100, 81_559, &[(2, 1)], 8)], 7));
    assert!(free(&fleet, 2));
}

#[test]
fn a_pipeline_whose_service_finds_no_node_moves_as_a_whole() {
    let mut fleet = Fleet::default()
        .joined("large", vec![pool(H100, 81_559, &[(8, 1)], 8)])
        .joined("spare", vec![pool(H100, 81_559, &[(8, 1)], 8)]);
    let mut wants = request("rag", vec![pipeline("rag", &[("llm", 4), ("embed", 2)])]);
    let decision = schedule(&wants, &fleet);
    assert_eq!(chosen(&decision), ["large"]);
    adopt(&mut fleet, &mut wants, &decision);
    let unschedulable =
        Some(Unschedulable { replicas: 1, message: "NIMService embed: no node".into(), since: at(10) });
    let stuck = ObjectStatus { state: "NotReady".into(), unschedulable, ..status("rag", 0, 10) };
    let bound = Some([("rag/llm".to_owned(), 1)].into());
    let mut fleet = says(fleet, "large", stuck, 10);
    fleet.apply(FleetEvent::Capacity {
        cluster: name("large"),
        capacity: Capacity { bound, ..report(vec![pool(H100, 81_559, &[(1, 1)], 8)], 11) },
    });
    let decide_at = |fleet: &Fleet, request: &Request, seconds: i64| {
        schedule(&Request { now: at(seconds), ..request.clone() }, fleet)
    };
    assert_eq!(chosen(&decide_at(&fleet, &wants, 20)), ["large"], "patience first");
    let patience = wants.policy.failover.unschedulable_after.as_secs();
    let moved = decide_at(&fleet, &wants, 30 + patience);
    let left = moved.chosen.iter().find(|row| row.cluster.as_str() == "large").unwrap();
    assert!(left.is_replaced() && Cause::of(left.reason.as_str()) == Cause::Unschedulable, "{moved:?}");
    assert!(chosen(&moved).contains(&"spare"));
}

#[test]
fn a_build_goes_only_where_its_cache_is_or_comes_along() {
    let with_cache = report(vec![pool(H100, 81_559, &[(2, 1)], 8)], 1);
    let fleet = two_sizes().reports("large", holds_weights(with_cache));
    let mut wants = request("engine", vec![build("engine", 1)]);
    wants.policy.clusters = Some(2);
    let decision = schedule(&wants, &fleet);
    assert_eq!(chosen(&decision), ["large"]);
    assert_eq!(decision.refused[0].reason, Reason::ModelNotCached);
    assert!(
        decision.refused[0].message.contains("builds from NIMCache nim/weights"),
        "{:?}",
        decision.refused
    );
    // What it takes depends on the profiles of its cache.
    wants.workloads[0].need.life = Life::EndingOfUnknownSize;
    let decision = schedule(&wants, &fleet);
    assert!(chosen(&decision).is_empty());
    assert!(
        decision.refused.iter().any(|row| row.message.contains("does not tell its profiles yet")),
        "{:?}",
        decision.refused
    );
    let mut cache =
        Workload { object: object("cache"), need: Need { cache: Some(weights()), ..Need::default() } };
    cache.object.kind = "NIMCache".to_owned();
    wants.workloads.push(cache);
    assert_eq!(chosen(&schedule(&wants, &fleet)), ["large", "small"]);
}

#[test]
fn a_build_that_is_done_takes_nothing_and_is_charged_nothing() {
    let capacity = || holds_weights(report(vec![pool(H100, 81_559, &[(8, 1)], 8)], 1));
    let mut fleet = Fleet::default().joined("large", vec![]).reports("large", capacity());
    let quota = [Quota { name: "team".into(), limits: vec![Limit { product: "*".into(), gpus: 8 }] }];
    let mut wants = request("engine", vec![build("engine", 4)]);
    let charged = |wants: &mut Request, mut fleet: Fleet| -> u32 {
        let (_, charges) = decide(wants, &mut fleet, &quota, &Charged::new()).unwrap();
        charges.iter().map(|charge| charge.gpus).sum()
    };
    assert_eq!(charged(&mut wants, fleet.clone()), 4);
    let decision = schedule(&wants, &fleet);
    adopt(&mut fleet, &mut wants, &decision);
    let is_free =
        |fleet: &Fleet| !schedule(&request("other", vec![service("other", 8, 1)]), fleet).chosen.is_empty();
    assert!(!is_free(&fleet));
    for (state, ends) in [("Pending", false), ("InProgress", false), ("Failed", true), ("Ready", true)] {
        let told = ObjectStatus { state: state.into(), ..status("engine", 0, 5) };
        let fleet = says(fleet.clone(), "large", told, 5);
        assert_eq!(is_free(&fleet), ends, "{state}");
        assert_eq!(charged(&mut wants.clone(), fleet.clone()), if ends { 0 } else { 4 }, "{state}");
    }
}
