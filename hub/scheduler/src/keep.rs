//! Which clusters of a placement stay.

use jiff::Timestamp;

use super::{
    Cause, Previous, Reason, Removed, Request, Workload, cause,
    filter::{self, Refusal},
    packing::{self, Left},
    replace::{self, Losses, Replaced},
    score::{Points, Scale},
    variants::{InCluster, Objects},
};
use crate::fleet::{Cluster, Fleet, Link};

/// A cluster in which the placement stays.
#[derive(Clone, Debug)]
pub(super) struct Kept<'a> {
    pub(super) row: &'a Previous,
    pub(super) cluster: &'a Cluster,
    /// The objects, as it has them.
    pub(super) workloads: &'a [Workload],
    /// What is left there beside what the placement has already; none while no report is known.
    pub(super) left: Option<Left<'a>>,
    pub(super) points: Points,
    /// Its tier; one after the last where it is in none.
    pub(super) tier: usize,
    /// Whether everything of the placement is known to be ready there.
    pub(super) available: bool,
    /// Whether it is known that something of the placement is not.
    pub(super) failing: bool,
    /// Why others shall take its place, if they can, and nothing holds that back.
    pub(super) leaving: Option<Cause>,
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
    /// When time alone makes a cause of what is none yet.
    pub(super) due_at: Option<Timestamp>,
}

/// Splits the rows of a placement into those that stay and those that go.
pub(super) fn keep<'a>(
    request: &'a Request,
    objects: &'a Objects<'a>,
    fleet: &'a Fleet,
    scale: &Scale,
) -> Sorted<'a> {
    let mut sorted = Sorted::default();
    let stays = |row, cluster: &'a Cluster| {
        stays(request, objects.in_cluster(&cluster.name), fleet, scale, row, cluster)
    };
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
        if let Some(cause) = row.replaced {
            let available = replace::is_available(request, fleet, cluster);
            let settled = replace::is_settled(request, cluster);
            sorted.replaced.push(Replaced { row, cluster, cause, available, settled });
            continue;
        }
        if packing::is_outbid(request, objects.in_cluster(&cluster.name), fleet, row, cluster) {
            let message =
                "what it was promised here, and did not run yet, a placement of higher priority has taken";
            sorted.removed.push(row.removed(Reason::Preempted, message.to_owned()));
            continue;
        }
        sorted.kept.push(stays(row, cluster));
    }
    sorted.kept.sort_by(|a, b| a.row.cluster.cmp(&b.row.cluster));
    for back in replace::restored(request, &sorted.kept, &mut sorted.replaced) {
        sorted.kept.push(stays(back.row, back.cluster));
    }
    sorted.kept.sort_by(|a, b| a.row.cluster.cmp(&b.row.cluster));
    let in_flight = sorted.replaced.iter().filter(|one| one.cause.is_voluntary()).count();
    sorted.losses.in_flight(in_flight);
    for kept in &mut sorted.kept {
        let (cause, at) = cause::of(request, kept.workloads, fleet, kept.cluster);
        sorted.due_at = [sorted.due_at, at].into_iter().flatten().min();
        kept.leaving = cause.filter(|cause| sorted.losses.may_go(request, fleet, kept.cluster, *cause));
    }
    sorted
}

fn stays<'a>(
    request: &Request,
    workloads: &'a [Workload],
    fleet: &'a Fleet,
    scale: &Scale,
    row: &'a Previous,
    cluster: &'a Cluster,
) -> Kept<'a> {
    let capacity = cluster.capacity.as_ref();
    let left = capacity.map(|capacity| packing::left(request, fleet, Some(row), cluster, capacity));
    let points = scale.points(request, workloads, cluster, left.as_ref(), true);
    let tier = filter::tier::of(&request.policy, cluster).unwrap_or(request.policy.tiers.len());
    let available = replace::is_available(request, fleet, cluster);
    let failing = replace::is_failing(request, fleet, cluster);
    Kept { row, cluster, workloads, left, points, tier, available, failing, leaving: None }
}

/// Takes the least useful clusters out until `wanted` remain: those that shall be left first, then silent ones, then those
/// that are not available, then those of late tiers, then by score and by name from the end.
pub(super) fn surplus(kept: &mut Vec<Kept<'_>>, wanted: usize, scale: &Scale) -> Vec<Removed> {
    let usefulness = |kept: &Kept<'_>| {
        let connected = kept.cluster.link == Link::Connected;
        let early = std::cmp::Reverse(kept.tier);
        (kept.leaving.is_none(), connected, kept.available, early, scale.sum(kept.points))
    };
    let mut worst: Vec<usize> = (0..kept.len()).rev().collect();
    worst.sort_by_key(|&i| usefulness(&kept[i]));
    worst.truncate(kept.len().saturating_sub(wanted));
    let message = format!("only {wanted} clusters are wanted");
    let removed = worst.iter().map(|&i| kept[i].row.removed(Reason::NotNeeded, message.clone())).collect();
    let goes: std::collections::BTreeSet<usize> = worst.into_iter().collect();
    let mut at = 0..;
    kept.retain(|_| at.next().is_none_or(|at| !goes.contains(&at)));
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
