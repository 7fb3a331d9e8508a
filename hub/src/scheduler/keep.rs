//! Which clusters of a placement stay.

use jiff::Timestamp;

use super::{
    OnUnreachable, Previous, Reason, Removed, Request, Workload,
    filter::{self, Refusal},
    packing::{self, Left},
    replace::{self, Losses, Replaced},
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
    /// Whether everything of the placement is known to be ready there.
    pub(super) available: bool,
    /// Whether it is known that something of the placement is not.
    pub(super) failing: bool,
    /// Silent beyond the placement's patience, which wants it replaced, and nothing holds that back.
    pub(super) lost: bool,
}

/// The rows of a placement, sorted out.
#[derive(Debug, Default)]
pub(super) struct Sorted<'a> {
    /// Those that stay, by cluster name.
    pub(super) kept: Vec<Kept<'a>>,
    /// Those whose place others have taken.
    pub(super) replaced: Vec<Replaced<'a>>,
    /// Those that go.
    pub(super) removed: Vec<Removed>,
    /// What is lost and not replaced, and why.
    pub(super) losses: Losses,
}

/// Splits the rows of a placement into those that stay and those that go.
pub(super) fn keep<'a>(request: &'a Request, workloads: &[Workload], fleet: &'a Fleet) -> Sorted<'a> {
    let mut sorted = Sorted::default();
    for row in &request.previous {
        let Some(cluster) = fleet.cluster(row.cluster.as_str()) else {
            let message = format!("GPUCluster {} is gone", row.cluster);
            sorted.removed.push(row.removed(Reason::ClusterNotFound, message));
            continue;
        };
        if let Err(Refusal { reason, message, .. }) = filter::may_stay(request, cluster) {
            sorted.removed.push(row.removed(reason, message));
            continue;
        }
        if row.replaced {
            let available = replace::is_available(request, fleet, cluster);
            let settled = replace::is_settled(request, cluster);
            sorted.replaced.push(Replaced { row, cluster, available, settled });
            continue;
        }
        sorted.kept.push(stays(request, workloads, fleet, row, cluster));
    }
    sorted.kept.sort_by(|a, b| a.row.cluster.cmp(&b.row.cluster));
    for back in replace::restored(request, &sorted.kept, &mut sorted.replaced) {
        sorted.kept.push(stays(request, workloads, fleet, back.row, back.cluster));
    }
    sorted.kept.sort_by(|a, b| a.row.cluster.cmp(&b.row.cluster));
    let lost = |kept: &Kept<'_>| lost_at(request, kept.cluster).is_some_and(|at| request.now >= at);
    for kept in &mut sorted.kept {
        kept.lost = lost(kept) && sorted.losses.may_go(request, fleet, kept.cluster);
    }
    sorted
}

fn stays<'a>(
    request: &Request,
    workloads: &[Workload],
    fleet: &'a Fleet,
    row: &'a Previous,
    cluster: &'a Cluster,
) -> Kept<'a> {
    let left = cluster.capacity.as_ref().map(|capacity| packing::left(request, fleet, cluster, capacity));
    let score = score::score(workloads, cluster, left.as_ref(), true);
    let available = replace::is_available(request, fleet, cluster);
    let failing = replace::is_failing(request, fleet, cluster);
    Kept { row, cluster, left, score, available, failing, lost: false }
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

/// Takes the least useful clusters out until `wanted` remain: lost ones first, then silent ones, then those that are
/// not available, then by score and by name from the end.
pub(super) fn surplus(kept: &mut Vec<Kept<'_>>, wanted: usize) -> Vec<Removed> {
    let mut removed = Vec::new();
    while kept.len() > wanted {
        let usefulness =
            |kept: &Kept<'_>| (!kept.lost, kept.cluster.link == Link::Connected, kept.available, kept.score);
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
