//! Filter: the spoke of the cluster knows the kinds it would be sent.

use super::{Reason, Verdict, refuse};
use crate::{Workload, fleet::Cluster};

/// What marks a capability as a kind: `apps.nvidia.com/v1alpha1/NIMService`.
const KIND: char = '/';

pub(super) fn check(workloads: &[Workload], cluster: &Cluster) -> Verdict {
    let Some(agent) = &cluster.agent else { return Ok(()) };
    // An agent that lists no kind is of a time before lists: it answers for itself when it is sent one.
    if !agent.capabilities.iter().any(|capability| capability.contains(KIND)) {
        return Ok(());
    }
    for workload in workloads {
        let (version, kind) = (&workload.object.api_version, &workload.object.kind);
        let names = |capability: &String| {
            capability.strip_suffix(kind).and_then(|rest| rest.strip_suffix(KIND)) == Some(version)
        };
        if !agent.capabilities.iter().any(names) {
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
