//! Filter: the cluster is accepted, and its spoke is connected.

use super::{Reason, Verdict, refuse};
use crate::fleet::{Cluster, Link};

pub(super) fn check(cluster: &Cluster) -> Verdict {
    if !cluster.accepted {
        let message = "not accepted: set spec.accepted of the GPUCluster to true".to_owned();
        return refuse(Reason::NotAccepted, message);
    }
    match cluster.link {
        Link::Connected => Ok(()),
        // The moment, not the age: a message that ages would be written again and again.
        Link::Unreachable { since } => {
            refuse(Reason::Unreachable, format!("its spoke has been silent since {since:.0}"))
        }
        Link::Never => refuse(Reason::Unreachable, "its spoke has never connected".to_owned()),
    }
}
