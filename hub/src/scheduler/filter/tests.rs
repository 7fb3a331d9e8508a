//! One filter at a time: what is refused, why, with which numbers, and that repairing only that lets the
//! cluster in.

use crate::{
    fleet::{Effect, Fleet, FleetEvent, Namespaces, Platform, Potential, Selector},
    need::GpuNeed,
    scheduler::{
        Denied, Reason, Request, Toleration, schedule,
        tests::builder::{Build, H100, L40S, adopt, at, chosen, pool, report, request, service},
    },
};

fn h100() -> Fleet {
    Fleet::default().joined("east", vec![pool(H100, 81_559, &[(8, 2)], 8)])
}

/// A request that fits [`h100`].
fn fitting() -> Request {
    request("chat", vec![service("llm", 8, 2)])
}

fn selector(key: &str, value: &str) -> Selector {
    let json = serde_json::json!({"matchLabels": {key: value}});
    Selector::try_from(&serde_json::from_value(json).unwrap()).unwrap()
}

/// The refusal of `east`, after checking that the fleet and request without the fault are let in.
fn refusal(fleet: &Fleet, request: &Request) -> (Reason, String) {
    let decision = schedule(request, fleet);
    assert!(decision.chosen.is_empty(), "{decision:?}");
    let refused = decision.refused.iter().find(|refused| refused.cluster == "east").expect("east is refused");
    (refused.reason, refused.message.clone())
}

fn expect(fleet: &Fleet, request: &Request, reason: Reason, words: &[&str]) {
    let (got, message) = refusal(fleet, request);
    assert_eq!(got, reason, "{message}");
    for word in words {
        assert!(message.contains(word), "{word:?} in {message:?}");
    }
}

fn accept(fleet: &Fleet, request: &Request) {
    let decision = schedule(request, fleet);
    assert!(decision.outcome.complete && decision.chosen.len() == 1, "{decision:?}");
}

#[test]
fn a_fleet_without_fault_is_let_in() {
    accept(&h100(), &fitting());
}

#[test]
fn acceptance() {
    let fleet = h100().admin("east", |admin| admin.accepted = false);
    expect(&fleet, &fitting(), Reason::NotAccepted, &["spec.accepted"]);
    accept(&fleet.admin("east", |admin| admin.accepted = true), &fitting());
}

#[test]
fn connectivity() {
    let fleet = h100().silent("east", 1);
    expect(&fleet, &fitting(), Reason::Unreachable, &["silent since 1970-01-12T13:46:41Z"]);
    let never = Fleet::default().admin("east", |admin| admin.accepted = true);
    expect(&never, &fitting(), Reason::Unreachable, &["never connected"]);
}

#[test]
fn agents() {
    let agent = |capabilities: &[&str]| {
        let capabilities = capabilities.iter().map(|capability| (*capability).to_owned()).collect();
        let agent = crate::fleet::Agent { version: "0.1.0".into(), capabilities, ..<_>::default() };
        h100().with(crate::fleet::FleetEvent::Connected {
            cluster: "east".parse().unwrap(),
            agent,
            at: at(0),
        })
    };
    let object = &fitting().workloads[0].object;
    let kind = format!("{}/{}", object.api_version, object.kind);
    let old = agent(&["retain", "apps.nvidia.com/v1alpha1/NIMCache"]);
    expect(&old, &fitting(), Reason::AgentTooOld, &[&kind, "0.1.0", "upgrade nimfleet-spoke"]);
    for fleet in [agent(&["retain", &kind]), agent(&[])] {
        let decision = schedule(&fitting(), &fleet);
        assert!(decision.refused.iter().all(|refused| refused.reason != Reason::AgentTooOld), "{decision:?}");
    }
}

#[test]
fn affinity() {
    let mut wants = fitting();
    wants.policy.affinity.required = vec![selector("tier", "gold"), selector("tier", "iron")];
    expect(&h100().labelled("east", "tier", "wood"), &wants, Reason::AffinityMismatch, &["tier=wood"]);
    accept(&h100().labelled("east", "tier", "iron"), &wants);

    let mut wants = fitting();
    wants.policy.affinity.cluster_names = vec!["west".into()];
    expect(&h100(), &wants, Reason::AffinityMismatch, &["clusterNames (west)"]);
    let decision = schedule(&wants, &h100());
    let west = decision.refused.iter().find(|refused| refused.cluster == "west").unwrap();
    assert_eq!(west.reason, Reason::ClusterNotFound);
    assert!(west.message.contains("there are: east"), "{}", west.message);
    wants.policy.affinity.cluster_names.push("east".into());
    accept(&h100(), &wants);

    let mut wants = fitting();
    wants.policy.affinity.exclude = vec!["east".into()];
    expect(&h100(), &wants, Reason::Excluded, &["exclude"]);
}

#[test]
fn taints() {
    for (effect, word) in [(Effect::NoSchedule, "drain:NoSchedule"), (Effect::NoExecute, "drain:NoExecute")] {
        let fleet = h100().tainted("east", "drain", effect);
        expect(&fleet, &fitting(), Reason::UntoleratedTaint, &[word]);
        let mut tolerant = fitting();
        tolerant.policy.tolerations =
            vec![Toleration { key: Some("drain".into()), any_value: true, ..Toleration::default() }];
        accept(&fleet, &tolerant);
        tolerant.policy.tolerations[0].key = Some("other".into());
        expect(&fleet, &tolerant, Reason::UntoleratedTaint, &[word]);
    }
}

#[test]
fn reports() {
    let fleet = h100();
    let mut late = fitting();
    late.now = at(31 * 60);
    expect(&fleet, &late, Reason::CapacityStale, &["came at", "30 minutes"]);
    accept(&fleet.reports("east", report(vec![pool(H100, 81_559, &[(8, 2)], 8)], 60)), &late);

    let event = crate::fleet::FleetEvent::Connected {
        cluster: "east".parse().unwrap(),
        agent: <_>::default(),
        at: at(0),
    };
    let unknown = Fleet::default().admin("east", |admin| admin.accepted = true).with(event);
    expect(&unknown, &fitting(), Reason::CapacityUnknown, &["not reported"]);
}

#[test]
fn platforms() {
    let mut wants = fitting();
    wants.workloads[0].need.platforms.insert("kserve");
    expect(&h100(), &wants, Reason::PlatformMissing, &["NIMService llm", "kserve", "standalone"]);
    let mut capacity = h100().cluster("east").unwrap().capacity.clone().unwrap();
    capacity.platforms.push(Platform { name: "kserve".into(), version: "v1beta1".into() });
    accept(&h100().reports("east", capacity), &wants);
}

#[test]
fn gpu_kind() {
    let none = Fleet::default().joined("east", Vec::new());
    expect(&none, &fitting(), Reason::NoGPU, &["no GPU"]);

    let mut mig = fitting();
    mig.workloads[0].need.gpu =
        Some(GpuNeed { resource: "nvidia.com/mig-1g.10gb".into(), per_pod: 1, pods: 1 });
    expect(&h100(), &mig, Reason::NoGPU, &["nvidia.com/mig-1g.10gb", "only nvidia.com/gpu"]);

    let mut cached = fitting();
    cached.workloads[0].need.kind.products = vec![vec!["l40s".into(), "a100".into()]];
    expect(&h100(), &cached, Reason::GPUProductMismatch, &["l40s or a100", H100]);
    cached.workloads[0].need.kind.products[0].push("h100".into());
    accept(&h100(), &cached);

    let mut picky = fitting();
    picky.policy.gpu.products = vec![L40S.into()];
    expect(&h100(), &picky, Reason::GPUProductMismatch, &[L40S, H100]);

    let mut large = fitting();
    large.policy.gpu.min_memory_mib = Some(81_920);
    expect(&h100(), &large, Reason::GPUMemoryTooSmall, &["81920", "81559"]);
    large.policy.gpu.min_memory_mib = Some(81_559);
    accept(&h100(), &large);
}

#[test]
fn a_cache_needs_gpu_nodes_but_no_free_gpu() {
    let mut cache = service("weights", 0, 0);
    cache.need.gpu_nodes = true;
    let wants = request("cache", vec![cache]);
    accept(&Fleet::default().joined("east", vec![pool(H100, 81_559, &[(0, 1)], 8)]), &wants);
    expect(&Fleet::default().joined("east", Vec::new()), &wants, Reason::NoGPU, &["no GPU"]);
}

#[test]
fn jobs_need_gpus_that_are_there_free_or_not() {
    let mut customizer = service("tune", 0, 1);
    customizer.need.gpu_nodes = true;
    customizer.need.jobs = Some(GpuNeed { resource: "nvidia.com/gpu".into(), per_pod: 8, pods: 1 });
    let wants = request("tune", vec![customizer]);
    let busy =
        |allocatable| Fleet::default().joined("east", vec![pool(H100, 81_559, &[(0, 1)], allocatable)]);
    accept(&busy(8), &wants);
    let words = ["jobs of NIMService tune take 8 GPUs on one node; the cluster has 4 of one product"];
    expect(&busy(4), &wants, Reason::InsufficientGPUs, &words);
    expect(&Fleet::default().joined("east", Vec::new()), &wants, Reason::NoGPU, &["no GPU"]);
}

#[test]
fn free_blocks() {
    let l40s = |blocks: &[(u32, u32)]| Fleet::default().joined("east", vec![pool(L40S, 46_068, blocks, 4)]);
    let wants = |gpus, replicas| request("chat", vec![service("llm", gpus, replicas)]);
    let words = ["NIMService llm needs 8 GPUs on one node; largest free block is 4 (NVIDIA-L40S, 2 nodes)"];
    expect(&l40s(&[(4, 2)]), &wants(8, 1), Reason::InsufficientGPUs, &words);
    // Six are free, but no node has three.
    expect(&l40s(&[(2, 3)]), &wants(3, 1), Reason::InsufficientGPUs, &["largest free block is 2"]);
    accept(&l40s(&[(2, 2), (3, 1)]), &wants(3, 1));
    let words = ["3 replicas of 2 GPUs on one node; room for 2, with 5 suitable GPUs free"];
    expect(&l40s(&[(4, 1), (1, 1)]), &wants(2, 3), Reason::InsufficientGPUs, &words);
    accept(&l40s(&[(4, 1), (2, 1)]), &wants(2, 3));
}

#[test]
fn small_pods_do_not_break_large_blocks() {
    let fleet = Fleet::default().joined("east", vec![pool(H100, 81_559, &[(8, 1), (2, 1)], 8)]);
    accept(&fleet, &request("chat", vec![service("embed", 1, 2), service("llm", 8, 1)]));
}

#[test]
fn a_multi_node_replica_stays_within_one_product() {
    let pools = || vec![pool(H100, 81_559, &[(8, 1)], 8), pool(L40S, 46_068, &[(8, 1)], 8)];
    let mut wants = request("chat", vec![service("llm", 8, 1)]);
    wants.workloads[0].need.gpu.as_mut().unwrap().pods = 2;
    let fleet = Fleet::default().joined("east", pools());
    expect(&fleet, &wants, Reason::InsufficientGPUs, &["2 × 8 GPUs per replica", "room for 0"]);
    accept(&h100(), &wants);
}

fn denied(request: Request, stays: bool) -> Request {
    let denied = Denied { message: "limits.hostPaths is []: ask the owner".into(), stays };
    Request { denied: [("east".to_owned(), denied)].into(), ..request }
}

#[test]
fn limits_of_the_clusters_owner() {
    expect(&h100(), &denied(fitting(), false), Reason::PolicyDenied, &["limits.hostPaths", "ask"]);
    assert_eq!(schedule(&denied(fitting(), false), &h100()).outcome.reason, Reason::PolicyDenied);
    accept(&h100(), &fitting());
    let full = Fleet::default().joined("east", vec![pool(H100, 81_559, &[(4, 2)], 8)]);
    expect(&full, &denied(fitting(), false), Reason::InsufficientGPUs, &[]);
}

#[test]
fn what_was_let_in_nowhere_leaves_for_another_cluster_and_what_works_stays() {
    let fleet = h100().joined("west", vec![pool(L40S, 46_068, &[(8, 2)], 8)]);
    let mut request = fitting();
    let first = schedule(&request, &h100());
    request.previous = first.chosen.iter().map(crate::scheduler::tests::builder::row).collect();
    let moved = schedule(&denied(request.clone(), false), &fleet);
    assert_eq!(moved.removed[0].reason, Reason::PolicyDenied);
    assert_eq!(moved.chosen[0].cluster.as_str(), "west");
    let stays = schedule(&denied(request, true), &fleet);
    assert!(stays.removed.is_empty() && stays.chosen[0].cluster.as_str() == "east", "{stays:?}");
}

#[test]
fn namespaces() {
    let team = |team: &str| FleetEvent::Namespace {
        name: "nim".into(),
        labels: Some([("team".to_owned(), team.to_owned())].into()),
    };
    let only_ml = |fleet: Fleet| {
        fleet.admin("east", |admin| admin.allowed_namespaces = Namespaces::Matching(selector("team", "ml")))
    };
    let words = &["spec.allowedNamespaces", "team=ml", "nim"];
    expect(&only_ml(h100()).with(team("web")), &fitting(), Reason::NamespaceNotAllowed, words);
    accept(&only_ml(h100()).with(team("ml")), &fitting());
    let unknown = &["not known", "nim"];
    expect(&only_ml(h100()), &fitting(), Reason::NamespaceNotAllowed, unknown);
    // What is there stays.
    let (mut fleet, mut request) = (h100(), fitting());
    let decision = schedule(&request, &fleet);
    adopt(&mut fleet, &mut request, &decision);
    accept(&only_ml(fleet).with(team("web")), &request);
}

#[test]
fn nodes_that_an_autoscaler_can_bring() {
    let potential = |product: &str, max_nodes| Potential {
        product: product.into(),
        resource: "nvidia.com/gpu".into(),
        gpus_per_node: 8,
        max_nodes,
        memory_mib: 81_559,
        delay: jiff::SignedDuration::from_mins(7),
    };
    let elastic =
        |max_nodes| h100().admin("east", |admin| admin.potential = vec![potential(H100, max_nodes)]);
    // Three replicas of eight: two nodes are there, a third can come.
    let three = request("chat", vec![service("llm", 8, 3)]);
    let words = &["room for 2, with 16 suitable GPUs free"];
    expect(&elastic(2), &three, Reason::InsufficientGPUs, words);
    accept(&elastic(3), &three);
    let words = &["spec.potential", "room for 3, with 24"];
    expect(&elastic(3), &request("chat", vec![service("llm", 8, 4)]), Reason::InsufficientGPUs, words);
    let message = &schedule(&three, &elastic(3)).chosen[0].message;
    assert!(message.contains("autoscaler") && message.contains("7m"), "{message}");
    // A cluster with all of it free is chosen before one that would have to grow, whatever their scores.
    let both = elastic(64).joined("west", vec![pool(H100, 81_559, &[(8, 3)], 8)]);
    assert_eq!(chosen(&schedule(&three, &both)), ["west"]);
    // What is at nought counts too.
    let empty = Fleet::default().joined("east", Vec::new());
    expect(&empty, &fitting(), Reason::NoGPU, &["no GPU"]);
    accept(&empty.admin("east", |admin| admin.potential = vec![potential(H100, 2)]), &fitting());
}
