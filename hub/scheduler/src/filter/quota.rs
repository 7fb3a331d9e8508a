//! Filter: the quotas of the namespace allow what the placement would take there.

use super::{Reason, Verdict, refuse};
use crate::Request;
use crate::fleet::Cluster;

pub(super) fn admits(request: &Request, cluster: &Cluster) -> Verdict {
    match request.over_quota.get(cluster.name.as_str()) {
        Some(message) => refuse(Reason::QuotaExceeded, message.clone()),
        None => Ok(()),
    }
}
