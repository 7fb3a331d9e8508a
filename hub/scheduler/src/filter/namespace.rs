//! Filter: the cluster admits the placement's namespace.

use super::{Reason, Verdict, refuse};
use crate::Request;
use crate::fleet::{Cluster, Fleet, Namespaces};

pub(super) fn admits(request: &Request, fleet: &Fleet, cluster: &Cluster) -> Verdict {
    let namespace = &request.placement.namespace;
    let labels = fleet.labels_of_namespace(namespace);
    if cluster.allowed_namespaces.admit(labels) {
        return Ok(());
    }
    let field = "spec.allowedNamespaces of the GPUCluster";
    let message = match &cluster.allowed_namespaces {
        Namespaces::Unreadable(why) => format!("{field}: {why}; nothing new is admitted"),
        Namespaces::All | Namespaces::Matching(_) if labels.is_none() => {
            format!("namespace {namespace} is not known to the hub yet, and {field} asks for its labels")
        }
        Namespaces::Matching(selector) => {
            format!("{field} admits namespaces with {selector}; the labels of {namespace} do not match")
        }
        Namespaces::All => return Ok(()),
    };
    refuse(Reason::NamespaceNotAllowed, message)
}
