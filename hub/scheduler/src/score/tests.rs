//! One score at a time: what gets how many points.

use crate::tests::schedule;
use crate::{
    CacheLocality, CapacityStrategy, Preferred, Reason, Request, Score, SpreadConstraint, Weights,
    fleet::{Cluster, Fleet, HeldCache, Pool, Selector},
    need::CacheKey,
    tests::builder::{Build, H100, L40S, at, chosen, pool, report, request, service},
};

/// Two clusters that differ in nothing.
fn twins() -> Fleet {
    let pools = || vec![pool(H100, 81_559, &[(8, 2)], 8), pool(L40S, 46_068, &[(4, 2)], 4)];
    Fleet::default().joined("alps", pools()).joined("east", pools())
}

fn only(score: Score) -> Weights {
    let none = Weights {
        cache_locality: 0,
        free_capacity: 0,
        cost: 0,
        preferred_affinity: 0,
        topology_spread: 0,
        stickiness: 0,
        freshness: 0,
    };
    match score {
        Score::CacheLocality => Weights { cache_locality: 7, ..none },
        Score::FreeCapacity => Weights { free_capacity: 7, ..none },
        Score::Cost => Weights { cost: 7, ..none },
        Score::PreferredAffinity => Weights { preferred_affinity: 7, ..none },
        Score::TopologySpread => Weights { topology_spread: 7, ..none },
        Score::Stickiness => Weights { stickiness: 7, ..none },
        Score::Freshness => Weights { freshness: 7, ..none },
    }
}

fn by(score: Score) -> Request {
    let mut wants = request("chat", vec![service("llm", 4, 1)]);
    wants.policy.weights = only(score);
    wants.policy.clusters = Some(2);
    wants
}

/// Points of both clusters, both chosen.
fn points(wants: &Request, fleet: &Fleet) -> [i32; 2] {
    let decision = schedule(wants, fleet);
    assert_eq!(chosen(&decision), ["alps", "east"], "{decision:?}");
    for row in &decision.chosen {
        assert_eq!(row.parts.len(), 1, "what weighs nothing is no part: {:?}", row.parts);
        assert_eq!(
            i32::try_from(row.parts[0].points).unwrap(),
            row.score,
            "the mean of one part is that part"
        );
    }
    [decision.chosen[0].score, decision.chosen[1].score]
}

fn selector(key: &str, value: &str) -> Selector {
    let json = serde_json::json!({"matchLabels": {key: value}});
    Selector::try_from(&serde_json::from_value(json).unwrap()).unwrap()
}

#[test]
fn free_capacity_is_what_remains_and_pack_turns_it_round() {
    let fleet = twins().reports("east", report(vec![pool(H100, 81_559, &[(8, 1), (0, 1)], 8)], 0));
    let mut wants = by(Score::FreeCapacity);
    wants.policy.gpu.products = vec![H100.into()];
    assert_eq!(points(&wants, &fleet), [75, 25], "12 of 16, 4 of 16");
    wants.policy.capacity_strategy = CapacityStrategy::Pack;
    assert_eq!(points(&wants, &fleet), [25, 75]);
}

#[test]
fn free_capacity_is_that_of_the_object_that_would_be_tightest() {
    // Of each cluster: free H100 and L40S, of 16 and 8. One object takes four of the first, the other one of the second.
    for (h100, l40s, expected) in [
        ([16, 16], [8, 8], [75, 75]),
        ([16, 8], [8, 8], [75, 25]),
        ([16, 16], [8, 3], [75, 25]),
        ([8, 12], [4, 1], [25, 0]),
        ([4, 16], [8, 2], [0, 12]),
    ] {
        let mut fleet = twins();
        for (at, cluster) in ["alps", "east"].into_iter().enumerate() {
            let blocks = |free: u32| [(4, free / 4), (1, free % 4), (0, 1)];
            let of =
                |product, free, all| Pool { allocatable: all, ..pool(product, 81_559, &blocks(free), 8) };
            fleet = fleet.reports(cluster, report(vec![of(H100, h100[at], 16), of(L40S, l40s[at], 8)], 0));
        }
        let mut wants = by(Score::FreeCapacity);
        wants.workloads.push(service("embed", 1, 1));
        for (workload, product) in wants.workloads.iter_mut().zip(["h100", "l40s"]) {
            workload.need.kind.products = vec![vec![product.into()]];
        }
        assert_eq!(points(&wants, &fleet), expected, "{h100:?} {l40s:?}");
    }
}

#[test]
fn cost_is_beside_the_cheapest_product_that_will_do() {
    let price = |fleet: Fleet, cluster: &str, product: &str, cost: u64| {
        fleet.admin(cluster, |admin| admin.cost_per_gpu_hour.extend([(product.to_owned(), cost)]))
    };
    let fleet = price(price(twins(), "alps", H100, 3000), "alps", "l40s", 1000);
    let both = price(fleet.clone(), "east", "*", 2000);
    let mut wants = by(Score::Cost);
    assert_eq!(points(&wants, &both), [100, 50], "L40S at 1.00 and anything at 2.00");
    wants.policy.gpu.products = vec!["h100".into()];
    assert_eq!(points(&wants, &both), [66, 100], "H100 at 3.00 and at 2.00");
    assert_eq!(points(&wants, &fleet), [100, 0], "what costs nobody knows what is not cheap");
    for (alps, east, expected) in [
        (1000, 1000, [100, 100]),
        (1000, 4000, [100, 25]),
        (0, 1, [100, 0]),
        (0, 0, [100, 100]),
        (1_000_000, 1, [0, 100]),
    ] {
        let fleet = price(price(twins(), "alps", "*", alps), "east", "*", east);
        assert_eq!(points(&wants, &fleet), expected, "{alps} {east}");
    }
    let decision = schedule(&wants, &twins());
    assert!(decision.chosen[0].parts.is_empty(), "nobody says what anything costs");
}

#[test]
fn preferred_terms_count_by_weight() {
    let fleet = twins().labelled("alps", "tier", "gold").labelled("east", "power", "green");
    let mut wants = by(Score::PreferredAffinity);
    wants.policy.affinity.preferred = vec![
        Preferred { weight: 30, selector: selector("tier", "gold") },
        Preferred { weight: 10, selector: selector("power", "green") },
    ];
    assert_eq!(points(&wants, &fleet), [75, 25]);
}

#[test]
fn caches_count_where_the_model_is() {
    let mut wants = by(Score::CacheLocality);
    wants.workloads[0].need.cache = Some(CacheKey { namespace: "nim".into(), name: "weights".into() });
    for (namespace, name, expected) in [("nim", "weights", 100), ("nim", "other", 0), ("other", "weights", 0)]
    {
        let mut capacity = report(vec![pool(H100, 81_559, &[(8, 2)], 8)], 0);
        let (namespace, name) = (namespace.to_owned(), name.to_owned());
        capacity.caches = vec![HeldCache { namespace, name, model: String::new(), profiles: Vec::new() }];
        let fleet = twins().reports("east", capacity);
        assert_eq!(points(&wants, &fleet), [0, expected]);
        let mut strict = wants.clone();
        strict.policy.cache_locality = CacheLocality::Require;
        let decision = schedule(&strict, &fleet);
        assert_eq!(decision.chosen.len(), usize::from(expected == 100));
        assert!(decision.refused.iter().any(|one| one.reason == Reason::ModelNotCached), "{decision:?}");
        let mut careless = wants.clone();
        careless.policy.cache_locality = CacheLocality::Ignore;
        assert!(schedule(&careless, &fleet).chosen.iter().all(|row| row.parts.is_empty()));
    }
}

#[test]
fn caches_count_by_how_many_of_those_that_are_wanted_are_there() {
    let key = |name: &str| CacheKey { namespace: "nim".into(), name: name.into() };
    for (held, expected) in
        [(&["a", "b", "c"][..], 100), (&["a", "b"], 66), (&["c"], 33), (&["d"], 0), (&[], 0)]
    {
        let held = held.iter().map(|&name| HeldCache {
            namespace: "nim".into(),
            name: name.into(),
            ..HeldCache::default()
        });
        let mut capacity = report(vec![pool(H100, 81_559, &[(8, 2)], 8)], 0);
        capacity.caches = held.collect();
        let mut wants = by(Score::CacheLocality);
        wants.workloads = ["a", "b", "c"].map(|name| service(name, 1, 1)).into();
        for workload in &mut wants.workloads {
            workload.need.cache = Some(key(&workload.object.name));
        }
        assert_eq!(points(&wants, &twins().reports("east", capacity)), [0, expected]);
    }
}

#[test]
fn a_domain_of_ones_own_counts_most() {
    let mut wants = by(Score::TopologySpread);
    wants.policy.spread =
        vec![SpreadConstraint { key: "topology.kubernetes.io/region".into(), max_skew: 1, is_hard: false }];
    let region = |fleet: Fleet, cluster: &str, region: &str| {
        fleet.labelled(cluster, "topology.kubernetes.io/region", region)
    };
    let apart = region(region(twins(), "alps", "eu"), "east", "us");
    assert_eq!(points(&wants, &apart), [100, 100]);
    assert_eq!(points(&wants, &region(apart, "east", "eu")), [50, 50]);
    assert_eq!(points(&wants, &region(twins(), "alps", "eu")), [100, 0]);
}

#[test]
fn what_is_there_is_better_than_what_is_not() {
    let wants = by(Score::Stickiness);
    let fleet = twins();
    let mut again = wants.clone();
    again.policy.clusters = Some(1);
    again.previous = schedule(&again, &fleet).chosen.iter().map(crate::tests::builder::row).collect();
    again.policy.clusters = Some(2);
    assert_eq!(points(&again, &fleet), [100, 0]);
}

#[test]
fn an_old_report_counts_less_and_less() {
    let minutes = |minutes: i64| report(vec![pool(H100, 81_559, &[(8, 2)], 8)], -60 * minutes);
    for (age, expected) in [(0, 100), (10, 100), (20, 50), (29, 5), (30, 0)] {
        let fleet = twins().reports("east", minutes(age));
        let wants = Request { now: at(0), ..by(Score::Freshness) };
        assert_eq!(points(&wants, &fleet), [100, expected], "{age} minutes");
    }
}

#[test]
fn the_score_is_the_mean_by_weight_and_says_its_parts() {
    let fleet = twins().labelled("east", "tier", "gold");
    let mut wants = request("chat", vec![service("llm", 8, 1)]);
    wants.policy.affinity.preferred = vec![Preferred { weight: 1, selector: selector("tier", "gold") }];
    let decision = schedule(&wants, &fleet);
    assert_eq!(chosen(&decision), ["east"], "a person's word counts for more than names");
    assert_eq!(
        decision.chosen[0].message,
        "fits, score 90 (free capacity 66 × 20, preferred affinity 100 × 40, freshness 100 × 5)"
    );
    let east: &Cluster = fleet.cluster("east").unwrap();
    assert_eq!(decision.chosen[0].cluster, east.name);
}
