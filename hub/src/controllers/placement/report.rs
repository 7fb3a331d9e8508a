//! Report: status of the placement and of its objects, written where it differs, and events where a reason turns.

use std::collections::HashMap;

use crds::condition::{self, Finding};
use crds::fleet::{NIMPlacement, NIMPlacementStatus};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::{DynamicObject, Patch, PatchParams};
use kube::{Api, Resource, ResourceExt};
use serde_json::{Value, json};

use super::super::Hub;
use super::super::fault::{Fault, call};
use super::super::stores::{NIM_API_VERSION, nim_resource};
use super::Book;
use super::observe::{Observed, Selected};
use super::plan::Planned;
use super::push::Sent;
use crate::aggregate::{Delivery, Place, View, object_status, placement_status};
use crate::fleet::{Answer, Link, ObjectStatus};
use crate::scheduler::Chosen;

const FIELD_MANAGER: &str = "nimfleet-hub-status";
/// Reason of a placement that is being deleted and still has objects somewhere.
const AWAITING_REMOVAL: &str = "AwaitingRemoval";

/// What spokes have said about one object.
type Heard = (Option<Answer>, Option<ObjectStatus>);

/// Writes what has changed.
pub(super) async fn report(
    hub: &Hub,
    observed: &Observed,
    planned: &Planned,
    sent: &Sent,
    book: &mut Book,
) -> Result<(), Fault> {
    let now = Timestamp::now();
    if observed.is_leaving() {
        return leaving(hub, observed, book, now).await;
    }
    if is_held_back(hub, observed, planned, book, now) {
        return Ok(());
    }
    let heard = heard(hub, planned, sent);
    let view = View {
        generation: observed.placement.metadata.generation.unwrap_or_default(),
        decision: &planned.decision,
        places: planned
            .decision
            .chosen
            .iter()
            .map(|chosen| place(hub, observed, chosen, sent, &heard))
            .collect(),
        now,
    };
    placement(hub, observed, &view, book).await?;
    for one in &observed.selected {
        object(hub, one, &view, book).await?;
    }
    Ok(())
}

/// Tells of clusters whose owner does not let the placement in: a refusal is in the status only while it matters.
pub(super) fn denials(hub: &Hub, observed: &Observed, denied: &[(String, String)]) {
    let about = observed.placement.object_ref(&());
    for (cluster, message) in denied {
        let note = format!("{cluster}: {message}");
        hub.events.publish(
            about.clone(),
            true,
            "Deliver",
            crate::scheduler::Reason::PolicyDenied.as_str(),
            &note,
        );
    }
}

/// After a start of the hub, silence only means that spokes are on their way back: what is written stays until they
/// have spoken, or have had the time to.
fn is_held_back(hub: &Hub, observed: &Observed, planned: &Planned, book: &mut Book, now: Timestamp) -> bool {
    let status = observed.placement.status.as_ref();
    let is_current = status.is_some_and(|s| s.observed_generation == observed.placement.metadata.generation);
    if !is_current || !hub.is_settling(now) {
        return false;
    }
    let live = hub.live();
    let silent = |cluster: &crate::fleet::Cluster| {
        matches!(cluster.link, Link::Unreachable { .. })
            || cluster.link == Link::Connected && cluster.capacity.is_none()
    };
    let unheard = |chosen: &Chosen| {
        let objects = observed.selected.iter();
        objects
            .map(|one| &one.object.uid)
            .any(|uid| live.fleet.statuses().get(&chosen.cluster, uid).is_none())
    };
    let held_back = live.fleet.clusters().any(|cluster| cluster.accepted && silent(cluster))
        || planned.decision.chosen.iter().any(unheard);
    drop(live);
    if held_back && !std::mem::replace(&mut book.held_back, true) {
        let wait = hub.unreachable_after - now.duration_since(hub.started);
        hub.placements
            .add_after(observed.key.clone(), std::time::Duration::try_from(wait).unwrap_or_default());
    }
    held_back
}

fn heard(hub: &Hub, planned: &Planned, sent: &Sent) -> HashMap<(String, String), Heard> {
    let live = hub.live();
    let mut heard = HashMap::new();
    for chosen in &planned.decision.chosen {
        for ((cluster, uid), hash) in
            sent.iter().filter(|((cluster, _), _)| cluster == chosen.cluster.as_str())
        {
            let answer = live.answer(cluster, uid).filter(|answer| hash.as_ref() == Ok(&answer.hash));
            let status = live.fleet.statuses().get(&chosen.cluster, uid).map(|heard| heard.status.clone());
            heard
                .insert((cluster.clone(), uid.clone()), (answer.map(|answer| answer.answer.clone()), status));
        }
    }
    heard
}

fn place<'a>(
    hub: &Hub,
    observed: &'a Observed,
    chosen: &'a Chosen,
    sent: &'a Sent,
    heard: &'a HashMap<(String, String), Heard>,
) -> Place<'a> {
    let link = hub.live().fleet.cluster(chosen.cluster.as_str()).map_or(Link::Never, |cluster| cluster.link);
    let deliveries = observed.selected.iter().filter_map(|one| {
        let key = (chosen.cluster.to_string(), one.object.uid.clone());
        let payload = sent.get(&key)?;
        let (answer, status) = heard.get(&key).map_or((None, None), |(a, s)| (a.as_ref(), s.as_ref()));
        let granted = chosen.replicas.iter().find(|granted| granted.uid == one.object.uid);
        Some(Delivery {
            object: &one.object,
            replicas: granted.map(|granted| granted.replicas),
            payload: payload.as_deref().map_err(Clone::clone),
            answer,
            status,
        })
    });
    Place { row: chosen, link, deliveries: deliveries.collect() }
}

/// A placement that is being deleted says what it waits for.
async fn leaving(hub: &Hub, observed: &Observed, book: &mut Book, now: Timestamp) -> Result<(), Fault> {
    let Some((cluster, _, object)) = book.rows.leaving().next() else {
        hub.metrics.failover_reason(book.held.take(), None);
        hub.metrics.placement_reason(book.reason.take().as_deref(), None);
        return Ok(());
    };
    let message = format!(
        "{cluster}: {} {} has yet to leave; deleting GPUCluster {cluster} gives it up if it never comes back",
        object.kind, object.name
    );
    let stored = stored_status(observed, book);
    let mut status = stored.clone().unwrap_or_default();
    status.observed_generation = observed.placement.metadata.generation;
    status.phase = Some("Terminating".to_owned());
    status.reason = Some(AWAITING_REMOVAL.to_owned());
    let finding = Finding::new("Progressing", true, AWAITING_REMOVAL, message);
    condition::set(&mut status.conditions, finding, status.observed_generation, now);
    write(hub, observed, stored, status, book).await
}

fn stored_status(observed: &Observed, book: &Book) -> Option<NIMPlacementStatus> {
    match book.statuses.get(&observed.placement.uid().unwrap_or_default()) {
        Some(written) => serde_json::from_value(written.clone()).ok(),
        None => observed.placement.status.clone(),
    }
}

async fn placement(hub: &Hub, observed: &Observed, view: &View<'_>, book: &mut Book) -> Result<(), Fault> {
    let stored = stored_status(observed, book);
    let status = placement_status(view, stored.as_ref());
    write(hub, observed, stored, status, book).await
}

async fn write(
    hub: &Hub,
    observed: &Observed,
    stored: Option<NIMPlacementStatus>,
    status: NIMPlacementStatus,
    book: &mut Book,
) -> Result<(), Fault> {
    let (key, uid) = (observed.key.to_string(), observed.placement.uid().unwrap_or_default());
    let before = book.reason.replace(status.reason.clone().unwrap_or_default());
    hub.metrics.placement_reason(before.as_deref(), book.reason.as_deref());
    if stored.as_ref() == Some(&status) {
        return Ok(());
    }
    let value = serde_json::to_value(&status).map_err(|source| Fault::Json { what: key.clone(), source })?;
    let patch = json!({
        "apiVersion": NIMPlacement::api_version(&()), "kind": NIMPlacement::kind(&()),
        "metadata": {"name": observed.key.name, "namespace": observed.key.namespace, "uid": uid},
        "status": value,
    });
    let api: Api<NIMPlacement> = Api::namespaced(hub.client.clone(), &observed.key.namespace);
    let (params, patch) = (PatchParams::apply(FIELD_MANAGER).force(), Patch::Apply(&patch));
    let name = &observed.key.name;
    match call(|| format!("status of NIMPlacement {key}"), api.patch_status(name, &params, &patch)).await {
        Err(fault) if !fault.is_gone() => return Err(fault),
        _ => hub.metrics.wrote(),
    }
    book.statuses.insert(uid, value);
    let about = observed.placement.object_ref(&());
    turned(hub, &about, stored.as_ref().map_or(&[], |status| &status.conditions), &status.conditions);
    Ok(())
}

async fn object(hub: &Hub, one: &Selected, view: &View<'_>, book: &mut Book) -> Result<(), Fault> {
    let uid = &one.object.uid;
    let known = book.statuses.get(uid).or_else(|| one.json.get("status")).cloned().unwrap_or_default();
    let stored = conditions(&known);
    let generation = one.stored.metadata.generation.unwrap_or_default();
    let status = object_status(view, &one.object.kind, uid, generation, &stored);
    let same = status
        .as_object()
        .is_some_and(|fields| fields.iter().all(|(field, value)| is_same(field, value, &known)));
    if same {
        return Ok(());
    }
    let (kind, name) = (&one.object.kind, &one.object.name);
    let patch = json!({
        "apiVersion": NIM_API_VERSION, "kind": kind,
        "metadata": {"name": name, "namespace": one.object.namespace, "uid": uid},
        "status": status,
    });
    let api: Api<DynamicObject> =
        Api::namespaced_with(hub.client.clone(), &one.object.namespace, &nim_resource(kind));
    let params = PatchParams::apply(FIELD_MANAGER).force();
    match call(|| format!("status of {kind} {name}"), api.patch_status(name, &params, &Patch::Apply(&patch)))
        .await
    {
        Err(fault) if !fault.is_gone() => return Err(fault),
        _ => hub.metrics.wrote(),
    }
    let about = one.stored.object_ref(&nim_resource(kind));
    turned(hub, &about, &stored, &conditions(&status));
    book.statuses.insert(uid.clone(), status);
    Ok(())
}

fn conditions(status: &Value) -> Vec<Condition> {
    status.get("conditions").and_then(|list| serde_json::from_value(list.clone()).ok()).unwrap_or_default()
}

/// Conditions of other types are not ours and do not count.
fn is_same(field: &str, value: &Value, known: &Value) -> bool {
    if field != "conditions" {
        return known.get(field) == Some(value);
    }
    let known = known.get("conditions").and_then(Value::as_array);
    value.as_array().is_some_and(|ours| ours.iter().all(|one| known.is_some_and(|known| known.contains(one))))
}

/// Events for people: each turn of a condition that does not follow from another one.
fn turned(
    hub: &Hub,
    about: &k8s_openapi::api::core::v1::ObjectReference,
    before: &[Condition],
    after: &[Condition],
) {
    for condition in after {
        let old = before.iter().find(|old| old.type_ == condition.type_);
        let was = old.map_or("Unknown", |old| old.status.as_str());
        let is_true = condition.status == "True";
        let (tells, warning) = match condition.type_.as_str() {
            // The reason matters as well: refused for another reason is news.
            "Scheduled" => {
                let same =
                    old.is_some_and(|old| old.status == condition.status && old.reason == condition.reason);
                (!same, !is_true)
            }
            "Ready" => (was != condition.status && (is_true || was == "True"), !is_true),
            "FailoverHeld" => {
                let same =
                    old.is_some_and(|old| old.status == condition.status && old.reason == condition.reason);
                (!same && (is_true || was == "True"), is_true)
            }
            "Degraded" | "Failed" => (was != condition.status && (is_true || was == "True"), is_true),
            _ => (false, false),
        };
        if tells {
            hub.events.publish(
                about.clone(),
                warning,
                &condition.type_,
                &condition.reason,
                &condition.message,
            );
        }
    }
}
