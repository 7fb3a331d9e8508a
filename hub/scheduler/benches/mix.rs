//! The fleet and the placements that the scheduler is measured on, the same for `cargo bench` and `placement-bench`.
//!
//! Of four clusters one has H100, one A100, one L40S, one both of the last; every fourth is gold, every tenth tainted. Each
//! request has a label term, a toleration and a need for GPUs; one of ten is a gang over two nodes, one has a CEL
//! expression, one is spread over regions.

use std::collections::BTreeMap;

use hub_scheduler::failover::{Limits, PerLane};
use hub_scheduler::fleet::{
    Admin, Agent, Capacity, ClusterName, Effect, Fleet, FleetEvent, ObjectRef, PlacementKey, Platform, Pool,
    Selector, Taint,
};
use hub_scheduler::need::{GpuNeed, Need};
use hub_scheduler::{
    Cause, Decision, Expression, Policy, Previous, Request, SpreadConstraint, Toleration, Variants, Verdicts,
    Workload,
};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

const PRODUCTS: [(&str, u64, u32); 3] =
    [("NVIDIA-H100-80GB-HBM3", 81_559, 8), ("NVIDIA-A100-SXM4-80GB", 81_920, 8), ("NVIDIA-L40S", 46_068, 4)];
const TIERS: [&str; 4] = ["gold", "silver", "silver", "bronze"];

/// A moment by the hub's clock.
pub(crate) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_000_000 + seconds).unwrap_or_default()
}

/// Name of a cluster.
pub(crate) fn name(index: usize) -> ClusterName {
    match format!("cluster-{index:05}").parse() {
        Ok(name) => name,
        Err(error) => unreachable!("{error}"),
    }
}

/// So many clusters, connected, with fresh reports.
pub(crate) fn fleet(clusters: usize) -> Fleet {
    let mut fleet = Fleet::default();
    for index in 0..clusters {
        let cluster = name(index);
        fleet.apply(FleetEvent::Admin { cluster: cluster.clone(), admin: admin(index) });
        fleet.apply(FleetEvent::Connected { cluster: cluster.clone(), agent: Agent::default(), at: at(0) });
        fleet.apply(FleetEvent::Capacity { cluster, capacity: report(index, 0, 0) });
    }
    fleet
}

fn admin(index: usize) -> Admin {
    let labels = [
        ("tier", TIERS[index % 4].to_owned()),
        ("team", format!("team-{}", index % 7)),
        ("site", format!("site-{}", index % 50)),
        ("power", if index.is_multiple_of(3) { "green" } else { "grid" }.to_owned()),
    ];
    let taint = Taint { key: "gpu".to_owned(), value: String::new(), effect: Effect::NoSchedule };
    Admin {
        labels: labels.into_iter().map(|(key, value)| (key.to_owned(), value)).collect(),
        taints: if index.is_multiple_of(10) { vec![taint] } else { Vec::new() },
        accepted: true,
        ..Admin::default()
    }
}

/// What a cluster can run; `used` GPUs are in use on the first node of each pool.
pub(crate) fn report(index: usize, used: u32, seconds: i64) -> Capacity {
    let pools = match index % 4 {
        3 => vec![1, 2],
        kind => vec![kind],
    };
    let mut capacity = empty(seconds);
    capacity.kubernetes_version = "v1.34.2".into();
    capacity.region = format!("region-{}", index % 8);
    capacity.zone = format!("zone-{}", index % 24);
    capacity.provider = ["aws", "gce", "metal"][index % 3].into();
    capacity.pools = pools.into_iter().map(|kind| pool(PRODUCTS[kind], index, used)).collect();
    capacity.platforms =
        platforms(if index.is_multiple_of(2) { &["standalone", "lws"] } else { &["standalone", "kserve"] });
    capacity
}

/// A report of a cluster without anything.
fn empty(seconds: i64) -> Capacity {
    Capacity {
        observed_at: at(seconds),
        received_at: at(seconds),
        kubernetes_version: String::new(),
        region: String::new(),
        zone: String::new(),
        provider: String::new(),
        pools: Vec::new(),
        platforms: Vec::new(),
        caches: Vec::new(),
        ..Capacity::default()
    }
}

fn platforms(names: &[&str]) -> Vec<Platform> {
    names.iter().map(|name| Platform { name: (*name).to_owned(), ..Platform::default() }).collect()
}

fn pool((product, memory_mib, per_node): (&str, u64, u32), index: usize, used: u32) -> Pool {
    let nodes = 4 + u32::try_from(index % 5).unwrap_or(0) * 4;
    let mut free_per_node = BTreeMap::from([(per_node, nodes - 1)]);
    *free_per_node.entry(per_node - used.min(per_node)).or_default() += 1;
    let mut pool =
        Pool { product: product.to_owned(), resource: "nvidia.com/gpu".to_owned(), ..Pool::default() };
    pool.memory_mib = memory_mib;
    pool.nodes = nodes;
    pool.capacity = nodes * per_node;
    pool.allocatable = nodes * per_node;
    pool.free = free_per_node.iter().map(|(block, nodes)| block * nodes).sum();
    pool.free_per_node = free_per_node;
    pool
}

/// So many placements.
pub(crate) fn requests(placements: usize) -> Vec<Request> {
    (0..placements).map(request).collect()
}

/// One placement of the mix.
pub(crate) fn request(index: usize) -> Request {
    let (mut policy, mut gpus, mut pods) = (Policy::default(), [1, 2, 4, 8][index % 4], 1);
    policy.affinity.required = vec![labelled("tier", ["gold", "silver"][index % 2])];
    policy.tolerations =
        vec![Toleration { key: Some("gpu".to_owned()), any_value: true, ..Toleration::default() }];
    match index % 10 {
        3 => (gpus, pods) = (8, 2),
        5 => policy.affinity.expressions = Expression::compile(EXPRESSION).into_iter().collect(),
        7 => {
            let key = "topology.kubernetes.io/region".to_owned();
            policy.spread = vec![SpreadConstraint { key, max_skew: 1, is_hard: true }];
            policy.clusters = Some(3);
        }
        _ => {}
    }
    let gpu = GpuNeed { resource: "nvidia.com/gpu".to_owned(), per_pod: gpus, pods };
    let need = Need {
        gpu: Some(gpu),
        gpu_nodes: true,
        platforms: if pods > 1 { ["lws"].into() } else { ["standalone"].into() },
        replicas: 1,
        replicated: true,
        ..Need::default()
    };
    let uid = format!("uid-{index:06}");
    let object = ObjectRef {
        uid: uid.clone(),
        api_version: "apps.nvidia.com/v1alpha1".to_owned(),
        kind: "NIMService".to_owned(),
        namespace: "nim".to_owned(),
        name: uid,
    };
    Request {
        placement: PlacementKey { namespace: "nim".to_owned(), name: format!("placement-{index:06}") },
        policy,
        workloads: vec![Workload { object, need }],
        variants: Variants::default(),
        verdicts: Verdicts::default(),
        previous: Vec::new(),
        denied: BTreeMap::new(),
        rejected: BTreeMap::new(),
        over_quota: BTreeMap::new(),
        rebalance: None,
        told: hub_scheduler::NAMED,
        now: at(1),
        limits: Limits::default(),
        allowance: PerLane::FREE,
    }
}

const EXPRESSION: &str = "cluster.capacity.freeGPUs >= 16 && cluster.labels.power == 'green'";

fn labelled(key: &str, value: &str) -> Selector {
    let labels = BTreeMap::from([(key.to_owned(), value.to_owned())]);
    let selector = LabelSelector { match_labels: Some(labels), ..LabelSelector::default() };
    Selector::try_from(&selector).unwrap_or_default()
}

/// What a controller does with a decision.
pub(crate) fn adopt(fleet: &mut Fleet, request: &mut Request, decision: &Decision) {
    let row = |chosen: &hub_scheduler::Chosen| Previous {
        cluster: chosen.cluster.clone(),
        since: chosen.since,
        replicas: chosen.replicas.clone(),
        replaced: chosen.is_replaced().then_some(Cause::Lost),
    };
    request.previous = decision.chosen.iter().map(row).collect();
    let grants = request.grants(&request.previous);
    fleet.apply(FleetEvent::Granted { placement: request.placement.clone(), grants });
}
