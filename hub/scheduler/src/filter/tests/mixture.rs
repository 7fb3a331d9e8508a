//! Property: where pools are mixed, of which one lacks this and another that, a refusal over GPUs still names what ends it.

use proptest::prelude::*;

use super::{Fleet, Reason, Request};
use crate::tests::schedule;
use crate::{
    CacheLocality,
    fleet::{NodeGroup, Pool, Potential, Sharing},
    need::{CacheKey, GpuNeed},
    tests::builder::{Build, H100, L40S, request, service},
};

const GPU: &str = "nvidia.com/gpu";
const PART: &str = "nvidia.com/mig-1g.10gb";
/// What the request asks of a GPU and of a node, and what there is instead.
const MEMORY: [u64; 2] = [81_559, 46_068];
const MILLICORES: [u64; 2] = [64_000, 7999];

/// A pool: its resource, product, memory and sharing, each as asked or otherwise; its nodes by GPUs that are free and
/// whether the processor beside them will do; and what a quota leaves.
type Drawn = ([bool; 4], Vec<(u32, bool)>, Option<u32>);

fn drawn() -> impl Strategy<Value = Drawn> {
    let nodes = prop::collection::vec((0u32..=8, prop::bool::weighted(0.7)), 0..4);
    (prop::array::uniform4(prop::bool::weighted(0.6)), nodes, prop::option::weighted(0.3, 0u32..20))
}

fn pool((kind, drawn, quota_left): &Drawn) -> Pool {
    let [resource, product, memory, whole] = *kind;
    let group = |(free, beside): &(u32, bool)| NodeGroup {
        free: *free,
        millicores: MILLICORES[usize::from(!beside)],
        memory_mib: 0,
        nodes: 1,
        set: 0,
    };
    let mut groups: Vec<_> = drawn.iter().map(group).collect();
    groups.sort_unstable();
    let nodes = u32::try_from(groups.len()).unwrap();
    Pool {
        resource: if resource { GPU } else { PART }.into(),
        product: if product { H100 } else { L40S }.into(),
        memory_mib: MEMORY[usize::from(!memory)],
        sharing: if whole { Sharing::Whole } else { Sharing::Mps },
        nodes,
        capacity: nodes * 8,
        allocatable: nodes * 8,
        free: groups.iter().map(|group| group.free).sum(),
        groups,
        quota_left: *quota_left,
        ..Pool::default()
    }
}

fn wants(per_pod: u32, pods: u32, replicas: u32, jobs: Option<u32>) -> Request {
    let mut wants = request("chat", vec![service("llm", per_pod, replicas), service("tune", 0, 1)]);
    wants.policy.gpu.products = vec!["h100".into()];
    wants.policy.gpu.min_memory_mib = Some(MEMORY[0]);
    wants.workloads[0].need.gpu.as_mut().unwrap().pods = pods;
    wants.workloads[0].need.millicores = 8000;
    let jobs = jobs.map(|per_pod| GpuNeed { resource: GPU.into(), per_pod, pods: 1 });
    wants.workloads[1].need.jobs = jobs;
    wants
}

fn refusal(pools: &[Drawn], potential: &[Potential], wants: &Request) -> Option<(Reason, String)> {
    let fleet = Fleet::default().joined("east", pools.iter().map(pool).collect());
    let decision = schedule(wants, &fleet.admin("east", |admin| admin.potential = potential.to_vec()));
    let refused = decision.refused.into_iter().next().map(|refused| (refused.reason, refused.message));
    assert!(
        refused.is_some() || decision.outcome.complete,
        "neither taken nor refused: {:?}",
        decision.outcome
    );
    refused
}

/// Repairs what a reason names, and that alone: of whatever is there, where something is.
fn repair(pools: &mut Vec<Drawn>, reason: Reason, message: &str) {
    for (kind, nodes, quota) in pools.iter_mut() {
        match reason {
            Reason::NoGPU => kind[0] = true,
            Reason::GPUProductMismatch => kind[1] = true,
            Reason::GPUMemoryTooSmall => kind[2] = true,
            Reason::GPUsShared => kind[3] = true,
            Reason::InsufficientNodeResources => nodes.iter_mut().for_each(|node| node.1 = true),
            _ if message.contains("not within the quotas of Kueue") => *quota = None,
            _ => nodes.extend([(8, true); 12]),
        }
    }
    // GPUs of another kind, where there are none at all: only that there are none is repaired.
    if reason == Reason::NoGPU && pools.iter().all(|(_, nodes, _)| nodes.is_empty()) {
        pools.push(([true, false, false, false], vec![(0, false)], None));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1024, ..ProptestConfig::default() })]

    #[test]
    fn no_reason_over_gpus_is_given_again_once_it_is_repaired(
        mut pools in prop::collection::vec(drawn(), 0..4),
        (per_pod, pods, replicas) in (1u32..=8, 1u32..=3, 1u32..=3),
        jobs in prop::option::of(1u32..=24),
    ) {
        let wants = wants(per_pod, pods, replicas, jobs);
        let mut seen = Vec::new();
        while let Some((reason, message)) = refusal(&pools, &[], &wants) {
            // GPUs may be too few, and not be within a quota.
            let what = (reason, message.contains("not within the quotas of Kueue"));
            prop_assert!(!seen.contains(&what), "again, of {:?}: {}: {}", pools, reason, message);
            seen.push(what);
            repair(&mut pools, reason, &message);
        }
    }

    /// What an autoscaler brings is told where it would not do either, and no sentence is told twice.
    #[test]
    fn what_an_autoscaler_could_bring_is_told_once(
        pools in prop::collection::vec(drawn(), 0..3),
        product in prop::sample::select(vec![H100, L40S]),
        (gpus_per_node, max_nodes) in (1u32..=8, 1u32..9),
        requires in any::<bool>(),
    ) {
        let mut wants = wants(8, 1, 2, None);
        // What no node brings.
        wants.policy.cache_locality = if requires { CacheLocality::Require } else { CacheLocality::Prefer };
        wants.workloads[0].need.cache = Some(CacheKey::default());
        let potential = Potential {
            product: product.into(), resource: GPU.into(), gpus_per_node, max_nodes, memory_mib: MEMORY[0],
            delay: jiff::SignedDuration::from_mins(7),
        };
        if let Some((_, message)) = refusal(&pools, &[potential], &wants) {
            let (now, then) = message.split_once("; with all of spec.potential: ").unwrap_or((&message, ""));
            prop_assert_ne!(now, then);
        }
    }
}
