//! A decision in full: every cluster, with the numbers that speak for or against it and the age of what is known.

use jiff::Timestamp;
use serde::Serialize;

use crate::fleet::{Fleet, Link};
use crate::scheduler::{Chosen, Decision, NOT_NEEDED, Reason};

/// What was decided, and why.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// Whether everything that is wanted is given.
    scheduled: bool,
    reason: &'static str,
    message: String,
    wanted_clusters: u32,
    wanted_replicas: u32,
    given_replicas: u32,
    /// Why a lost cluster is not replaced.
    #[serde(skip_serializing_if = "Option::is_none")]
    held: Option<String>,
    /// Every cluster that there is or that was named, by name.
    clusters: Vec<Verdict>,
}

/// What was found about one cluster.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Verdict {
    cluster: String,
    /// `Chosen`, `Stays`, `Replaced`, `Leaves`, `Eligible` (but not needed) or `Refused`.
    #[serde(rename = "verdict")]
    word: &'static str,
    /// The first filter that failed, or why it was chosen.
    reason: &'static str,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    score: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    replicas: Option<u32>,
    /// What the score is made of: which, its points of 100, and what it weighs.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    score_parts: Vec<ScorePart>,
    /// Whether the hub hears it.
    connected: bool,
    /// When its last capacity report came, and how old it is, seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    reported_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    report_age_seconds: Option<i64>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
struct ScorePart {
    name: String,
    points: u32,
    weight: u32,
}

/// A decision about a fleet, in full.
#[must_use]
pub fn explain(decision: &Decision, fleet: &Fleet, now: Timestamp) -> Explanation {
    let of = |cluster: &str, word, reason: Reason, message: &str| {
        let known = fleet.cluster(cluster);
        let reported_at = known.and_then(|known| known.capacity.as_ref()).map(|report| report.received_at);
        Verdict {
            cluster: cluster.to_owned(),
            word,
            reason: reason.as_str(),
            message: message.to_owned(),
            score: None,
            replicas: None,
            score_parts: Vec::new(),
            connected: known.is_some_and(|known| known.link == Link::Connected),
            reported_at,
            report_age_seconds: reported_at.map(|at| now.duration_since(at).as_secs()),
        }
    };
    let part = |part: &crate::scheduler::Part| ScorePart {
        name: part.score.to_string(),
        points: part.points,
        weight: part.weight,
    };
    let chosen = |row: &Chosen| {
        let verdict = match row.reason {
            _ if row.is_replaced() => "Replaced",
            Reason::Sticky => "Stays",
            _ => "Chosen",
        };
        let replicas = row.replicas.iter().map(|granted| granted.replicas).fold(0, u32::saturating_add);
        Verdict {
            score: Some(row.score),
            replicas: Some(replicas),
            score_parts: row.parts.iter().map(part).collect(),
            ..of(row.cluster.as_str(), verdict, row.reason, &row.message)
        }
    };
    let mut clusters: Vec<Verdict> = decision.chosen.iter().map(chosen).collect();
    let removed = decision.removed.iter();
    clusters.extend(removed.map(|row| of(row.cluster.as_str(), "Leaves", row.reason, &row.message)));
    let eligible = decision.spare.iter();
    clusters.extend(eligible.map(|name| of(name.as_str(), "Eligible", Reason::NotNeeded, NOT_NEEDED)));
    clusters.extend(decision.refused.iter().map(|row| of(&row.cluster, "Refused", row.reason, &row.message)));
    clusters.sort_by(|a, b| a.cluster.cmp(&b.cluster));
    let outcome = &decision.outcome;
    Explanation {
        scheduled: outcome.complete,
        reason: outcome.reason.as_str(),
        message: outcome.message.clone(),
        wanted_clusters: outcome.wanted_clusters,
        wanted_replicas: outcome.wanted_replicas,
        given_replicas: outcome.given_replicas,
        held: decision.hold.as_ref().map(|hold| format!("{}: {}", hold.reason, hold.message)),
        clusters,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::failover::{Limits, PerLane};
    use crate::fleet::{
        Admin, Agent, Capacity, ClusterName, FleetEvent, ObjectRef, PlacementKey, Platform, Pool,
    };
    use crate::need::{GpuNeed, Need};
    use crate::scheduler::{Policy, Request, Variants, Verdicts, Workload, schedule};

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_000_000 + second).unwrap()
    }

    /// A cluster that is accepted; and connected, with a report, if it has nodes with free GPUs.
    fn join(fleet: &mut Fleet, name: &str, free_per_node: Option<(u32, u32)>) {
        let cluster: ClusterName = name.parse().unwrap();
        let admin = Admin { accepted: true, ..Admin::default() };
        fleet.apply(FleetEvent::Admin { cluster: cluster.clone(), admin });
        let Some((free, nodes)) = free_per_node else { return };
        let pool = Pool {
            product: "NVIDIA-L40S".into(),
            resource: "nvidia.com/gpu".into(),
            memory_mib: 46_068,
            nodes,
            capacity: free * nodes,
            allocatable: free * nodes,
            free: free * nodes,
            free_per_node: BTreeMap::from([(free, nodes)]),
            ..Pool::default()
        };
        let platform = Platform { name: "standalone".into(), ..Platform::default() };
        let capacity = Capacity {
            observed_at: at(0),
            received_at: at(0),
            pools: vec![pool],
            platforms: vec![platform],
            ..Capacity::default()
        };
        let agent = Agent::default();
        fleet.apply(FleetEvent::Connected { cluster: cluster.clone(), agent, at: at(0) });
        fleet.apply(FleetEvent::Capacity { cluster, capacity });
    }

    /// One service with one replica of eight GPUs.
    fn request() -> Request {
        let object = ObjectRef {
            uid: "llm".into(),
            api_version: "apps.nvidia.com/v1alpha1".into(),
            kind: "NIMService".into(),
            namespace: "nim".into(),
            name: "llm".into(),
        };
        let need = Need {
            gpu: Some(GpuNeed { resource: "nvidia.com/gpu".into(), per_pod: 8, pods: 1 }),
            gpu_nodes: true,
            replicas: 1,
            replicated: true,
            ..Need::default()
        };
        Request {
            placement: PlacementKey { namespace: "nim".into(), name: "chat".into() },
            policy: Policy::default(),
            workloads: vec![Workload { object, need }],
            variants: Variants::default(),
            verdicts: Verdicts::default(),
            previous: Vec::new(),
            denied: BTreeMap::new(),
            rejected: BTreeMap::new(),
            rebalance: None,
            told: usize::MAX,
            over_quota: BTreeMap::new(),
            now: at(1),
            limits: Limits::default(),
            allowance: PerLane::FREE,
        }
    }

    #[test]
    fn every_cluster_is_there_with_its_numbers_and_its_age() {
        let mut fleet = Fleet::default();
        for (name, blocks) in
            [("east", Some((8, 2))), ("north", Some((8, 2))), ("west", Some((2, 1))), ("new", None)]
        {
            join(&mut fleet, name, blocks);
        }
        let decision = schedule(&request(), &mut fleet);
        let explanation = explain(&decision, &fleet, at(30));
        let verdicts: Vec<_> =
            explanation.clusters.iter().map(|one| (one.cluster.as_str(), one.word)).collect();
        assert_eq!(
            verdicts,
            [("east", "Chosen"), ("new", "Refused"), ("north", "Eligible"), ("west", "Refused")]
        );
        let west = &explanation.clusters[3];
        assert!(west.message.contains("largest free block is 2"), "{west:?}");
        assert_eq!((west.report_age_seconds, west.connected), (Some(30), true));
        assert_eq!((explanation.clusters[1].reported_at, explanation.clusters[1].connected), (None, false));
        assert_eq!((explanation.clusters[0].replicas, explanation.scheduled), (Some(1), true));
    }
}
