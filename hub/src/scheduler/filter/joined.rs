//! Filter: the cluster is accepted, and its spoke is connected.

use jiff::Timestamp;

use super::{Reason, Verdict, refuse};
use crate::fleet::{Cluster, Link};

pub(super) fn check(cluster: &Cluster, now: Timestamp) -> Verdict {
    if !cluster.accepted {
        let message = "not accepted: set spec.accepted of the GPUCluster to true".to_owned();
        return refuse(Reason::NotAccepted, message);
    }
    match cluster.link {
        Link::Connected => Ok(()),
        Link::Unreachable { .. } => {
            let seconds = cluster.link.silent_for(now).map_or(0, |silence| silence.as_secs());
            refuse(Reason::Unreachable, format!("its spoke has been silent for {seconds} s"))
        }
        Link::Never => refuse(Reason::Unreachable, "its spoke has never connected".to_owned()),
    }
}
