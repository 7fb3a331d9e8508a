//! What users do to a hub's intent: create, change, scale, move, delete, make anew.

use hub_scheduler::fleet::ObjectRef;
use hub_scheduler::{Division, OnUnreachable};
use serde_json::{Value, json};

use super::hubs::{HubSite, Object, Placement};
use super::spokes::{API_VERSION, NAMESPACE};
use super::stage::{Fact, Stage};

/// What a run is about.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    /// Objects are large, and there are many of them: what waits for a spoke counts.
    pub(super) heavy: bool,
    /// Objects that hang or are refused are made.
    pub(super) faulty: bool,
    /// Users make and delete objects one by one, more within ten minutes than a deletion guard lets go.
    pub(super) clearing: bool,
}

/// Bytes of a large object.
const LARGE: usize = 128 * 1024;

/// Placements of large objects; there are three to each.
const MOST_LARGE: usize = 12;

/// Some user does something.
pub(super) fn act(hub: &mut HubSite, plan: Plan, stage: &mut Stage) {
    if hub.process.is_none() {
        return;
    }
    let what = stage.dice.up_to(99);
    if plan.heavy && hub.store.placements.len() >= MOST_LARGE && what < 50 {
        return change_all(hub, stage);
    }
    if plan.clearing {
        return if what < 50 { create(hub, plan, stage) } else { delete_object(hub, stage) };
    }
    match what {
        0..25 => create(hub, plan, stage),
        25..50 => change(hub, stage),
        50..60 => scale(hub, stage),
        60..75 => relocate(hub, stage),
        75..85 => delete_object(hub, stage),
        85..91 => delete_placement(hub, stage),
        91..95 => delete_many(hub, stage),
        _ => change_all(hub, stage),
    }
}

/// A placement with one or two services, or a service with its cache.
pub(super) fn create(hub: &mut HubSite, plan: Plan, stage: &mut Stage) {
    let most = if plan.heavy { MOST_LARGE } else { 10 };
    if hub.store.placements.len() >= most {
        return;
    }
    let name = format!("p{}", stage.number());
    let mut placement = Placement {
        policy: hub_scheduler::Policy::default(),
        selected: std::collections::BTreeSet::new(),
        leaving: false,
    };
    placement.policy.clusters = Some(1 + stage.dice.up_to(2));
    if stage.dice.per_mille(250) {
        placement.policy.division = Division::Divided;
    }
    if stage.dice.per_mille(300) {
        placement.policy.failover.on_unreachable = OnUnreachable::Replace;
        placement.policy.failover.lost_after = jiff::SignedDuration::from_secs(20);
    }
    let count = if plan.heavy { 3 } else { 1 + stage.dice.up_to(1) };
    for number in 0..count {
        let kind = if number == 0 && stage.dice.per_mille(300) { "NIMCache" } else { "NIMService" };
        let object = object(hub, kind, plan, stage);
        placement.selected.insert(object.identity.uid.clone());
        hub.store.objects.insert(object.identity.uid.clone(), object);
    }
    if placement.policy.division == Division::Divided
        || placement.policy.failover.on_unreachable == OnUnreachable::Replace
    {
        // The scheduler takes these away from clusters by itself, as its user has asked it to.
        unwanted(placement.selected.clone(), stage);
    }
    stage.note(|| format!("user of hub {}: creates {name} of {:?}", hub.index, placement.selected));
    hub.store.placements.insert(name.clone(), placement);
    hub.touch(&name, stage);
}

fn object(hub: &HubSite, kind: &str, plan: Plan, stage: &mut Stage) -> Object {
    let number = stage.number();
    let uid = format!("u{number}");
    // Few names, so that an object meets what another of its name has left.
    let name = format!("m{}", stage.dice.up_to(11));
    let is_taken = |other: &Object| other.identity.kind == kind && other.identity.name == name;
    let is_taken = hub.store.objects.values().any(is_taken);
    let name = if is_taken { format!("n{number}") } else { name };
    let gpus = [0, 1, 2, 4, 8][stage.dice.index(5)];
    let mut spec = json!({
        "image": {"repository": "nim", "tag": "1"}, "replicas": 1 + stage.dice.up_to(1),
        "resources": {"limits": {"nvidia.com/gpu": gpus}},
        "storage": {"emptyDir": {}}, "revision": 0,
    });
    if kind == "NIMCache" || plan.heavy {
        spec["resources"] = json!({"limits": {"nvidia.com/gpu": 0}});
    }
    if plan.faulty && stage.dice.per_mille(150) {
        let fault = if stage.dice.per_mille(500) { "invalid" } else { "hangs" };
        spec[fault] = Value::Bool(true);
        stage.bad.insert(uid.clone());
    }
    let pad = if plan.heavy { "x".repeat(LARGE) } else { String::new() };
    Object {
        identity: ObjectRef {
            uid,
            api_version: API_VERSION.to_owned(),
            kind: kind.to_owned(),
            namespace: NAMESPACE.to_owned(),
            name: name.clone(),
        },
        generation: 1,
        json: json!({
            "apiVersion": API_VERSION, "kind": kind,
            "metadata": {"name": name, "namespace": NAMESPACE, "annotations": {"pad": pad}}, "spec": spec,
        }),
        leaving: false,
    }
}

/// One of the uids that satisfy `check`.
fn pick(hub: &HubSite, stage: &mut Stage, check: impl Fn(&Object) -> bool) -> Option<String> {
    let uids: Vec<&String> =
        hub.store.objects.iter().filter(|(_, object)| check(object)).map(|(uid, _)| uid).collect();
    uids.get(stage.dice.index(uids.len())).map(|uid| (*uid).clone())
}

fn touch_owner(hub: &mut HubSite, uid: &str, stage: &mut Stage) {
    let owner = hub.store.placements.iter().find(|(_, placement)| placement.selected.contains(uid));
    if let Some(name) = owner.map(|(name, _)| name.clone()) {
        hub.touch(&name, stage);
    }
}

fn edit(hub: &mut HubSite, uid: &str, stage: &mut Stage, edit: impl FnOnce(&mut Value)) {
    let Some(object) = hub.store.objects.get_mut(uid) else { return };
    object.generation += 1;
    edit(&mut object.json["spec"]);
    let generation = object.generation;
    stage.note(|| format!("user of hub {}: changes {uid} to generation {generation}", hub.index));
    touch_owner(hub, uid, stage);
}

fn change(hub: &mut HubSite, stage: &mut Stage) {
    if let Some(uid) = pick(hub, stage, |object| !object.leaving) {
        let revision = stage.number();
        edit(hub, &uid, stage, |spec| spec["revision"] = Value::from(revision));
    }
}

fn change_all(hub: &mut HubSite, stage: &mut Stage) {
    let uids: Vec<String> = hub.store.objects.keys().cloned().collect();
    for uid in uids {
        let revision = stage.number();
        edit(hub, &uid, stage, |spec| spec["revision"] = Value::from(revision));
    }
}

fn scale(hub: &mut HubSite, stage: &mut Stage) {
    let uid = pick(hub, stage, |object| !object.leaving && object.identity.kind == "NIMService");
    if let Some(uid) = uid {
        let replicas = stage.dice.up_to(4);
        edit(hub, &uid, stage, |spec| spec["replicas"] = Value::from(replicas));
    }
}

fn unwanted(uids: impl IntoIterator<Item = String>, stage: &mut Stage) {
    stage.facts.extend(uids.into_iter().map(|uid| Fact::Unwanted { uid }));
}

fn any_placement(hub: &HubSite, stage: &mut Stage) -> Option<String> {
    let names: Vec<&String> = hub.store.placements.keys().collect();
    names.get(stage.dice.index(names.len())).map(|name| (*name).clone())
}

/// Some other clusters, or another number of them.
fn relocate(hub: &mut HubSite, stage: &mut Stage) {
    let Some(name) = any_placement(hub, stage) else { return };
    let clusters: Vec<String> = hub.store.clusters.iter().cloned().collect();
    let Some(placement) = hub.store.placements.get_mut(&name) else { return };
    let away = clusters.get(stage.dice.index(clusters.len())).cloned();
    placement.policy.affinity.exclude = away.into_iter().collect();
    placement.policy.clusters = Some(1 + stage.dice.up_to(2));
    let (exclude, selected) = (placement.policy.affinity.exclude.clone(), placement.selected.clone());
    stage.note(|| format!("user of hub {}: moves {name} away from {exclude:?}", hub.index));
    unwanted(selected, stage);
    hub.touch(&name, stage);
}

fn delete_object(hub: &mut HubSite, stage: &mut Stage) {
    let Some(uid) = pick(hub, stage, |object| !object.leaving) else { return };
    if let Some(object) = hub.store.objects.get_mut(&uid) {
        object.leaving = true;
    }
    stage.note(|| format!("user of hub {}: deletes {uid}", hub.index));
    touch_owner(hub, &uid, stage);
    unwanted([uid], stage);
}

fn delete_many(hub: &mut HubSite, stage: &mut Stage) {
    let uids: Vec<String> = hub.store.objects.keys().cloned().collect();
    for uid in uids {
        if stage.dice.per_mille(600)
            && let Some(object) = hub.store.objects.get_mut(&uid)
        {
            object.leaving = true;
            stage.note(|| format!("user of hub {}: deletes {uid} with others", hub.index));
            touch_owner(hub, &uid, stage);
            unwanted([uid], stage);
        }
    }
}

fn delete_placement(hub: &mut HubSite, stage: &mut Stage) {
    let Some(name) = any_placement(hub, stage) else { return };
    let Some(placement) = hub.store.placements.get_mut(&name) else { return };
    placement.leaving = true;
    let selected = placement.selected.clone();
    stage.note(|| format!("user of hub {}: deletes placement {name}", hub.index));
    unwanted(selected, stage);
    hub.touch(&name, stage);
}
