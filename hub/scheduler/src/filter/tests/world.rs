//! A cluster that is good for a request, in parts that can be broken one by one.

use std::{collections::BTreeMap, sync::Arc};

use crds::taints::NodeTaint;

use super::selector;
use crate::{
    CacheLocality, ClusterSet, Division, Expression, Request, SpreadConstraint, Tier,
    fleet::{
        Access, Admin, Agent, Capacity, DeviceGroup, Fleet, FleetEvent, Grant, GrantedObject, HeldCache,
        Namespaces, NodeGroup, NodeLabel, NodeSet, NodeSets, PlacementKey, Platform, Pool, Potential, Sets,
        StorageClass, Tainted, properties,
    },
    need::{
        CacheKey, ClaimNeed, Comparison, DeviceNeed, GpuNeed, Mounts, NodeDemand, Operator, Profile,
        Profiles, Requirement, Selector, Signature, Wanted,
    },
    tests::builder::{Build, H100, at, name, report, request, service},
};

/// The only cluster.
pub(super) const EAST: &str = "east";
/// Uid of the hub's own cluster.
pub(super) const HUB_UID: &str = "hub";
const GPU: &str = "nvidia.com/gpu";

/// What a request takes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wish {
    pub(super) per_pod: u32,
    pub(super) pods: u32,
    pub(super) replicas: u32,
    pub(super) divided: bool,
    /// Whether its user names the clusters.
    pub(super) named: bool,
    /// Whether the cluster's autoscaler can bring GPUs, of a kind that will not do.
    pub(super) elastic: bool,
    /// Nodes that are not needed.
    pub(super) spare: u32,
}

impl Wish {
    /// Replicas that a cluster must have room for.
    pub(super) fn at_once(self) -> u32 {
        if self.divided { 1 } else { self.replicas }
    }
}

/// A cluster and a request, part by part, so that whatever is broken in one leaves the others as they are.
#[derive(Debug)]
pub(super) struct World {
    pub(super) admin: Admin,
    pub(super) capabilities: Vec<String>,
    /// Labels of the request's namespace, where the hub knows it.
    pub(super) namespace: Option<BTreeMap<String, String>>,
    pub(super) link: Sessions,
    /// Its report, if there is one, without pools: they are made of the next two.
    pub(super) capacity: Capacity,
    pub(super) has_reported: bool,
    pub(super) pool: Pool,
    /// Its nodes, all alike; none at all if it has no GPU.
    pub(super) node: NodeGroup,
    pub(super) has_gpus: bool,
    /// Replicas that another placement was promised.
    pub(super) promised: u32,
    pub(super) request: Request,
}

/// The sessions of the cluster's spoke.
#[derive(Debug)]
pub(super) struct Sessions {
    pub(super) has_joined: bool,
    pub(super) came_back: bool,
    pub(super) is_silent: bool,
    /// Uid of the cluster that the spoke tells.
    pub(super) cluster_uid: &'static str,
}

impl World {
    /// In which nothing is wrong.
    pub(super) fn good(wish: Wish) -> Self {
        let admin = Admin {
            accepted: true,
            labels: labels(&[
                ("tier", "gold"),
                ("ring", "inner"),
                ("site", "a"),
                ("rack", "1"),
                (properties::REGION, "eu"),
            ]),
            allowed_namespaces: Namespaces::Matching(selector("team", "ml")),
            potential: wish.elastic.then(unsuitable).into_iter().collect(),
            ..Admin::default()
        };
        let node = NodeGroup {
            free: wish.per_pod,
            millicores: 4000,
            memory_mib: 32_768,
            nodes: wish.pods * wish.replicas + wish.spare,
            set: 0,
        };
        let pool = Pool {
            product: H100.into(),
            resource: GPU.into(),
            memory_mib: 81_559,
            quota_left: Some(1000),
            ..Pool::default()
        };
        Self {
            admin,
            capabilities: vec!["apps.nvidia.com/v1alpha1/NIMService".into()],
            namespace: Some(labels(&[("team", "ml")])),
            link: Sessions { has_joined: true, came_back: false, is_silent: false, cluster_uid: "another" },
            capacity: capacity(),
            has_reported: true,
            pool,
            node,
            has_gpus: true,
            promised: 0,
            request: wants(wish),
        }
    }

    /// The fleet of that one cluster.
    pub(super) fn fleet(&self) -> Fleet {
        let connected = |seconds| {
            let capabilities = self.capabilities.clone();
            let cluster_uid = self.link.cluster_uid.into();
            let agent = Agent { version: "0.1.0".into(), capabilities, cluster_uid, ..Agent::default() };
            FleetEvent::Connected { cluster: name(EAST), agent, at: at(seconds) }
        };
        let mut fleet =
            Fleet::default().with(FleetEvent::Admin { cluster: name(EAST), admin: self.admin.clone() });
        fleet = fleet.with(FleetEvent::Hub { uid: HUB_UID.into() });
        // The hub's own cluster is known by what its spoke says when it connects.
        if self.link.has_joined || self.link.cluster_uid == HUB_UID {
            fleet = fleet.with(connected(-2000));
        }
        if self.link.came_back {
            fleet = fleet.silent(EAST, -100).with(connected(0));
        }
        if self.link.is_silent {
            fleet = fleet.silent(EAST, 0);
        }
        if self.has_reported {
            fleet = fleet.reports(EAST, Capacity { pools: self.pools(), ..self.capacity.clone() });
        }
        if let Some(labels) = &self.namespace {
            fleet = fleet.with(FleetEvent::Namespace { name: "nim".into(), labels: Some(labels.clone()) });
        }
        fleet.with(self.promise())
    }

    fn pools(&self) -> Vec<Pool> {
        let NodeGroup { free, nodes, .. } = self.node;
        let pool = Pool {
            nodes,
            capacity: nodes * 8,
            allocatable: nodes * 8,
            free: free * nodes,
            free_per_node: [(free, nodes)].into(),
            groups: vec![self.node],
            ..self.pool.clone()
        };
        if self.has_gpus { vec![pool] } else { Vec::new() }
    }

    /// What another placement was promised: GPUs of the same kind, and nothing beside them.
    fn promise(&self) -> FleetEvent {
        let gpu = GpuNeed { resource: self.pool.resource.clone(), per_pod: 1, pods: 1 };
        let need = crate::need::Need { gpu: Some(gpu), ..crate::need::Need::default() };
        let object = GrantedObject { uid: "other".into(), need, replicas: self.promised };
        let grant = Grant { cluster: name(EAST), since: at(0), priority: 0, objects: vec![object] };
        let placement = PlacementKey { namespace: "nim".into(), name: "other".into() };
        let grants = if self.promised == 0 { Vec::new() } else { vec![grant] };
        FleetEvent::Granted { placement, grants }
    }

    pub(super) fn label(&mut self, key: &str, value: &str) {
        self.admin.labels.insert(key.to_owned(), value.to_owned());
    }

    pub(super) fn serve(&mut self, platform: &str, versions: &[&str]) {
        let known = self.capacity.platforms.iter_mut().filter(|known| known.name == platform);
        known.for_each(|known| known.served = versions.iter().map(|&version| version.to_owned()).collect());
    }

    pub(super) fn devices(&mut self) -> &mut DeviceGroup {
        &mut self.capacity.devices.as_mut().unwrap()[0]
    }

    pub(super) fn class(&mut self, at: usize) -> &mut StorageClass {
        &mut self.capacity.storage.as_mut().unwrap()[at]
    }

    /// Its first object goes to nodes with that label.
    pub(super) fn selects(&mut self, key: &str, value: &str) {
        self.request.workloads[0].need.nodes = Some(selecting(key, value));
    }

    /// All nodes have that taint.
    pub(super) fn taint(&mut self, key: &str) {
        self.capacity.nodes = Some(node_sets(vec![taint(key)]));
        self.pool.tainted = vec![Tainted { set: 0, nodes: 100, allocatable: 800 }];
    }

    pub(super) fn profile(&mut self) -> &mut Profile {
        let profiles = self.request.workloads[0].need.profiles.as_mut().unwrap();
        &mut Arc::make_mut(profiles).choices[0]
    }
}

fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect()
}

fn unsuitable() -> Potential {
    Potential {
        product: "NVIDIA-L4".into(),
        resource: GPU.into(),
        gpus_per_node: 8,
        max_nodes: 50,
        memory_mib: 23_034,
        delay: jiff::SignedDuration::from_mins(7),
    }
}

pub(super) fn taint(key: &str) -> NodeTaint {
    NodeTaint { key: key.into(), value: String::new(), effect: "NoSchedule".into() }
}

/// Pods that go to nodes with a label.
fn selecting(key: &str, value: &str) -> Arc<NodeDemand> {
    let requirement = Requirement { key: key.into(), operator: Operator::In, values: vec![value.to_owned()] };
    Arc::new(NodeDemand { selector: vec![requirement], ..NodeDemand::default() })
}

/// Nodes that are all alike.
fn node_sets(taints: Vec<NodeTaint>) -> Arc<NodeSets> {
    let label = NodeLabel { key: "ring".into(), value: "inner".into(), sets: Sets(1), partial: false };
    Arc::new(NodeSets::new(vec![NodeSet { taints, nodes: 100 }], vec![label], Vec::new()))
}

/// What is there beside GPUs.
fn capacity() -> Capacity {
    let platform = |name: &str, version: &str| Platform {
        name: name.into(),
        version: version.into(),
        served: vec![version.into()],
    };
    let class = |name: &str| StorageClass {
        name: name.into(),
        is_default: false,
        access: Some(Access::ManyNodes),
        largest_mib: Some(100_000),
    };
    let devices = DeviceGroup {
        class: "nic.example.com".into(),
        driver: "nic.example.com".into(),
        attributes: labels(&[("nic.example.com/speed", "400G")]),
        devices: 999,
        free: 800,
        free_per_node: [(8, 100)].into(),
        ..DeviceGroup::default()
    };
    Capacity {
        platforms: vec![
            platform("kserve", "v1beta1"),
            platform("lws", "v1"),
            Platform { name: "standalone".into(), ..Platform::default() },
        ],
        caches: vec![HeldCache { namespace: "nim".into(), name: "weights".into(), ..HeldCache::default() }],
        storage: Some(vec![class("shared"), class("local")]),
        devices: Some(vec![devices]),
        nodes: Some(node_sets(Vec::new())),
        ..report(Vec::new(), 0)
    }
}

/// A request that asks for something of every filter.
fn wants(wish: Wish) -> Request {
    let Wish { per_pod, pods, replicas, divided, named, .. } = wish;
    let mut wants = request("chat", vec![service("llm", per_pod, replicas), service("tune", 0, 1)]);
    let expression = |source: &str| Expression::compile(source).unwrap();
    let policy = &mut wants.policy;
    policy.affinity.required = vec![selector("tier", "silver"), selector("tier", "gold")];
    policy.affinity.cluster_names = if named { vec![EAST.into()] } else { Vec::new() };
    policy.affinity.expressions =
        vec![expression("cluster.labels.site == 'a'"), expression("cluster.labels.rack != '0'")];
    policy.tiers = vec![Tier {
        name: "first".into(),
        clusters: ClusterSet { names: Vec::new(), selector: Some(selector("ring", "inner")) },
        least: 0,
    }];
    policy.spread = vec![SpreadConstraint { key: properties::REGION.into(), max_skew: 1, is_hard: true }];
    policy.gpu.products = vec!["h100".into()];
    policy.gpu.min_memory_mib = Some(40_960);
    policy.cache_locality = CacheLocality::Require;
    policy.division = if divided { Division::Divided } else { Division::Duplicated };

    let signature = Signature { precision: "fp8".into(), engine: "vllm".into() };
    let profile = Profile {
        name: "p".into(),
        product: "H100".into(),
        tensor: per_pod,
        pipeline: pods,
        signature: signature.clone(),
        lora: false,
    };
    let claim = |class: &str, mounts, mib| ClaimNeed {
        field: format!("spec.{class}"),
        class: Some(class.into()),
        mounts,
        mib,
    };
    let speed = Selector {
        key: "nic.example.com/speed".into(),
        comparison: Comparison::Equal,
        wanted: Wanted::Text("400G".into()),
    };
    let need = &mut wants.workloads[0].need;
    need.gpu.as_mut().unwrap().pods = pods;
    need.nodes = Some(selecting("ring", "inner"));
    need.millicores = 4000;
    need.memory_mib = 32_768;
    need.platforms = ["kserve", "lws"].into();
    need.cache = Some(CacheKey { namespace: "nim".into(), name: "weights".into() });
    need.profiles =
        Some(Arc::new(Profiles { choices: vec![profile], named: true, signature: Some(signature) }));
    need.claims = vec![claim("shared", Mounts::ManyNodes, 50_000), claim("local", Mounts::OneNodeByAll, 0)];
    need.devices = vec![DeviceNeed {
        field: "spec.draResources[0]".into(),
        class: "nic.example.com".into(),
        driver: "nic.example.com".into(),
        count: 2,
        selectors: vec![speed],
    }];
    let jobs = &mut wants.workloads[1].need;
    jobs.gpu_nodes = true;
    jobs.jobs = Some(GpuNeed { resource: GPU.into(), per_pod: 2, pods: 1 });
    wants
}
