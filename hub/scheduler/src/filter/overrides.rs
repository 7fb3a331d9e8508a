//! Filter: the placement's overrides for the cluster can be applied, and what they make means something.

use super::{Reason, Verdict, refuse};
use crate::Request;
use crate::fleet::Cluster;

pub(super) fn check(request: &Request, cluster: &Cluster) -> Verdict {
    match request.variants.fault(cluster.name.as_str()) {
        Some(fault) => refuse(Reason::InvalidOverride, fault.to_owned()),
        None => Ok(()),
    }
}
