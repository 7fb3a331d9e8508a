//! Filter: the cluster is not being emptied.

use super::{Reason, Verdict, refuse};
use crate::fleet::Cluster;

pub(super) fn check(cluster: &Cluster) -> Verdict {
    if cluster.drain {
        return refuse(Reason::Draining, "spec.drain of the GPUCluster is true".to_owned());
    }
    Ok(())
}
