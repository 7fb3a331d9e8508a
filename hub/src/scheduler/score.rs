//! How good a cluster is that can take a placement: the sum of the scores below, one per file.

mod free_capacity;
mod stickiness;

use super::{Workload, packing::Left};
use crate::fleet::Cluster;

/// Score of a cluster. `left` is what remains after the placement, where that is known.
pub(super) fn score(workloads: &[Workload], cluster: &Cluster, left: Option<&Left<'_>>, stays: bool) -> i32 {
    left.map_or(0, |left| free_capacity::score(workloads, cluster, left)) + stickiness::score(stays)
}
