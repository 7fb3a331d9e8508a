//! The controller's turn on one placement: observe, plan, persist, push, as `hub/src/controllers/placement` does it.

use std::collections::{BTreeMap, BTreeSet};

use crds::fleet::{PlacedObject, RemovalPolicy as Policy};
use hub_core::link::{Cause, DesiredObject, Removal, RemovalPolicy};
use hub_core::placement::assignments::{Assignments, DeletionIntent, Input, PlacedAssignment, plan, settled};
use hub_core::placement::grants::grants;
use hub_scheduler::failover::Limits;
use hub_scheduler::fleet::{ClusterName, FleetEvent, ObjectRef};
use hub_scheduler::{
    self, Chosen, Decision, Granted, Previous, Reason, Request, Variants, Verdicts, Workload, schedule,
};

use super::Event;
use super::process::{Book, HubSite};
use super::store::{Object, Store, key};
use crate::simulation::mutant::Mutant;
use crate::simulation::stage::{Fact, Given, Stage};

/// One turn on one placement.
pub(in crate::simulation) fn reconcile(site: &mut HubSite, name: &str, stage: &mut Stage) {
    let (index, life) = (site.index, site.life);
    let now = stage.wall(site.skew);
    let Some(process) = &mut site.process else { return };
    process.dirty.remove(name);
    let Some(placement) = site.store.placements.get(name).cloned() else {
        // Whatever still says that it is this placement's is nobody's.
        let book = process.books.remove(name).unwrap_or_default();
        for (cluster, uid) in &book.listed {
            forget(process, cluster, uid);
        }
        process.live.fleet.apply(FleetEvent::Granted { placement: key(name), grants: Vec::new() });
        return;
    };
    let selected: Vec<Object> = if placement.leaving {
        Vec::new()
    } else {
        let objects = placement.selected.iter().filter_map(|uid| site.store.objects.get(uid));
        objects.filter(|object| !object.leaving).cloned().collect()
    };
    let before = site.store.rows(name);
    let mut book = process.books.remove(name).unwrap_or_default();
    for object in &selected {
        process.live.claims.insert(object.identity.uid.clone(), key(name));
    }
    let mut request = Request {
        placement: key(name),
        policy: placement.policy,
        workloads: Vec::new(),
        variants: Variants::default(),
        verdicts: Verdicts::default(),
        previous: Vec::new(),
        denied: BTreeMap::new(),
        rejected: BTreeMap::new(),
        rebalance: None,
        told: hub_scheduler::NAMED,
        over_quota: BTreeMap::new(),
        now,
        limits: Limits::default(),
        allowance: process.live.pace.allowance(&key(name), Limits::default().per_minute, now),
    };
    for object in &selected {
        if let Ok(need) = hub_scheduler::need::need(&object.json, None) {
            book.needs.insert(object.identity.uid.clone(), request.policy.narrow(&need));
            request.workloads.push(Workload { object: object.identity.clone(), need });
        }
    }
    request.previous = previous(&before);
    let decision = schedule(&request, &mut process.live.fleet);
    process.live.pace.begin(&key(name), &decision.moves, now);
    process.live.pace.wait(&key(name), &decision.paced_until);
    let rows = follow(&site.store, &before, &selected, &decision, now, &|cluster, uid| {
        process.live.is_gone(cluster, uid)
    });
    book.planned = rows.clone();
    let given = grants(&rows, |_, uid| book.needs.get(uid), 0);
    if !stage.is(Mutant::ForgetGrants) {
        process.live.fleet.apply(FleetEvent::Granted { placement: key(name), grants: given });
    }
    let waits = !decision.outcome.complete || decision.chosen.iter().any(Chosen::is_replaced);
    if placement.leaving || !waits {
        process.live.wanting.remove(&key(name));
    } else {
        process.live.wanting.insert(key(name));
    }
    if rows != before {
        stage.note(|| format!("hub {index} decides for {name}: {}", told(&rows)));
    }
    if stage.dice.per_mille(site.failing) {
        // The slices could not be written: nothing follows from a decision that is not persisted.
        process.books.insert(name.to_owned(), book);
        return site.touch(name, stage);
    }
    site.store.rows.insert(name.to_owned(), rows.clone());
    for (cluster, uid) in settled(&before, &rows) {
        process.live.settle(cluster, uid);
    }
    let more = |chosen: &&Chosen| gpus(&rows, &chosen.cluster, &book) > gpus(&before, &chosen.cluster, &book);
    let growing: Vec<ClusterName> =
        decision.chosen.iter().filter(more).map(|chosen| chosen.cluster.clone()).collect();
    site.push(name, &rows, &decision, &selected, &mut book, stage);
    if let Some(at) = decision.retry_at {
        let wait = u64::try_from(at.duration_since(now).as_millis()).unwrap_or_default();
        stage.plan(wait, Event::Reconcile { hub: index, life, placement: name.to_owned() });
    }
    book.decision = Some(decision);
    if let Some(process) = &mut site.process {
        process.books.insert(name.to_owned(), book);
    }
    for cluster in growing {
        site.note_grants(&cluster, stage);
    }
    site.release(name, placement.leaving);
    site.settle(stage);
}

fn previous(rows: &Assignments) -> Vec<Previous> {
    let previous = rows.placed.iter().filter_map(|(cluster, row)| {
        let replicas = row.objects.iter().filter_map(|object| {
            let replicas = u32::try_from(object.replicas?).ok()?;
            Some(Granted { uid: object.uid.clone(), replicas, divided: false })
        });
        let replicas = replicas.collect();
        Some(Previous {
            cluster: cluster.parse().ok()?,
            since: row.since,
            replicas,
            replaced: row.replaced.then(|| hub_scheduler::Cause::of(&row.reason)),
        })
    });
    previous.collect()
}

/// The rows that follow from the decision.
fn follow(
    store: &Store,
    before: &Assignments,
    selected: &[Object],
    decision: &Decision,
    now: jiff::Timestamp,
    gone: &dyn Fn(&str, &str) -> bool,
) -> Assignments {
    let row = |chosen: &Chosen| {
        let kept = before.placed.get(chosen.cluster.as_str());
        let held = |uid: &str| kept.is_some_and(|row| row.objects.iter().any(|object| object.uid == uid));
        // Nothing new comes to a cluster that others have replaced.
        let come = selected.iter().filter(|one| !chosen.is_replaced() || held(&one.identity.uid));
        let objects = come.map(|object| PlacedObject {
            kind: object.identity.kind.clone(),
            name: object.identity.name.clone(),
            uid: object.identity.uid.clone(),
            replicas: replicas(chosen, &object.identity.uid),
            policy: None,
        });
        PlacedAssignment {
            reason: chosen.reason.as_str().to_owned(),
            score: kept.map_or(i64::from(chosen.score), |row| row.score),
            since: chosen.since,
            objects: objects.collect(),
            replaced: chosen.is_replaced(),
        }
    };
    let target: BTreeMap<String, PlacedAssignment> =
        decision.chosen.iter().map(|chosen| (chosen.cluster.to_string(), row(chosen))).collect();
    let left = decision.removed.iter().map(|one| (one.cluster.to_string(), one.reason.as_str().to_owned()));
    let fate = |uid: &str| match store.objects.get(uid) {
        Some(object) if object.leaving => DeletionIntent::Deleted,
        Some(_) => DeletionIntent::Unplaced,
        None => DeletionIntent::Unknown,
    };
    plan(Input {
        before,
        target,
        left: left.collect(),
        fate: &fate,
        gone,
        joined: &|cluster| store.clusters.contains(cluster),
        now,
    })
}

fn replicas(chosen: &Chosen, uid: &str) -> Option<i32> {
    let granted = chosen.replicas.iter().find(|granted| granted.uid == uid)?;
    Some(i32::try_from(granted.replicas).unwrap_or(i32::MAX))
}

/// GPUs that a placement has been given in a cluster.
fn gpus(rows: &Assignments, cluster: &ClusterName, book: &Book) -> u32 {
    let row = rows.placed.get(cluster.as_str());
    let of_object = |object: &PlacedObject| {
        let gpu = book.needs.get(&object.uid).and_then(|need| need.gpu.as_ref());
        let replicas = object.replicas.and_then(|count| u32::try_from(count).ok()).unwrap_or(1);
        gpu.map_or(0, |gpu| gpu.total() * replicas)
    };
    row.map_or(0, |row| row.objects.iter().map(of_object).sum())
}

fn forget(process: &super::Process, cluster: &str, uid: &str) {
    if let Ok(cluster) = cluster.parse() {
        process.desired.forget(&cluster, uid);
    }
}

fn told(rows: &Assignments) -> String {
    let uids = |objects: &[PlacedObject]| {
        objects.iter().map(|object| object.uid.as_str()).collect::<Vec<_>>().join(",")
    };
    let placed = rows.placed.iter().map(|(cluster, row)| format!("{cluster}+{}", uids(&row.objects)));
    let removing = rows.removing.iter().map(|(cluster, row)| format!("{cluster}-{}", uids(&row.objects)));
    placed.chain(removing).collect::<Vec<_>>().join(" ")
}

impl HubSite {
    /// Tells the link what every cluster shall hold and what shall leave it.
    fn push(
        &mut self,
        name: &str,
        rows: &Assignments,
        decision: &Decision,
        selected: &[Object],
        book: &mut Book,
        stage: &mut Stage,
    ) {
        let (hub, life) = (self.index, self.life);
        let Some(process) = &mut self.process else { return };
        let mut listed = BTreeSet::new();
        for chosen in &decision.chosen {
            let Some(cluster) = process.live.fleet.cluster(chosen.cluster.as_str()) else { continue };
            let Some(row) = rows.placed.get(chosen.cluster.as_str()) else { continue };
            let placed = |one: &&Object| row.objects.iter().any(|object| object.uid == one.identity.uid);
            for one in selected.iter().filter(placed) {
                let uid = one.identity.uid.clone();
                let granted = chosen.replicas.iter().find(|granted| granted.uid == uid);
                let replicas = granted.filter(|granted| granted.divided).map(|granted| granted.replicas);
                let Ok(payload) = hub_core::resolve::resolve(&key(name), &one.json, cluster, replicas, &[])
                else {
                    continue;
                };
                let entry = (chosen.cluster.to_string(), uid.clone());
                if book.sent.get(&entry) != Some(&payload.hash) {
                    stage.facts.push(Fact::Wanted { hub, life, cluster: entry.0.clone(), uid });
                }
                book.sent.insert(entry.clone(), payload.hash.clone());
                listed.insert(entry);
                let desired = DesiredObject {
                    object: one.identity.clone(),
                    generation: one.generation,
                    hash: payload.hash,
                    payload: payload.bytes,
                    gang: None,
                };
                process.desired.set_desired(&chosen.cluster, desired);
            }
        }
        for (cluster, row, object) in rows.leaving() {
            let Ok(parsed) = cluster.parse::<ClusterName>() else { continue };
            let policy = match object.policy.unwrap_or_default() {
                Policy::Delete => RemovalPolicy::Delete,
                Policy::Retain => RemovalPolicy::Retain,
            };
            let removed = ObjectRef {
                uid: object.uid.clone(),
                api_version: super::API_VERSION.to_owned(),
                kind: object.kind.clone(),
                namespace: super::NAMESPACE.to_owned(),
                name: object.name.clone(),
            };
            let failed_over = row.reason == Reason::Replaced.as_str();
            let cause = if failed_over { Cause::Failover } else { Cause::Admin };
            let (reason, decided) = (row.reason.clone(), row.since);
            let removal = Removal { object: removed, policy, reason, decided, cause };
            process.desired.set_removal(&parsed, removal);
            listed.insert((cluster.to_owned(), object.uid.clone()));
        }
        for (cluster, uid) in book.listed.difference(&listed) {
            forget(process, cluster, uid);
            let (cluster, uid) = (cluster.clone(), uid.clone());
            stage.facts.push(Fact::Answered { hub, life, cluster, uid });
        }
        book.sent.retain(|entry, _| listed.contains(entry));
        book.listed = listed;
    }

    /// What waited for its objects to leave every cluster, and has no longer to wait, goes.
    fn release(&mut self, name: &str, leaving: bool) {
        let held = |uid: &str| self.store.rows.values().any(|rows| rows.holds(uid));
        let free: Vec<String> = self
            .store
            .objects
            .iter()
            .filter(|(uid, object)| object.leaving && !held(uid))
            .map(|(uid, _)| uid.clone())
            .collect();
        for uid in free {
            self.store.objects.remove(&uid);
        }
        if leaving && self.store.rows(name).is_empty() {
            self.store.placements.remove(name);
            self.store.rows.remove(name);
        }
    }

    /// Writes down what has been given away in a cluster, and by which report.
    fn note_grants(&self, cluster: &ClusterName, stage: &mut Stage) {
        let Some(process) = &self.process else { return };
        let known = process.live.fleet.cluster(cluster.as_str());
        let Some(capacity) = known.and_then(|known| known.capacity.as_ref()) else { return };
        let mut given: BTreeMap<String, Given> = BTreeMap::new();
        for book in process.books.values() {
            // What leaves binds nothing new: what it still holds is in the report.
            let row = book.planned.placed.get(cluster.as_str());
            for object in row.into_iter().flat_map(|row| &row.objects) {
                let json = self.store.objects.get(&object.uid).map(|object| &object.json);
                let need = book.needs.get(&object.uid).cloned();
                let need = need.or_else(|| hub_scheduler::need::need(json?, None).ok()).unwrap_or_default();
                let gpus = need.gpu.map_or(0, |gpu| gpu.total());
                let replicas = object.replicas.and_then(|count| u32::try_from(count).ok()).unwrap_or(1);
                given.insert(object.uid.clone(), Given { replicas, gpus });
            }
        }
        stage.facts.push(Fact::Granted { cluster: cluster.to_string(), at: capacity.observed_at, given });
    }
}
