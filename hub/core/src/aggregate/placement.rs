//! Status of a NIMPlacement.

use crds::{
    condition::{self, Finding, Truth, Unready},
    fleet::{DecisionSummary, NIMPlacementStatus, Refusal, Tally},
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use super::{
    Delivery, Place, Reason, View,
    standing::{self, Stage, Standing},
};

/// Most rows and most refusals that a status shows; the schema says the same.
const SHOWN: usize = 10;

/// Most clusters that the column names.
const WHERE: usize = 5;

/// Condition of placements and clusters.
pub(super) const FAILOVER_HELD: &str = "FailoverHeld";

/// An object in a cluster, and how it stands there.
type Stood<'a> = (&'a Place<'a>, &'a Delivery<'a>, Standing);

/// Status of the NIMPlacement; `stored` is what it says now, for the times of its conditions.
#[must_use]
pub fn placement_status(view: &View<'_>, stored: Option<&NIMPlacementStatus>) -> NIMPlacementStatus {
    let stood: Vec<Stood<'_>> = view
        .places
        .iter()
        .filter(|place| place.counts())
        .flat_map(|place| place.deliveries.iter().map(move |delivery| (place, delivery)))
        .map(|(place, delivery)| (place, delivery, standing::of(delivery, place.link)))
        .collect();
    let places = where_summary(view);
    let mut findings = findings(view, &stood);
    let (phase, reason) = phase(&findings);
    let unready = unready(&findings);
    findings.insert(0, ready(&findings, places.as_deref()));
    let mut conditions = stored.map(|status| status.conditions.clone()).unwrap_or_default();
    for finding in findings {
        condition::set(&mut conditions, finding, Some(view.generation), view.now);
    }
    condition::set_unready(&mut conditions, unready, Some(view.generation), view.now);
    if let Some(finding) = failover_held(view, &conditions) {
        condition::set(&mut conditions, finding, Some(view.generation), view.now);
    }
    let outcome = &view.decision.outcome;
    let is_ready = |place: &&Place<'_>| standing::serves(place);
    let ready_clusters = view.places.iter().filter(|place| place.counts()).filter(is_ready).count();
    let clusters = Tally { ready: number(ready_clusters), wanted: number(outcome.wanted_clusters) };
    let ready: u64 = stood.iter().map(|stood| u64::from(ready_replicas(stood))).sum();
    let added: u64 = stood.iter().map(|stood| u64::from(added_replicas(stood))).sum();
    let wanted = u64::from(outcome.wanted_replicas) + added;
    let replicas = Tally { ready: number(ready), wanted: number(wanted) };
    NIMPlacementStatus {
        observed_generation: Some(view.generation),
        observed_rebalance: {
            let known = stored.and_then(|status| status.observed_rebalance.clone());
            view.decision.rebalanced.clone().or(known)
        },
        phase: Some(phase.to_owned()),
        reason: Some(reason),
        conditions,
        where_summary: places,
        clusters_summary: Some(clusters.to_string()),
        replicas_summary: Some(replicas.to_string()),
        clusters: Some(clusters),
        replicas: Some(replicas),
        decisions: assignments(view).into_iter().take(SHOWN).collect(),
        refusals: refusals(view),
    }
}

/// The clusters that count, by name.
fn where_summary(view: &View<'_>) -> Option<String> {
    let names = view.places.iter().filter(|place| place.counts()).map(|place| place.cluster().as_str());
    let names: Vec<&str> = names.collect();
    (!names.is_empty()).then(|| first_of(&names, WHERE, ","))
}

/// `a, b and 2 more`: the first `most`.
pub(super) fn first_of(words: &[impl AsRef<str>], most: usize, between: &str) -> String {
    let first: Vec<&str> = words.iter().take(most).map(AsRef::as_ref).collect();
    let more = words.len().saturating_sub(most);
    let first = first.join(between);
    if more == 0 { first } else { format!("{first} and {more} more") }
}

/// Available, and nothing has failed; else the first that speaks against it.
fn ready<'a>(findings: &[Finding<'a>], places: Option<&str>) -> Finding<'a> {
    let find = |kind: &str| findings.iter().find(|finding| finding.kind == kind);
    let against = |finding: &Finding<'a>| Finding { kind: "Ready", ..finding.clone() };
    let (scheduled, available, degraded) = (find("Scheduled"), find("Available"), find("Degraded"));
    match (scheduled, available, degraded) {
        (_, _, Some(degraded)) if degraded.truth == Truth::True => {
            // What is only silent may serve: nobody knows.
            let is_unknown = available.is_some_and(|available| available.truth == Truth::Unknown);
            let truth = if is_unknown { Truth::Unknown } else { Truth::False };
            Finding { truth, ..against(degraded) }
        }
        (Some(scheduled), _, _) if scheduled.truth != Truth::True => against(scheduled),
        (_, Some(available), _) if available.truth != Truth::True => against(available),
        _ => {
            let message = format!("ready in {}", places.unwrap_or_default());
            Finding::new("Ready", true, Reason::Ready.as_str(), message)
        }
    }
}

/// A placement is stalled by what has failed or was refused for good, while nothing else is under way. What waits for a cluster, for
/// objects or for word of a silent cluster goes on when that comes; what a cluster has no room for, or its owner denies, goes to
/// another one where there is one.
fn unready(findings: &[Finding<'_>]) -> Unready {
    let passes = [Reason::NoRoom, Reason::PolicyDenied].map(Reason::as_str);
    let is =
        |kind: &str, truth| findings.iter().find(|finding| finding.kind == kind && finding.truth == truth);
    let lasts = is("Degraded", Truth::True).is_some_and(|degraded| !passes.contains(&degraded.reason));
    if lasts && is("Progressing", Truth::True).is_none() && is("Available", Truth::Unknown).is_none() {
        Unready::Stalled
    } else {
        Unready::Reconciling
    }
}

/// Ready replicas of one object in one cluster that count: no more than are wanted there.
fn ready_replicas(stood: &Stood<'_>) -> u32 {
    let (_, delivery, standing) = stood;
    delivery.replicas.map_or(0, |asked| standing.ready_replicas.min(asked + added_replicas(stood)))
}

/// Ready replicas beyond those that were asked for, which an autoscaler of the cluster has added and so wants.
fn added_replicas((_, delivery, standing): &Stood<'_>) -> u32 {
    let asked = delivery.replicas.filter(|_| delivery.elastic);
    asked.map_or(0, |asked| standing.ready_replicas.saturating_sub(asked))
}

fn findings<'a>(view: &View<'_>, stood: &[Stood<'_>]) -> Vec<Finding<'a>> {
    let outcome = &view.decision.outcome;
    let scheduled =
        Finding::new("Scheduled", outcome.complete, outcome.reason.as_str(), outcome.message.clone());
    if stood.is_empty() {
        let nothing =
            |kind| Finding::new(kind, false, Reason::NotScheduled.as_str(), "no cluster has been chosen");
        let rest = ["Synchronized", "Applied", "Available", "Progressing", "Degraded"].map(nothing);
        return std::iter::once(scheduled).chain(rest).collect();
    }
    let all: Vec<_> = stood.iter().collect();
    let synchronized = all_of("Synchronized", &all, |standing| standing.persisted);
    let applied = all_of("Applied", &all, |standing| standing.applied);
    // A Secret that was refused says nothing of what serves without it.
    let working: Vec<_> = stood.iter().filter(|(_, delivery, _)| !standing::is_secret(delivery)).collect();
    let mut available = all_of("Available", &working, |standing| standing.stage == Stage::Ready);
    if !outcome.complete && available.truth == Truth::True {
        available = Finding::new("Available", false, outcome.reason.as_str(), outcome.message.clone());
    }
    let moving = |stage| matches!(stage, Stage::Sent | Stage::Persisted | Stage::Applied);
    let progressing = match worst(&all, |standing| moving(standing.stage)) {
        Some((reason, message)) => Finding::new("Progressing", true, reason.as_str(), message),
        None => Finding::new("Progressing", false, Reason::Complete.as_str(), "nothing is under way"),
    };
    let degraded = match worst(&all, |standing| standing.stage <= Stage::Silent) {
        Some((reason, message)) => Finding::new("Degraded", true, reason.as_str(), message),
        None => Finding::new(
            "Degraded",
            false,
            Reason::AsExpected.as_str(),
            "no object has failed or is refused, and every cluster is heard",
        ),
    };
    vec![scheduled, synchronized, applied, available, progressing, degraded]
}

/// Told while a lost cluster is not replaced although that is wanted, and once more when that is over.
fn failover_held<'a>(view: &'a View<'_>, known: &[Condition]) -> Option<Finding<'a>> {
    match &view.decision.hold {
        Some(hold) => Some(Finding::new(FAILOVER_HELD, true, hold.reason.as_str(), hold.message.clone())),
        None => condition::find(known, FAILOVER_HELD).map(|_| {
            Finding::new(FAILOVER_HELD, false, Reason::AsExpected.as_str(), "no failover is held any more")
        }),
    }
}

/// True if `holds` for every object in every cluster; Unknown if what is missing is only what silent clusters
/// would tell.
fn all_of<'a>(kind: &'a str, stood: &[&Stood<'_>], holds: impl Fn(&Standing) -> bool) -> Finding<'a> {
    let done = stood.iter().filter(|(_, _, standing)| holds(standing)).count();
    let Some((reason, message)) = worst(stood, |standing| !holds(standing)) else {
        let objects = if done == 1 { "object" } else { "objects" };
        let message = format!("{done} of {done} {objects} in all chosen clusters");
        return Finding::new(kind, true, Reason::Complete.as_str(), message);
    };
    let known = |standing: &Standing| standing.stage != Stage::Silent;
    let denied = stood.iter().any(|(_, _, standing)| !holds(standing) && known(standing));
    let truth = if denied { Truth::False } else { Truth::Unknown };
    Finding::new(kind, truth, reason.as_str(), format!("{done} of {}; {message}", stood.len()))
}

/// Reason and sentence of the first object in the worst stage, of those that are asked for.
fn worst(stood: &[&Stood<'_>], asked: impl Fn(&Standing) -> bool) -> Option<(Reason, String)> {
    let (place, delivery, standing) = stood
        .iter()
        .filter(|(_, _, standing)| asked(standing))
        .min_by_key(|(_, _, standing)| standing.stage)?;
    let (cluster, object) = (place.cluster(), delivery.object);
    Some((standing.reason, format!("{cluster}: {} {}: {}", object.kind, object.name, standing.message)))
}

/// One word for the column, and the reason beside it: of the condition that made it so.
fn phase(findings: &[Finding<'_>]) -> (&'static str, String) {
    let find = |kind: &str| findings.iter().find(|finding| finding.kind == kind);
    let is = |kind: &str, truth| find(kind).is_some_and(|finding| finding.truth == truth);
    let nothing = find("Available").is_some_and(|finding| finding.reason == Reason::NotScheduled.as_str());
    let (phase, kind) = if nothing {
        ("Pending", "Scheduled")
    } else if is("Degraded", Truth::True) {
        ("Degraded", "Degraded")
    } else if is("Scheduled", Truth::False) {
        ("Pending", "Scheduled")
    } else if is("Available", Truth::True) {
        return ("Available", Reason::Ready.to_string());
    } else {
        ("Progressing", "Available")
    };
    (phase, find(kind).map(|finding| finding.reason.to_owned()).unwrap_or_default())
}

/// A row for each chosen cluster: the worst first, then by name.
#[must_use]
pub fn assignments(view: &View<'_>) -> Vec<DecisionSummary> {
    let mut places: Vec<_> =
        view.places.iter().filter_map(|place| Some((standing::of_place(place)?, place))).collect();
    places.sort_by_key(|(standing, place)| (!place.counts(), standing.stage, place.cluster()));
    places.into_iter().map(|(standing, place)| row(&standing, place)).collect()
}

fn row(standing: &Standing, place: &Place<'_>) -> DecisionSummary {
    let (mut wanted, mut ready) = (0_u32, 0_u64);
    for delivery in &place.deliveries {
        let stood = (place, delivery, standing::of(delivery, place.link));
        let asked = delivery.replicas.unwrap_or_default();
        wanted = wanted.saturating_add(asked).saturating_add(added_replicas(&stood));
        ready += u64::from(ready_replicas(&stood));
    }
    let (reason, message) = match standing.stage {
        _ if !place.counts() => (place.row.reason.to_string(), place.row.message.clone()),
        Stage::Ready => match mutated(place) {
            Some(message) => (Reason::MutatedHere.to_string(), message),
            None if wanted == 0 => (standing.reason.to_string(), "ready".to_owned()),
            None => {
                let replicas = if wanted == 1 { "replica" } else { "replicas" };
                (standing.reason.to_string(), format!("{ready} of {wanted} {replicas} ready"))
            }
        },
        _ => (standing.reason.to_string(), standing.message.clone()),
    };
    DecisionSummary {
        cluster_name: place.cluster().to_string(),
        state: Some(if place.counts() { standing.stage.as_str() } else { "Replaced" }.to_owned()),
        reason: Some(reason),
        score: Some(i64::from(place.row.score)),
        replicas: Some(if place.counts() { number(wanted) } else { 0 }),
        ready_replicas: Some(number(ready)),
        message: Some(message),
    }
}

/// What a cluster's admission changes of what it was sent, by the first object of which it says so.
fn mutated(place: &Place<'_>) -> Option<String> {
    place.deliveries.iter().find_map(|delivery| {
        let told = delivery.status?.mutation()?;
        Some(format!("{} {}: {told}", delivery.object.kind, delivery.object.name))
    })
}

fn refusals(view: &View<'_>) -> Vec<Refusal> {
    let summaries = view.decision.refusals().into_iter().take(SHOWN);
    summaries
        .map(|summary| Refusal {
            reason: summary.reason.to_string(),
            count: number(summary.count),
            clusters: summary.clusters,
            message: Some(summary.message),
        })
        .collect()
}

fn number(count: impl TryInto<i32>) -> i32 {
    count.try_into().unwrap_or(i32::MAX)
}
