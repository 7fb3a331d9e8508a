//! How one object stands in one cluster, and how a cluster stands: the worst of its objects.

use super::{Delivery, Place, Reason};
use crate::fleet::{Answer, Link, ObjectCondition, ObjectStatus, RejectionClass, Truth};

/// How far an object has come in a cluster. The order is the order of telling: the first is what a user must
/// know first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    /// No payload, refused by the spoke, or failed.
    Broken,
    /// The cluster is silent: nobody knows.
    Silent,
    /// Sent, not answered.
    Sent,
    /// Persisted in the cluster, not taken in by its operator.
    Persisted,
    /// Taken in, not ready.
    Applied,
    /// Ready.
    Ready,
}

impl Stage {
    /// The word for a row of a placement's status.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Broken => "Degraded",
            Self::Silent => "Unknown",
            Self::Sent => "Synchronizing",
            Self::Persisted => "Synchronized",
            Self::Applied => "Progressing",
            Self::Ready => "Available",
        }
    }
}

/// How an object stands in a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Standing {
    pub(super) stage: Stage,
    pub(super) reason: Reason,
    /// One sentence, without the cluster's name.
    pub(super) message: String,
    /// Whether the cluster holds the payload that belongs there, as far as is known.
    pub(super) persisted: bool,
    /// Whether its operator has taken that payload in, as far as is known.
    pub(super) applied: bool,
    /// Replicas that are known to be ready now.
    pub(super) ready_replicas: u32,
}

/// Whether the object is a Secret that travels along.
pub(super) fn is_secret(delivery: &Delivery<'_>) -> bool {
    delivery.object.kind == "Secret"
}

/// Whether all NIM objects of a cluster are ready.
pub(super) fn serves(place: &Place<'_>) -> bool {
    let mut objects = place.deliveries.iter().filter(|delivery| !is_secret(delivery)).peekable();
    objects.peek().is_some() && objects.all(|delivery| of(delivery, place.link).stage == Stage::Ready)
}

/// How one object stands in one cluster.
pub(super) fn of(delivery: &Delivery<'_>, link: Link) -> Standing {
    let is_secret = is_secret(delivery);
    let hash = match &delivery.payload {
        Ok(hash) => *hash,
        Err(error) if is_secret => return broken(Reason::SecretUnavailable, error.clone(), false),
        Err(error) => return broken(Reason::OverrideFailed, error.clone(), false),
    };
    let status = delivery.status;
    let current = status.filter(|status| status.hash == hash);
    if let Some(Answer::Rejected { class, message }) = delivery.answer {
        let reason = match class {
            RejectionClass::PolicyDenied { .. } => Reason::PolicyDenied,
            RejectionClass::NoRoom { .. } => Reason::NoRoom,
            _ => Reason::Rejected,
        };
        let message = format!("refused ({}): {message}", class.as_str());
        // What ran before goes on, where the cluster is heard.
        let is_heard = link == Link::Connected;
        let ready_replicas = status.filter(|_| is_heard).map_or(0, |status| status.ready_replicas);
        return Standing { ready_replicas, ..broken(reason, message, false) };
    }
    // A spoke that holds the payload but has no word of its operator about it sends an empty state.
    let current = current.filter(|status| !status.state.is_empty() || !status.conditions.is_empty());
    let held = status.is_some_and(|status| status.hash == hash);
    let persisted = held || delivery.answer == Some(&Answer::Accepted);
    // No operator takes a Secret in: there is nothing more to come.
    let applied = current.is_some() || (is_secret && persisted);
    let standing = |stage, reason, message: String, ready_replicas| Standing {
        stage,
        reason,
        message,
        persisted,
        applied,
        ready_replicas,
    };
    if let Link::Unreachable { since } = link {
        let known = status.map_or("nothing", |status| word(&status.state));
        let message = format!("silent since {since:.0}, last known: {known}");
        return standing(Stage::Silent, Reason::Unreachable, message, 0);
    }
    if link == Link::Never {
        return standing(Stage::Silent, Reason::Unreachable, "has not connected".to_owned(), 0);
    }
    // Replicas of the payload before count: they serve, while the new one is brought up.
    let ready = status.map_or(0, |status| status.ready_replicas);
    // It was there, and something in the cluster keeps it from being made again.
    let is_retried = matches!(delivery.answer, Some(Answer::Retrying { .. }));
    match current {
        None if applied => standing(Stage::Ready, Reason::Ready, "delivered".to_owned(), 0),
        None if persisted && !is_retried => standing(
            Stage::Persisted,
            Reason::AwaitingOperator,
            "delivered, not reconciled yet".to_owned(),
            ready,
        ),
        None => {
            let message = match delivery.answer {
                Some(Answer::Retrying { message }) => format!("not delivered yet, tried again: {message}"),
                _ => "not delivered yet".to_owned(),
            };
            standing(Stage::Sent, Reason::AwaitingCluster, message, ready)
        }
        Some(status) if has_failed(status) => {
            Standing { ready_replicas: ready, ..broken(Reason::Failed, why(status), true) }
        }
        Some(status) if status.is_ready() => standing(Stage::Ready, Reason::Ready, "ready".to_owned(), ready),
        Some(status) => {
            let reason = hindrance(status);
            let message = match &status.unschedulable {
                Some(waits) if reason == Reason::Unschedulable => waits.to_string(),
                _ => why(status),
            };
            standing(Stage::Applied, reason, message, ready)
        }
    }
}

/// What keeps an object from being ready, in one word.
fn hindrance(status: &ObjectStatus) -> Reason {
    if status.conditions.iter().any(ObjectCondition::is_of_refused_pods) {
        Reason::PodsNotCreated
    } else if status.is_unschedulable() {
        Reason::Unschedulable
    } else if status.replica_failure().is_some() {
        Reason::ReplicaFailure
    } else {
        Reason::NotReady
    }
}

/// How a cluster stands, by the first object in the worst stage; none without objects.
pub(super) fn of_place(place: &Place<'_>) -> Option<Standing> {
    let standings = place.deliveries.iter().map(|delivery| {
        let mut standing = of(delivery, place.link);
        if standing.stage != Stage::Ready {
            let object = delivery.object;
            standing.message = format!("{} {}: {}", object.kind, object.name, standing.message);
        }
        standing
    });
    standings.min_by_key(|standing| standing.stage)
}

fn broken(reason: Reason, message: String, applied: bool) -> Standing {
    Standing { stage: Stage::Broken, reason, message, persisted: applied, applied, ready_replicas: 0 }
}

fn has_failed(status: &ObjectStatus) -> bool {
    status.state == "Failed" || status.condition("Failed").is_some_and(|failed| failed.status == Truth::True)
}

/// Conditions of the stages that a NIMCache passes through, the last first: what it says of the last one that it has come to
/// is news, whenever it was first said.
const CACHE_STAGES: [&str; 4] =
    ["NIM_CACHE_JOB_COMPLETED", "NIM_CACHE_JOB_PENDING", "NIM_CACHE_JOB_CREATED", "NIM_CACHE_PVC_CREATED"];

/// What the operator says about an object that is not ready: the message of its most telling condition.
fn why(status: &ObjectStatus) -> String {
    let holds = |kind: &str| status.condition(kind).filter(|condition| condition.status == Truth::True);
    // Of conditions that hold the newest tells most.
    let newest = |truth: Truth| {
        let of_truth = status.conditions.iter().filter(move |condition| condition.status == truth);
        of_truth.filter(|condition| is_telling(condition)).max_by_key(|condition| condition.last_transition)
    };
    let telling = [
        holds("Failed"),
        // Of an object that is Ready there, this says how many serve, and why the rest does not.
        status
            .condition("Ready")
            .filter(|ready| ready.status != Truth::True || status.replica_failure().is_some()),
        holds("NIM_CACHE_RECONCILE_FAILED"),
    ];
    let stages = CACHE_STAGES.iter().map(|stage| status.condition(stage));
    let told = telling.into_iter().chain(stages).flatten().find(|condition| is_telling(condition));
    let state = word(&status.state);
    match told.or_else(|| newest(Truth::True)).or_else(|| newest(Truth::False)) {
        Some(condition) => format!("{state}: {}", condition.message.trim()),
        None => state.to_owned(),
    }
}

fn is_telling(condition: &ObjectCondition) -> bool {
    !condition.message.trim().is_empty()
}

fn word(state: &str) -> &str {
    if state.is_empty() { "not reconciled yet" } else { state }
}
