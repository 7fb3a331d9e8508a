//! Filter: the spoke of the cluster has not refused these objects, as far as it has been asked.

use super::{Reason, Request, Verdict, refuse};
use crate::fleet::Cluster;

/// Whether its owner lets the placement come (again): what was denied is not sent again until it, or the cluster's limits,
/// change.
pub(super) fn admits(request: &Request, cluster: &Cluster) -> Verdict {
    unless(request, cluster, Reason::PolicyDenied)
}

/// Whether its nodes were free together when the spoke looked, which looks closer than any report: a gang that found no room
/// is not sent again until a later report shows more of it.
pub(super) fn has_room(request: &Request, cluster: &Cluster) -> Verdict {
    unless(request, cluster, Reason::NoRoom)
}

fn unless(request: &Request, cluster: &Cluster, reason: Reason) -> Verdict {
    match request.denied.get(cluster.name.as_str()) {
        Some(denied) if denied.reason == reason => refuse(reason, denied.message.clone()),
        _ => Ok(()),
    }
}

/// Whether the placement may stay: only where nothing of it could be delivered, it is of no use there.
pub(super) fn keeps(request: &Request, cluster: &Cluster) -> Verdict {
    match request.denied.get(cluster.name.as_str()) {
        Some(denied) if !denied.stays => refuse(denied.reason, denied.message.clone()),
        _ => Ok(()),
    }
}
