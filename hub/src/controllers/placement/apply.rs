//! Apply: marks on objects, then the slices. Marks come first, so that nothing runs anywhere that could vanish unseen.

use std::collections::BTreeMap;
use std::sync::Arc;

use crds::fleet::{NIMPlacement, NIMPlacementDecision};
use futures::stream::{self, StreamExt, TryStreamExt};
use hub_core::placement::assignments::{self, Assignments, SECRET};
use hub_scheduler::fleet::PlacementKey;
use kube::api::{DeleteParams, DynamicObject, Patch, PatchParams};
use kube::{Api, Resource};
use serde_json::json;

use super::super::Hub;
use super::super::fault::{Fault, call};
use super::super::marks;
use super::super::stores::nim_resource;
use super::Book;
use super::observe::{Observed, Selected};
use super::plan::Planned;

const FIELD_MANAGER: &str = "nimfleet-hub";
/// Calls at once for one placement.
const AT_ONCE: usize = 8;

/// Takes the placement and its objects.
pub(super) async fn take(hub: &Hub, observed: &Observed, planned: &Planned) -> Result<(), Fault> {
    if observed.is_leaving() {
        return Ok(());
    }
    if planned.blocked && observed.selected.is_empty() && planned.rows.is_empty() {
        return Ok(());
    }
    let api: Api<NIMPlacement> = Api::namespaced(hub.client.clone(), &observed.key.namespace);
    if marks::hold_placement(&api, &observed.placement).await? {
        hub.metrics.wrote();
    }
    let take = |one: &'_ Selected| {
        let (client, kind, stored) = (hub.client.clone(), one.object.kind.clone(), one.stored.clone());
        async move { marks::take(&client, &kind, &stored, &observed.key.name).await }
    };
    let taken: Vec<bool> =
        stream::iter(observed.selected.iter().map(take)).buffer_unordered(AT_ONCE).try_collect().await?;
    taken.into_iter().filter(|wrote| *wrote).for_each(|_| hub.metrics.wrote());
    Ok(())
}

/// Writes the slices that differ from what is written, and removes those that are too many.
pub(super) async fn slices(
    hub: &Hub,
    observed: &Observed,
    book: &mut Book,
    rows: &Assignments,
) -> Result<(), Fault> {
    let api: Api<NIMPlacementDecision> = Api::namespaced(hub.client.clone(), &observed.key.namespace);
    let wanted: BTreeMap<String, _> = rows
        .slices()
        .into_iter()
        .enumerate()
        .map(|(index, content)| (format!("{}-{index}", observed.key.name), content))
        .collect();
    for (name, content) in &wanted {
        if book.slices.get(name) == Some(content) {
            continue;
        }
        let slice = json!({
            "apiVersion": NIMPlacementDecision::api_version(&()),
            "kind": NIMPlacementDecision::kind(&()),
            "metadata": {
                "name": name, "namespace": observed.key.namespace,
                "ownerReferences": [observed.placement.controller_owner_ref(&())],
            },
            "spec": {"placementRef": {"name": observed.key.name}, "decisions": content},
        });
        let params = PatchParams::apply(FIELD_MANAGER).force();
        call(
            || format!("writing NIMPlacementDecision {name}"),
            api.patch(name, &params, &Patch::Apply(&slice)),
        )
        .await?;
        hub.metrics.wrote();
        book.slices.insert(name.clone(), content.clone());
    }
    let surplus: Vec<String> =
        book.slices.keys().filter(|name| !wanted.contains_key(*name)).cloned().collect();
    for name in surplus {
        let deleted = call(
            || format!("deleting NIMPlacementDecision {name}"),
            api.delete(&name, &DeleteParams::default()),
        )
        .await;
        match deleted {
            Err(fault) if !fault.is_gone() => return Err(fault),
            _ => book.slices.remove(&name),
        };
        hub.metrics.wrote();
    }
    Ok(())
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
pub(super) async fn release(hub: &Hub, observed: &Observed, rows: &Assignments) -> Result<(), Fault> {
    for (kind, object) in &observed.taken {
        let uid = object.metadata.uid.as_deref().unwrap_or_default();
        let selected = observed.selected.iter().any(|one| one.object.uid == uid);
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
pub(super) async fn release_placement(hub: &Hub, observed: &Observed) -> Result<(), Fault> {
    let api: Api<NIMPlacement> = Api::namespaced(hub.client.clone(), &observed.key.namespace);
    marks::release_placement(&api, &observed.placement).await
}
