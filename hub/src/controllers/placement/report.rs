//! Report: status of the placement and of its objects, written where it differs, and events where a reason turns.

use std::collections::{HashMap, HashSet};

use crds::condition::{self, Finding};
use crds::fleet::{NIMPlacement, NIMPlacementStatus};
use futures::stream::{self, StreamExt};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::{DynamicObject, Patch, PatchParams};
use kube::{Api, Resource, ResourceExt};
use serde_json::{Value, json};

use super::super::failures::without;
use super::super::fault::{Fault, call};
use super::super::stores::{NIM_API_VERSION, nim_resource};
use super::super::{Hub, time_until};
use super::desk::{Told, Turn};
use super::observe::Observed;
use crate::aggregate::{Delivery, Place, View, object_status, placement_status};
use crate::fleet::{Answer, Link, ObjectRef, ObjectStatus, PlacementKey};
use crate::scheduler::{Chosen, Denied};

const FIELD_MANAGER: &str = "nimfleet-hub-status";
/// Statuses of objects written at once for one placement.
const AT_ONCE: usize = 4;
/// Reason of a placement that is being deleted and still has objects somewhere.
const AWAITING_REMOVAL: &str = "AwaitingRemoval";

/// A link as people are told of it, and when that changes by itself.
pub(super) type ToldLink = (Link, Option<Timestamp>);

/// What spokes have said about one object.
pub(super) type Heard = (Option<Answer>, Option<ObjectStatus>);

/// Tells what the latest turn has come to, and what spokes have said since: writes what has changed.
pub(in super::super) async fn report(hub: &Hub, key: &PlacementKey) -> Result<(), Fault> {
    let desk = hub.desk(key);
    let mut told = desk.told.lock().await;
    let Some(turn) = desk.latest() else { return Ok(()) };
    let now = Timestamp::now();
    if turn.is_leaving() {
        return leaving(hub, &turn, &mut told, now).await;
    }
    if is_held_back(hub, &turn, now) {
        return Ok(());
    }
    let links = links(hub, &turn, now);
    look_again(hub, &turn, &links, now);
    let heard = heard(hub, &turn);
    let view = view(&turn, &links, &heard, now);
    let stored = stored_status(&turn, &told);
    let status = placement_status(&view, stored.as_ref());
    let changed: Vec<Change> =
        turn.objects.iter().filter_map(|(object, live)| change(object, live, &view, &told)).collect();
    let objects = stream::iter(changed.into_iter().map(|change| write_object(hub, change)))
        .buffer_unordered(AT_ONCE)
        .collect::<Vec<_>>();
    let (objects, placement) = tokio::join!(objects, write(hub, &turn, stored, status, &mut told));
    let objects: Result<Vec<_>, Fault> = objects.into_iter().collect();
    placement?;
    told.statuses.extend(objects?);
    // Nothing is remembered of objects that the placement no longer runs.
    let uids = turn.objects.iter().map(|(object, _)| object.uid.clone());
    let known: HashSet<String> = uids.chain(turn.placement.uid()).collect();
    told.statuses.retain(|uid, _| known.contains(uid));
    Ok(())
}

/// Tells of clusters whose spokes have refused the placement: a refusal is in the status only while it matters.
pub(super) fn denials(hub: &Hub, observed: &Observed, denied: &[(String, Denied)]) {
    let about = observed.placement.object_ref(&());
    for (cluster, denied) in denied {
        let note = format!("{cluster}: {}", denied.message);
        hub.events.publish(about.clone(), true, "Deliver", denied.reason.as_str(), &note);
    }
}

/// After a start of the hub, silence only means that spokes are on their way back: what is written stays until they
/// have spoken, or have had the time to.
fn is_held_back(hub: &Hub, turn: &Turn, now: Timestamp) -> bool {
    let status = turn.placement.status.as_ref();
    let is_current = status.is_some_and(|s| s.observed_generation == turn.placement.metadata.generation);
    if !is_current || !hub.is_settling(now) {
        return false;
    }
    if !hub.all_have_spoken() {
        return true;
    }
    let live = hub.live();
    let unheard = |chosen: &Chosen| {
        let mut uids = turn.objects.iter().map(|(object, _)| &object.uid);
        uids.any(|uid| live.fleet.statuses().get(&chosen.cluster, uid).is_none())
    };
    turn.decision.chosen.iter().any(unheard)
}

/// Comes back when the silence of a chosen cluster has lasted for so long that it has to be told.
fn look_again(hub: &Hub, turn: &Turn, links: &[ToldLink], now: Timestamp) {
    if let Some(at) = links.iter().filter_map(|(_, changes_at)| *changes_at).min() {
        hub.reports.add_after(turn.key.clone(), time_until(at, now));
    }
}

/// The links of the chosen clusters, in their order.
pub(super) fn links(hub: &Hub, turn: &Turn, now: Timestamp) -> Vec<ToldLink> {
    let live = hub.live();
    let link = |chosen: &Chosen| match live.fleet.cluster(chosen.cluster.as_str()) {
        // Before the first session in the life of this hub nothing is known that could be told meanwhile.
        Some(cluster) if cluster.agent.is_some() => cluster.link.as_told(now, hub.unreachable_after),
        Some(cluster) => (cluster.link, None),
        None => (Link::Never, None),
    };
    turn.decision.chosen.iter().map(link).collect()
}

/// Everything there is to say about a placement.
pub(super) fn view<'a>(
    turn: &'a Turn,
    links: &[ToldLink],
    heard: &'a HashMap<(String, String), Heard>,
    now: Timestamp,
) -> View<'a> {
    View {
        generation: turn.placement.metadata.generation.unwrap_or_default(),
        decision: &turn.decision,
        places: turn
            .decision
            .chosen
            .iter()
            .zip(links)
            .map(|(chosen, (link, _))| place(turn, chosen, *link, heard))
            .collect(),
        now,
    }
}

pub(super) fn heard(hub: &Hub, turn: &Turn) -> HashMap<(String, String), Heard> {
    let live = hub.live();
    let told = |((cluster, uid), hash): (&(String, String), &Result<String, String>)| {
        let answer = live.answer(cluster, uid).filter(|answer| hash.as_ref() == Ok(&answer.hash));
        let name = cluster.parse().ok()?;
        let status = live.fleet.statuses().get(&name, uid).map(|heard| heard.status.clone());
        let denial = status.as_ref().filter(|status| hash.as_ref() == Ok(&status.hash));
        let answer = denial.and_then(ObjectStatus::denial).or_else(|| Some(answer?.answer.clone()));
        Some(((cluster.clone(), uid.clone()), (answer, status)))
    };
    turn.sent.iter().filter_map(told).collect()
}

fn place<'a>(
    turn: &'a Turn,
    chosen: &'a Chosen,
    link: Link,
    heard: &'a HashMap<(String, String), Heard>,
) -> Place<'a> {
    let objects = turn.objects.iter().map(|(object, _)| object).chain(&turn.secrets);
    let deliveries = objects.filter_map(|object| {
        let key = (chosen.cluster.to_string(), object.uid.clone());
        let payload = turn.sent.get(&key)?;
        let (answer, status) = heard.get(&key).map_or((None, None), |(a, s)| (a.as_ref(), s.as_ref()));
        let granted = chosen.replicas.iter().find(|granted| granted.uid == object.uid);
        Some(Delivery {
            object,
            replicas: granted.map(|granted| granted.replicas),
            payload: payload.as_deref().map_err(Clone::clone),
            answer,
            status,
        })
    });
    Place { row: chosen, link, deliveries: deliveries.collect() }
}

/// A placement that is being deleted says what it waits for.
async fn leaving(hub: &Hub, turn: &Turn, told: &mut Told, now: Timestamp) -> Result<(), Fault> {
    let Some((cluster, _, object)) = turn.rows.leaving().next() else {
        hub.metrics.placement_reason(told.reason.take().as_deref(), None);
        return Ok(());
    };
    let message = format!(
        "{cluster}: {} {} has yet to leave; deleting GPUCluster {cluster} gives it up if it never comes back",
        object.kind, object.name
    );
    let stored = stored_status(turn, told);
    let mut status = stored.clone().unwrap_or_default();
    status.observed_generation = turn.placement.metadata.generation;
    status.phase = Some("Terminating".to_owned());
    status.reason = Some(AWAITING_REMOVAL.to_owned());
    let finding = Finding::new("Progressing", true, AWAITING_REMOVAL, message);
    condition::set(&mut status.conditions, finding, status.observed_generation, now);
    write(hub, turn, stored, status, told).await
}

fn stored_status(turn: &Turn, told: &Told) -> Option<NIMPlacementStatus> {
    if let Some(written) = told.statuses.get(&turn.placement.uid().unwrap_or_default()) {
        return serde_json::from_value(written.clone()).ok();
    }
    let status = turn.placement.status.clone();
    status.map(|status| NIMPlacementStatus { conditions: without(status.conditions), ..status })
}

async fn write(
    hub: &Hub,
    turn: &Turn,
    stored: Option<NIMPlacementStatus>,
    status: NIMPlacementStatus,
    told: &mut Told,
) -> Result<(), Fault> {
    let (key, uid) = (turn.key.to_string(), turn.placement.uid().unwrap_or_default());
    let before = told.reason.replace(status.reason.clone().unwrap_or_default());
    hub.metrics.placement_reason(before.as_deref(), told.reason.as_deref());
    if stored.as_ref() == Some(&status) {
        return Ok(());
    }
    let value = serde_json::to_value(&status).map_err(|source| Fault::Json { what: key.clone(), source })?;
    let patch = json!({
        "apiVersion": NIMPlacement::api_version(&()), "kind": NIMPlacement::kind(&()),
        "metadata": {"name": turn.key.name, "namespace": turn.key.namespace, "uid": uid},
        "status": value,
    });
    let api: Api<NIMPlacement> = Api::namespaced(hub.client.clone(), &turn.key.namespace);
    let (params, patch) = (PatchParams::apply(FIELD_MANAGER).force(), Patch::Apply(&patch));
    let name = &turn.key.name;
    match call(|| format!("status of NIMPlacement {key}"), api.patch_status(name, &params, &patch)).await {
        Err(fault) if !fault.is_gone() => return Err(fault),
        _ => hub.metrics.wrote(),
    }
    told.statuses.insert(uid, value);
    let about = turn.placement.object_ref(&());
    turned(hub, &about, stored.as_ref().map_or(&[], |status| &status.conditions), &status.conditions);
    Ok(())
}

/// A status to be written.
struct Change {
    object: ObjectRef,
    about: ObjectReference,
    before: Vec<Condition>,
    status: Value,
}

/// The status of an object, if it is not what is written.
fn change(object: &ObjectRef, live: &DynamicObject, view: &View<'_>, told: &Told) -> Option<Change> {
    let known = told.statuses.get(&object.uid).or_else(|| live.data.get("status"));
    let known = known.unwrap_or(&Value::Null);
    let before = conditions(known);
    let generation = live.metadata.generation.unwrap_or_default();
    let status = object_status(view, &object.kind, &object.uid, generation, &before);
    let same = status
        .as_object()
        .is_some_and(|fields| fields.iter().all(|(field, value)| is_same(field, value, known)));
    let about = live.object_ref(&nim_resource(&object.kind));
    (!same).then_some(Change { object: object.clone(), about, before, status })
}

/// Writes it, and gives it back by uid.
async fn write_object(hub: &Hub, change: Change) -> Result<(String, Value), Fault> {
    let Change { object: ObjectRef { uid, kind, name, namespace, .. }, about, before, status } = change;
    let patch = json!({
        "apiVersion": NIM_API_VERSION, "kind": kind,
        "metadata": {"name": name, "namespace": namespace, "uid": uid},
        "status": status,
    });
    let api: Api<DynamicObject> = Api::namespaced_with(hub.client.clone(), &namespace, &nim_resource(&kind));
    let params = PatchParams::apply(FIELD_MANAGER).force();
    match call(|| format!("status of {kind} {name}"), api.patch_status(&name, &params, &Patch::Apply(&patch)))
        .await
    {
        Err(fault) if !fault.is_gone() => return Err(fault),
        _ => hub.metrics.wrote(),
    }
    turned(hub, &about, &before, &conditions(&status));
    Ok((uid, status))
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
pub(in super::super) fn turned(
    hub: &Hub,
    about: &ObjectReference,
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
            "Degraded" | "Failed" | "Exceeded" => {
                (was != condition.status && (is_true || was == "True"), is_true)
            }
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
