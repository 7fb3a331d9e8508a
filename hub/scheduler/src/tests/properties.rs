//! Properties of whole decisions, over any fleet and any wish: determinism, stability, fairness, residency.

use proptest::prelude::*;

use super::builder::{Build, H100, adopt, at, chosen, name, pool, report, request, service, shares};
use crate::tests::schedule;
use crate::{
    Decision, Division, OnUnreachable, Request, ShareBy, SpreadConstraint,
    failover::PerLane,
    fleet::{Fleet, FleetEvent, Selector, properties},
};

fn selector(key: &str, value: &str) -> Selector {
    let json = serde_json::json!({"matchLabels": {key: value}});
    Selector::try_from(&serde_json::from_value(json).unwrap()).unwrap()
}

/// Clusters `c0`, `c1`, … with nodes of 8 GPUs, each in a region.
fn fleet(drawn: &[(Vec<u32>, u8)]) -> Fleet {
    drawn.iter().enumerate().fold(Fleet::default(), |fleet, (index, (nodes, region))| {
        let mut blocks = std::collections::BTreeMap::new();
        for free in nodes {
            *blocks.entry(*free).or_insert(0u32) += 1;
        }
        let blocks: Vec<_> = blocks.into_iter().collect();
        let cluster = format!("c{index}");
        fleet.joined(&cluster, vec![pool(H100, 81_559, &blocks, 8)]).labelled(
            &cluster,
            properties::REGION,
            &format!("r{region}"),
        )
    })
}

fn clusters(most: usize) -> impl Strategy<Value = Vec<(Vec<u32>, u8)>> {
    prop::collection::vec((prop::collection::vec(0u32..=8, 0..4), 0u8..3), 1..most)
}

fn wish() -> impl Strategy<Value = Request> {
    let shape = (1u32..=8, 1u32..=6, prop::option::of(1u32..4), any::<bool>());
    let by = prop::sample::select(vec![ShareBy::FreeCapacity, ShareBy::Aggregated, ShareBy::Weighted]);
    (shape, by, prop::option::of(any::<bool>()), prop::option::of(0u8..3)).prop_map(
        |((gpus, replicas, clusters, divided), by, spread, region)| {
            let mut wants = request("chat", vec![service("llm", gpus, replicas)]);
            wants.policy.clusters = clusters;
            wants.policy.division = if divided { Division::Divided } else { Division::Duplicated };
            wants.policy.shares.by = by;
            let constraint =
                |is_hard| SpreadConstraint { key: properties::REGION.into(), max_skew: 1, is_hard };
            wants.policy.spread = spread.into_iter().map(constraint).collect();
            wants.policy.affinity.required = region
                .into_iter()
                .map(|region| selector(properties::REGION, &format!("r{region}")))
                .collect();
            wants
        },
    )
}

fn placed(decision: &Decision) -> Vec<(String, u32)> {
    shares(decision, "llm")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn the_same_input_gives_the_same_decision(drawn in clusters(8), wants in wish()) {
        let (one, other) = (fleet(&drawn), fleet(&drawn));
        prop_assert_eq!(schedule(&wants, &one), schedule(&wants, &other));
    }

    #[test]
    fn what_is_decided_stays_decided(drawn in clusters(8), wants in wish()) {
        let (mut fleet, mut wants) = (fleet(&drawn), wants);
        let first = schedule(&wants, &fleet);
        adopt(&mut fleet, &mut wants, &first);
        let again = schedule(&wants, &fleet);
        prop_assert_eq!(placed(&again), placed(&first));
        prop_assert!(again.removed.is_empty() && again.moves == PerLane::default(), "{again:?}");
    }

    /// A cluster that comes or goes moves nothing of a placement that is not in it.
    #[test]
    fn a_cluster_more_or_less_moves_nothing(drawn in clusters(8), wants in wish(), which in 0usize..8) {
        let (mut fleet, mut wants) = (fleet(&drawn), wants);
        let first = schedule(&wants, &fleet);
        adopt(&mut fleet, &mut wants, &first);
        let complete = first.outcome.complete;
        let other = format!("c{}", which % drawn.len());
        let is_hard = wants.policy.spread.iter().any(|constraint| constraint.is_hard);
        // A domain without clusters is none: what its emptiness held back may come.
        if !chosen(&first).contains(&other.as_str()) && (complete || !is_hard) {
            let less = fleet.clone().with(FleetEvent::Left { cluster: name(&other) });
            prop_assert_eq!(placed(&schedule(&wants, &less)), placed(&first));
        }
        let more = fleet.joined("new", vec![pool(H100, 81_559, &[(8, 9)], 8)]);
        let more = schedule(&wants, &more);
        for (cluster, replicas) in placed(&first) {
            let now = placed(&more).into_iter().find(|(name, _)| *name == cluster).map(|(_, now)| now);
            prop_assert!(now.is_some_and(|now| now >= replicas), "{cluster} had {replicas}: {more:?}");
        }
        prop_assert!(!complete || placed(&more) == placed(&first));
    }

    /// A first decision without one of the clusters that were not chosen is the same one: nobody else counts.
    #[test]
    fn who_is_not_chosen_does_not_matter(drawn in clusters(8), wants in wish(), which in 0usize..8) {
        let fleet = fleet(&drawn);
        let first = schedule(&wants, &fleet);
        let other = format!("c{}", which % drawn.len());
        let is_hard = wants.policy.spread.iter().any(|constraint| constraint.is_hard);
        // Of a number of clusters that share, a small one may have made way for a larger one.
        let is_exchanged = wants.policy.division == Division::Divided && wants.policy.clusters.is_some();
        if !chosen(&first).contains(&other.as_str()) && !is_hard && !is_exchanged {
            let less = fleet.with(FleetEvent::Left { cluster: name(&other) });
            prop_assert_eq!(placed(&schedule(&wants, &less)), placed(&first));
        }
    }

    /// Where room is no matter, shares by weight are the exact ones rounded down, and what is left goes to those of which most
    /// was cut off, the first by name among equals.
    #[test]
    fn shares_are_fair(weights in prop::collection::vec(1u32..20, 1..6), replicas in 1u32..60) {
        let fleet = (0..weights.len()).fold(Fleet::default(), |fleet, index| {
            fleet.joined(&format!("c{index}"), vec![pool(H100, 81_559, &[(8, 20)], 8)])
        });
        let mut wants = request("chat", vec![service("llm", 1, replicas)]);
        wants.policy.division = Division::Divided;
        wants.policy.shares.by = ShareBy::Weighted;
        wants.policy.shares.weights = weights.iter().enumerate().map(|(index, weight)| {
            let names = vec![format!("c{index}")];
            (crate::ClusterSet { names, selector: None }, *weight)
        }).collect();
        let decision = schedule(&wants, &fleet);
        let sum: u32 = weights.iter().sum();
        let mut left = replicas;
        let mut cut = Vec::new();
        for (index, weight) in weights.iter().enumerate() {
            let name = format!("c{index}");
            let share = placed(&decision).into_iter().find(|(c, _)| *c == name).map_or(0, |(_, share)| share);
            let (floor, remainder) = (replicas * weight / sum, replicas * weight % sum);
            prop_assert!(share == floor || share == floor + 1, "{} of {}/{}", share, replicas * weight, sum);
            left -= share;
            cut.push((std::cmp::Reverse(remainder), index, share > floor));
        }
        prop_assert_eq!(left, 0, "every replica has a place");
        cut.sort_unstable();
        let order: Vec<bool> = cut.iter().map(|(_, _, is_more)| *is_more).collect();
        prop_assert!(order.is_sorted_by(|one, next| one >= next), "{:?} over {:?}: {:?}", replicas, weights, cut);
    }

    /// Whatever happens, nothing is ever where it may not be.
    #[test]
    fn residency_is_never_broken(
        drawn in clusters(8),
        wants in wish(),
        events in prop::collection::vec((0usize..8, 0u8..6), 1..20),
    ) {
        let (mut fleet, mut wants) = (fleet(&drawn), wants);
        wants.policy.affinity.required = vec![selector(properties::REGION, "r1")];
        wants.policy.failover.on_unreachable = OnUnreachable::Replace;
        for (step, (which, event)) in events.into_iter().enumerate() {
            let seconds = i64::try_from(step).unwrap() * 400;
            let cluster = format!("c{}", which % drawn.len());
            fleet = match event {
                0 => fleet.silent(&cluster, seconds),
                1 => fleet.with(FleetEvent::Connected {
                    cluster: name(&cluster), agent: crate::fleet::Agent::default(), at: at(seconds),
                }),
                2 => fleet.reports(&cluster, report(Vec::new(), seconds)),
                3 => fleet.reports(&cluster, report(vec![pool(H100, 81_559, &[(8, 2)], 8)], seconds)),
                4 => fleet.admin(&cluster, |admin| admin.drain = !admin.drain),
                _ => { wants.workloads[0].need.replicas += 1; fleet }
            };
            wants.now = at(seconds + 1);
            wants.rebalance = (event == 5).then(|| step.to_string());
            let decision = schedule(&wants, &fleet);
            for row in &decision.chosen {
                let region = fleet.cluster(row.cluster.as_str()).unwrap().property(properties::REGION);
                prop_assert_eq!(region, Some("r1"), "{:?}", decision);
            }
            adopt(&mut fleet, &mut wants, &decision);
        }
    }
}
