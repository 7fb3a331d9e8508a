//! What is remembered of candidates, beside asking each of them every time.

use proptest::prelude::*;

use super::super::tests::builder::{Build, H100, L40S, pool, request, service};
use super::super::{Division, Request, Workload, filter, score::Scale};
use super::*;
use crate::fleet::Fleet;

/// [`Growth::enough`] by its definition.
fn enough(growth: &Growth<'_, '_>, order: Vec<usize>, rest: &[u32], free: usize) -> Vec<usize> {
    let mut come: Vec<usize> = order.iter().copied().take(free).collect();
    let mut others: Vec<usize> = order.into_iter().skip(free).collect();
    let lacks = |come: &[usize]| -> u32 {
        come.iter().fold(rest.to_vec(), |rest, &at| growth.after(&growth.candidates[at], rest)).iter().sum()
    };
    let mut missing = lacks(&come);
    while missing > 0 {
        let mut best: Option<(u32, usize, usize)> = None;
        for out in (0..come.len()).rev() {
            for (other, &candidate) in others.iter().enumerate() {
                let mut swapped = come.clone();
                swapped[out] = candidate;
                let lacks = lacks(&swapped);
                if lacks < best.map_or(missing, |(lacks, _, _)| lacks) {
                    best = Some((lacks, out, other));
                }
            }
        }
        let Some((lacks, out, other)) = best else { break };
        std::mem::swap(&mut come[out], &mut others[other]);
        missing = lacks;
    }
    come
}

/// [`Growth::fewest`] by its definition.
fn fewest(growth: &Growth<'_, '_>, mut order: Vec<usize>, mut rest: Vec<u32>, free: usize) -> Vec<usize> {
    let mut come = Vec::new();
    while come.len() < free && (rest.iter().any(|rest| *rest > 0) || come.is_empty()) {
        let left = |at: &usize| growth.after(&growth.candidates[*at], rest.clone());
        let next = order.iter().enumerate().min_by_key(|(_, at)| left(at).iter().sum::<u32>());
        let Some((place, &at)) = next else { break };
        rest = left(&at);
        come.push(at);
        order.remove(place);
    }
    come
}

fn wish(services: &[(u32, u32, u32)], most: Option<u32>) -> Request {
    let service = |(index, (gpus, pods, replicas)): (usize, &(u32, u32, u32))| {
        let mut workload: Workload = service(&format!("s{index}"), *gpus, *replicas);
        if let Some(gpu) = &mut workload.need.gpu {
            gpu.pods = *pods;
        }
        workload
    };
    let mut wants = request("chat", services.iter().enumerate().map(service).collect());
    wants.policy.division = Division::Divided;
    wants.policy.shares.most = most;
    wants
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn what_is_remembered_is_what_would_be_found(
        drawn in prop::collection::vec((prop::collection::vec(0u32..=8, 1..4), any::<bool>()), 1..9),
        services in prop::collection::vec((0u32..=4, 1u32..=2, 0u32..12), 1..4),
        most in prop::option::of(1u32..4),
        (free, rests) in (0usize..5, prop::collection::vec(prop::collection::vec(0u32..12, 3), 0..6)),
    ) {
        let mut fleet = Fleet::default();
        for (index, (nodes, small)) in drawn.iter().enumerate() {
            let mut blocks = std::collections::BTreeMap::new();
            for free in nodes {
                *blocks.entry(*free).or_insert(0u32) += 1;
            }
            let blocks: Vec<_> = blocks.into_iter().collect();
            let product = if *small { L40S } else { H100 };
            fleet = fleet.joined(&format!("c{index}"), vec![pool(product, 46_068, &blocks, 8)]);
        }
        let wants = wish(&services, most);
        let workloads = wants.narrowed();
        let scale = Scale::of(&wants, &workloads, &fleet);
        let choice = Choice { request: &wants, scale: &scale };
        let divisible = Divisible::of(&workloads);
        let open = fleet.clusters().filter_map(|cluster| {
            let (left, tier) = filter::may_come(&wants, &workloads, &fleet, cluster).ok()?;
            let points = scale.points(&wants, &workloads, cluster, Some(&left), false);
            Some(Member::new(&Candidate { cluster, workloads: &workloads, left, points, tier }, divisible.len()))
        });
        let growth = Growth {
            choice: &choice, divisible: &divisible, members: Vec::new(), candidates: open.collect(), slots: 9, few: false,
        };
        let all: Vec<u32> = divisible.iter().map(Divisible::replicas).collect();
        let mut known = Known::new(&growth, &all);
        for rest in rests {
            let rest: Vec<u32> = rest.iter().zip(&all).map(|(rest, all)| *rest.min(all)).collect();
            for at in 0..growth.candidates.len() {
                let expected = growth.takes(&growth.candidates[at], &rest);
                prop_assert_eq!(known.takes(at, &rest), expected.as_slice(), "{} of {:?}", at, rest);
            }
        }
        let order: Vec<usize> = (0..growth.candidates.len()).rev().collect();
        prop_assert_eq!(growth.enough(order.clone(), &all, free), enough(&growth, order.clone(), &all, free));
        prop_assert_eq!(growth.fewest(order.clone(), all.clone(), free), fewest(&growth, order, all, free));
    }
}
