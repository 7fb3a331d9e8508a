//! The next best candidate, beside the plain way to find it: all that are open are asked each time.

use proptest::prelude::*;

use super::super::tests::builder::{Build, H100, pool, request, service};
use super::super::{ClusterSet, Preferred, SpreadConstraint, Tier, filter};
use super::*;
use crate::fleet::{Fleet, Selector};

const KEYS: [&str; 3] = ["site", "rack", "power"];

/// What [`Choice::greedy`] says, by its definition.
fn plain<'a>(
    choice: &Choice<'a>,
    candidates: &[Candidate<'a>],
    taken: &[(&'a Cluster, usize)],
    wanted: usize,
) -> Vec<usize> {
    let mut domains = choice.domains(candidates, taken);
    let mut picked: Vec<usize> = Vec::new();
    let mut next = |picked: &mut Vec<usize>, tier: Option<usize>| {
        let open = (0..candidates.len()).filter(|i| !picked.contains(i));
        let fits = open.filter(|&i| {
            tier.is_none_or(|tier| candidates[i].tier == tier)
                && domains.broken_by(candidates[i].cluster).is_none()
        });
        let best = fits.min_by_key(|&i| choice.rank(&candidates[i], candidates[i].spread(&domains, false)));
        let Some(best) = best else { return false };
        domains.add(candidates[best].cluster);
        picked.push(best);
        true
    };
    for (tier, of_tier) in choice.request.policy.tiers.iter().enumerate() {
        let has = taken.iter().filter(|(_, of)| *of == tier).count();
        for _ in has..of_tier.least as usize {
            if picked.len() == wanted || !next(&mut picked, Some(tier)) {
                break;
            }
        }
    }
    while picked.len() < wanted && next(&mut picked, None) {}
    picked
}

fn selector(key: &str, value: &str) -> Selector {
    let json = serde_json::json!({"matchLabels": {key: value}});
    Selector::try_from(&serde_json::from_value(json).unwrap()).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn groups_find_what_the_plain_way_finds(
        drawn in prop::collection::vec((prop::array::uniform3(0u8..4), 0u8..2, 1u32..9), 1..40),
        constraints in prop::collection::vec((0usize..3, 1u32..3, any::<bool>()), 0..4),
        (wanted, taken, least) in (0usize..50, 0usize..6, 0u32..5),
    ) {
        let mut fleet = Fleet::default();
        for (index, (values, tier, free)) in drawn.iter().enumerate() {
            let name = format!("c{index:02}");
            fleet = fleet.joined(&name, vec![pool(H100, 81_559, &[(*free, 1)], 8)]);
            for (key, value) in KEYS.iter().zip(values) {
                // Value 3: the cluster has no such label.
                if *value < 3 {
                    fleet = fleet.labelled(&name, key, &value.to_string());
                }
            }
            fleet = fleet.labelled(&name, "tier", &format!("t{tier}"));
        }
        let mut wants = request("chat", vec![service("llm", 1, 1)]);
        wants.policy.affinity.preferred = vec![Preferred { weight: 5, selector: selector("power", "1") }];
        wants.policy.spread = constraints
            .into_iter()
            .map(|(key, max_skew, is_hard)| SpreadConstraint { key: KEYS[key].into(), max_skew, is_hard })
            .collect();
        let tier = |index: u8, least| Tier {
            name: index.to_string(),
            clusters: ClusterSet { names: Vec::new(), selector: Some(selector("tier", &format!("t{index}"))) },
            least,
        };
        wants.policy.tiers = vec![tier(0, 0), tier(1, least)];
        let workloads = wants.narrowed();
        let scale = Scale::of(&wants, &workloads, &fleet);
        let choice = Choice { request: &wants, scale: &scale };
        let open = fleet.clusters().filter_map(|cluster| {
            let (left, tier) = filter::may_come(&wants, &workloads, &fleet, cluster).ok()?;
            let points = scale.points(&wants, &workloads, cluster, Some(&left), false);
            Some(Candidate { cluster, workloads: &workloads, left, points, tier })
        });
        let mut candidates: Vec<Candidate<'_>> = open.collect();
        let taken = candidates.split_off(candidates.len().saturating_sub(taken));
        let taken: Vec<_> = taken.iter().map(|one| (one.cluster, one.tier)).collect();
        candidates.reverse();
        let expected = plain(&choice, &candidates, &taken, wanted);
        prop_assert_eq!(choice.greedy(&candidates, &taken, wanted), expected);
    }
}
