//! Fleets and requests in a line each.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::{
    Cause, Chosen, Decision, Policy, Previous, Request, Variants, Verdicts, Workload,
    failover::{Limits, PerLane},
    fleet::{
        Admin, Agent, Capacity, ClusterName, Effect, Fleet, FleetEvent, Grant, ObjectCondition, ObjectRef,
        ObjectStatus, PlacementKey, Platform, Pool, Taint, Truth,
    },
    need::{GpuNeed, Need},
};

pub(crate) const H100: &str = "NVIDIA-H100-80GB-HBM3";
pub(crate) const L40S: &str = "NVIDIA-L40S";
pub(crate) const START: i64 = 1_000_000;

/// Seconds after the start of the story.
pub(crate) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(START + seconds).unwrap()
}

pub(crate) fn name(name: &str) -> ClusterName {
    name.parse().unwrap()
}

pub(crate) fn pool(product: &str, memory_mib: u64, blocks: &[(u32, u32)], per_node: u32) -> Pool {
    let free_per_node: BTreeMap<u32, u32> = blocks.iter().copied().collect();
    let nodes = free_per_node.values().sum();
    Pool {
        product: product.to_owned(),
        resource: "nvidia.com/gpu".to_owned(),
        memory_mib,
        nodes,
        capacity: nodes * per_node,
        allocatable: nodes * per_node,
        free: free_per_node.iter().map(|(block, nodes)| block * nodes).sum(),
        free_per_node,
        ..Pool::default()
    }
}

pub(crate) fn report(pools: Vec<Pool>, seconds: i64) -> Capacity {
    Capacity {
        observed_at: at(seconds),
        received_at: at(seconds),
        pools,
        platforms: vec![Platform { name: "standalone".into(), ..Platform::default() }],
        ..Capacity::default()
    }
}

/// Changes one cluster of a fleet, with all that makes it schedulable unless said otherwise.
pub(crate) trait Build {
    fn joined(self, cluster: &str, pools: Vec<Pool>) -> Self;
    fn admin(self, cluster: &str, change: impl FnOnce(&mut Admin)) -> Self;
    fn labelled(self, cluster: &str, key: &str, value: &str) -> Self;
    fn tainted(self, cluster: &str, key: &str, effect: Effect) -> Self;
    fn silent(self, cluster: &str, seconds: i64) -> Self;
    fn reports(self, cluster: &str, capacity: Capacity) -> Self;
    fn with(self, event: FleetEvent) -> Self;
}

impl Build for Fleet {
    fn with(mut self, event: FleetEvent) -> Self {
        self.apply(event);
        self
    }

    fn joined(self, cluster: &str, pools: Vec<Pool>) -> Self {
        self.admin(cluster, |admin| admin.accepted = true)
            .with(FleetEvent::Connected { cluster: name(cluster), agent: Agent::default(), at: at(0) })
            .reports(cluster, report(pools, 0))
    }

    fn admin(self, cluster: &str, change: impl FnOnce(&mut Admin)) -> Self {
        let mut admin = self.cluster(cluster).map_or_else(Admin::default, |known| Admin {
            labels: known.labels.clone(),
            taints: known.taints.clone(),
            accepted: known.accepted,
            failover_confirmed: known.failover_confirmed,
            allowed_namespaces: known.allowed_namespaces.clone(),
            drain: known.drain,
            cost_per_gpu_hour: known.cost_per_gpu_hour.clone(),
            potential: known.potential.clone(),
        });
        change(&mut admin);
        self.with(FleetEvent::Admin { cluster: name(cluster), admin })
    }

    fn labelled(self, cluster: &str, key: &str, value: &str) -> Self {
        self.admin(cluster, |admin| drop(admin.labels.insert(key.to_owned(), value.to_owned())))
    }

    fn tainted(self, cluster: &str, key: &str, effect: Effect) -> Self {
        let taint = Taint { key: key.to_owned(), value: String::new(), effect };
        self.admin(cluster, |admin| admin.taints.push(taint))
    }

    fn silent(self, cluster: &str, seconds: i64) -> Self {
        self.with(FleetEvent::Disconnected { cluster: name(cluster), at: at(seconds) })
    }

    fn reports(self, cluster: &str, capacity: Capacity) -> Self {
        self.with(FleetEvent::Capacity { cluster: name(cluster), capacity })
    }
}

pub(crate) fn object(uid: &str) -> ObjectRef {
    ObjectRef {
        uid: uid.to_owned(),
        api_version: "apps.nvidia.com/v1alpha1".into(),
        kind: "NIMService".into(),
        namespace: "nim".into(),
        name: uid.to_owned(),
    }
}

/// A service of `replicas` replicas with `gpus` GPUs each.
pub(crate) fn service(uid: &str, gpus: u32, replicas: u32) -> Workload {
    let gpu = GpuNeed { resource: "nvidia.com/gpu".into(), per_pod: gpus, pods: 1 };
    let need = Need {
        gpu: (gpus > 0).then_some(gpu),
        gpu_nodes: gpus > 0,
        replicas,
        replicated: true,
        ..Need::default()
    };
    Workload { object: object(uid), need }
}

pub(crate) fn request(placement: &str, workloads: Vec<Workload>) -> Request {
    Request {
        placement: PlacementKey { namespace: "nim".into(), name: placement.to_owned() },
        policy: Policy::default(),
        workloads,
        variants: Variants::default(),
        verdicts: Verdicts::default(),
        previous: Vec::new(),
        denied: std::collections::BTreeMap::new(),
        rejected: std::collections::BTreeMap::new(),
        rebalance: None,
        told: usize::MAX,
        over_quota: std::collections::BTreeMap::new(),
        now: at(1),
        limits: Limits::default(),
        allowance: PerLane::FREE,
    }
}

/// The row that a controller stores for a chosen cluster.
pub(crate) fn row(chosen: &Chosen) -> Previous {
    Previous {
        cluster: chosen.cluster.clone(),
        since: chosen.since,
        replicas: chosen.replicas.clone(),
        replaced: chosen.is_replaced().then(|| Cause::of(chosen.reason.as_str())),
    }
}

/// What a controller does with a decision, with nothing to remove: rows stored, grants told to the fleet.
pub(crate) fn adopt(fleet: &mut Fleet, request: &mut Request, decision: &Decision) {
    request.previous = decision.chosen.iter().map(row).collect();
    let grants: Vec<Grant> = request.grants(&request.previous);
    fleet.apply(FleetEvent::Granted { placement: request.placement.clone(), grants });
}

pub(crate) fn status(uid: &str, ready: u32, seconds: i64) -> ObjectStatus {
    ObjectStatus {
        object: object(uid),
        generation: 1,
        hash: "h".into(),
        state: "Ready".into(),
        conditions: Vec::new(),
        ready_replicas: ready,
        wanted_replicas: ready,
        observed_at: at(seconds),
        profiles: Vec::new(),
        unschedulable: None,
        claim: String::new(),
    }
}

/// The status of an object of which pods find no node.
pub(crate) fn pending(uid: &str, ready: u32, seconds: i64) -> ObjectStatus {
    let condition = ObjectCondition {
        kind: "Ready".into(),
        status: Truth::False,
        reason: "Unschedulable".into(),
        message: String::new(),
        last_transition: at(seconds),
    };
    ObjectStatus { conditions: vec![condition], ..status(uid, ready, seconds) }
}

pub(crate) fn chosen(decision: &Decision) -> Vec<&str> {
    decision.chosen.iter().map(|row| row.cluster.as_str()).collect()
}

/// Cluster → replicas of the object there.
pub(crate) fn shares(decision: &Decision, uid: &str) -> Vec<(String, u32)> {
    let of = |row: &Chosen| {
        row.replicas.iter().find(|granted| granted.uid == uid).map_or(0, |granted| granted.replicas)
    };
    decision.chosen.iter().map(|row| (row.cluster.to_string(), of(row))).collect()
}
