//! Plan: what the scheduler decides, as rows and as grants.

use std::collections::BTreeMap;
use std::sync::Arc;

use crds::fleet::{NIMPlacement, PlacedObject};
use crds::marks::REBALANCE_ANNOTATION;
use hub_core::audit::{Act, Action, Actor};
use hub_core::fleet_state::FleetState;
use hub_core::placement::assignments::{self, Assignments, DeletionIntent, Input, PlacedAssignment, SECRET};
use hub_core::placement::denials::{self, Asked, Followed, Shown};
use hub_core::placement::grants::{granted, grants};
use hub_core::placement::variants::{Needs, variants};
use hub_core::resolve;
use hub_scheduler::failover::{Lane, PerLane};
use hub_scheduler::fleet::{Answer, Cluster, FleetEvent, ObjectRef, PlacementKey, RejectionClass};
use hub_scheduler::need::{self, Need};
use hub_scheduler::quota::{self, Quota};
use hub_scheduler::{
    Cause, Chosen, Decision, Denied, InvalidPolicy, NAMED, Outcome, Policy, Previous, Reason, Request, Spare,
    Verdicts, Workload, seats,
};
use jiff::Timestamp;
use kube::ResourceExt;

use super::super::Hub;
use super::super::stores::NIM_API_VERSION;
use super::Book;
use super::observe::{Block, Observed};
use crate::audit::RecordAct;

/// How often it is worked out anew what overrides make, while labels of clusters change.
const TRIES: u32 = 3;
/// Most rows of one placement: objects times clusters. A hub of a thousand clusters is measured with so many in all.
const MOST_ASSIGNMENTS: usize = 100_000;

/// What follows from what was observed.
pub(super) struct Planned {
    pub(super) decision: Decision,
    pub(super) rows: Assignments,
    /// Nothing could be decided: what is placed stays as it was sent.
    pub(super) blocked: bool,
    /// Clusters whose spokes refuse it since now, each with why.
    pub(super) denied: Vec<(String, Denied)>,
    /// What was refused where the placement is and is to be sent once more: cluster, uid.
    pub(super) again: Vec<(String, String)>,
}

/// Decides, and reserves at once what was decided: two placements never get the same GPUs.
pub(super) fn plan(hub: &Hub, observed: &Observed, book: &mut Book, now: Timestamp) -> Planned {
    let mut tries = 0;
    let (mut asked, mut live) = loop {
        let clusters = hub.live().fleet.shared();
        let Book { rows, needs, policy, rebalanced, .. } = &mut *book;
        let asked = request(hub, observed, rows, (needs, policy), rebalanced.as_deref(), &clusters, now);
        let live = hub.live();
        tries += 1;
        // Overrides concern clusters by their labels, which may have changed since.
        let is_plain = observed.placement.spec.overrides.is_empty();
        if is_plain || tries == TRIES || live.fleet.has_labels_of(&clusters) {
            break (asked, live);
        }
    };
    let mut refused = Followed::default();
    if let Ok(request) = &mut asked {
        refused = deny(&live, observed, book, request);
    }
    let rebalance = asked.as_ref().ok().and_then(|request| request.rebalance.clone());
    let quotas: Vec<Quota> =
        hub.stores.quotas_of(&observed.key.namespace).iter().map(|q| q.as_ref().into()).collect();
    let decided = asked.as_mut().map_err(|block| block.clone()).and_then(|request| {
        request.allowance = live.pace.allowance(&observed.key, hub.limits.per_minute, now);
        let FleetState { fleet, charged, .. } = &mut *live;
        quota::decide(request, fleet, &quotas, charged)
            .map_err(|exceeded| Block { reason: Reason::QuotaExceeded, message: exceeded.to_string() })
    });
    let decided = decided.and_then(|(decision, charges)| match too_many(&decision, observed) {
        Some(block) => Err(block),
        None => Ok((decision, charges)),
    });
    let is_blocked = decided.is_err();
    let (mut decision, charges) = match decided {
        Ok((decision, charges)) => (stable(decision, &book.rows), Some(charges)),
        Err(block) => (blocked(&block, observed, &book.rows), None),
    };
    decision.retry_at = [decision.retry_at, denials::ends(&book.denials)].into_iter().flatten().min();
    let recharged = charges.is_some_and(|charges| live.charge(&observed.key, charges));
    book.rebalanced = decision.rebalanced.take().or(book.rebalanced.take());
    decision.rebalanced.clone_from(&book.rebalanced);
    live.pace.begin(&observed.key, &decision.moves, now);
    live.pace.wait(&observed.key, &decision.paced_until);
    let failovers = *decision.moves.of(Lane::Failover);
    if failovers > 0 {
        hub.metrics.failed_over(failovers);
        Act::new(Action::Failover, Actor::Hub, "others take the place of lost clusters")
            .placement(&observed.key)
            .count(u64::try_from(failovers).unwrap_or(u64::MAX))
            .record();
    }
    let rows = follow(hub, &live, observed, book, &decision, is_blocked, now);
    if let (Ok(request), false) = (&asked, is_blocked) {
        let selected: Vec<&str> = observed.selected.iter().map(|one| one.object.uid.as_str()).collect();
        book.needs.keep(&rows, &selected, &request.variants, |need| request.policy.narrow(need));
    }
    let priority = observed.placement.spec.priority.unwrap_or_default();
    let grants = grants(&rows, |cluster, uid| book.needs.get(cluster, uid), priority);
    // What a lower one was promised and this one has taken, it looks for elsewhere.
    let new = decision.chosen.iter().filter(|chosen| chosen.reason == Reason::Placed);
    let new = new.filter(|chosen| !book.rows.placed.contains_key(chosen.cluster.as_str()));
    for key in new.flat_map(|chosen| live.fleet.outranked(&chosen.cluster, priority)) {
        hub.placements.add_soon(key.clone());
    }
    live.fleet.apply(FleetEvent::Granted { placement: observed.key.clone(), grants });
    live.lists_secrets(&observed.key, &rows);
    if observed.is_leaving() || !decision.is_waiting(rebalance.as_deref()) {
        live.wanting.remove(&observed.key);
    } else {
        live.wanting.insert(observed.key.clone());
    }
    drop(live);
    if recharged {
        hub.charges_changed(&observed.key);
    }
    Planned { decision, rows, blocked: is_blocked, denied: refused.news, again: refused.again }
}

/// More rows than one placement may have: all of them are kept, compared and told.
fn too_many(decision: &Decision, observed: &Observed) -> Option<Block> {
    let (clusters, objects) = (decision.chosen.len(), observed.selected.len());
    let assignments = clusters.saturating_mul(objects);
    (assignments > MOST_ASSIGNMENTS).then(|| {
        let message = format!(
            "{objects} objects in {clusters} clusters are {assignments} assignments, at most {MOST_ASSIGNMENTS} for one placement: lower \
             spec.numberOfClusters, or give objects that need not be together placements of their own"
        );
        Block { reason: Reason::InvalidPlacement, message }
    })
}

/// What is asked of the scheduler, with all that can be worked out before its lock is taken: what expressions say of the
/// `clusters`, and what overrides make of the objects there. What a replica of every object takes is kept, and so is the policy;
/// `rebalanced` is the last wish to choose anew that has been followed.
pub(super) fn request(
    hub: &Hub,
    observed: &Observed,
    rows: &Assignments,
    (needs, known): (&mut Needs, &mut Option<(Arc<NIMPlacement>, Policy)>),
    rebalanced: Option<&str>,
    clusters: &[Arc<Cluster>],
    now: Timestamp,
) -> Result<Request, Block> {
    if let Some(block) = &observed.block {
        return Err(block.clone());
    }
    let invalid = |message| Block { reason: Reason::InvalidPlacement, message };
    let policy = policy(&observed.placement, known).map_err(|error| invalid(error.to_string()))?;
    let overrides = resolve::read(&observed.key, &observed.placement.spec.overrides)
        .map_err(|error| invalid(error.to_string()))?;
    let mut workloads = Vec::new();
    for one in &observed.selected {
        let ObjectRef { kind, name, .. } = &one.object;
        if let Some(problem) = crds::names::refusal_of(kind, name, &one.json["spec"]) {
            let message = format!("{kind} {name}: {problem}: make it again under another name");
            return Err(Block { reason: Reason::InvalidName, message });
        }
        let need = need::of(&one.json, |name| observed.cache(name))
            .map_err(|error| Block { reason: Reason::InvalidObject, message: error.to_string() })?;
        needs.set(&one.object.uid, policy.narrow(&need));
        workloads.push(Workload { object: one.object.clone(), need });
    }
    let objects: Vec<_> = observed.selected.iter().map(|one| &one.json).collect();
    let plain: Vec<_> = workloads.iter().map(|workload| &workload.need).collect();
    let all = || clusters.iter().map(Arc::as_ref);
    let of = (&objects[..], &observed.named_caches[..]);
    let variants = variants(&observed.key, of, &plain, &overrides, all()).map_err(invalid)?;
    let verdicts =
        Verdicts::ask(&policy.affinity, all(), |cluster| rows.placed.contains_key(cluster.as_str()));
    let previous = rows.placed.iter().filter_map(|(cluster, row)| {
        Some(Previous {
            cluster: cluster.parse().ok()?,
            since: row.since,
            replicas: granted(&row.objects),
            replaced: row.replaced.then(|| Cause::of(&row.reason)),
        })
    });
    let previous = previous.collect();
    let placement = observed.key.clone();
    Ok(Request {
        placement,
        policy,
        workloads,
        variants,
        verdicts,
        previous,
        denied: BTreeMap::new(),
        rejected: BTreeMap::new(),
        rebalance: wish(observed)
            .filter(|wish| Some(*wish) != followed(observed, rebalanced))
            .map(str::to_owned),
        over_quota: BTreeMap::new(),
        now,
        told: NAMED,
        limits: hub.limits,
        allowance: PerLane::FREE,
    })
}

/// What the spec of a placement asks for: read, and its expressions compiled, once for each spec.
fn policy(
    placement: &Arc<NIMPlacement>,
    known: &mut Option<(Arc<NIMPlacement>, Policy)>,
) -> Result<Policy, InvalidPolicy> {
    if let Some((of, policy)) = known
        && (Arc::ptr_eq(of, placement) || of.spec == placement.spec)
    {
        return Ok(policy.clone());
    }
    let policy = Policy::try_from(&placement.spec)?;
    *known = Some((placement.clone(), policy.clone()));
    Ok(policy)
}

/// The value of the annotation that asks to choose anew.
fn wish(observed: &Observed) -> Option<&str> {
    observed.placement.annotations().get(REBALANCE_ANNOTATION).map(String::as_str)
}

/// The last wish that has been followed: this hub knows it before the status shows it.
fn followed<'a>(observed: &'a Observed, rebalanced: Option<&'a str>) -> Option<&'a str> {
    let stored = observed.placement.status.as_ref().and_then(|status| status.observed_rebalance.as_deref());
    rebalanced.or(stored)
}

/// Tells the request what spokes have refused, and keeps it; returns the rest.
fn deny(live: &FleetState, observed: &Observed, book: &mut Book, request: &mut Request) -> Followed {
    let runs = |workload: &&Workload| workload.need.parts().any(Need::runs);
    let replicated = request.workloads.iter().filter(runs);
    let mut working: Vec<&str> = replicated.map(|workload| workload.object.uid.as_str()).collect();
    if working.is_empty() {
        working = request.workloads.iter().map(|workload| workload.object.uid.as_str()).collect();
    }
    let generation = |meta: &kube::core::ObjectMeta| meta.generation.unwrap_or_default();
    let objects = observed.selected.iter();
    let denied = book.sent.iter().filter_map(|((cluster, uid), hash)| {
        let told = live.fleet.statuses().get(&cluster.parse().ok()?, uid)?;
        let denial = told.status.denial().filter(|_| told.status.hash == *hash)?;
        Some(((cluster.clone(), uid.clone()), denial))
    });
    let denied: BTreeMap<(String, String), Answer> = denied.collect();
    let mut followed = denials::follow(&denials::Input {
        before: &book.denials,
        placed: &book.rows.placed,
        asked: Asked {
            placement: generation(&observed.placement.metadata),
            objects: objects.map(|one| (one.object.uid.clone(), generation(&one.stored.metadata))).collect(),
        },
        working: &working,
        answer: &|cluster, uid| {
            let key = (cluster.to_owned(), uid.to_owned());
            let sent = book.sent.get(&key);
            let given = live.answer(cluster, uid).filter(|given| Some(&given.hash) == sent);
            denied.get(&key).or_else(|| given.map(|given| &given.answer))
        },
        limits: &|cluster| Some(live.fleet.cluster(cluster)?.agent.as_ref()?.limits.clone()),
        room: &|cluster, uid| {
            let capacity = live.fleet.cluster(cluster)?.capacity.as_ref()?;
            let parts = book.needs.get(cluster, uid)?.parts();
            let fit = parts.map(|part| seats(capacity, part)).min().unwrap_or(u32::MAX);
            Some(Shown { at: capacity.observed_at, fit })
        },
        now: request.now,
    });
    book.denials = std::mem::take(&mut followed.denials);
    let holding = book.denials.iter().filter(|(_, denial)| denial.holds());
    request.denied = holding.map(|(cluster, denial)| (cluster.clone(), denial.denied.clone())).collect();
    request.rejected = rejected(live, book);
    followed
}

/// Since when clusters refuse an object of the placement that nobody denies: what is denied has rules of its own.
fn rejected(live: &FleetState, book: &Book) -> BTreeMap<String, Timestamp> {
    let mut rejected = BTreeMap::new();
    for ((cluster, uid), hash) in &book.sent {
        let Some(given) = live.answer(cluster, uid).filter(|given| given.hash == *hash) else { continue };
        let is_rejected = matches!(
            &given.answer,
            Answer::Rejected { class, .. }
                if !matches!(class, RejectionClass::PolicyDenied { .. } | RejectionClass::NoRoom { .. })
        );
        if let Some(since) = live.refused_since(cluster, uid).filter(|_| is_rejected) {
            rejected.entry(cluster.clone()).and_modify(|at| *at = since.min(*at)).or_insert(since);
        }
    }
    rejected
}

/// A cluster that stays keeps the score it was chosen by: it must not change with every report of free GPUs.
fn stable(mut decision: Decision, before: &Assignments) -> Decision {
    for chosen in &mut decision.chosen {
        if let Some(row) = before.placed.get(chosen.cluster.as_str())
            && !chosen.is_replaced()
        {
            chosen.score = i32::try_from(row.score).unwrap_or(chosen.score);
            chosen.reason = Reason::Placed;
        }
    }
    decision
}

/// Nothing can be decided: what is placed stays as it is, but for objects that are no longer selected.
fn blocked(block: &Block, observed: &Observed, before: &Assignments) -> Decision {
    let stays = |object: &&PlacedObject| observed.selected.iter().any(|one| one.object.uid == object.uid);
    let chosen = before.placed.iter().filter_map(|(cluster, row)| {
        let objects: Vec<PlacedObject> = row.objects.iter().filter(stays).cloned().collect();
        (!objects.is_empty()).then_some(())?;
        Some(Chosen {
            cluster: cluster.parse().ok()?,
            reason: if row.replaced { Cause::of(&row.reason).reason() } else { Reason::Placed },
            score: i32::try_from(row.score).unwrap_or_default(),
            parts: Vec::new(),
            since: row.since,
            replicas: granted(&objects),
            message: block.message.clone(),
        })
    });
    let chosen: Vec<Chosen> = chosen.collect();
    let outcome = Outcome {
        complete: false,
        reason: block.reason,
        message: block.message.clone(),
        wanted_clusters: u32::try_from(chosen.iter().filter(|chosen| !chosen.is_replaced()).count())
            .unwrap_or(u32::MAX),
        wanted_replicas: 0,
        given_replicas: 0,
    };
    Decision {
        chosen,
        removed: Vec::new(),
        refused: Vec::new(),
        counts: BTreeMap::new(),
        spare: Spare::default(),
        outcome,
        hold: None,
        moves: PerLane::default(),
        paced_until: PerLane::default(),
        rebalanced: None,
        retry_at: None,
    }
}

/// The rows that follow from the decision.
fn follow(
    hub: &Hub,
    live: &FleetState,
    observed: &Observed,
    book: &Book,
    decision: &Decision,
    blocked: bool,
    now: Timestamp,
) -> Assignments {
    let held = |cluster: &str, uid: &str| {
        book.rows.placed.get(cluster).is_some_and(|row| row.objects.iter().any(|object| object.uid == uid))
    };
    let target: BTreeMap<String, PlacedAssignment> = decision
        .chosen
        .iter()
        .map(|chosen| {
            let cluster = chosen.cluster.to_string();
            let objects = observed
                .selected
                .iter()
                // Nothing new comes to a cluster that others have replaced, nor anywhere while nothing can be decided.
                .filter(|one| !(blocked || chosen.is_replaced()) || held(&cluster, &one.object.uid))
                .map(|one| PlacedObject {
                    kind: one.object.kind.clone(),
                    name: one.object.name.clone(),
                    uid: one.object.uid.clone(),
                    replicas: replicas(chosen, &one.object.uid),
                    policy: None,
                })
                .chain(secrets(observed, book.rows.placed.get(&cluster), blocked))
                .collect();
            let reason = chosen.reason.as_str().to_owned();
            let (score, since, replaced) = (i64::from(chosen.score), chosen.since, chosen.is_replaced());
            let row = PlacedAssignment { reason, score, since, objects, replaced };
            (cluster, row)
        })
        .collect();
    let reason = |reason: Reason| if observed.is_leaving() { "PlacementDeleted" } else { reason.as_str() };
    let removed = decision.removed.iter().map(|one| (one.cluster.to_string(), reason(one.reason).to_owned()));
    assignments::plan(Input {
        before: &book.rows,
        target,
        left: removed.collect(),
        fate: &|uid| if book.rows.is_secret(uid) { DeletionIntent::Unplaced } else { fate(observed, uid) },
        gone: &|cluster, uid| live.is_gone(cluster, uid) || live.shares(cluster, uid, &observed.key),
        joined: &|cluster| hub.stores.cluster(cluster).is_some(),
        now,
    })
}

/// The Secrets of a row. One that cannot be read stays where it is, as it was sent.
fn secrets(observed: &Observed, before: Option<&PlacedAssignment>, blocked: bool) -> Vec<PlacedObject> {
    let held = before.map(|row| row.objects.as_slice()).unwrap_or_default();
    let of_name =
        |name: &str| held.iter().find(|object| object.kind == SECRET && object.name == name).cloned();
    let row = |listed: &super::secrets::Listed| match &listed.payload {
        Ok(_) if !blocked => Some(PlacedObject {
            kind: SECRET.to_owned(),
            name: listed.object.name.clone(),
            uid: listed.object.uid.clone(),
            ..PlacedObject::default()
        }),
        _ => of_name(&listed.object.name),
    };
    observed.secrets.iter().filter_map(row).collect()
}

fn replicas(chosen: &Chosen, uid: &str) -> Option<i32> {
    let granted = chosen.replicas.iter().find(|granted| granted.uid == uid)?;
    Some(i32::try_from(granted.replicas).unwrap_or(i32::MAX))
}

fn fate(observed: &Observed, uid: &str) -> DeletionIntent {
    let is_it = |object: &kube::core::DynamicObject| object.metadata.uid.as_deref() == Some(uid);
    if observed.selected.iter().any(|one| one.object.uid == uid) {
        return DeletionIntent::Unplaced;
    }
    match observed.taken.iter().find(|(_, object)| is_it(object)) {
        Some((_, object)) if object.metadata.deletion_timestamp.is_some() => DeletionIntent::Deleted,
        Some(_) => DeletionIntent::Unplaced,
        None => DeletionIntent::Unknown,
    }
}

/// The object of a row, as the link knows it.
pub(super) fn object_ref(key: &PlacementKey, object: &PlacedObject) -> hub_scheduler::fleet::ObjectRef {
    hub_scheduler::fleet::ObjectRef {
        uid: object.uid.clone(),
        api_version: if object.kind == SECRET { "v1" } else { NIM_API_VERSION }.to_owned(),
        kind: object.kind.clone(),
        namespace: key.namespace.clone(),
        name: object.name.clone(),
    }
}
