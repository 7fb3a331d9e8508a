//! Placements that wait, and which of them a report of one cluster could help.

use std::cmp::Reverse;

use jiff::Timestamp;

use super::{Reason, Request, Workload, filter};
use crate::fleet::{ClusterName, Fleet, PlacementKey};

/// A placement that waits for capacity, as it was decided last.
#[derive(Clone, Debug)]
pub struct Waiting {
    request: Request,
    /// The objects where no override changes them, under the placement's own demands.
    workloads: Vec<Workload>,
    since: Timestamp,
}

impl Waiting {
    /// A placement whose decision left something missing; `since`: when it began to wait, by the hub's clock.
    #[must_use]
    pub fn new(request: Request, since: Timestamp) -> Self {
        let workloads = request.narrowed();
        Self { request, workloads, since }
    }

    /// Which placement.
    #[must_use]
    pub const fn placement(&self) -> &PlacementKey {
        &self.request.placement
    }

    /// When it began to wait.
    #[must_use]
    pub const fn since(&self) -> Timestamp {
        self.since
    }

    /// Whether what a cluster has reported could change the decision: the placement is there, or could come there. What other
    /// events than a report decide (quotas, denials, the end of a watch, names that no cluster has) is not held against it.
    #[must_use]
    pub fn could_be_helped_by(&self, fleet: &Fleet, name: &ClusterName) -> bool {
        let Some(cluster) = fleet.cluster(name.as_str()) else { return false };
        let request = &self.request;
        // A domain counts for a hard constraint as long as a cluster of it fits: one that no longer does makes room for others.
        let is_bound = request.policy.spread.iter().any(|constraint| constraint.is_hard);
        if is_bound || request.previous.iter().any(|row| row.cluster == *name) {
            return true;
        }
        let own;
        let workloads = if request.variants.needs(name.as_str()).is_some() {
            own = request.workloads_in(name);
            &own
        } else {
            &self.workloads
        };
        // What most clusters are refused for, without a sentence.
        if filter::outright(&request.policy, cluster).is_some() {
            return false;
        }
        match filter::may_come(request, workloads, fleet, cluster) {
            Ok(_) => true,
            Err(refusal) => matches!(
                refusal.reason,
                Reason::QuotaExceeded | Reason::PolicyDenied | Reason::NoRoom | Reason::Settling
            ),
        }
    }
}

/// Those of the placements that wait which a report of a cluster could help: the highest priority first, of one priority the one
/// that has waited longest.
pub fn woken<'w>(
    waiting: impl IntoIterator<Item = &'w Waiting>,
    fleet: &Fleet,
    cluster: &ClusterName,
) -> Vec<&'w Waiting> {
    let mut woken: Vec<&Waiting> =
        waiting.into_iter().filter(|one| one.could_be_helped_by(fleet, cluster)).collect();
    woken.sort_by_key(|one| (Reverse(one.request.policy.priority), one.since, one.placement()));
    woken
}
