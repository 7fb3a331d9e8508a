//! Report: status of the placement and of its objects, written where it differs, and events where a reason turns.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use crds::condition::{self, Finding, Unready};
use crds::fleet::{NIMPlacement, NIMPlacementStatus, PlacedObject};
use futures::stream::{self, StreamExt};
use hub_core::aggregate::{
    DELETION_HELD, Delivery, HELD, HeldDeletions, Place, Reason, View, deletion_held, kept_in_use,
    object_status, placement_status, unplaced_status,
};
use hub_core::objects::NIM_API_VERSION;
use hub_core::placement::selection::Selection;
use hub_scheduler::fleet::{Answer, Link, ObjectCondition, ObjectRef, ObjectStatus, PlacementKey};
use hub_scheduler::{Chosen, Denied};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::{DynamicObject, Patch, PatchParams};
use kube::{Api, Resource, ResourceExt};
use serde_json::{Value, json};

use super::super::failures::without;
use super::super::fault::{Fault, call};
use super::super::stores::nim_resource;
use super::super::{Hub, time_until};
use super::desk::{Told, Turn};

/// Who writes statuses.
pub(in super::super) const STATUS_MANAGER: &str = "nimfleet-hub-status";
/// Reason of the event that something wrong is over.
const RECOVERED: &str = "Recovered";
/// Statuses of objects written at once for one placement.
const AT_ONCE: usize = 4;
/// What the hub writes of an object's status.
const OURS: [&str; 5] = ["state", "conditions", "availableReplicas", "profiles", "pvc"];
/// Reasons of what is not ready since pods cannot be placed, made or started.
const HINDRANCES: [&str; 3] = ["Unschedulable", "PodsNotCreated", "ReplicaFailure"];
/// A placement is most often applied together with its objects: one that is younger than this and finds none is no news.
const YOUNG: SignedDuration = SignedDuration::from_secs(15);

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
    let held = held(hub, &turn);
    if turn.is_leaving() {
        return leaving(hub, &turn, &held, &mut told, now).await;
    }
    if is_held_back(hub, &turn, now) {
        return Ok(());
    }
    let links = links(hub, &turn, now);
    look_again(hub, &turn, &links, now);
    let heard = heard(hub, &turn);
    let view = view(&turn, &links, &heard, now);
    let stored = stored_status(&turn, &told);
    let mut status = placement_status(&view, stored.as_ref());
    deletion_held(&mut status.conditions, &held, None, status.observed_generation, now);
    let mut changed: Vec<Change> =
        turn.objects.iter().filter_map(|(object, live)| change(object, live, &view, &held, &told)).collect();
    changed.extend(leaving_changes(hub, &turn, &held, &told, now));
    write_all(hub, &turn, stored, status.clone(), changed, &mut told).await?;
    warn_late(hub, &turn, &status, &mut told, now);
    Ok(())
}

/// Writes the status of the placement and those of its objects.
async fn write_all(
    hub: &Hub,
    turn: &Turn,
    stored: Option<NIMPlacementStatus>,
    status: NIMPlacementStatus,
    changed: Vec<Change>,
    told: &mut Told,
) -> Result<(), Fault> {
    let objects = stream::iter(changed.into_iter().map(|change| write_object(hub, change)))
        .buffer_unordered(AT_ONCE)
        .collect::<Vec<_>>();
    let (objects, placement) = tokio::join!(objects, write(hub, turn, stored, status, told));
    let objects: Result<Vec<_>, Fault> = objects.into_iter().collect();
    placement?;
    told.statuses.extend(objects?);
    // Nothing is remembered of objects that the placement neither runs nor has yet to let go.
    let uids = turn.objects.iter().chain(&turn.leaving).map(|(object, _)| object.uid.clone());
    let known: HashSet<String> = uids.chain(turn.placement.uid()).collect();
    told.statuses.retain(|uid, _| known.contains(uid));
    Ok(())
}

/// What of the placement has yet to leave clusters and is held back there.
fn held(hub: &Hub, turn: &Turn) -> Vec<HeldDeletions> {
    let mut leaving: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (cluster, _, object) in turn.rows.leaving() {
        leaving.entry(cluster).or_default().insert(&object.uid);
    }
    let held = leaving.into_iter().filter_map(|(cluster, uids)| {
        let cluster = cluster.parse().ok()?;
        let all = hub.desired.held_back(&cluster);
        HeldDeletions::of(&cluster, &all, |object| uids.contains(object.uid.as_str()))
    });
    held.collect()
}

/// Tells of clusters whose spokes have refused the placement: a refusal is in the status only while it matters.
pub(super) fn denials(hub: &Hub, selection: &Selection, denied: &[(String, Denied)]) {
    let about = selection.placement.object_ref(&());
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
    let objects = turn.objects.iter().map(|(object, stored)| (object, Some(stored)));
    let objects = objects.chain(turn.secrets.iter().map(|secret| (secret, None)));
    let deliveries = objects.filter_map(|(object, stored)| {
        let key = (chosen.cluster.to_string(), object.uid.clone());
        let payload = turn.sent.get(&key)?;
        let (answer, status) = heard.get(&key).map_or((None, None), |(a, s)| (a.as_ref(), s.as_ref()));
        let granted = chosen.replicas.iter().find(|granted| granted.uid == object.uid);
        Some(Delivery {
            object,
            replicas: granted.map(|granted| granted.replicas),
            elastic: granted.is_some_and(|granted| !granted.divided)
                && stored.is_some_and(|stored| is_elastic(&stored.data["spec"])),
            payload: payload.as_deref().map_err(Clone::clone),
            answer,
            status,
        })
    });
    Place { row: chosen, link, deliveries: deliveries.collect() }
}

/// Whether a spec leaves the number of replicas to an autoscaler: its own, or one of the cluster's people.
fn is_elastic(spec: &Value) -> bool {
    spec["replicas"].is_null() || spec["scale"]["enabled"] == true
}

/// A placement that is being deleted says what it waits for.
async fn leaving(
    hub: &Hub,
    turn: &Turn,
    held: &[HeldDeletions],
    told: &mut Told,
    now: Timestamp,
) -> Result<(), Fault> {
    let Some((cluster, _, object)) = turn.rows.leaving().next() else {
        hub.metrics.placement_reason(told.reason.take().as_deref(), None);
        return Ok(());
    };
    let message = if held.is_empty() {
        format!(
            "{cluster}: {} {} has yet to leave; deleting GPUCluster {cluster} gives it up if it never comes back",
            object.kind, object.name
        )
    } else {
        format!("{cluster}: {} {} has yet to leave; see condition DeletionHeld", object.kind, object.name)
    };
    let stored = stored_status(turn, told);
    let mut status = stored.clone().unwrap_or_default();
    status.observed_generation = turn.placement.metadata.generation;
    status.phase = Some("Terminating".to_owned());
    let reason = Reason::AwaitingRemoval.as_str();
    status.reason = Some(reason.to_owned());
    for finding in [
        Finding::new("Ready", false, reason, message.clone()),
        Finding::new("Progressing", true, reason, message),
    ] {
        condition::set(&mut status.conditions, finding, status.observed_generation, now);
    }
    condition::set_unready(&mut status.conditions, Unready::Reconciling, status.observed_generation, now);
    deletion_held(&mut status.conditions, held, None, status.observed_generation, now);
    let changed = leaving_changes(hub, turn, held, told, now);
    write_all(hub, turn, stored, status, changed, told).await
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
    let (params, patch) = (PatchParams::apply(STATUS_MANAGER).force(), Patch::Apply(&patch));
    let name = &turn.key.name;
    match call(|| format!("status of NIMPlacement {key}"), api.patch_status(name, &params, &patch)).await {
        Err(fault) if !fault.is_gone() => return Err(fault),
        _ => hub.metrics.wrote(),
    }
    told.statuses.insert(uid, value);
    let about = turn.placement.object_ref(&());
    let before = stored.as_ref().map_or(&[][..], |status| &status.conditions);
    let is_young = young_until(turn).is_some_and(|at| Timestamp::now() < at);
    let is_told = |condition: &&Condition| !(is_young && selects_nothing(condition));
    let after: Vec<Condition> = status.conditions.iter().filter(is_told).cloned().collect();
    told.waits = after.len() != status.conditions.len();
    turned(hub, &about, before, &after);
    Ok(())
}

/// Whether a condition says that nothing is selected.
fn selects_nothing(condition: &Condition) -> bool {
    condition.type_ == "Scheduled" && condition.reason == hub_scheduler::Reason::NothingSelected.as_str()
}

/// Until when it is too early to warn that a placement selects nothing.
fn young_until(turn: &Turn) -> Option<Timestamp> {
    let created = turn.placement.metadata.creation_timestamp.as_ref()?;
    created.0.checked_add(YOUNG).ok()
}

/// Warns that a placement selects nothing, once it is old enough; until then it comes back for that.
fn warn_late(hub: &Hub, turn: &Turn, status: &NIMPlacementStatus, told: &mut Told, now: Timestamp) {
    if !told.waits {
        return;
    }
    let Some(nothing) = status.conditions.iter().find(|condition| selects_nothing(condition)) else {
        told.waits = false;
        return;
    };
    if let Some(at) = young_until(turn).filter(|at| now < *at) {
        hub.reports.add_after(turn.key.clone(), time_until(at, now));
        return;
    }
    told.waits = false;
    turned(hub, &turn.placement.object_ref(&()), &[], std::slice::from_ref(nothing));
}

/// A status to be written.
struct Change {
    object: ObjectRef,
    about: ObjectReference,
    before: Vec<Condition>,
    status: Value,
}

/// The status of an object, if it is not what is written.
fn change(
    object: &ObjectRef,
    live: &DynamicObject,
    view: &View<'_>,
    held: &[HeldDeletions],
    told: &Told,
) -> Option<Change> {
    let known = known(object, live, told);
    let generation = live.metadata.generation.unwrap_or_default();
    let status = object_status(view, &object.kind, &object.uid, generation, &conditions(known));
    changed(object, live, known, status, held, &[], view.now)
}

/// The objects that clusters keep although they are to leave, with what these say of it: cluster, uid and condition.
type Kept = (String, String, ObjectCondition);

fn kept(hub: &Hub, turn: &Turn) -> Vec<Kept> {
    let live = hub.live();
    let says = |(cluster, _, object): (&str, _, &PlacedObject)| {
        let heard = live.fleet.statuses().get(&cluster.parse().ok()?, &object.uid)?;
        Some((cluster.to_owned(), object.uid.clone(), heard.status.condition(HELD)?.clone()))
    };
    turn.rows.leaving().filter_map(says).collect()
}

/// Of what is being deleted nothing changes but whether its deletion is held back, and what keeps it. What is no longer
/// placed says so, and which clusters it has yet to leave.
fn leaving_changes(
    hub: &Hub,
    turn: &Turn,
    held: &[HeldDeletions],
    told: &Told,
    now: Timestamp,
) -> Vec<Change> {
    let kept = kept(hub, turn);
    let change = |(object, live): &(ObjectRef, Arc<DynamicObject>)| {
        let known = known(object, live, told);
        if live.metadata.deletion_timestamp.is_none() {
            let of_object = turn.rows.leaving().filter(|(_, _, left)| left.uid == object.uid);
            let leaves: Vec<&str> = of_object.map(|(cluster, ..)| cluster).collect();
            let generation = live.metadata.generation.unwrap_or_default();
            let status = unplaced_status(&object.kind, generation, &conditions(known), &leaves, now);
            return changed(object, live, known, status, held, &kept, now);
        }
        let mut status = known.clone();
        if let Some(fields) = status.as_object_mut() {
            fields.retain(|field, _| OURS.contains(&field.as_str()));
            let ours = conditions(known).into_iter().filter(|one| ["Ready", "Failed"].contains(&&*one.type_));
            fields.insert("conditions".to_owned(), json!(ours.collect::<Vec<_>>()));
        } else {
            status = json!({"conditions": []});
        }
        changed(object, live, known, status, held, &kept, now)
    };
    turn.leaving.iter().filter_map(change).collect()
}

/// The status of an object as it was written last.
fn known<'a>(object: &ObjectRef, live: &'a DynamicObject, told: &'a Told) -> &'a Value {
    told.statuses.get(&object.uid).or_else(|| live.data.get("status")).unwrap_or(&Value::Null)
}

/// A status with what is held back of the object, if it is not what is written.
fn changed(
    object: &ObjectRef,
    live: &DynamicObject,
    known: &Value,
    mut status: Value,
    held: &[HeldDeletions],
    kept: &[Kept],
    now: Timestamp,
) -> Option<Change> {
    let before = conditions(known);
    let mut after = conditions(&status);
    let stays = |condition: &&Condition| [DELETION_HELD, HELD].contains(&condition.type_.as_str());
    after.extend(before.iter().filter(stays).cloned());
    deletion_held(&mut after, held, Some(&object.uid), live.metadata.generation, now);
    let kept = kept.iter().filter(|(_, uid, _)| *uid == object.uid);
    let kept = kept.map(|(cluster, _, condition)| (cluster.as_str(), condition));
    kept_in_use(&mut after, kept, live.metadata.generation, now);
    status["conditions"] = json!(after);
    let same = status
        .as_object()
        .is_some_and(|fields| fields.iter().all(|(field, value)| is_same(field, value, known)));
    let about = live.object_ref(&nim_resource(&object.kind));
    (!same).then_some(Change { object: object.clone(), about, before, status })
}

/// Writes it, and gives it back by uid.
async fn write_object(hub: &Hub, change: Change) -> Result<(String, Value), Fault> {
    let Change { object, about, before, status } = change;
    write_status(hub, &object, &about, &before, &status).await?;
    Ok((object.uid, status))
}

/// Writes the status of a NIM object that said `before`, and publishes what has turned.
pub(in super::super) async fn write_status(
    hub: &Hub,
    object: &ObjectRef,
    about: &ObjectReference,
    before: &[Condition],
    status: &Value,
) -> Result<(), Fault> {
    let ObjectRef { uid, kind, name, namespace, .. } = object;
    let patch = json!({
        "apiVersion": NIM_API_VERSION, "kind": kind,
        "metadata": {"name": name, "namespace": namespace, "uid": uid},
        "status": status,
    });
    let api: Api<DynamicObject> = Api::namespaced_with(hub.client.clone(), namespace, &nim_resource(kind));
    let params = PatchParams::apply(STATUS_MANAGER).force();
    match call(|| format!("status of {kind} {name}"), api.patch_status(name, &params, &Patch::Apply(&patch)))
        .await
    {
        Err(fault) if !fault.is_gone() => return Err(fault),
        _ => hub.metrics.wrote(),
    }
    turned(hub, about, before, &conditions(status));
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
pub(in super::super) fn turned(
    hub: &Hub,
    about: &ObjectReference,
    before: &[Condition],
    after: &[Condition],
) {
    let is_placement = about.kind.as_deref() == Some(&*NIMPlacement::kind(&()));
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
            // Of a placement `Available`, `Degraded` and `Scheduled` tell why it is Ready no longer.
            "Ready" if is_placement => (was != condition.status && is_true, false),
            // Why pods do not start is news, whatever it was before.
            "Ready" | "Available" if !is_true && HINDRANCES.contains(&condition.reason.as_str()) => {
                (old.is_none_or(|old| old.reason != condition.reason), true)
            }
            "Ready" => (was != condition.status && (is_true || was == "True"), !is_true),
            "FailoverHeld" | DELETION_HELD | HELD => {
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
            // What was wrong is over: that is what the event is about.
            let is_over = !is_true && was == "True" && condition.reason == Reason::AsExpected.as_str();
            let reason = if is_over { RECOVERED } else { condition.reason.as_str() };
            let note = if is_over {
                format!("no longer {}: {}", condition.type_, condition.message)
            } else {
                condition.message.clone()
            };
            hub.events.publish(about.clone(), warning, &condition.type_, reason, &note);
        }
    }
}
