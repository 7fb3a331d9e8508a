//! The engine beside all there is to choose: for small fleets every assignment is tried. The engine finds one whenever there
//! is one, and its score is at least 95 % of the best.

use proptest::prelude::*;

use super::builder::{Build, H100, L40S, pool, request, service};
use crate::tests::schedule;
use crate::{
    ClusterSet, Decision, Division, Preferred, Request, ShareBy, SpreadConstraint, Tier, Workload, filter,
    fleet::{Cluster, Fleet, HeldCache, Selector, properties},
    need::CacheKey,
    packing,
    score::{Domains, Points, Scale, Score},
};

/// Of the best score, in percent.
const LEAST: u64 = 95;

/// One cluster: nodes of 4 GPUs by how many are free on each, whether they are L40S, its region, its site, its price, whether
/// the model is there, and its tier.
type Drawn = (Vec<u32>, bool, u8, u8, u64, bool, u8);

fn drawn() -> impl Strategy<Value = Drawn> {
    (prop::collection::vec(0u32..=4, 0..4), any::<bool>(), 0u8..3, 0u8..2, 1u64..5, any::<bool>(), 0u8..3)
}

fn fleet(drawn: &[Drawn]) -> Fleet {
    let mut fleet = Fleet::default();
    for (index, (nodes, small, region, site, price, cached, tier)) in drawn.iter().enumerate() {
        let name = format!("c{index}");
        let mut blocks = std::collections::BTreeMap::new();
        for free in nodes {
            *blocks.entry(*free).or_insert(0u32) += 1;
        }
        let blocks: Vec<_> = blocks.into_iter().collect();
        let product = if *small { L40S } else { H100 };
        let mut capacity = super::builder::report(vec![pool(product, 46_068, &blocks, 4)], 0);
        if *cached {
            let (namespace, name) = ("nim".to_owned(), "weights".to_owned());
            capacity.caches = vec![HeldCache { namespace, name, model: String::new(), profiles: Vec::new() }];
        }
        fleet = fleet
            .joined(&name, Vec::new())
            .reports(&name, capacity)
            .labelled(&name, properties::REGION, &format!("r{region}"))
            .labelled(&name, "site", &format!("s{site}"))
            .labelled(&name, "tier", &format!("t{tier}"))
            .admin(&name, |admin| admin.cost_per_gpu_hour.extend([("*".into(), *price)]));
    }
    fleet
}

fn selector(key: &str, value: &str) -> Selector {
    let json = serde_json::json!({"matchLabels": {key: value}});
    Selector::try_from(&serde_json::from_value(json).unwrap()).unwrap()
}

/// Everything that makes one cluster better than another.
fn asked(gpus: u32, replicas: u32) -> Request {
    let mut wants = request("chat", vec![service("llm", gpus, replicas)]);
    wants.workloads[0].need.cache = Some(CacheKey { namespace: "nim".into(), name: "weights".into() });
    wants.policy.affinity.preferred =
        vec![Preferred { weight: 5, selector: selector(properties::REGION, "r0") }];
    wants
}

fn tiers(least: u32) -> Vec<Tier> {
    let tier = |index: u8, least| Tier {
        name: index.to_string(),
        clusters: ClusterSet { names: Vec::new(), selector: Some(selector("tier", &format!("t{index}"))) },
        least,
    };
    vec![tier(0, 0), tier(1, least)]
}

/// A cluster that could be chosen: its points, tier and the replicas that fit.
struct Open<'a> {
    cluster: &'a Cluster,
    points: Points,
    tier: usize,
    fits: u32,
}

/// Asks the filters and the scores directly, of every cluster.
fn open<'a>(wants: &'a Request, workloads: &[Workload], fleet: &'a Fleet, scale: &Scale) -> Vec<Open<'a>> {
    let mut open = Vec::new();
    for cluster in fleet.clusters() {
        let Ok((left, tier)) = filter::may_come(wants, workloads, fleet, cluster) else { continue };
        let points = scale.points(wants, workloads, cluster, Some(&left), false);
        let room = packing::left(wants, fleet, None, cluster, cluster.capacity.as_ref().unwrap()).room;
        open.push(Open { cluster, points, tier, fits: room.fits(&workloads[0].need, 99) });
    }
    scale.compare(workloads, open.iter_mut().map(|one| (one.cluster, &mut one.points)), None);
    open
}

/// The sum of the scores of a set, with those for spread; none if it breaks a hard constraint.
fn worth(wants: &Request, open: &[Open<'_>], set: &[usize], scale: &Scale, weights: &[u32]) -> Option<u64> {
    let all: Vec<&Cluster> = open.iter().map(|one| one.cluster).collect();
    let mut domains = Domains::new(&wants.policy.spread, &all);
    for &i in set {
        domains.add(open[i].cluster);
    }
    domains.are_kept().then_some(())?;
    let of_one = |(&i, weight): (&usize, &u32)| {
        let mut points = open[i].points;
        points.set(Score::TopologySpread, domains.points(open[i].cluster, true));
        u64::from(scale.sum(points)) * u64::from(*weight)
    };
    Some(set.iter().zip(weights).map(of_one).sum())
}

fn sets(of: usize) -> impl Iterator<Item = Vec<usize>> {
    (0u32..1 << of).map(move |bits| (0..of).filter(|i| bits & (1 << i) != 0).collect())
}

/// The places of the chosen clusters in `open`.
fn places(decision: &Decision, open: &[Open<'_>]) -> Vec<usize> {
    let place =
        |name: &crate::fleet::ClusterName| open.iter().position(|one| one.cluster.name == *name).unwrap();
    decision.chosen.iter().map(|row| place(&row.cluster)).collect()
}

/// All ways to write `total` as shares within `caps`.
fn divisions(total: u32, caps: &[u32]) -> Vec<Vec<u32>> {
    let Some((cap, rest)) = caps.split_first() else {
        return if total == 0 { vec![Vec::new()] } else { Vec::new() };
    };
    let with = |share: u32| {
        divisions(total - share, rest).into_iter().map(move |mut shares| {
            shares.insert(0, share);
            shares
        })
    };
    (0..=total.min(*cap)).flat_map(with).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1024, ..ProptestConfig::default() })]

    /// All replicas in each of so many clusters, spread over two properties.
    #[test]
    fn duplicated_is_as_good_as_it_gets(
        drawn in prop::collection::vec(drawn(), 1..=5),
        (gpus, replicas, clusters) in (1u32..=4, 1u32..=3, 1u32..=5),
        (regions, sites) in (prop::option::of((1u32..3, any::<bool>())), prop::option::of((1u32..3, any::<bool>()))),
        tiered in prop::option::of(0u32..3),
    ) {
        let fleet = fleet(&drawn);
        let mut wants = asked(gpus, replicas);
        wants.policy.clusters = Some(clusters);
        let constraint = |key: &str, drawn: Option<(u32, bool)>| {
            drawn.map(|(max_skew, is_hard)| SpreadConstraint { key: key.into(), max_skew, is_hard })
        };
        wants.policy.spread =
            [constraint(properties::REGION, regions), constraint("site", sites)].into_iter().flatten().collect();
        wants.policy.tiers = tiered.map(tiers).unwrap_or_default();
        let workloads = wants.narrowed();
        let scale = Scale::of(&wants, &workloads, &fleet);
        let open = open(&wants, &workloads, &fleet, &scale);
        let ones = vec![1; open.len()];
        let all = sets(open.len()).filter(|set| set.len() <= clusters as usize);
        let kept: Vec<_> =
            all.filter_map(|set| Some((worth(&wants, &open, &set, &scale, &ones)?, set))).collect();
        let most = kept.iter().map(|(_, set)| set.len()).max().unwrap_or(0);
        let floors = |set: &[usize]| wants.policy.tiers.iter().enumerate().map(|(tier, of_tier)| {
            set.iter().filter(|&&i| open[i].tier == tier).count().min(of_tier.least as usize)
        }).sum::<usize>();
        let tiers = |set: &[usize]| set.iter().map(|&i| open[i].tier).sum::<usize>();

        let decision = schedule(&wants, &fleet);
        let chosen = places(&decision, &open);
        let ours = worth(&wants, &open, &chosen, &scale, &ones);
        prop_assert!(ours.is_some(), "it breaks a hard constraint: {decision:?}");
        prop_assert_eq!(chosen.len(), most, "as many as there are to find: {:?}", decision);
        let largest = kept.iter().filter(|(_, set)| set.len() == most);
        let floor = largest.clone().map(|(_, set)| floors(set)).max().unwrap_or(0);
        prop_assert_eq!(floors(&chosen), floor, "what tiers get in any case");
        let largest = largest.filter(|(_, set)| floors(set) == floor);
        let early = largest.clone().map(|(_, set)| tiers(set)).min().unwrap_or(0);
        prop_assert_eq!(tiers(&chosen), early, "the first tiers");
        let best = largest.filter(|(_, set)| tiers(set) == early).map(|(worth, _)| *worth).max().unwrap_or(0);
        prop_assert!(ours.unwrap() * 100 >= best * LEAST, "{ours:?} of {best}: {decision:?}");
    }

    /// Replicas shared by every rule, within every bound.
    #[test]
    fn divided_is_as_good_as_it_gets(
        drawn in prop::collection::vec(drawn(), 1..=5),
        (gpus, replicas, clusters) in (1u32..=4, 1u32..=4, prop::option::of(1u32..=4)),
        (least, most) in (1u32..=2, prop::option::of(2u32..=3)),
        by in prop::sample::select(vec![ShareBy::FreeCapacity, ShareBy::Aggregated, ShareBy::Weighted]),
    ) {
        let fleet = fleet(&drawn);
        let mut wants = asked(gpus, replicas);
        wants.policy.clusters = clusters;
        wants.policy.division = Division::Divided;
        wants.policy.shares.by = by;
        wants.policy.shares.least = least;
        wants.policy.shares.most = most;
        let workloads = wants.narrowed();
        let scale = Scale::of(&wants, &workloads, &fleet);
        let open = open(&wants, &workloads, &fleet, &scale);
        let caps: Vec<u32> = open.iter().map(|one| one.fits.min(most.unwrap_or(99))).collect();
        let limit = clusters.map_or(usize::MAX, |clusters| clusters.min(replicas) as usize);
        let least = least.min(replicas);
        let within = |shares: &Vec<u32>| {
            shares.iter().all(|share| *share == 0 || *share >= least)
                && shares.iter().filter(|share| **share > 0).count() <= limit
        };
        // The most replicas that can be given at all.
        let given = (0..=replicas).rev().find(|total| divisions(*total, &caps).iter().any(within)).unwrap_or(0);
        let all: Vec<Vec<u32>> = divisions(given, &caps).into_iter().filter(within).collect();

        let decision = schedule(&wants, &fleet);
        let mut ours = vec![0; open.len()];
        for (place, row) in places(&decision, &open).into_iter().zip(&decision.chosen) {
            ours[place] = row.replicas[0].replicas;
        }
        prop_assert!(within(&ours) && ours.iter().zip(&caps).all(|(share, cap)| share <= cap), "{ours:?} {caps:?}");
        let total: u32 = ours.iter().sum();
        prop_assert_eq!(total, given, "as many as find a place: {:?} of {:?}", ours, caps);
        let used = |shares: &[u32]| shares.iter().filter(|share| **share > 0).count();
        if by == ShareBy::Aggregated {
            let fewest = all.iter().map(|shares| used(shares)).min().unwrap_or(0);
            prop_assert_eq!(used(&ours), fewest, "as few as possible: {:?} of {:?}", ours, caps);
        }
        // Beside all that use as many clusters and give each of them the same shares in some order: which clusters get them
        // is what scores decide, how large they are is what the rule says.
        if by == ShareBy::Aggregated && used(&ours) == 1 {
            let one = |shares: &Vec<u32>| shares.iter().position(|share| *share > 0).unwrap();
            let sum = |shares: &Vec<u32>| u64::from(scale.sum(open[one(shares)].points));
            let best = all.iter().filter(|shares| used(shares) == 1).map(sum).max().unwrap_or(0);
            prop_assert!(sum(&ours) * 100 >= best * LEAST, "{} of {}", sum(&ours), best);
        }
    }
}
