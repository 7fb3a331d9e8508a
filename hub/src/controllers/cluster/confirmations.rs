//! The admin's explicit words about a cluster, given as annotations: followed, and taken off when they have served.

use crds::fleet::GPUCluster;
use crds::marks::{
    CONFIRM_DELETIONS_ANNOTATION, CONFIRM_FAILOVER_ANNOTATION, CONFIRM_ORPHAN_REMOVAL_ANNOTATION,
};
use hub_core::aggregate::confirmation;
use hub_core::audit::{Act, Action, Actor, manager_of};
use hub_core::link::{Cause, Removal, RemovalPolicy};
use hub_scheduler::fleet::{ClusterName, Link};
use jiff::Timestamp;
use kube::api::{Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::json;

use super::super::Hub;
use super::super::fault::{Fault, call};
use crate::audit::RecordAct;

/// Follows what the annotations of a GPUCluster say.
pub(super) async fn follow(hub: &Hub, name: &ClusterName, stored: &GPUCluster) -> Result<(), Fault> {
    confirm_deletions(hub, name, stored);
    let annotations = stored.annotations();
    if annotations.contains_key(CONFIRM_FAILOVER_ANNOTATION) && is_back(hub, name) {
        // Left there, it would answer the next outage before anybody has looked at it.
        take_off(hub, name, CONFIRM_FAILOVER_ANNOTATION).await?;
    }
    let confirmed = annotations.get(CONFIRM_ORPHAN_REMOVAL_ANNOTATION);
    if remove_orphans(hub, name, confirmed.map(String::as_str)) && confirmed.is_some() {
        take_off(hub, name, CONFIRM_ORPHAN_REMOVAL_ANNOTATION).await?;
    }
    Ok(())
}

/// Lets go what the cluster's spoke holds back, if the admin has confirmed exactly that. The word stays: it names these deletions,
/// and a hub that restarts before they are done needs it again.
fn confirm_deletions(hub: &Hub, name: &ClusterName, stored: &GPUCluster) {
    let held = hub.desired.held_back(name);
    let word = stored.annotations().get(CONFIRM_DELETIONS_ANNOTATION);
    if !held.is_empty() && word == Some(&confirmation(&held)) {
        let confirmed = hub.desired.confirm_held_back(name);
        let key = format!("f:{CONFIRM_DELETIONS_ANNOTATION}");
        let manager = manager_of(Some(stored.managed_fields()), &["f:metadata", "f:annotations", &key]);
        Act::new(Action::ConfirmDeletions, Actor::Admin(manager), word.map_or("", String::as_str))
            .cluster(name)
            .count(u64::try_from(confirmed).unwrap_or(u64::MAX))
            .record();
    }
}

fn is_back(hub: &Hub, name: &ClusterName) -> bool {
    hub.live().fleet.cluster(name.as_str()).is_some_and(|cluster| cluster.link == Link::Connected)
}

/// Has the orphans removed, if the confirmation names as many as there are; says whether all that was confirmed is done.
fn remove_orphans(hub: &Hub, name: &ClusterName, confirmed: Option<&str>) -> bool {
    let mut live = hub.live();
    let orphans = live.orphans.get(name).cloned().unwrap_or_default();
    let begun = live.doomed.get(name).is_some_and(|doomed| !doomed.is_empty());
    if !begun && !orphans.is_empty() && confirmed == Some(orphans.len().to_string().as_str()) {
        for object in &orphans {
            let reason = format!("unknown to the hub; its admin confirmed the removal of {}", orphans.len());
            Act::new(Action::RemoveOrphan, Actor::Admin(None), &reason).cluster(name).object(object).record();
            let removal = Removal {
                object: object.clone(),
                policy: RemovalPolicy::Delete,
                reason,
                decided: Timestamp::now(),
                // The admin has named their number: the spoke need not ask once more.
                cause: Cause::Confirmed,
            };
            hub.desired.set_removal(name, removal);
        }
        live.doomed.insert(name.clone(), orphans.iter().map(|object| object.uid.clone()).collect());
        return false;
    }
    let Some(doomed) = live.doomed.get_mut(name) else { return false };
    doomed.retain(|uid| {
        let waits = orphans.iter().any(|orphan| orphan.uid == *uid);
        if !waits {
            hub.desired.forget(name, uid);
        }
        waits
    });
    let done = doomed.is_empty();
    if done {
        live.doomed.remove(name);
    }
    done
}

async fn take_off(hub: &Hub, name: &ClusterName, annotation: &str) -> Result<(), Fault> {
    let api: Api<GPUCluster> = Api::all(hub.client.clone());
    let patch = json!({"metadata": {"annotations": {annotation: null}}});
    let (params, patch) = (PatchParams::default(), Patch::Merge(&patch));
    match call(|| format!("annotation of GPUCluster {name}"), api.patch(name.as_str(), &params, &patch)).await
    {
        Err(fault) if !fault.is_gone() => Err(fault),
        _ => {
            hub.metrics.wrote();
            Ok(())
        }
    }
}
