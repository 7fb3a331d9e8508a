//! Apply: marks on objects, then the slices. Marks come first, so that nothing runs anywhere that could vanish unseen.

use std::sync::Arc;

use crds::fleet::{NIMPlacement, NIMPlacementDecision};
use futures::stream::{self, StreamExt, TryStreamExt};
use hub_core::objects::Catalog;
use hub_core::placement::assignments::{self, Assignments, SECRET};
use hub_core::placement::plan::Planned;
use hub_core::placement::selection::{Selected, Selection};
use hub_core::placement::slices::{SliceCall, SliceOutcome, Slices};
use hub_scheduler::fleet::PlacementKey;
use kube::api::{DeleteParams, DynamicObject, Patch, PatchParams, Preconditions};
use kube::{Api, Resource, ResourceExt};
use serde_json::json;

use super::super::Hub;
use super::super::fault::{Fault, call};
use super::super::marks;
use super::super::stores::nim_resource;
use super::Book;

const FIELD_MANAGER: &str = "nimfleet-hub";
/// A resourceVersion that no object has: an apply with it makes the object, or is a conflict where one of that name is there.
const OF_NOTHING: &str = "1";
/// Most rounds of calls in one turn that met a conflict with somebody else.
const CONFLICTS: u32 = 5;
/// Calls at once for one placement.
const AT_ONCE: usize = 8;

/// Takes the placement and its objects.
pub(super) async fn take(hub: &Hub, selection: &Selection, planned: &Planned) -> Result<(), Fault> {
    if selection.is_leaving() {
        return Ok(());
    }
    if planned.blocked && selection.selected.is_empty() && planned.assignments.is_empty() {
        return Ok(());
    }
    let api: Api<NIMPlacement> = Api::namespaced(hub.client.clone(), &selection.key.namespace);
    if marks::hold_placement(&api, &selection.placement).await? {
        hub.metrics.wrote();
    }
    let take = |one: &'_ Selected| {
        let (client, kind, stored) = (hub.client.clone(), one.object.kind.clone(), one.stored.clone());
        async move { marks::take(&client, &kind, &stored, &selection.key.name).await }
    };
    let taken: Vec<bool> =
        stream::iter(selection.selected.iter().map(take)).buffer_unordered(AT_ONCE).try_collect().await?;
    taken.into_iter().filter(|wrote| *wrote).for_each(|_| hub.metrics.wrote());
    Ok(())
}

/// Stores the assignments in slices: all that differ at once, and then what could not be done before those were stored.
pub(super) async fn slices(
    hub: &Hub,
    selection: &Selection,
    book: &mut Book,
    assignments: &Assignments,
) -> Result<(), Fault> {
    // A turn that was given up may have left calls whose answers nobody heard.
    book.slices.interrupted();
    let mut conflicts = 0;
    while conflicts < CONFLICTS {
        let calls = book.slices.next(assignments);
        if calls.is_empty() {
            return Ok(());
        }
        let calls = calls.into_iter().map(|call| async {
            let index = call.index();
            (index, carry_out(hub, selection, call).await)
        });
        let mut ended = stream::iter(calls).buffer_unordered(AT_ONCE);
        let (mut failed, mut is_contended) = (None, false);
        while let Some((index, outcome)) = ended.next().await {
            let outcome = outcome.unwrap_or_else(|(outcome, fault)| {
                // A conflict is looked into at once.
                if outcome == SliceOutcome::Conflict {
                    is_contended = true;
                } else {
                    failed.get_or_insert(fault);
                }
                outcome
            });
            book.slices.ended(index, outcome);
        }
        conflicts += u32::from(is_contended);
        if let Some(fault) = failed {
            return Err(fault);
        }
    }
    let what = format!("writing the NIMPlacementDecisions of {}", selection.key);
    Err(Fault::Contended { what })
}

/// Carries out one call about a slice.
async fn carry_out(
    hub: &Hub,
    selection: &Selection,
    about: SliceCall,
) -> Result<SliceOutcome, (SliceOutcome, Fault)> {
    let api: Api<NIMPlacementDecision> = Api::namespaced(hub.client.clone(), &selection.key.namespace);
    let name = Slices::name(&selection.key.name, about.index());
    let failed = |fault: Fault| (outcome_of(&fault), fault);
    match about {
        SliceCall::Put { version, decisions, .. } => {
            let slice = json!({
                "apiVersion": NIMPlacementDecision::api_version(&()),
                "kind": NIMPlacementDecision::kind(&()),
                "metadata": {
                    "name": name, "namespace": selection.key.namespace,
                    "resourceVersion": version.as_deref().unwrap_or(OF_NOTHING),
                    "ownerReferences": [selection.placement.controller_owner_ref(&())],
                },
                "spec": {"placementRef": {"name": selection.key.name}, "decisions": decisions},
            });
            let (params, patch) = (PatchParams::apply(FIELD_MANAGER).force(), Patch::Apply(&slice));
            let what = || format!("writing NIMPlacementDecision {name}");
            let stored = call(what, api.patch(&name, &params, &patch)).await.map_err(failed)?;
            hub.metrics.wrote();
            Ok(SliceOutcome::Stored(stored.resource_version().unwrap_or_default()))
        }
        SliceCall::Delete { version, .. } => {
            let preconditions = Preconditions { resource_version: Some(version), uid: None };
            let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
            let what = || format!("deleting NIMPlacementDecision {name}");
            match call(what, api.delete(&name, &params)).await {
                Err(fault) if !fault.is_not_found() => Err(failed(fault)),
                _ => {
                    hub.metrics.wrote();
                    Ok(SliceOutcome::Deleted)
                }
            }
        }
        SliceCall::Read { .. } => {
            let what = || format!("reading NIMPlacementDecision {name}");
            let found = call(what, api.get_opt(&name)).await;
            let found = found.map_err(|fault| (SliceOutcome::Failed, fault))?;
            let found =
                found.map(|slice| (slice.resource_version().unwrap_or_default(), slice.spec.decisions));
            Ok(SliceOutcome::Read(found))
        }
    }
}

/// What is known of a slice after a call about it has failed.
fn outcome_of(fault: &Fault) -> SliceOutcome {
    match fault {
        Fault::Call { source, .. } if source.is_conflict() => SliceOutcome::Conflict,
        Fault::Call { source, .. } if source.code().is_some_and(|code| code < 500) => SliceOutcome::Failed,
        _ => SliceOutcome::Unknown,
    }
}

/// What spokes have said is gone is written down now, or is about an earlier stay.
pub(super) fn settle(hub: &Hub, before: &Assignments, after: &Assignments) {
    let mut live = hub.live();
    for (cluster, uid) in assignments::settled(before, after) {
        live.settle(cluster, uid);
    }
    // A Secret may have left with another placement, and is back with this one.
    for (cluster, row) in &after.placed {
        for secret in row.objects.iter().filter(|object| object.kind == SECRET) {
            live.settle(cluster, &secret.uid);
        }
    }
}

/// Gives free what the placement has taken, does not select any more and is nowhere.
pub(super) async fn release(hub: &Hub, selection: &Selection, rows: &Assignments) -> Result<(), Fault> {
    for (kind, object) in &selection.taken {
        let uid = object.metadata.uid.as_deref().unwrap_or_default();
        let selected = selection.selected.iter().any(|one| one.object.uid == uid);
        if !selected && !rows.holds(uid) {
            if marks::release(&hub.client, kind, object).await? {
                hub.metrics.wrote();
            }
            hub.live().claims.remove(uid);
            hub.may_be_unplaced(kind, object.as_ref());
        }
    }
    Ok(())
}

/// Gives free everything that carries the label of a placement that is not there, and returns it.
pub(super) async fn release_all(
    hub: &Hub,
    key: &PlacementKey,
) -> Result<Vec<(&'static str, Arc<DynamicObject>)>, Fault> {
    let taken = hub.stores.taken_by(&key.namespace, &key.name);
    for (kind, object) in &taken {
        match marks::release(&hub.client, kind, object).await {
            Ok(true) => hub.metrics.wrote(),
            Ok(false) => {}
            Err(fault) => {
                // There is no placement to say it on.
                let about = object.object_ref(&nim_resource(kind));
                hub.events.publish(about, true, "Release", fault.category(), &fault.words());
                return Err(fault);
            }
        }
    }
    Ok(taken)
}

/// Lets the placement itself go: nothing of it is anywhere.
pub(super) async fn release_placement(hub: &Hub, selection: &Selection) -> Result<(), Fault> {
    let api: Api<NIMPlacement> = Api::namespaced(hub.client.clone(), &selection.key.namespace);
    marks::release_placement(&api, &selection.placement).await
}
