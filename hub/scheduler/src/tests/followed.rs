//! An index that follows a fleet through its changes decides like one that asks every cluster: same clusters, shares, counts,
//! and sentences.

use std::collections::BTreeMap;

use jiff::SignedDuration;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use proptest::prelude::*;

use super::builder::{Build, H100, L40S, adopt, at, name, object, pool, report, request, service, status};
use crate::fleet::{
    Access, Agent, Fleet, FleetEvent, HeldCache, Platform, Potential, Selector, StorageClass, properties,
};
use crate::need::CacheKey;
use crate::run::scan;
use crate::{
    CacheLocality, CapacityStrategy, ClusterSet, Denied, Division, Expression, OnUnreachable, Preferred,
    Reason, Request, ShareBy, SpreadConstraint, Tier, Toleration, Waiting, Workload, woken,
};

/// Numbers that follow from a seed.
struct Draw(u64);

impl Draw {
    fn below(&mut self, bound: usize) -> usize {
        // Xorshift, whose low bits are poor.
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).unwrap_or(0) % bound
    }

    fn one_in(&mut self, many: usize) -> bool {
        self.below(many) == 0
    }

    fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }

    fn number(&mut self, bound: usize) -> u32 {
        u32::try_from(self.below(bound)).unwrap_or(0)
    }
}

fn labelled(key: &str, value: &str) -> Selector {
    let json = serde_json::json!({"matchLabels": {key: value}});
    Selector::try_from(&serde_json::from_value(json).unwrap()).unwrap()
}

fn cluster(index: usize) -> String {
    // Names whose order is not that in which they come.
    format!("c{:02}", index * 37 % 100)
}

fn capacity(draw: &mut Draw, seconds: i64) -> crate::fleet::Capacity {
    let mut pools = Vec::new();
    for (product, memory, per_node) in [(H100, 81_559, 8), (L40S, 46_068, 4)] {
        if !draw.one_in(3) {
            let blocks = [(per_node, draw.number(4)), (per_node / 2, draw.number(3)), (0, draw.number(2))];
            pools.push(pool(product, memory, &blocks, per_node));
        }
    }
    let mut capacity = report(pools, seconds - i64::from(draw.number(4)) * 700);
    capacity.region = draw.of(&["eu", "us", "ap", ""]).into();
    capacity.zone = draw.of(&["a", "b", ""]).into();
    if draw.one_in(2) {
        capacity.platforms.push(Platform { name: "lws".into(), ..Platform::default() });
    }
    if draw.one_in(2) {
        let held = HeldCache { namespace: "nim".into(), name: "weights".into(), ..HeldCache::default() };
        capacity.caches.push(held);
    }
    if draw.one_in(3) {
        let class =
            StorageClass { name: "disk".into(), access: Some(Access::OneNode), ..StorageClass::default() };
        capacity.storage = Some(vec![class]);
    }
    capacity
}

/// One change of the fleet.
fn change(draw: &mut Draw, fleet: Fleet, clusters: usize, seconds: i64) -> Fleet {
    let which = cluster(draw.below(clusters));
    let is_there = fleet.cluster(&which).is_some();
    if !is_there || draw.one_in(12) {
        let fleet = fleet.admin(&which, |admin| {
            admin.accepted = !draw.one_in(6);
            admin.labels = BTreeMap::from([("tier".to_owned(), draw.of(&["gold", "iron"]).to_owned())]);
            admin.drain = draw.one_in(8);
            let keys = [draw.one_in(4), draw.one_in(8)].into_iter().zip(["gpu", "other"]);
            admin.taints = keys
                .filter(|(is_tainted, _)| *is_tainted)
                .map(|(_, key)| crate::fleet::Taint {
                    key: key.to_owned(),
                    value: String::new(),
                    effect: draw.of(&[crate::fleet::Effect::NoSchedule, crate::fleet::Effect::NoExecute]),
                })
                .collect();
            let price = u64::from(draw.number(3) * 1000);
            admin.cost_per_gpu_hour =
                if draw.one_in(6) { BTreeMap::from([("*".to_owned(), price)]) } else { BTreeMap::new() };
            admin.potential = if draw.one_in(5) {
                let delay = SignedDuration::from_mins(i64::from(draw.number(3)));
                vec![Potential {
                    product: H100.into(),
                    resource: "nvidia.com/gpu".into(),
                    gpus_per_node: 8,
                    max_nodes: 2,
                    memory_mib: 81_559,
                    delay,
                }]
            } else {
                Vec::new()
            };
            if draw.one_in(8) {
                let json = serde_json::json!({"matchLabels": {"team": "ml"}});
                let selector: LabelSelector = serde_json::from_value(json).unwrap();
                admin.allowed_namespaces = Some(&selector).into();
            }
        });
        let fleet = fleet.with(FleetEvent::Connected {
            cluster: name(&which),
            agent: Agent {
                cluster_uid: format!("uid-{which}"),
                capabilities: if draw.one_in(6) {
                    vec!["apps.nvidia.com/v1alpha1/NIMCache".into()]
                } else {
                    Vec::new()
                },
                ..Agent::default()
            },
            at: at(seconds),
        });
        let capacity = capacity(draw, seconds);
        return if draw.one_in(10) { fleet } else { fleet.reports(&which, capacity) };
    }
    match draw.below(14) {
        0..6 => {
            let capacity = capacity(draw, seconds);
            fleet.reports(&which, capacity)
        }
        6 => fleet.silent(&which, seconds),
        7 | 8 => fleet.with(FleetEvent::Connected {
            cluster: name(&which),
            agent: Agent::default(),
            at: at(seconds),
        }),
        9 => fleet.with(FleetEvent::Left { cluster: name(&which) }),
        10 => {
            let labels = draw.one_in(2).then(|| BTreeMap::from([("team".to_owned(), "ml".to_owned())]));
            fleet.with(FleetEvent::Namespace { name: "nim".into(), labels })
        }
        11 => fleet.with(FleetEvent::Hub { uid: format!("uid-{which}") }),
        _ => {
            let uid = format!("s{}", draw.below(6));
            let statuses = vec![status(&uid, draw.number(3), seconds)];
            fleet.with(FleetEvent::Status { cluster: name(&which), statuses, at: at(seconds) })
        }
    }
}

/// A placement of one or two services.
fn wish(draw: &mut Draw, index: usize) -> Request {
    let mut workloads: Vec<Workload> =
        vec![service(&format!("s{index}"), draw.of(&[0, 1, 2, 4, 8]), 1 + draw.number(3))];
    if draw.one_in(4) {
        workloads.push(service(&format!("t{index}"), draw.of(&[1, 2]), 1));
    }
    for workload in &mut workloads {
        let need = &mut workload.need;
        if draw.one_in(4) {
            need.platforms = ["lws"].into();
        }
        if draw.one_in(4) {
            need.kind.products = vec![vec![draw.of(&["h100", "l40s"]).to_owned()]];
        }
        if draw.one_in(4) {
            need.cache = Some(CacheKey { namespace: "nim".into(), name: "weights".into() });
        }
    }
    let mut wants = request(&format!("p{index}"), workloads);
    wants.told = draw.of(&[0, 1, 3, usize::MAX]);
    let policy = &mut wants.policy;
    policy.priority = i32::try_from(draw.number(3)).unwrap_or(0);
    policy.clusters = draw.of(&[None, Some(1), Some(2), Some(3), Some(9)]);
    policy.capacity_strategy = draw.of(&[CapacityStrategy::Spread, CapacityStrategy::Pack]);
    policy.cache_locality = draw.of(&[
        CacheLocality::Prefer,
        CacheLocality::Prefer,
        CacheLocality::Ignore,
        CacheLocality::Require,
    ]);
    policy.failover.on_unreachable = draw.of(&[OnUnreachable::Keep, OnUnreachable::Replace]);
    if draw.one_in(3) {
        policy.division = Division::Divided;
        policy.shares.by = draw.of(&[ShareBy::Weighted, ShareBy::FreeCapacity, ShareBy::Aggregated]);
    }
    if draw.one_in(2) {
        policy.affinity.required = vec![labelled("tier", draw.of(&["gold", "iron"]))];
    }
    if draw.one_in(4) {
        policy.affinity.required.push(labelled(properties::REGION, draw.of(&["eu", "us"])));
    }
    if draw.one_in(3) {
        let selector = labelled(properties::ZONE, "a");
        policy.affinity.preferred = vec![Preferred { weight: 30, selector }];
        policy.affinity.preferred.push(Preferred { weight: 11, selector: labelled("tier", "iron") });
    }
    if draw.one_in(6) {
        policy.affinity.cluster_names = (0..12).map(|index| cluster(index * 3)).collect();
    }
    if draw.one_in(4) {
        policy.affinity.exclude = (0..4).map(|index| cluster(index * 5)).collect();
    }
    if draw.one_in(4) {
        let source = draw.of(&[
            "cluster.capacity.freeGPUs >= 8",
            "cluster.labels.tier == 'gold'",
            "cluster.name > 'c4'",
            "cluster.labels.tier == 'gold' || cluster.labels.site == 'a'",
        ]);
        policy.affinity.expressions = vec![Expression::compile(source).unwrap()];
    }
    if draw.one_in(2) {
        policy.tolerations =
            vec![Toleration { key: Some("gpu".to_owned()), any_value: true, ..Toleration::default() }];
    }
    if draw.one_in(3) {
        let keys = [properties::REGION, properties::ZONE];
        let count = 1 + draw.below(2);
        policy.spread = keys[..count]
            .iter()
            .map(|key| SpreadConstraint { key: (*key).to_owned(), max_skew: 1, is_hard: draw.one_in(2) })
            .collect();
    }
    if draw.one_in(4) {
        let gold =
            ClusterSet { names: vec![cluster(3), cluster(4)], selector: Some(labelled("tier", "gold")) };
        let iron = ClusterSet { names: Vec::new(), selector: Some(labelled("tier", "iron")) };
        let tier = |name: &str, clusters, least| Tier { name: name.into(), clusters, least };
        policy.tiers = vec![tier("first", gold, draw.number(2)), tier("second", iron, draw.number(2))];
    }
    if draw.one_in(6) {
        let mut larger: Vec<_> = wants.workloads.iter().map(|workload| workload.need.clone()).collect();
        for need in &mut larger {
            need.kind.products = vec![vec!["h100".to_owned()]];
        }
        wants.variants.add(Ok(larger), (0..10).map(|index| name(&cluster(index))));
        wants
            .variants
            .add(Err("nothing can be sent".to_owned()), (10..13).map(|index| name(&cluster(index))));
    }
    for index in 0..6 {
        if draw.one_in(12) {
            let reason = draw.of(&[Reason::NoRoom, Reason::PolicyDenied]);
            let denied = Denied { reason, message: "no".into(), stays: draw.one_in(2) };
            wants.denied.insert(cluster(index), denied);
        }
        if draw.one_in(20) {
            wants.over_quota.insert(cluster(index + 6), "too many".into());
        }
    }
    wants
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn an_index_decides_like_a_scan(seed in 1u64.., clusters in 1usize..45, steps in 1usize..60) {
        let mut draw = Draw(seed);
        let mut fleet = Fleet::default();
        let mut seconds = 0;
        for _ in 0..clusters * 2 {
            fleet = change(&mut draw, fleet, clusters, seconds);
        }
        let mut wishes: Vec<Request> = (0..6).map(|index| wish(&mut draw, index)).collect();
        for step in 0..steps {
            seconds += i64::from(draw.number(40));
            for _ in 0..draw.below(4) {
                fleet = change(&mut draw, fleet, clusters, seconds);
            }
            let which = draw.below(wishes.len());
            if draw.one_in(8) {
                let previous = std::mem::take(&mut wishes[which].previous);
                wishes[which] = Request { previous, ..wish(&mut draw, which) };
            }
            let wants = &mut wishes[which];
            wants.now = at(seconds + 1);
            wants.rebalance = draw.one_in(5).then(|| step.to_string());
            let decision = crate::schedule(wants, &mut fleet);
            prop_assert_eq!(&decision, &scan(wants, &fleet), "step {} of {:?}", step, wants);
            if !draw.one_in(4) {
                let left: Vec<_> = wants.previous.clone();
                adopt(&mut fleet, wants, &decision);
                if draw.one_in(3) {
                    // What is being removed counts until it is gone.
                    let rows: Vec<_> = wants.previous.iter().chain(&left).cloned().collect();
                    let grants = wants.grants(&rows);
                    fleet.apply(FleetEvent::Granted { placement: wants.placement.clone(), grants });
                }
            }
        }
    }
}

#[test]
fn many_placements_of_unlike_kinds_do_not_fall_out_of_the_index_while_they_are_asked() {
    let mut fleet = Fleet::default();
    for index in 0..20 {
        fleet = fleet.joined(&cluster(index), vec![pool(H100, 81_559, &[(8, 2)], 8)]);
    }
    for round in 0..2 {
        for index in 0..600u64 {
            let mut wants = request(&format!("p{index}"), vec![service("s", 1, 1)]);
            wants.workloads[0].object = object(&format!("s{index}"));
            wants.workloads[0].need.memory_mib = index + round;
            wants.policy.affinity.required =
                vec![labelled("serial", &(index % 1100).to_string()), Selector::default()];
            assert_eq!(crate::schedule(&wants, &mut fleet), scan(&wants, &fleet));
        }
    }
}

/// Where a placement goes, and with how many replicas of what.
fn places(decision: &crate::Decision) -> Vec<(String, Vec<crate::Granted>)> {
    let row = |chosen: &crate::Chosen| (chosen.cluster.to_string(), chosen.replicas.clone());
    decision.chosen.iter().map(row).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Who waits and is not woken by a report would decide as before.
    #[test]
    fn a_report_wakes_whom_it_could_help(seed in 1u64.., clusters in 1usize..25, steps in 1usize..30) {
        let mut draw = Draw(seed);
        let mut fleet = Fleet::default();
        for _ in 0..clusters * 2 {
            fleet = change(&mut draw, fleet, clusters, 0);
        }
        let mut wants = wish(&mut draw, 0);
        wants.now = at(1);
        let decision = crate::schedule(&wants, &mut fleet);
        adopt(&mut fleet, &mut wants, &decision);
        for step in 0..steps {
            let before = crate::schedule(&wants, &mut fleet);
            prop_assume!(before.is_waiting(None));
            let waiting = Waiting::new(wants.clone(), wants.now);
            let which = cluster(draw.below(clusters));
            let report = capacity(&mut draw, 1);
            if fleet.cluster(&which).is_none() {
                continue;
            }
            fleet = fleet.reports(&which, report);
            let after = crate::schedule(&wants, &mut fleet);
            if woken([&waiting], &fleet, &name(&which)).is_empty() {
                prop_assert_eq!(places(&before), places(&after), "step {}: {} of {:?}", step, which, wants);
            }
            adopt(&mut fleet, &mut wants, &after);
        }
    }
}

#[test]
fn the_highest_is_woken_first_and_of_equal_ones_who_has_waited_longest() {
    let fleet = Fleet::default()
        .joined("east", vec![pool(H100, 81_559, &[(8, 1)], 8)])
        .joined("west", vec![pool(L40S, 46_068, &[(4, 1)], 4)]);
    let waiting = |key: &str, gpus, priority, since| {
        let mut wants = request(key, vec![service(key, gpus, 1)]);
        wants.policy.priority = priority;
        Waiting::new(wants, at(since))
    };
    let all = [
        waiting("late", 4, 0, 9),
        waiting("early", 4, 0, 2),
        waiting("large", 8, 0, 1),
        waiting("high", 1, 5, 10),
        waiting("larger", 16, 9, 1),
    ];
    let names = |cluster: &str| -> Vec<&str> {
        woken(&all, &fleet, &name(cluster)).iter().map(|one| one.placement().name.as_str()).collect()
    };
    assert_eq!(names("west"), ["high", "early", "late"]);
    assert_eq!(names("east"), ["high", "large", "early", "late"]);
    assert_eq!(names("north"), [""; 0]);
}
