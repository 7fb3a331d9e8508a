//! What is decided for one placement: the scheduler's decision, as assignments and as reservations.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use crds::fleet::{NIMPlacement, PlacedObject};
use crds::marks::REBALANCE_ANNOTATION;
use jiff::Timestamp;
use kube::ResourceExt;

use super::assignments::{self, Assignments, DeletionIntent, Input, PlacedAssignment, SECRET};
use super::denials::{self, Asked, Denials, Followed, Shown};
use super::grants::{granted, grants};
use super::selection::{Block, ListedSecret, Selection};
use super::variants::{Needs, variants};
use crate::failover::{Lane, Limits, PerLane};
use crate::fleet::{Answer, Cluster, FleetEvent, ObjectRef, PlacementKey, RejectionClass};
use crate::fleet_state::FleetState;
use crate::need::{self, Need};
use crate::objects::{Catalog, NIM_API_VERSION};
use crate::quota::{self, Quota};
use crate::resolve;
use crate::scheduler::{
    Cause, Chosen, Decision, Denied, InvalidPolicy, NAMED, Outcome, Policy, Previous, Reason, Request, Spare,
    Verdicts, Workload, seats,
};

/// Most rows of one placement: objects times clusters. A hub of a thousand clusters is measured with so many in all.
const MOST_ASSIGNMENTS: usize = 100_000;

/// What is remembered of one placement between two decisions.
#[derive(Debug, Default)]
pub struct PlacementState {
    /// What is stored in the slices.
    pub assignments: Assignments,
    /// What a replica of every object that was seen takes, in every cluster.
    pub needs: Needs,
    /// What the placement's spec asks for, as it was read last.
    pub policy: Option<(Arc<NIMPlacement>, Policy)>,
    /// The hash that was sent, by cluster and uid.
    pub sent: HashMap<(String, String), String>,
    /// The objects that the link was told of, by cluster and uid: what no assignment names any longer is taken out of it.
    pub listed: HashSet<(String, String)>,
    /// What is on its way out, by cluster and uid.
    pub leaving: HashSet<(String, String)>,
    /// What the owners of clusters deny.
    pub denials: Denials,
    /// The last wish to choose anew that was followed.
    pub rebalanced: Option<String>,
}

/// What follows from a selection.
pub struct Planned {
    /// The decision.
    pub decision: Decision,
    /// The assignments that follow from it, to be stored.
    pub assignments: Assignments,
    /// Nothing could be decided: what is placed stays as it was sent.
    pub blocked: bool,
    /// Clusters whose spokes refuse it since now, each with why.
    pub denied: Vec<(String, Denied)>,
    /// What was refused where the placement is and is to be sent once more: cluster, uid.
    pub again: Vec<(String, String)>,
    /// Placements of a lower priority whose reservations this one has taken: they look for others.
    pub outranked: Vec<PlacementKey>,
    /// Clusters that others take the place of, since these are lost.
    pub failovers: usize,
    /// Whether quotas are charged otherwise now.
    pub recharged: bool,
}

/// Decides, and reserves at once what was decided, so that two placements never get the same GPUs. `asked` is what [`request`]
/// has made of the same selection.
pub fn decide(
    catalog: &dyn Catalog,
    limits: &Limits,
    fleet_state: &mut FleetState,
    selection: &Selection,
    state: &mut PlacementState,
    mut asked: Result<Request, Block>,
    now: Timestamp,
) -> Planned {
    let mut refused = Followed::default();
    if let Ok(request) = &mut asked {
        refused = deny(fleet_state, selection, state, request);
    }
    let rebalance = asked.as_ref().ok().and_then(|request| request.rebalance.clone());
    let quotas: Vec<Quota> =
        catalog.quotas_of(&selection.key.namespace).iter().map(|quota| quota.as_ref().into()).collect();
    let decided = asked.as_mut().map_err(|block| block.clone()).and_then(|request| {
        request.allowance = fleet_state.pace.allowance(&selection.key, limits.per_minute, now);
        let FleetState { fleet, charged, .. } = &mut *fleet_state;
        quota::decide(request, fleet, &quotas, charged)
            .map_err(|exceeded| Block { reason: Reason::QuotaExceeded, message: exceeded.to_string() })
    });
    let decided = decided.and_then(|(decision, charges)| match too_many(&decision, selection) {
        Some(block) => Err(block),
        None => Ok((decision, charges)),
    });
    let blocked = decided.is_err();
    let (mut decision, charges) = match decided {
        Ok((decision, charges)) => (stable(decision, &state.assignments), Some(charges)),
        Err(block) => (keep_all(&block, selection, &state.assignments), None),
    };
    decision.retry_at = [decision.retry_at, denials::ends(&state.denials)].into_iter().flatten().min();
    let recharged = charges.is_some_and(|charges| fleet_state.charge(&selection.key, charges));
    state.rebalanced = decision.rebalanced.take().or(state.rebalanced.take());
    decision.rebalanced.clone_from(&state.rebalanced);
    fleet_state.pace.begin(&selection.key, &decision.moves, now);
    fleet_state.pace.wait(&selection.key, &decision.paced_until);
    let failovers = *decision.moves.of(Lane::Failover);
    let assignments = follow(catalog, fleet_state, selection, state, &decision, blocked, now);
    if let (Ok(request), false) = (&asked, blocked) {
        let selected: Vec<&str> =
            selection.selected.iter().map(|selected| selected.object.uid.as_str()).collect();
        state.needs.keep(&assignments, &selected, &request.variants, |need| request.policy.narrow(need));
    }
    let priority = selection.placement.spec.priority.unwrap_or_default();
    let grants = grants(&assignments, |cluster, uid| state.needs.get(cluster, uid), priority);
    let new = decision.chosen.iter().filter(|chosen| chosen.reason == Reason::Placed);
    let new = new.filter(|chosen| !state.assignments.placed.contains_key(chosen.cluster.as_str()));
    let outranked =
        new.flat_map(|chosen| fleet_state.fleet.outranked(&chosen.cluster, priority)).cloned().collect();
    fleet_state.fleet.apply(FleetEvent::Granted { placement: selection.key.clone(), grants });
    fleet_state.lists_secrets(&selection.key, &assignments);
    if selection.is_leaving() || !decision.is_waiting(rebalance.as_deref()) {
        fleet_state.wanting.remove(&selection.key);
    } else {
        fleet_state.wanting.insert(selection.key.clone());
    }
    let Followed { news: denied, again, .. } = refused;
    Planned { decision, assignments, blocked, denied, again, outranked, failovers, recharged }
}

/// More rows than one placement may have: all of them are kept, compared and told.
fn too_many(decision: &Decision, selection: &Selection) -> Option<Block> {
    let (clusters, objects) = (decision.chosen.len(), selection.selected.len());
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
pub fn request(
    limits: &Limits,
    selection: &Selection,
    assignments: &Assignments,
    (needs, known): (&mut Needs, &mut Option<(Arc<NIMPlacement>, Policy)>),
    rebalanced: Option<&str>,
    clusters: &[Arc<Cluster>],
    now: Timestamp,
) -> Result<Request, Block> {
    if let Some(block) = &selection.block {
        return Err(block.clone());
    }
    let invalid = |message| Block { reason: Reason::InvalidPlacement, message };
    let policy = policy(&selection.placement, known).map_err(|error| invalid(error.to_string()))?;
    let overrides = resolve::read(&selection.key, &selection.placement.spec.overrides)
        .map_err(|error| invalid(error.to_string()))?;
    let mut workloads = Vec::new();
    for one in &selection.selected {
        let ObjectRef { kind, name, .. } = &one.object;
        if let Some(problem) = crds::names::refusal_of(kind, name, &one.json["spec"]) {
            let message = format!("{kind} {name}: {problem}: make it again under another name");
            return Err(Block { reason: Reason::InvalidName, message });
        }
        let need = need::of(&one.json, |name| selection.cache(name))
            .map_err(|error| Block { reason: Reason::InvalidObject, message: error.to_string() })?;
        needs.set(&one.object.uid, policy.narrow(&need));
        workloads.push(Workload { object: one.object.clone(), need });
    }
    let objects: Vec<_> = selection.selected.iter().map(|one| &one.json).collect();
    let plain: Vec<_> = workloads.iter().map(|workload| &workload.need).collect();
    let all = || clusters.iter().map(Arc::as_ref);
    let of = (&objects[..], &selection.named_caches[..]);
    let variants = variants(&selection.key, of, &plain, &overrides, all()).map_err(invalid)?;
    let verdicts =
        Verdicts::ask(&policy.affinity, all(), |cluster| assignments.placed.contains_key(cluster.as_str()));
    let previous = assignments.placed.iter().filter_map(|(cluster, row)| {
        Some(Previous {
            cluster: cluster.parse().ok()?,
            since: row.since,
            replicas: granted(&row.objects),
            replaced: row.replaced.then(|| Cause::of(&row.reason)),
        })
    });
    let previous = previous.collect();
    let placement = selection.key.clone();
    Ok(Request {
        placement,
        policy,
        workloads,
        variants,
        verdicts,
        previous,
        denied: BTreeMap::new(),
        rejected: BTreeMap::new(),
        rebalance: wish(selection)
            .filter(|wish| Some(*wish) != followed(selection, rebalanced))
            .map(str::to_owned),
        over_quota: BTreeMap::new(),
        now,
        told: NAMED,
        limits: *limits,
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
fn wish(selection: &Selection) -> Option<&str> {
    selection.placement.annotations().get(REBALANCE_ANNOTATION).map(String::as_str)
}

/// The last wish that has been followed: this hub knows it before the status shows it.
fn followed<'a>(selection: &'a Selection, rebalanced: Option<&'a str>) -> Option<&'a str> {
    let stored = selection.placement.status.as_ref().and_then(|status| status.observed_rebalance.as_deref());
    rebalanced.or(stored)
}

/// Tells the request what spokes have refused, and keeps it; returns the rest.
fn deny(
    fleet_state: &FleetState,
    selection: &Selection,
    state: &mut PlacementState,
    request: &mut Request,
) -> Followed {
    let runs = |workload: &&Workload| workload.need.parts().any(Need::runs);
    let replicated = request.workloads.iter().filter(runs);
    let mut working: Vec<&str> = replicated.map(|workload| workload.object.uid.as_str()).collect();
    if working.is_empty() {
        working = request.workloads.iter().map(|workload| workload.object.uid.as_str()).collect();
    }
    let generation = |meta: &kube::core::ObjectMeta| meta.generation.unwrap_or_default();
    let objects = selection.selected.iter();
    let denied = state.sent.iter().filter_map(|((cluster, uid), hash)| {
        let told = fleet_state.fleet.statuses().get(&cluster.parse().ok()?, uid)?;
        let denial = told.status.denial().filter(|_| told.status.hash == *hash)?;
        Some(((cluster.clone(), uid.clone()), denial))
    });
    let denied: BTreeMap<(String, String), Answer> = denied.collect();
    let mut followed = denials::follow(&denials::Input {
        before: &state.denials,
        placed: &state.assignments.placed,
        asked: Asked {
            placement: generation(&selection.placement.metadata),
            objects: objects.map(|one| (one.object.uid.clone(), generation(&one.stored.metadata))).collect(),
        },
        working: &working,
        answer: &|cluster, uid| {
            let key = (cluster.to_owned(), uid.to_owned());
            let sent = state.sent.get(&key);
            let given = fleet_state.answer(cluster, uid).filter(|given| Some(&given.hash) == sent);
            denied.get(&key).or_else(|| given.map(|given| &given.answer))
        },
        limits: &|cluster| Some(fleet_state.fleet.cluster(cluster)?.agent.as_ref()?.limits.clone()),
        room: &|cluster, uid| {
            let capacity = fleet_state.fleet.cluster(cluster)?.capacity.as_ref()?;
            let parts = state.needs.get(cluster, uid)?.parts();
            let fit = parts.map(|part| seats(capacity, part)).min().unwrap_or(u32::MAX);
            Some(Shown { at: capacity.observed_at, fit })
        },
        now: request.now,
    });
    state.denials = std::mem::take(&mut followed.denials);
    let holding = state.denials.iter().filter(|(_, denial)| denial.holds());
    request.denied = holding.map(|(cluster, denial)| (cluster.clone(), denial.denied.clone())).collect();
    request.rejected = rejected(fleet_state, state);
    followed
}

/// Since when clusters refuse an object of the placement that nobody denies: what is denied has rules of its own.
fn rejected(fleet_state: &FleetState, state: &PlacementState) -> BTreeMap<String, Timestamp> {
    let mut rejected = BTreeMap::new();
    for ((cluster, uid), hash) in &state.sent {
        let Some(given) = fleet_state.answer(cluster, uid).filter(|given| given.hash == *hash) else {
            continue;
        };
        let is_rejected = matches!(
            &given.answer,
            Answer::Rejected { class, .. }
                if !matches!(class, RejectionClass::PolicyDenied { .. } | RejectionClass::NoRoom { .. })
        );
        if let Some(since) = fleet_state.refused_since(cluster, uid).filter(|_| is_rejected) {
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
fn keep_all(block: &Block, selection: &Selection, before: &Assignments) -> Decision {
    let stays = |object: &&PlacedObject| selection.selected.iter().any(|one| one.object.uid == object.uid);
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
    catalog: &dyn Catalog,
    fleet_state: &FleetState,
    selection: &Selection,
    state: &PlacementState,
    decision: &Decision,
    blocked: bool,
    now: Timestamp,
) -> Assignments {
    let held = |cluster: &str, uid: &str| {
        state
            .assignments
            .placed
            .get(cluster)
            .is_some_and(|row| row.objects.iter().any(|object| object.uid == uid))
    };
    let target: BTreeMap<String, PlacedAssignment> = decision
        .chosen
        .iter()
        .map(|chosen| {
            let cluster = chosen.cluster.to_string();
            let objects = selection
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
                .chain(secrets(selection, state.assignments.placed.get(&cluster), blocked))
                .collect();
            let reason = chosen.reason.as_str().to_owned();
            let (score, since, replaced) = (i64::from(chosen.score), chosen.since, chosen.is_replaced());
            let row = PlacedAssignment { reason, score, since, objects, replaced };
            (cluster, row)
        })
        .collect();
    let reason = |reason: Reason| if selection.is_leaving() { "PlacementDeleted" } else { reason.as_str() };
    let removed = decision.removed.iter().map(|one| (one.cluster.to_string(), reason(one.reason).to_owned()));
    assignments::plan(Input {
        before: &state.assignments,
        target,
        left: removed.collect(),
        fate: &|uid| {
            if state.assignments.is_secret(uid) { DeletionIntent::Unplaced } else { fate(selection, uid) }
        },
        gone: &|cluster, uid| {
            fleet_state.is_gone(cluster, uid) || fleet_state.shares(cluster, uid, &selection.key)
        },
        joined: &|cluster| catalog.has_cluster(cluster),
        now,
    })
}

/// The Secrets of a row. One that cannot be read stays where it is, as it was sent.
fn secrets(selection: &Selection, before: Option<&PlacedAssignment>, blocked: bool) -> Vec<PlacedObject> {
    let held = before.map(|row| row.objects.as_slice()).unwrap_or_default();
    let of_name =
        |name: &str| held.iter().find(|object| object.kind == SECRET && object.name == name).cloned();
    let row = |listed: &ListedSecret| match &listed.payload {
        Ok(_) if !blocked => Some(PlacedObject {
            kind: SECRET.to_owned(),
            name: listed.object.name.clone(),
            uid: listed.object.uid.clone(),
            ..PlacedObject::default()
        }),
        _ => of_name(&listed.object.name),
    };
    selection.secrets.iter().filter_map(row).collect()
}

fn replicas(chosen: &Chosen, uid: &str) -> Option<i32> {
    let granted = chosen.replicas.iter().find(|granted| granted.uid == uid)?;
    Some(i32::try_from(granted.replicas).unwrap_or(i32::MAX))
}

fn fate(selection: &Selection, uid: &str) -> DeletionIntent {
    let is_it = |object: &kube::core::DynamicObject| object.metadata.uid.as_deref() == Some(uid);
    if selection.selected.iter().any(|one| one.object.uid == uid) {
        return DeletionIntent::Unplaced;
    }
    match selection.taken.iter().find(|(_, object)| is_it(object)) {
        Some((_, object)) if object.metadata.deletion_timestamp.is_some() => DeletionIntent::Deleted,
        Some(_) => DeletionIntent::Unplaced,
        None => DeletionIntent::Unknown,
    }
}

/// The object of an assignment, as the link knows it.
#[must_use]
pub fn object_ref(key: &PlacementKey, object: &PlacedObject) -> crate::scheduler::fleet::ObjectRef {
    crate::scheduler::fleet::ObjectRef {
        uid: object.uid.clone(),
        api_version: if object.kind == SECRET { "v1" } else { NIM_API_VERSION }.to_owned(),
        kind: object.kind.clone(),
        namespace: key.namespace.clone(),
        name: object.name.clone(),
    }
}
