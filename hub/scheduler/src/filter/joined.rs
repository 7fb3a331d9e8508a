//! Filter: the cluster is accepted, and its spoke is connected, for good if it came back.

use super::{Reason, Refusal, Verdict, refuse};
use crate::Request;
use crate::fleet::{Cluster, Link, Role};

/// The hub's own cluster runs nothing of the fleet: what would be delivered has the names of what it was made from.
pub(super) fn is_no_hub(cluster: &Cluster) -> Verdict {
    if cluster.role == Role::Hub {
        let message = "it is the hub's own cluster: its NIM objects say what the fleet shall run, and none is placed there";
        return refuse(Reason::HubItself, message.to_owned());
    }
    Ok(())
}

pub(super) fn check(request: &Request, cluster: &Cluster) -> Verdict {
    is_no_hub(cluster)?;
    if !cluster.accepted {
        let message = "not accepted: set spec.accepted of the GPUCluster to true".to_owned();
        return refuse(Reason::NotAccepted, message);
    }
    match cluster.link {
        Link::Connected => match request.settles_at(cluster) {
            None => Ok(()),
            Some(at) => {
                let message =
                    format!("its spoke came back a moment ago; it counts again from {at:.0}, if it stays");
                Err(Refusal { reason: Reason::Settling, message, settles_at: Some(at) })
            }
        },
        // The moment, not the age: a message that ages would be written again and again.
        Link::Unreachable { since } => {
            refuse(Reason::Unreachable, format!("its spoke has been silent since {since:.0}"))
        }
        Link::Never => refuse(Reason::Unreachable, "its spoke has never connected".to_owned()),
    }
}
