//! Delivery: the stored assignments of one placement become what the link holds for each cluster.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use crds::fleet::RemovalPolicy as Policy;

use super::assignments::{Assignments, PlacedAssignment, SECRET};
use super::gang;
use super::plan::{PlacementState, Planned, object_ref};
use super::selection::{ListedSecret, Selected, Selection};
use crate::audit::{Act, Action, Actor};
use crate::fleet::{Cluster, ClusterName, PlacementKey};
use crate::fleet_state::FleetState;
use crate::link::{Cause, DesiredObject, Gang, LinkChange, Removal, RemovalPolicy};
use crate::resolve::{self, Concerned, Override, Payload, resolve};
use crate::scheduler::{Chosen, Reason};

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
pub type Sent = BTreeMap<(String, String), Result<String, String>>;

/// What follows from assignments that are stored.
#[derive(Debug, Default)]
pub struct Delivery {
    /// Changes of what clusters shall hold, in this order.
    pub changes: Vec<(ClusterName, LinkChange)>,
    /// What is new of it, for the audit trail.
    pub acts: Vec<Act>,
    /// All that is sent.
    pub sent: Sent,
}

impl Delivery {
    fn change(&mut self, cluster: &ClusterName, change: LinkChange) {
        self.changes.push((cluster.clone(), change));
    }
}

/// What every cluster shall hold and what shall leave it. To be called once the assignments of `state` are stored and the objects
/// carry the placement's marks. Level-triggered: the same assignments again change nothing. `clusters` are those of the fleet by name;
/// `shares` says whether another placement has an object, by its uid, in a cluster.
pub fn deliver(
    clusters: &[Arc<Cluster>],
    shares: impl Fn(&str, &str) -> bool,
    selection: &Selection,
    planned: &Planned,
    state: &mut PlacementState,
) -> Delivery {
    let mut delivery = Delivery::default();
    let mut listed = HashSet::new();
    let mut resolved = Resolved::default();
    let overrides =
        resolve::read(&selection.key, &selection.placement.spec.overrides).map_err(|error| error.to_string());
    for chosen in &planned.decision.chosen {
        let name = chosen.cluster.to_string();
        let Ok(at) = clusters.binary_search_by(|cluster| cluster.name.as_str().cmp(&name)) else { continue };
        let cluster = &*clusters[at];
        let Some(row) = state.assignments.placed.get(&name) else { continue };
        let is_placed =
            |selected: &&Selected| row.objects.iter().any(|object| object.uid == selected.object.uid);
        for selected in selection.selected.iter().filter(is_placed) {
            let key = (name.clone(), selected.object.uid.clone());
            let outcome = match (&overrides, planned.blocked) {
                (_, true) => {
                    state.sent.get(&key).cloned().ok_or_else(|| planned.decision.outcome.message.clone())
                }
                (Err(message), false) => Err(message.clone()),
                (Ok(overrides), false) => {
                    let desired =
                        desired(&selection.key, selected, cluster, chosen, overrides, &mut resolved);
                    desired.map(|object| {
                        let gang = gang_of(selection, state, cluster, chosen, &selected.object.uid);
                        if planned.again.contains(&key) {
                            // Forgotten first, the object is sent once more, whatever the spoke answered.
                            delivery.change(&cluster.name, LinkChange::Forget(selected.object.uid.clone()));
                        }
                        let hash = object.hash.clone();
                        delivery.change(&cluster.name, LinkChange::Desired(DesiredObject { gang, ..object }));
                        hash
                    })
                }
            };
            if let Ok(hash) = &outcome
                && state.sent.insert(key.clone(), hash.clone()).as_ref() != Some(hash)
            {
                let act = Act::new(Action::Place, Actor::Hub, &row.reason).cluster(&cluster.name);
                delivery.acts.push(act.placement(&selection.key).object(&selected.object).hash(hash));
            }
            listed.insert(key.clone());
            delivery.sent.insert(key, outcome);
        }
        secrets(selection, cluster, row, &mut delivery);
        let held = row.objects.iter().filter(|object| object.kind == SECRET);
        listed.extend(held.map(|object| (name.clone(), object.uid.clone())));
    }
    let leaving = remove(&selection.key, &state.assignments, &state.leaving, &mut delivery);
    listed.extend(leaving.iter().cloned());
    state.leaving = leaving;
    for (cluster, uid) in state.listed.difference(&listed) {
        if !shares(cluster, uid)
            && let Ok(cluster) = cluster.parse()
        {
            delivery.change(&cluster, LinkChange::Forget(uid.clone()));
        }
    }
    state.sent.retain(|key, _| listed.contains(key));
    state.listed = listed;
    delivery
}

/// What clusters are to forget of a placement that is gone: nothing is sent about it.
pub fn withdraw(
    fleet_state: &FleetState,
    key: &PlacementKey,
    state: &mut PlacementState,
) -> Vec<(ClusterName, LinkChange)> {
    let listed = std::mem::take(&mut state.listed).into_iter();
    let own = listed.filter(|(cluster, uid)| !fleet_state.shares(cluster, uid, key));
    let changes = own.filter_map(|(cluster, uid)| Some((cluster.parse().ok()?, LinkChange::Forget(uid))));
    state.sent.clear();
    state.assignments = Assignments::default();
    changes.collect()
}

/// The Secrets of an assignment.
fn secrets(selection: &Selection, cluster: &Cluster, row: &PlacedAssignment, delivery: &mut Delivery) {
    for ListedSecret { object, payload } in &selection.secrets {
        let outcome = match payload {
            Ok(payload) if row.objects.iter().any(|placed| placed.uid == object.uid) => {
                let desired = DesiredObject {
                    object: object.clone(),
                    generation: SECRET_GENERATION,
                    hash: payload.hash.clone(),
                    payload: payload.bytes.clone(),
                    gang: None,
                };
                delivery.change(&cluster.name, LinkChange::Desired(desired));
                Ok(payload.hash.clone())
            }
            Ok(_) => continue,
            Err(problem) => Err(problem.clone()),
        };
        delivery.sent.insert((cluster.name.to_string(), object.uid.clone()), outcome);
    }
}

/// What the pods of an object take together in a cluster.
fn gang_of(
    selection: &Selection,
    state: &PlacementState,
    cluster: &Cluster,
    chosen: &Chosen,
    uid: &str,
) -> Option<Gang> {
    let need = state.needs.get(cluster.name.as_str(), uid)?;
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

/// What shall leave clusters; `before` is what left already.
fn remove(
    key: &PlacementKey,
    assignments: &Assignments,
    before: &HashSet<(String, String)>,
    delivery: &mut Delivery,
) -> HashSet<(String, String)> {
    let mut leaving = HashSet::new();
    for (cluster, row, object) in assignments.leaving() {
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
        if !before.contains(&entry) {
            let act = Act::new(Action::Evict, Actor::Hub, &row.reason);
            delivery.acts.push(act.cluster(&name).placement(key).object(&object_ref));
        }
        let removal = Removal { object: object_ref, policy, reason, decided: row.since, cause };
        delivery.change(&name, LinkChange::Removal(removal));
        leaving.insert(entry);
    }
    leaving
}
