//! Filter: the cluster's owner lets the fleet run these objects there, as far as its spoke has said.

use super::{Reason, Request, Verdict, refuse};
use crate::fleet::Cluster;

/// Whether the placement may come (again): what was denied is not sent again until it, or the cluster's limits, change.
pub(super) fn admits(request: &Request, cluster: &Cluster) -> Verdict {
    match request.denied.get(cluster.name.as_str()) {
        Some(denied) => refuse(Reason::PolicyDenied, denied.message.clone()),
        None => Ok(()),
    }
}

/// Whether the placement may stay: only where nothing of it could be delivered, it is of no use there.
pub(super) fn keeps(request: &Request, cluster: &Cluster) -> Verdict {
    match request.denied.get(cluster.name.as_str()) {
        Some(denied) if !denied.stays => refuse(Reason::PolicyDenied, denied.message.clone()),
        _ => Ok(()),
    }
}
