//! Which clusters can take a placement: one predicate per file, asked in a fixed order; the first that fails
//! is the reason.

mod affinity;
mod agent;
mod denied;
pub(super) mod free_block;
mod gpu_kind;
mod joined;
mod platform;
mod report;
mod taint;
#[cfg(test)]
mod tests;

use jiff::Timestamp;

use super::{
    Reason, Request, Workload,
    packing::{self, Left},
};
use crate::fleet::{Cluster, Fleet};

/// A filter that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) reason: Reason,
    pub(super) message: String,
    /// When time alone may lift it.
    pub(super) settles_at: Option<Timestamp>,
}

/// What a filter says.
type Verdict = Result<(), Refusal>;

fn refuse(reason: Reason, message: String) -> Verdict {
    Err(Refusal { reason, message, settles_at: None })
}

/// Whether a placement may come to a cluster it is not in. Gives the room that is left: after all of it if it
/// is duplicated, after what is not divided if it is.
pub(super) fn may_come<'a>(
    request: &Request,
    workloads: &[Workload],
    fleet: &Fleet,
    cluster: &'a Cluster,
) -> Result<Left<'a>, Refusal> {
    affinity::check(&request.policy.affinity, cluster)?;
    joined::check(request, cluster)?;
    agent::check(workloads, cluster)?;
    taint::admits(&request.policy.tolerations, cluster)?;
    let capacity = report::check(cluster, request.now)?;
    platform::check(workloads, capacity)?;
    gpu_kind::check(workloads, capacity)?;
    let mut left = packing::left(request, fleet, cluster, capacity);
    let division = request.policy.division;
    free_block::check(workloads, |workload| workload.least(division), &mut left.clone())?;
    free_block::check(workloads, |workload| workload.undivided(division), &mut left)?;
    // Last, so that this reason means that everything else fits.
    denied::admits(request, cluster)?;
    Ok(left)
}

/// Whether a placement may stay in a cluster it is in. Only what its users said can end that, or that nothing of it was
/// let in: a cluster that fills up, falls silent or is no longer accepted keeps what it runs.
pub(super) fn may_stay(request: &Request, cluster: &Cluster) -> Verdict {
    affinity::check(&request.policy.affinity, cluster)?;
    taint::keeps(&request.policy.tolerations, cluster)?;
    denied::keeps(request, cluster)
}
