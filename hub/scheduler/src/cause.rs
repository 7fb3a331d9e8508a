//! Why a placement leaves a cluster in which it is: the closed list, and what each asks for.
//!
//! A score is no cause. What people said of the placement (affinity, taints, what a cluster's owner denies) ends a stay at
//! once; what is here moves only if another cluster can take over, and what runs goes only when that one serves.

use jiff::Timestamp;

use super::{OnUnreachable, Reason, Request, Workload, filter};
use crate::failover::Lane;
use crate::fleet::{Cluster, Fleet, Heard, Link};

/// Why others take the place of a cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Cause {
    /// It has been silent for longer than the placement's patience.
    #[default]
    Lost,
    /// Its admin empties it.
    Drain,
    /// Its pods find no node, or its API server lets none be made.
    Unschedulable,
    /// It lacks what the objects need, and they do not work there.
    NoLongerFits,
    /// Its API server refuses what is placed there, or the name is somebody else's there.
    Rejected,
    /// The placement was told to choose anew.
    Rebalance,
}

impl Cause {
    /// The reason of the row.
    #[must_use]
    pub const fn reason(self) -> Reason {
        match self {
            Self::Lost => Reason::Replaced,
            Self::Drain => Reason::Drained,
            Self::Unschedulable => Reason::Unschedulable,
            Self::NoLongerFits => Reason::NoLongerFits,
            Self::Rejected => Reason::Rejected,
            Self::Rebalance => Reason::Rebalanced,
        }
    }

    /// The cause that a stored row names by its reason; what it does not name was a loss.
    #[must_use]
    pub fn of(reason: &str) -> Self {
        let all = [Self::Drain, Self::Unschedulable, Self::NoLongerFits, Self::Rejected, Self::Rebalance];
        all.into_iter().find(|cause| cause.reason().as_str() == reason).unwrap_or(Self::Lost)
    }

    /// Whether the cluster runs, so that the budget of the placement counts: no more are left at once.
    #[must_use]
    pub const fn is_voluntary(self) -> bool {
        matches!(self, Self::Drain | Self::Rebalance)
    }

    /// In which lane of the fleet's pace the move is counted.
    #[must_use]
    pub const fn lane(self) -> Lane {
        match self {
            Self::Lost => Lane::Failover,
            Self::Drain | Self::Unschedulable | Self::NoLongerFits | Self::Rejected | Self::Rebalance => {
                Lane::Relocation
            }
        }
    }

    /// `is lost`, `drains`, …
    pub(super) const fn words(self) -> &'static str {
        match self {
            Self::Lost => "is lost",
            Self::Drain => "drains",
            Self::Unschedulable => "has no node for its pods, or refuses them",
            Self::NoLongerFits => "lacks what it needs",
            Self::Rejected => "refuses an object",
            Self::Rebalance => "is no longer the best",
        }
    }
}

/// Why the placement shall leave a cluster now, if another one can take over; and when time alone may make it so.
pub(super) fn of(
    request: &Request,
    workloads: &[Workload],
    fleet: &Fleet,
    cluster: &Cluster,
) -> (Option<Cause>, Option<Timestamp>) {
    if let Some(at) = lost_at(request, cluster) {
        return if request.now >= at { (Some(Cause::Lost), None) } else { (None, Some(at)) };
    }
    if cluster.drain {
        return (Some(Cause::Drain), None);
    }
    if cluster.link != Link::Connected {
        return (None, None);
    }
    // Its pods would find none.
    let refused = request.denied.get(cluster.name.as_str());
    if refused.is_some_and(|denied| denied.reason == Reason::NoRoom) {
        return (Some(Cause::Unschedulable), None);
    }
    let waits = workloads.iter().filter_map(|workload| {
        let heard = fleet.statuses().get(&cluster.name, &workload.object.uid)?;
        let is_idle = heard.status.ready_replicas == 0;
        is_idle.then(|| waits_since(request, workloads, fleet, cluster, (workload, heard))).flatten()
    });
    let rejected = rejected_since(request, workloads, fleet, cluster).map(|since| (Cause::Rejected, since));
    let waits = waits.chain(rejected).min_by_key(|(_, since)| *since);
    let Some((cause, since)) = waits else { return (None, None) };
    let Some(at) = patience_ends(request, since) else { return (None, None) };
    if request.now >= at { (Some(cause), None) } else { (None, Some(at)) }
}

/// Since when a cluster has refused an object of a placement that does no work there.
fn rejected_since(
    request: &Request,
    workloads: &[Workload],
    fleet: &Fleet,
    cluster: &Cluster,
) -> Option<Timestamp> {
    let since = *request.rejected.get(cluster.name.as_str())?;
    let has_replicas = workloads.iter().any(|workload| workload.need.replicated);
    let works = |workload: &Workload| {
        let heard = fleet.statuses().get(&cluster.name, &workload.object.uid);
        heard.is_some_and(|heard| {
            if has_replicas { heard.status.ready_replicas > 0 } else { heard.status.is_ready() }
        })
    };
    (!workloads.iter().any(works)).then_some(since)
}

/// Since when an object of which nothing runs has waited for what does not come.
fn waits_since(
    request: &Request,
    workloads: &[Workload],
    fleet: &Fleet,
    cluster: &Cluster,
    (workload, heard): (&Workload, &Heard),
) -> Option<(Cause, Timestamp)> {
    // One that has a node and still starts is no reason to leave: only those that wait move.
    let has_node = bound_replicas(cluster, workload) > 0;
    // What a service waits for, such as its cache, keeps it from starting as well; one that runs no longer needs it.
    let serves = |other: &Workload| {
        let heard = fleet.statuses().get(&cluster.name, &other.object.uid);
        other.need.runs() && heard.is_some_and(|heard| heard.status.ready_replicas > 0)
    };
    let counts = workload.need.runs() || !workloads.iter().any(serves);
    if counts
        && !has_node
        && let Some(since) = heard.unschedulable_since
    {
        return Some((Cause::Unschedulable, brought_by(cluster, std::slice::from_ref(workload), since)));
    }
    let works = heard.status.is_ready() || !workload.need.runs();
    let lacks = || filter::lacks_for_good(request, workloads, cluster);
    (!works && lacks()).then_some((Cause::NoLongerFits, heard.steady_since))
}

/// Replicas of which every pod had a node in the moment of the last report; none where the agent does not tell.
fn bound_replicas(cluster: &Cluster, workload: &Workload) -> u32 {
    let pods = workload.need.pods_of(&workload.object.uid);
    let bound = cluster.capacity.as_ref().and_then(|capacity| capacity.bound_pods(&pods));
    bound.unwrap_or(0) / workload.need.pods().max(1)
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

/// Replicas of an object that find no node in a cluster for longer than the placement's patience, of those that were granted
/// there; and when time alone may make it so.
pub(super) fn pending(
    request: &Request,
    fleet: &Fleet,
    cluster: &Cluster,
    workload: &Workload,
    granted: u32,
) -> (u32, Option<Timestamp>) {
    let heard = fleet.statuses().get(&cluster.name, &workload.object.uid);
    let since = heard.and_then(|heard| Some((heard, heard.unschedulable_since?)));
    let Some((heard, since)) = since.filter(|_| cluster.link == Link::Connected) else { return (0, None) };
    // Of those that are not ready the spoke says how many find no node; others have one, and may still load their model.
    let without_node = granted.saturating_sub(bound_replicas(cluster, workload));
    let unready = granted.saturating_sub(heard.status.ready_replicas).min(without_node);
    let pending = heard.status.unschedulable.as_ref().map_or(unready, |waits| waits.replicas.min(unready));
    match patience_ends(request, brought_by(cluster, std::slice::from_ref(workload), since)) {
        Some(at) if request.now >= at => (pending, None),
        at => (0, at.filter(|_| pending > 0)),
    }
}

/// When what waits since then should have the nodes that the cluster's autoscaler brings; until then nobody waits too long.
fn brought_by(cluster: &Cluster, workloads: &[Workload], since: Timestamp) -> Timestamp {
    since.checked_add(filter::potential::delay(workloads, cluster)).unwrap_or(Timestamp::MAX)
}

/// When waiting since then is too long; none if it never is.
fn patience_ends(request: &Request, since: Timestamp) -> Option<Timestamp> {
    let patience = request.policy.failover.unschedulable_after;
    (!patience.is_zero()).then(|| since.checked_add(patience).unwrap_or(Timestamp::MAX))
}
