//! Which clusters of a placement stay.

use jiff::Timestamp;

use super::{
    OnUnreachable, Previous, Reason, Removed, Request, Workload,
    filter::{self, Refusal},
    packing::{self, Left},
    score,
};
use crate::fleet::{Cluster, Fleet, Link};

/// A cluster in which the placement stays.
#[derive(Clone, Debug)]
pub(super) struct Kept<'a> {
    pub(super) row: &'a Previous,
    pub(super) cluster: &'a Cluster,
    /// What is left there beside what the placement has already; none while no report is known.
    pub(super) left: Option<Left<'a>>,
    pub(super) score: i32,
    /// Silent beyond the placement's patience, which wants it replaced.
    pub(super) lost: bool,
}

/// Splits the rows of a placement into those that stay, by cluster name, and those that go.
pub(super) fn keep<'a>(
    request: &'a Request,
    workloads: &[Workload],
    fleet: &'a Fleet,
) -> (Vec<Kept<'a>>, Vec<Removed>) {
    let (mut kept, mut removed) = (Vec::new(), Vec::new());
    for row in &request.previous {
        let Some(cluster) = fleet.cluster(row.cluster.as_str()) else {
            let message = format!("GPUCluster {} is gone", row.cluster);
            removed.push(row.removed(Reason::ClusterNotFound, message));
            continue;
        };
        if let Err(Refusal { reason, message, .. }) = filter::may_stay(request, cluster) {
            removed.push(row.removed(reason, message));
            continue;
        }
        let left = cluster.capacity.as_ref().map(|capacity| packing::left(request, fleet, cluster, capacity));
        let score = score::score(workloads, cluster, left.as_ref(), true);
        let lost = lost_at(request, cluster).is_some_and(|at| request.now >= at);
        kept.push(Kept { row, cluster, left, score, lost });
    }
    kept.sort_by(|a, b| a.row.cluster.cmp(&b.row.cluster));
    (kept, removed)
}

/// When a silent cluster counts as lost; none where it never does, or is not silent.
pub(super) fn lost_at(request: &Request, cluster: &Cluster) -> Option<Timestamp> {
    match (request.policy.failover.on_unreachable, cluster.link) {
        (OnUnreachable::Replace, Link::Unreachable { since }) => {
            Some(since.checked_add(request.policy.failover.lost_after).unwrap_or(Timestamp::MAX))
        }
        _ => None,
    }
}

/// Takes the least useful clusters out until `wanted` remain: lost ones first, then silent ones, then by
/// score and by name from the end.
pub(super) fn surplus(kept: &mut Vec<Kept<'_>>, wanted: usize) -> Vec<Removed> {
    let mut removed = Vec::new();
    while kept.len() > wanted {
        let usefulness = |kept: &Kept<'_>| (!kept.lost, kept.cluster.link == Link::Connected, kept.score);
        let Some(worst) = (0..kept.len()).rev().min_by_key(|&i| usefulness(&kept[i])) else { break };
        let row = kept.remove(worst).row;
        removed.push(row.removed(Reason::NotNeeded, format!("only {wanted} clusters are wanted")));
    }
    removed
}

impl Kept<'_> {
    /// Whether nothing new can be sent there.
    pub(super) fn is_silent(&self) -> bool {
        self.cluster.link != Link::Connected || !self.cluster.accepted
    }
}

impl Previous {
    pub(super) fn removed(&self, reason: Reason, message: String) -> Removed {
        Removed { cluster: self.cluster.clone(), reason, message }
    }
}
