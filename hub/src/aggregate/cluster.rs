//! Conditions of a GPUCluster.

use crds::condition::{self, Finding, Truth};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use super::Reason;
use crate::fleet::{Cluster, Link};

/// `Accepted`, `Connected`, `CapacityFresh` and `AgentUpToDate` of a cluster. `stored` are its conditions,
/// for their times.
#[must_use]
pub fn cluster_conditions(
    cluster: &Cluster,
    hub_version: &str,
    generation: Option<i64>,
    stored: &[Condition],
    now: Timestamp,
) -> Vec<Condition> {
    let mut conditions = stored.to_vec();
    for finding in [
        accepted(cluster),
        connected(cluster),
        capacity_fresh(cluster, now),
        agent_up_to_date(cluster, hub_version),
    ] {
        condition::set(&mut conditions, finding, generation, now);
    }
    conditions
}

fn accepted(cluster: &Cluster) -> Finding<'static> {
    if cluster.accepted {
        return Finding::new("Accepted", true, Reason::Accepted.as_str(), "spec.accepted is true");
    }
    Finding::new(
        "Accepted",
        false,
        Reason::NotAccepted.as_str(),
        "set spec.accepted to true to let the cluster take part",
    )
}

fn connected(cluster: &Cluster) -> Finding<'static> {
    match cluster.link {
        Link::Connected => Finding::new("Connected", true, Reason::Connected.as_str(), "a session is up"),
        Link::Unreachable { since } => Finding::new(
            "Connected",
            Truth::Unknown,
            Reason::Unreachable.as_str(),
            format!("silent since {since:.0}"),
        ),
        Link::Never => {
            let message = "no spoke has joined under this name: see nimfleet-hub join-command";
            Finding::new("Connected", false, Reason::NeverConnected.as_str(), message)
        }
    }
}

fn capacity_fresh(cluster: &Cluster, now: Timestamp) -> Finding<'static> {
    let Some(capacity) = &cluster.capacity else {
        return Finding::new("CapacityFresh", false, Reason::NoReport.as_str(), "no capacity report yet");
    };
    let at = capacity.received_at;
    match cluster.link {
        _ if capacity.is_stale(now) => {
            let message = format!("the last capacity report came at {at:.0}");
            Finding::new("CapacityFresh", false, Reason::ReportStale.as_str(), message)
        }
        Link::Connected => Finding::new(
            "CapacityFresh",
            true,
            Reason::ReportFresh.as_str(),
            "capacity is reported as it changes",
        ),
        _ => {
            let message = format!("silent; the last capacity report came at {at:.0}");
            Finding::new("CapacityFresh", Truth::Unknown, Reason::Unreachable.as_str(), message)
        }
    }
}

fn agent_up_to_date(cluster: &Cluster, hub_version: &str) -> Finding<'static> {
    let kind = "AgentUpToDate";
    match cluster.agent.as_ref().map(|agent| agent.version.as_str()) {
        None => {
            Finding::new(kind, Truth::Unknown, Reason::NeverConnected.as_str(), "the agent has not connected")
        }
        Some(version) if version == hub_version => {
            Finding::new(kind, true, Reason::SameVersion.as_str(), format!("agent and hub are {hub_version}"))
        }
        Some(version) => {
            let message = format!("the agent is {version}, the hub is {hub_version}: upgrade the older one");
            Finding::new(kind, false, Reason::OtherVersion.as_str(), message)
        }
    }
}
