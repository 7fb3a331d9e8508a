//! How one object stands in one cluster, and how a cluster stands: the worst of its objects.

use super::{Delivery, Place, Reason};
use crate::fleet::{Answer, Link, ObjectStatus, RejectionClass, Truth};

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

/// How one object stands in one cluster.
pub(super) fn of(delivery: &Delivery<'_>, link: Link) -> Standing {
    let is_secret = delivery.object.kind == "Secret";
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
        // What ran before goes on.
        let is_held = matches!(class, RejectionClass::PolicyDenied { held: true });
        let ready_replicas = status.filter(|_| is_held).map_or(0, |status| status.ready_replicas);
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
    match current {
        None if applied => standing(Stage::Ready, Reason::Ready, "delivered".to_owned(), 0),
        None if persisted => standing(
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
        Some(status) => match &status.unschedulable {
            Some(waits) => standing(Stage::Applied, Reason::Unschedulable, waits.to_string(), ready),
            None => standing(Stage::Applied, Reason::NotReady, why(status), ready),
        },
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

/// What the operator says about an object that is not ready: the message of its most telling condition.
fn why(status: &ObjectStatus) -> String {
    let telling = [
        status.condition("Failed").filter(|condition| condition.status == Truth::True),
        status.condition("Ready").filter(|condition| condition.status != Truth::True),
        status.condition("NIM_CACHE_RECONCILE_FAILED").filter(|condition| condition.status == Truth::True),
        status.conditions.iter().max_by_key(|condition| condition.last_transition),
    ];
    let state = word(&status.state);
    match telling.into_iter().flatten().find(|condition| !condition.message.trim().is_empty()) {
        Some(condition) => format!("{state}: {}", condition.message.trim()),
        None => state.to_owned(),
    }
}

fn word(state: &str) -> &str {
    if state.is_empty() { "not reconciled yet" } else { state }
}
