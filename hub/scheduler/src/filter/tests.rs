//! One filter at a time: what is refused, why, with which numbers, and that repairing only that lets the
//! cluster in.

mod faults;
mod gpus;
mod mixture;
mod monotonic;
mod nodes;
mod observed;
mod said;
mod world;

use crate::tests::schedule;
use crate::{
    CacheLocality, Denied, Reason, Request, Toleration,
    fleet::{Agent, Capacity, Effect, Fleet, FleetEvent, Namespaces, Platform, Potential, Selector},
    need::CacheKey,
    tests::builder::{Build, H100, L40S, adopt, at, chosen, pool, report, request, service},
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
    // It came back after more than half a minute, and is watched for one.
    let back = connected(h100().silent("east", 1), Agent::default(), 40);
    let watched = Request { now: at(99), ..fitting() };
    expect(&back, &watched, Reason::Settling, &["counts again from 1970-01-12T13:48:20Z"]);
    accept(&back, &Request { now: at(100), ..fitting() });
    accept(&connected(h100().silent("east", 1), Agent::default(), 20), &Request { now: at(21), ..fitting() });
}

fn connected(fleet: Fleet, agent: Agent, seconds: i64) -> Fleet {
    fleet.with(FleetEvent::Connected { cluster: "east".parse().unwrap(), agent, at: at(seconds) })
}

#[test]
fn agents() {
    let agent = |capabilities: &[&str]| {
        let capabilities = capabilities.iter().map(|capability| (*capability).to_owned()).collect();
        connected(h100(), Agent { version: "0.1.0".into(), capabilities, ..Agent::default() }, 0)
    };
    let object = &fitting().workloads[0].object;
    let kind = format!("{}/{}", object.api_version, object.kind);
    let old = agent(&["retain", "apps.nvidia.com/v1alpha1/NIMCache"]);
    expect(&old, &fitting(), Reason::AgentTooOld, &[&kind, "0.1.0", "upgrade nimfleet-spoke"]);
    accept(&agent(&["retain", &kind]), &fitting());
    accept(&agent(&[]), &fitting());
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

    let unknown = Fleet::default().admin("east", |admin| admin.accepted = true);
    let unknown = connected(unknown, Agent::default(), 0);
    expect(&unknown, &fitting(), Reason::CapacityUnknown, &["not reported"]);
}

#[test]
fn platforms() {
    let mut wants = fitting();
    wants.workloads[0].need.platforms.insert("kserve");
    expect(&h100(), &wants, Reason::PlatformMissing, &["NIMService llm", "kserve", "standalone"]);
    let mut capacity = h100().cluster("east").unwrap().capacity.clone().unwrap();
    capacity.platforms.push(Platform { name: "kserve".into(), version: "v1beta1".into(), served: vec![] });
    accept(&h100().reports("east", capacity.clone()), &wants);

    wants.workloads[0].need.platforms = ["lws"].into();
    let lws = |served: &[&str]| {
        let served = served.iter().map(|version| (*version).to_owned()).collect();
        let lws = Platform { name: "lws".into(), version: "v1".into(), served };
        h100().reports("east", Capacity { platforms: vec![lws], ..capacity.clone() })
    };
    let words = ["needs lws v1; the cluster serves v1alpha1"];
    expect(&lws(&["v1alpha1"]), &wants, Reason::PlatformVersionMissing, &words);
    accept(&lws(&["v1", "v1alpha1"]), &wants);
    accept(&lws(&[]), &wants);
}

fn denied(request: Request, stays: bool) -> Request {
    let message = "limits.hostPaths is []: ask the owner".into();
    let denied = Denied { reason: Reason::PolicyDenied, message, stays };
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
    request.previous = first.chosen.iter().map(crate::tests::builder::row).collect();
    let moved = schedule(&denied(request.clone(), false), &fleet);
    assert_eq!(moved.removed[0].reason, Reason::PolicyDenied);
    assert_eq!(moved.chosen[0].cluster.as_str(), "west");
    let stays = schedule(&denied(request, true), &fleet);
    assert!(stays.removed.is_empty() && stays.chosen[0].cluster.as_str() == "east", "{stays:?}");
}

#[test]
fn a_gang_for_which_a_spoke_had_no_room_goes_elsewhere_or_waits_with_the_numbers() {
    let refused = |stays, request: Request| {
        let message = "NIMService llm: the largest fit is 1 × 8".into();
        let denied = Denied { reason: Reason::NoRoom, message, stays };
        Request { denied: [("east".to_owned(), denied)].into(), ..request }
    };
    expect(&h100(), &refused(false, fitting()), Reason::NoRoom, &["the largest fit is 1 × 8"]);
    let outcome = schedule(&refused(false, fitting()), &h100()).outcome;
    assert_eq!(outcome.reason, Reason::NoRoom);
    assert!(outcome.message.contains("the largest fit is 1 × 8"), "{}", outcome.message);
    // The spoke has looked closer than any report.
    let full = Fleet::default().joined("east", vec![pool(H100, 81_559, &[(4, 2)], 8)]);
    expect(&full, &refused(false, fitting()), Reason::NoRoom, &[]);
    // Beside something that works it moves only if another cluster can take over, and that at once.
    let mut request = fitting();
    let first = schedule(&request, &h100());
    request.previous = first.chosen.iter().map(crate::tests::builder::row).collect();
    let alone = schedule(&refused(true, request.clone()), &h100());
    assert_eq!(chosen(&alone), ["east"]);
    let both = h100().joined("west", vec![pool(L40S, 46_068, &[(8, 2)], 8)]);
    let moves = schedule(&refused(true, request), &both);
    let reasons: Vec<_> = moves.chosen.iter().map(|one| (one.cluster.as_str(), one.reason)).collect();
    assert_eq!(reasons, [("east", Reason::Unschedulable), ("west", Reason::Placed)]);
    assert!(moves.removed.is_empty());
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
    // What no node brings is said once.
    let mut strict = fitting();
    strict.policy.cache_locality = CacheLocality::Require;
    strict.workloads[0].need.cache = Some(CacheKey { namespace: "nim".into(), name: "weights".into() });
    let (reason, message) = refusal(&elastic(3), &strict);
    assert_eq!(reason, Reason::ModelNotCached);
    assert_eq!(message, "NIMCache nim/weights is not ready here, and spec.cacheLocality is Require");
    // What is at nought counts too.
    let empty = Fleet::default().joined("east", Vec::new());
    expect(&empty, &fitting(), Reason::NoGPU, &["no GPU"]);
    accept(&empty.admin("east", |admin| admin.potential = vec![potential(H100, 2)]), &fitting());
}
