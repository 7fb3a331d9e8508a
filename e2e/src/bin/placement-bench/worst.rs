//! The inputs that a decision takes longest for: what an author can write at the bounds of a NIMPlacement.

use std::time::{Duration, Instant};

use hub_scheduler::fleet::{Admin, Agent, Fleet, FleetEvent};
use hub_scheduler::{
    ClusterSet, Division, Expression, Request, ShareBy, SpreadConstraint, Tier, Verdicts, schedule,
};

use super::mix;

/// What one case took.
pub(crate) struct Took {
    pub(crate) case: &'static str,
    /// Before the lock.
    pub(crate) asking: Duration,
    /// Under the lock.
    pub(crate) deciding: Duration,
    pub(crate) chosen: usize,
}

/// So many clusters with labels of few and of many values, all of which fit.
pub(crate) fn fleet(clusters: usize) -> Fleet {
    let mut fleet = Fleet::default();
    for index in 0..clusters {
        let cluster = mix::name(index);
        let mut labels = vec![("serial".to_owned(), index.to_string())];
        labels.extend((0..7).map(|bit| (format!("bit{bit}"), ((index * 7919) >> bit & 1).to_string())));
        let admin = Admin { labels: labels.into_iter().collect(), accepted: true, ..Admin::default() };
        fleet.apply(FleetEvent::Admin { cluster: cluster.clone(), admin });
        fleet.apply(FleetEvent::Connected {
            cluster: cluster.clone(),
            agent: Agent::default(),
            at: mix::at(0),
        });
        fleet.apply(FleetEvent::Capacity { cluster, capacity: mix::report(index, 0, 0) });
    }
    fleet
}

fn request(replicas: u32) -> Request {
    let mut request = mix::request(0);
    request.policy.affinity.required.clear();
    request.workloads[0].need.replicas = replicas;
    request
}

fn names(clusters: usize) -> Vec<String> {
    (0..clusters).map(|index| mix::name(index).to_string()).collect()
}

/// Decides each case once, the fewest clusters that it may want being `clusters`.
pub(crate) fn cases(clusters: usize) -> Vec<Took> {
    let mut fleet = fleet(clusters);
    let count = u32::try_from(clusters).unwrap_or(u32::MAX);
    let spread = |key: &str| SpreadConstraint { key: key.to_owned(), max_skew: 1, is_hard: true };
    let mut took = Vec::new();
    let mut case = |name, request: Request| took.push(decide(name, request, &mut fleet));

    let mut wants = request(1);
    wants.policy.clusters = Some(count);
    wants.policy.spread = vec![spread("serial")];
    wants.policy.spread.extend((0..7).map(|bit| spread(&format!("bit{bit}"))));
    case("eight hard constraints, one of as many values as clusters", wants);

    let mut wants = request(1);
    wants.policy.clusters = Some(count);
    let tier = |index: usize| Tier {
        name: index.to_string(),
        clusters: ClusterSet { names: names(clusters).split_off(clusters / 16 * index), selector: None },
        least: 100_000,
    };
    wants.policy.tiers = (0..16).rev().map(tier).collect();
    case("sixteen tiers that name clusters, each with a least number", wants);

    let mut wants = request(count);
    wants.policy.division = Division::Divided;
    wants.policy.shares.by = ShareBy::Weighted;
    let weight = |index: u32| {
        let last = clusters.saturating_sub(1000);
        (ClusterSet { names: names(clusters).split_off(last), selector: None }, index + 1)
    };
    wants.policy.shares.weights = (0..64).map(weight).collect();
    let selector = Some(hub_scheduler::fleet::Selector::default());
    wants.policy.shares.weights.push((ClusterSet { names: Vec::new(), selector }, 1));
    case("replicas by 64 weights that name a thousand clusters each", wants);

    let mut wants = request(100_000);
    wants.policy.division = Division::Divided;
    wants.policy.shares.by = ShareBy::Aggregated;
    wants.policy.shares.most = Some(10);
    case("replicas into as few clusters as possible", wants);

    let mut wants = request(count);
    wants.policy.division = Division::Divided;
    wants.policy.clusters = Some(count);
    wants.policy.shares.least = 100;
    case("a least share of which most clusters get none", wants);

    let mut wants = request(100_000);
    wants.policy.division = Division::Divided;
    wants.policy.clusters = Some(count / 2);
    case("half of the clusters, and not room enough", wants);

    let mut wants = request(1);
    wants.policy.affinity.cluster_names = names(clusters);
    wants.policy.affinity.exclude = names(clusters).split_off(clusters / 2);
    case("all clusters named, half of them excluded", wants);

    let mut wants = request(1);
    let source = "cluster.capacity.pools.all(p, p.free >= 0) && cluster.name.matches('^c[a-z]+-[0-9]{5}$')";
    wants.policy.affinity.expressions =
        std::iter::repeat_with(|| Expression::compile(source).ok()).take(16).flatten().collect();
    case("sixteen expressions with a macro and a pattern", wants);
    took
}

fn decide(case: &'static str, mut request: Request, fleet: &mut Fleet) -> Took {
    let began = Instant::now();
    request.verdicts = Verdicts::ask(&request.policy.affinity, fleet.clusters(), |_| false);
    request.policy = request.policy.indexed();
    let asking = began.elapsed();
    let began = Instant::now();
    let decision = schedule(&request, fleet);
    Took { case, asking, deciding: began.elapsed(), chosen: decision.chosen.len() }
}
