//! Filter: the spoke of the cluster knows the kinds it would be sent.

use super::{Reason, Verdict, refuse};
use crate::{Workload, fleet::Cluster};

/// What marks a capability as a kind: `apps.nvidia.com/v1alpha1/NIMService`.
const KIND: char = '/';

pub(super) fn check(workloads: &[Workload], cluster: &Cluster) -> Verdict {
    let Some(agent) = &cluster.agent else { return Ok(()) };
    for workload in workloads {
        let (version, kind) = (&workload.object.api_version, &workload.object.kind);
        if !knows(cluster, version, kind) {
            let kind = format!("{version}{KIND}{kind}");
            let message = format!(
                "{} needs an agent that knows {kind}; version {} does not: upgrade nimfleet-spoke there",
                workload.title(),
                agent.version
            );
            return refuse(Reason::AgentTooOld, message);
        }
    }
    Ok(())
}

/// Whether the agent says that it knows a kind. One that lists no kind is of a time before lists: it answers for itself when it
/// is sent one.
pub(super) fn knows(cluster: &Cluster, api_version: &str, kind: &str) -> bool {
    let Some(agent) = &cluster.agent else { return true };
    let names = |capability: &String| {
        capability.strip_suffix(kind).and_then(|rest| rest.strip_suffix(KIND)) == Some(api_version)
    };
    let lists_kinds = agent.capabilities.iter().any(|capability| capability.contains(KIND));
    !lists_kinds || agent.capabilities.iter().any(names)
}
