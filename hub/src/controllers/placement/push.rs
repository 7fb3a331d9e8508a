//! Push: rows become what the link holds for each cluster.

use std::collections::{BTreeMap, HashMap, HashSet};

use crds::fleet::RemovalPolicy as Policy;
use hub_core::audit::{Act, Action, Actor};
use hub_core::link::{Cause, DesiredObject, Gang, Removal, RemovalPolicy};
use hub_core::placement::assignments::{Assignments, PlacedAssignment, SECRET};
use hub_core::placement::gang;
use hub_core::placement::plan::{Planned, object_ref};
use hub_core::placement::selection::{ListedSecret, Selected, Selection};
use hub_core::resolve::{self, Concerned, Override, Payload, resolve};
use hub_scheduler::fleet::{Cluster, PlacementKey};
use hub_scheduler::{Chosen, Reason};

use super::super::Hub;
use super::Book;
use crate::audit::RecordAct;

/// What objects were resolved to, by object, replicas and the overrides that count: most clusters get the same bytes,
/// which are made and kept once.
#[derive(Default)]
struct Resolved {
    payloads: HashMap<(String, Option<u32>, Concerned), Payload>,
    bytes: usize,
}

/// Most bytes of all that one placement has sent in different versions: they are held for as long as clusters have them.
const MOST_BYTES: usize = 64 << 20;

/// Secrets have no generation; their hash tells them apart.
const SECRET_GENERATION: i64 = 1;

/// What was sent for each cluster and uid: the hash, or why nothing.
pub(super) type Sent = BTreeMap<(String, String), Result<String, String>>;

/// Tells the link what every cluster shall hold and what shall leave it.
pub(super) fn push(hub: &Hub, selection: &Selection, planned: &Planned, book: &mut Book) -> Sent {
    let mut sent = Sent::new();
    let mut listed = HashSet::new();
    let mut resolved = Resolved::default();
    let overrides =
        resolve::read(&selection.key, &selection.placement.spec.overrides).map_err(|error| error.to_string());
    for chosen in &planned.decision.chosen {
        let name = chosen.cluster.to_string();
        let Some(cluster) = hub.live().fleet.cluster(&name).cloned() else { continue };
        let Some(row) = book.state.assignments.placed.get(&name) else { continue };
        for one in selection.selected.iter().filter(|one| row.objects.iter().any(|o| o.uid == one.object.uid))
        {
            let key = (name.clone(), one.object.uid.clone());
            let outcome = match (&overrides, planned.blocked) {
                (_, true) => {
                    book.state.sent.get(&key).cloned().ok_or_else(|| planned.decision.outcome.message.clone())
                }
                (Err(message), false) => Err(message.clone()),
                (Ok(overrides), false) => {
                    let desired = desired(&selection.key, one, &cluster, chosen, overrides, &mut resolved);
                    desired.map(|object| {
                        let gang = gang_of(selection, book, &cluster, chosen, &one.object.uid);
                        if planned.again.contains(&key) {
                            // What is no longer wanted is wanted anew, whatever was answered.
                            hub.desired.forget(&cluster.name, &one.object.uid);
                        }
                        let hash = object.hash.clone();
                        hub.desired.set_desired(&cluster.name, DesiredObject { gang, ..object });
                        hash
                    })
                }
            };
            if let Ok(hash) = &outcome
                && book.state.sent.insert(key.clone(), hash.clone()).as_ref() != Some(hash)
                && hub.desired.is_open()
            {
                Act::new(Action::Place, Actor::Hub, &row.reason)
                    .cluster(&cluster.name)
                    .placement(&selection.key)
                    .object(&one.object)
                    .hash(hash)
                    .record();
            }
            listed.insert(key.clone());
            sent.insert(key, outcome);
        }
        for (uid, outcome) in secrets(hub, selection, &cluster, row) {
            sent.insert((name.clone(), uid), outcome);
        }
        let held = row.objects.iter().filter(|object| object.kind == SECRET);
        listed.extend(held.map(|object| (name.clone(), object.uid.clone())));
    }
    let leaving = remove(hub, &selection.key, &book.state.assignments, &book.leaving);
    listed.extend(leaving.iter().cloned());
    book.leaving = leaving;
    for (cluster, uid) in book.listed.difference(&listed) {
        if hub.live().shares(cluster, uid, &selection.key) {
            continue;
        }
        if let Ok(cluster) = cluster.parse() {
            hub.desired.forget(&cluster, uid);
        }
    }
    book.state.sent.retain(|key, _| listed.contains(key));
    book.listed = listed;
    sent
}

/// Tells the link of the Secrets that a row has, and says of each what was sent, or why nothing.
fn secrets(
    hub: &Hub,
    selection: &Selection,
    cluster: &Cluster,
    row: &PlacedAssignment,
) -> Vec<(String, Result<String, String>)> {
    let send = |listed: &ListedSecret| {
        let uid = listed.object.uid.clone();
        let payload = match &listed.payload {
            Ok(payload) if row.objects.iter().any(|object| object.uid == uid) => payload,
            Ok(_) => return None,
            Err(problem) => return Some((uid, Err(problem.clone()))),
        };
        let (object, hash) = (listed.object.clone(), payload.hash.clone());
        let bytes = payload.bytes.clone();
        hub.desired.set_desired(
            &cluster.name,
            DesiredObject {
                object,
                generation: SECRET_GENERATION,
                hash: hash.clone(),
                payload: bytes,
                gang: None,
            },
        );
        Some((uid, Ok(hash)))
    };
    selection.secrets.iter().filter_map(send).collect()
}

/// What the pods of an object take together in a cluster.
fn gang_of(
    selection: &Selection,
    book: &Book,
    cluster: &Cluster,
    chosen: &Chosen,
    uid: &str,
) -> Option<Gang> {
    let need = book.state.needs.get(cluster.name.as_str(), uid)?;
    let granted = chosen.replicas.iter().find(|granted| granted.uid == uid);
    let priority = selection.placement.spec.priority.unwrap_or_default();
    gang::of(need, granted.map(|granted| granted.replicas), priority, cluster)
}

impl Resolved {
    /// Keeps one more version, if there is room for it.
    fn keep(&mut self, entry: (String, Option<u32>, Concerned), payload: Payload) -> Result<Payload, String> {
        let bytes = self.bytes.saturating_add(payload.bytes.len());
        if bytes > MOST_BYTES {
            return Err(format!(
                "the versions of the objects, by overrides and numbers of replicas, have more than {} MiB together: make the objects \
                 smaller, or let clusters have more alike",
                MOST_BYTES >> 20
            ));
        }
        self.bytes = bytes;
        self.payloads.insert(entry, payload.clone());
        Ok(payload)
    }
}

/// An object as one cluster shall hold it.
fn desired(
    key: &PlacementKey,
    one: &Selected,
    cluster: &Cluster,
    chosen: &Chosen,
    overrides: &[Override],
    resolved: &mut Resolved,
) -> Result<DesiredObject, String> {
    let granted = chosen.replicas.iter().find(|granted| granted.uid == one.object.uid);
    let replicas = granted.filter(|granted| granted.divided).map(|granted| granted.replicas);
    let entry = (one.object.uid.clone(), replicas, Concerned::of(overrides, cluster));
    let Payload { bytes: payload, hash } = if let Some(known) = resolved.payloads.get(&entry) {
        known.clone()
    } else {
        let made =
            resolve(key, &one.json, cluster, replicas, overrides).map_err(|error| error.to_string())?;
        resolved.keep(entry, made)?
    };
    let generation = one.stored.metadata.generation.unwrap_or_default();
    Ok(DesiredObject { object: one.object.clone(), generation, hash, payload, gang: None })
}

/// Tells the link what shall leave, and returns it; `before` is what left already.
fn remove(
    hub: &Hub,
    key: &PlacementKey,
    rows: &Assignments,
    before: &HashSet<(String, String)>,
) -> HashSet<(String, String)> {
    let mut leaving = HashSet::new();
    for (cluster, row, object) in rows.leaving() {
        let Ok(name) = cluster.parse() else { continue };
        let policy = match object.policy.unwrap_or_default() {
            Policy::Delete => RemovalPolicy::Delete,
            Policy::Retain => RemovalPolicy::Retain,
        };
        let reason = format!("NIMPlacement {key}: {}", row.reason);
        let object_ref = object_ref(key, object);
        // What failover has replaced may go: its replacement serves.
        let failed_over = row.reason == Reason::Replaced.as_str();
        let cause = if failed_over { Cause::Failover } else { Cause::Admin };
        let entry = (cluster.to_owned(), object.uid.clone());
        if !before.contains(&entry) && hub.desired.is_open() {
            let act = Act::new(Action::Evict, Actor::Hub, &row.reason);
            act.cluster(&name).placement(key).object(&object_ref).record();
        }
        let removal = Removal { object: object_ref, policy, reason, decided: row.since, cause };
        hub.desired.set_removal(&name, removal);
        leaving.insert(entry);
    }
    leaving
}

/// Takes everything of a placement out of the link; nothing is sent.
pub(super) fn forget_all(hub: &Hub, key: &PlacementKey, book: &mut Book) {
    for (cluster, uid) in book.listed.drain() {
        if hub.live().shares(&cluster, &uid, key) {
            continue;
        }
        if let Ok(cluster) = cluster.parse() {
            hub.desired.forget(&cluster, &uid);
        }
    }
    book.state.sent.clear();
    book.state.assignments = Assignments::default();
}
