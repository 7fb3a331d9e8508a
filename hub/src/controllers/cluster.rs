//! Status of GPUClusters: conditions, facts from the agent, and when it was last heard.

use crds::condition;
use crds::fleet::{GPUCluster, GPUClusterStatus};
use hub_core::aggregate::{
    DELETION_HELD, DUPLICATE_FOR, HeldDeletions, Identity, cluster_conditions, cluster_ready,
    cluster_troubles, cluster_unready, confirmation, deletion_held, drained, gpus_labelled, is_hub,
    report_truncated, set_identity_conditions, write_summaries,
};
use hub_core::fleet_state::Session;
use hub_scheduler::failover::Outages;
use hub_scheduler::fleet::{Cluster, ClusterName, Excesses, Link};
use hub_scheduler::need::Need;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::api::{Patch, PatchParams};
use kube::{Api, Resource, ResourceExt};
use serde_json::json;

use super::failures::without;
use super::fault::{Fault, call};
use super::{Hub, time_until};

mod confirmations;

const FIELD_MANAGER: &str = "nimfleet-hub-status";
/// `lastSeen` is written at most this often while all is well: a heartbeat must not become a write.
const SEEN_EVERY: SignedDuration = SignedDuration::from_mins(5);

/// What the hub has written of one cluster.
#[derive(Debug, Default)]
pub(super) struct Memory {
    /// Of the GPUCluster that it was written to: another one of the name begins anew.
    uid: Option<String>,
    written: Option<GPUClusterStatus>,
    /// The word that confirmed what its spoke held back when that was looked at last.
    held: Option<String>,
}

impl Memory {
    /// The status as it was written last to that GPUCluster; none to one that nothing was written to.
    fn of(&self, cluster: &GPUCluster) -> Option<GPUClusterStatus> {
        self.written.clone().filter(|_| self.uid == cluster.metadata.uid)
    }
}

/// A cluster as the hub knows it.
pub(crate) fn known(hub: &Hub, name: &str) -> Option<Cluster> {
    hub.live().fleet.cluster(name).cloned()
}

/// One turn on one cluster.
pub(super) async fn reconcile(hub: &Hub, name: &ClusterName) -> Result<(), Fault> {
    let Some(stored) = hub.stores.cluster(name.as_str()) else {
        hub.cluster_memory.lock().unwrap_or_else(std::sync::PoisonError::into_inner).remove(name);
        return Ok(());
    };
    confirmations::follow(hub, name, &stored).await?;
    held_changed(hub, name);
    let now = Timestamp::now();
    let known = status_as_written(hub, name, &stored);
    hub.cluster_told(&stored);
    let Some(next) = status(hub, name, &stored, &known, now) else { return Ok(()) };
    if !is_worth_writing(&known, &next) {
        return Ok(());
    }
    let patch = json!({
        "apiVersion": GPUCluster::api_version(&()), "kind": GPUCluster::kind(&()),
        "metadata": {"name": name.as_str(), "uid": stored.uid()}, "status": next,
    });
    let api: Api<GPUCluster> = Api::all(hub.client.clone());
    let (params, patch) = (PatchParams::apply(FIELD_MANAGER).force(), Patch::Apply(&patch));
    match call(|| format!("status of GPUCluster {name}"), api.patch_status(name.as_str(), &params, &patch))
        .await
    {
        Err(fault) if !fault.is_gone() => return Err(fault),
        _ => hub.metrics.wrote(),
    }
    for condition in &next.conditions {
        let old = known.conditions.iter().find(|old| old.type_ == condition.type_);
        if TOLD.contains(&condition.type_.as_str())
            && old.is_none_or(|old| old.status != condition.status || old.reason != condition.reason)
        {
            // Nothing that a new cluster has not come to yet is told.
            if old.is_none()
                && !["DuplicateAgent", "EpochProven"].contains(&condition.type_.as_str())
                && (condition.status != "True" || is_quiet(condition))
            {
                continue;
            }
            let warning = is_bad(condition);
            let about = stored.object_ref(&());
            hub.events.publish(about, warning, &condition.type_, &condition.reason, &condition.message);
        }
    }
    let mut memory = hub.cluster_memory.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let known = memory.entry(name.clone()).or_default();
    known.uid = stored.uid();
    known.written = Some(next);
    Ok(())
}

/// Placements tell of what the cluster's spoke holds back, and of the word that confirms it: they tell anew when that has changed,
/// by whichever of them.
fn held_changed(hub: &Hub, name: &ClusterName) {
    let held = hub.desired.held_back(name);
    let word = (!held.is_empty()).then(|| confirmation(&held));
    let mut memory = hub.cluster_memory.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let known = &mut memory.entry(name.clone()).or_default().held;
    if *known != word {
        *known = word;
        drop(memory);
        for placement in hub.live().placements_in(name) {
            hub.reports.add_soon(placement);
        }
    }
}

/// The status that follows; none while it is too early to say.
fn status(
    hub: &Hub,
    name: &ClusterName,
    stored: &GPUCluster,
    known: &GPUClusterStatus,
    now: Timestamp,
) -> Option<GPUClusterStatus> {
    let mut live = hub.live();
    if let Some(excess) = live.excess.get_mut(name) {
        excess.forget_old(now);
    }
    let live = live;
    let cluster = live.fleet.cluster(name.as_str())?;
    let session = live.sessions.get(name).cloned();
    let duplicate = live.duplicates.get(name).cloned();
    let unproven = live.unproven_epochs.get(name).copied();
    let granted = live.fleet.grants(name).into_iter().flat_map(|(_, grant)| &grant.objects);
    let serves = |need: &Need| need.replicated || !need.service.is_empty();
    let models = granted.filter(|object| serves(&object.need)).count();
    let mut shown = cluster.clone();
    if let (link, Some(told_at)) = cluster.link.as_told(now, hub.unreachable_after) {
        hub.clusters.add_after(name.clone(), time_until(told_at, now));
        if !known.conditions.is_empty() {
            shown.link = link;
            if shown.capacity.is_none() || shown.agent.is_none() {
                return None;
            }
        }
    }
    let held = match shown.link {
        Link::Unreachable { .. } => Outages::of(&live.fleet).held(cluster, &hub.limits),
        _ => None,
    };
    let orphans = live.orphans.get(name).map_or(&[][..], Vec::as_slice);
    let mut next = next(&shown, stored, known, session, models, now);
    for finding in cluster_troubles(held, name.as_str(), orphans, &known.conditions) {
        condition::set(&mut next.conditions, finding, stored.metadata.generation, now);
    }
    let role = live.fleet.role(next.cluster_uid.as_deref().unwrap_or_default());
    if let Some(finding) = is_hub(role, &known.conditions) {
        condition::set(&mut next.conditions, finding, stored.metadata.generation, now);
    }
    let left: Vec<String> = live.placements_in(name).iter().map(ToString::to_string).collect();
    if let Some(finding) = drained(cluster, &left, &known.conditions) {
        condition::set(&mut next.conditions, finding, stored.metadata.generation, now);
    }
    let excess = live.excess.get(name);
    if let Some(finding) = report_truncated(excess, &known.conditions) {
        condition::set(&mut next.conditions, finding, stored.metadata.generation, now);
    }
    let nodes = cluster.capacity.as_ref().and_then(|capacity| capacity.nodes.as_ref());
    if let Some(nodes) = nodes
        && let Some(finding) = gpus_labelled(&nodes.unlabelled, &known.conditions)
    {
        condition::set(&mut next.conditions, finding, stored.metadata.generation, now);
    }
    let excess_ends = excess.and_then(Excesses::ends);
    let held_back = hub.desired.held_back(name);
    let deletions = held_back.len();
    let held_back: Vec<_> = HeldDeletions::of(name, &held_back, |_| true).into_iter().collect();
    deletion_held(&mut next.conditions, &held_back, None, stored.metadata.generation, now);
    let trust = hub.trust.borrow().clone();
    let identity = Identity {
        connected: matches!(cluster.link, Link::Connected),
        stage: trust.stage(),
        coming: trust.coming(),
        return_within: hub.return_within,
        duplicate: duplicate.as_ref(),
        unproven,
    };
    let mut conditions = std::mem::take(&mut next.conditions);
    let generation = stored.metadata.generation;
    set_identity_conditions(&mut conditions, &stored.spec, &next, &identity, generation, now);
    let is_ready = cluster_ready(&conditions);
    condition::set(&mut conditions, is_ready, generation, now);
    let unready = cluster_unready(&conditions);
    condition::set_unready(&mut conditions, unready, generation, now);
    next.conditions = conditions;
    next.observed_generation = generation;
    write_summaries(&mut next, &stored.spec, deletions);
    // What changes by itself with time is looked at in time.
    let ends = [
        next.certificate_expiry.as_ref().map(|expiry| expiry.0),
        duplicate.and_then(|(at, _)| at.checked_add(DUPLICATE_FOR).ok()),
        excess_ends,
    ];
    for left in ends.into_iter().flatten().map(|end| end.duration_since(now)) {
        if left > SignedDuration::ZERO {
            hub.clusters.add_after(name.clone(), std::time::Duration::try_from(left).unwrap_or_default());
        }
    }
    Some(next)
}

/// The status as it was written last, but for the condition that is written apart.
pub(super) fn status_as_written(hub: &Hub, name: &ClusterName, stored: &GPUCluster) -> GPUClusterStatus {
    let memory = hub.cluster_memory.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let written = memory.get(name).and_then(|memory| memory.of(stored));
    let status = written.or_else(|| stored.status.clone()).unwrap_or_default();
    GPUClusterStatus { conditions: without(status.conditions), ..status }
}

/// Conditions whose changes are told as events.
const TOLD: [&str; 13] = [
    "GPUsLabelled",
    "IsHub",
    "ReportTruncated",
    "Drained",
    "Accepted",
    "Connected",
    "FailoverHeld",
    "Orphans",
    DELETION_HELD,
    "CertificateValid",
    "TrustUpToDate",
    "DuplicateAgent",
    "EpochProven",
];

/// Whether a condition is what is expected of every cluster, so that its first appearance is no news.
fn is_quiet(condition: &Condition) -> bool {
    ["CertificateValid", "TrustUpToDate"].contains(&condition.type_.as_str())
}

/// Whether a condition calls for somebody.
fn is_bad(condition: &Condition) -> bool {
    match condition.type_.as_str() {
        "Connected" | "CertificateValid" | "EpochProven" | "GPUsLabelled" => condition.status != "True",
        "FailoverHeld" | "IsHub" | "Orphans" | "DuplicateAgent" | "ReportTruncated" | DELETION_HELD => {
            condition.status == "True"
        }
        _ => false,
    }
}

fn next(
    cluster: &Cluster,
    stored: &GPUCluster,
    known: &GPUClusterStatus,
    session: Option<Session>,
    models: usize,
    now: Timestamp,
) -> GPUClusterStatus {
    let mut next = known.clone();
    let before = known.conditions.clone();
    next.conditions =
        cluster_conditions(cluster, env!("CARGO_PKG_VERSION"), stored.metadata.generation, &before, now);
    if cluster.capacity.is_none() && matches!(cluster.link, Link::Connected) && !before.is_empty() {
        // A session has begun and its first report is on its way: what was known of it holds until then.
        keep(&mut next, &before, "CapacityFresh");
    }
    if let Some(agent) = &cluster.agent {
        agent.write(&mut next);
    }
    if let Some(capacity) = &cluster.capacity {
        capacity.write(&mut next);
    }
    next.models = Some(i32::try_from(models).unwrap_or(i32::MAX));
    if let Some(session) = session {
        next.certificate_expiry = Some(Time(whole(session.certificate_expiry)));
        if let Some((certificate, trusted)) = session.identity {
            next.certificate_serial = Some(certificate.serial);
            next.certificate_authority = Some(certificate.authority.to_string());
            next.trusted_authorities = trusted.iter().map(ToString::to_string).collect();
        }
        next.last_seen = Some(Time(whole(session.last_heard)));
    }
    next
}

fn keep(next: &mut GPUClusterStatus, before: &[Condition], kind: &str) {
    if let Some(old) = before.iter().find(|old| old.type_ == kind)
        && let Some(condition) = next.conditions.iter_mut().find(|condition| condition.type_ == kind)
    {
        condition.clone_from(old);
    }
}

fn whole(at: Timestamp) -> Timestamp {
    Timestamp::from_second(at.as_second()).unwrap_or(at)
}

/// Anything but `lastSeen`, or that once it is old.
fn is_worth_writing(known: &GPUClusterStatus, next: &GPUClusterStatus) -> bool {
    let aside = |status: &GPUClusterStatus| GPUClusterStatus { last_seen: None, ..status.clone() };
    if aside(known) != aside(next) {
        return true;
    }
    match (&known.last_seen, &next.last_seen) {
        (Some(known), Some(next)) => next.0.duration_since(known.0) >= SEEN_EVERY,
        (None, Some(_)) => true,
        (_, None) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_heartbeat_is_no_reason_to_write_but_for_once_in_a_while() {
        let at = |second| Some(Time(Timestamp::from_second(second).unwrap()));
        let status = |seen| GPUClusterStatus { last_seen: seen, ..Default::default() };
        for (known, next, worth) in
            [(at(0), at(299), false), (at(0), at(300), true), (None, at(0), true), (at(0), None, false)]
        {
            assert_eq!(
                is_worth_writing(&status(known.clone()), &status(next.clone())),
                worth,
                "{known:?} {next:?}"
            );
        }
        let free = GPUClusterStatus { gpu_summary: Some("1/8".into()), ..status(at(0)) };
        assert!(is_worth_writing(&status(at(0)), &free));
    }
}
