//! Which clusters can take a placement: one predicate per file, asked in a fixed order; the first that fails
//! is the reason.

mod affinity;
mod agent;
pub(super) mod denied;
mod devices;
mod drain;
pub(super) mod expression;
pub(super) mod free_block;
mod gpu_kind;
mod joined;
mod locality;
mod namespace;
pub(super) mod nodes;
mod overrides;
mod platform;
pub(super) mod potential;
pub(super) mod profile;
mod quota;
mod report;
mod storage;
mod taint;
#[cfg(test)]
mod tests;
pub(super) mod tier;
pub(super) mod topology;

use jiff::Timestamp;

use super::{
    Division, Policy, Reason, Request, Toleration, Workload,
    packing::{self, Left},
};
use crate::fleet::{Capacity, Cluster, Fleet};

/// A filter that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) reason: Reason,
    pub(super) message: String,
    /// When time alone may lift it.
    pub(super) settles_at: Option<Timestamp>,
}

/// What a filter says.
pub(super) type Verdict = Result<(), Refusal>;

/// Bytes of the sentence about one refused cluster: it names what the cluster has, and a spoke can report much.
const LONGEST: usize = 1024;

fn refuse(reason: Reason, mut message: String) -> Verdict {
    if message.len() > LONGEST {
        let more = message.len() - LONGEST;
        message.truncate(message.floor_char_boundary(LONGEST));
        message = format!("{message}… ({more} more bytes)");
    }
    Err(Refusal { reason, message, settles_at: None })
}

/// Whether a placement may come to a cluster it is not in. Gives the room that is left, after all of it if it
/// is duplicated, after what is not divided if it is; and the cluster's tier.
pub(super) fn may_come<'a>(
    request: &Request,
    workloads: &[Workload],
    fleet: &Fleet,
    cluster: &'a Cluster,
) -> Result<(Left<'a>, usize), Refusal> {
    may_come_where(request, workloads, fleet, cluster, || expression::admits(request, cluster))
}

/// The same where it is known what expressions say of the cluster.
pub(super) fn may_come_where<'a>(
    request: &Request,
    workloads: &[Workload],
    fleet: &Fleet,
    cluster: &'a Cluster,
    expressions: impl FnOnce() -> Verdict,
) -> Result<(Left<'a>, usize), Refusal> {
    let policy = &request.policy;
    affinity::admits(policy, cluster)?;
    let tier = tier::of(policy, cluster)?;
    joined::check(request, cluster)?;
    drain::check(cluster)?;
    agent::check(workloads, cluster)?;
    taint::admits(&policy.tolerations, cluster)?;
    namespace::admits(request, fleet, cluster)?;
    let capacity = report::check(cluster, request.now)?;
    topology::check(&policy.spread, cluster)?;
    expressions()?;
    overrides::check(request, cluster)?;
    platform::check(workloads, capacity)?;
    denied::has_room(request, cluster)?;
    let left = now_or_grown(request, workloads, fleet, cluster, capacity)?;
    // Last, so that these reasons mean that everything else fits.
    quota::admits(request, cluster)?;
    denied::admits(request, cluster)?;
    Ok((left, tier))
}

/// Whether a cluster has what objects take, whoever asks for them and whatever else stands in the way: the filters of
/// [`may_come`] that ask neither who the placement is nor which clusters its user wants. None without a report. Of the request
/// only the division, the priority and the cache locality count.
pub(super) fn has_what_it_takes<'a>(
    request: &Request,
    workloads: &[Workload],
    fleet: &Fleet,
    cluster: &'a Cluster,
) -> Option<Result<Left<'a>, Refusal>> {
    let capacity = cluster.capacity.as_ref()?;
    let platforms = platform::check(workloads, capacity);
    Some(platforms.and_then(|()| now_or_grown(request, workloads, fleet, cluster, capacity)))
}

/// Whether a refusal of [`has_what_it_takes`] comes before [`denied::has_room`] in the order of filters.
pub(super) const fn is_early(reason: Reason) -> bool {
    matches!(reason, Reason::PlatformMissing | Reason::PlatformVersionMissing)
}

/// Whether a cluster seats the placement as it is, or once its autoscaler has brought all that it can.
fn now_or_grown<'a>(
    request: &Request,
    workloads: &[Workload],
    fleet: &Fleet,
    cluster: &'a Cluster,
    capacity: &'a Capacity,
) -> Result<Left<'a>, Refusal> {
    match seated(request, workloads, fleet, cluster, capacity) {
        Ok(left) => Ok(left),
        // What is there counts before what an autoscaler can bring.
        Err(refusal) => potential::seats(workloads, cluster, refusal, |grown| {
            seated(request, workloads, fleet, cluster, grown)
        }),
    }
}

/// Whether the GPUs of a report seat the placement, and what is left of them then.
fn seated<'a>(
    request: &Request,
    workloads: &[Workload],
    fleet: &Fleet,
    cluster: &Cluster,
    capacity: &'a Capacity,
) -> Result<Left<'a>, Refusal> {
    let policy = &request.policy;
    gpu_kind::check(workloads, &cluster.name, capacity)?;
    nodes::check(workloads, &cluster.name, capacity)?;
    profile::check(workloads, capacity)?;
    let division = policy.division;
    devices::check(workloads, |workload| workload.least(division), capacity)?;
    storage::check(workloads, |workload| workload.least(division), capacity)?;
    locality::check(policy, workloads, cluster)?;
    let mut left = packing::left(request, fleet, None, cluster, capacity);
    if division == Division::Divided {
        free_block::check(workloads, |workload| workload.least(division), &mut left.clone())?;
    }
    free_block::check(workloads, |workload| workload.undivided(division), &mut left)?;
    Ok(left)
}

/// Whether the tolerations cover all taints of a cluster.
pub(super) fn tolerates(tolerations: &[Toleration], cluster: &Cluster) -> bool {
    taint::first_untolerated(tolerations, cluster, |_| true).is_none()
}

/// Whether the agent of a cluster knows a kind.
pub(super) fn knows(cluster: &Cluster, api_version: &str, kind: &str) -> bool {
    agent::knows(cluster, api_version, kind)
}

/// The reason of a cluster that the placement's own words refuse, if they do: the same as [`may_come`] gives, without a
/// sentence.
pub(super) fn outright(policy: &Policy, cluster: &Cluster) -> Option<Reason> {
    affinity::reason(policy, cluster)
}

/// Whether a placement may stay in a cluster it is in. Only what its users said can end that, or that nothing of it was
/// or can be let in: a cluster that fills up, falls silent or is no longer accepted keeps what it runs.
pub(super) fn may_stay(request: &Request, cluster: &Cluster) -> Verdict {
    joined::is_no_hub(cluster)?;
    affinity::keeps(&request.policy, cluster)?;
    expression::keeps(request, cluster)?;
    taint::keeps(&request.policy.tolerations, cluster)?;
    denied::keeps(request, cluster)
}

/// Whether a cluster with a fresh report lacks something that no free GPU makes good: a kind, a platform, a product.
pub(super) fn lacks_for_good(request: &Request, workloads: &[Workload], cluster: &Cluster) -> bool {
    let Ok(capacity) = report::check(cluster, request.now) else { return false };
    agent::check(workloads, cluster).is_err()
        || platform::check(workloads, capacity).is_err()
        || gpu_kind::check(workloads, &cluster.name, capacity).is_err()
}
