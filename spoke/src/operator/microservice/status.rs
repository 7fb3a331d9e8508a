//! The status of a microservice.

use crds::nim::Autoscaling;
use serde_json::{Value, json};

use super::readiness::Readiness;

use crate::operator::engine::condition::Conditions;
use crate::operator::engine::kind::{Again, Failure, Notice, Report, Subject};

/// The condition of an object whose pods cannot all be made or started, as a Deployment calls it. Its reason and message say
/// why, also while other replicas serve and the object is Ready.
pub(crate) const REPLICA_FAILURE: &str = "ReplicaFailure";
/// The reason of what is not ready and misses something that it refers to.
pub(crate) const DEPENDENCY_MISSING: &str = "DependencyMissing";
/// Condition of a microservice that its autoscaler may scale to nothing.
pub(crate) const SCALED_TO_ZERO: &str = "ScaledToZero";

/// A message, and what is missing of all that is referred to.
pub(crate) fn with_missing(message: String, missing: &[String]) -> String {
    if missing.is_empty() { message } else { format!("{message}; missing: {}", missing.join(", ")) }
}

/// Says of a microservice that its autoscaler may scale to nothing whether it has: it is not ready then, and nothing is
/// wrong.
pub(crate) fn tell_scale(
    subject: &Subject,
    scale: Option<&Autoscaling>,
    deployment: &Value,
    status: &mut Value,
) {
    let scale = scale.filter(|scale| scale.enabled == Some(true)).and_then(|scale| scale.hpa.as_ref());
    let mut conditions = Conditions::read(status);
    match deployment["spec"]["replicas"]
        .as_i64()
        .filter(|_| scale.is_some_and(|hpa| hpa.min_replicas == Some(0)))
    {
        Some(0) => {
            let message =
                "0 replicas: spec.scale.hpa.minReplicas is 0, and no External or Object metric asks for more";
            conditions.set(SCALED_TO_ZERO, true, SCALED_TO_ZERO, message, subject.moment());
        }
        Some(replicas) => {
            let message = format!("{replicas} replicas are asked for");
            conditions.set(SCALED_TO_ZERO, false, "Scaled", &message, subject.moment());
        }
        None => conditions.remove(SCALED_TO_ZERO),
    }
    status["conditions"] = conditions.to_value();
}

/// What a microservice has come to.
#[derive(Clone, Debug)]
pub(crate) enum Standing {
    Ready {
        message: String,
        available: i64,
    },
    NotReady {
        why: Failure,
        available: i64,
    },
    /// Pods cannot be made or started. What serves goes on, and the object is Ready as long as any replica does; `progress`
    /// tells of the rollout.
    Hindered {
        why: Failure,
        progress: String,
        available: i64,
    },
    Failed {
        why: Failure,
        /// Replicas that serve nevertheless.
        available: i64,
    },
}

impl Standing {
    /// Failed, with nothing that serves.
    pub(crate) fn failed(why: Failure) -> Self {
        Self::Failed { why, available: 0 }
    }

    /// How a workload stands, and what keeps the rest of it from starting.
    pub(crate) fn of(found: Readiness, why: Option<Failure>) -> Self {
        let Readiness { ready, message, available } = found;
        match why {
            _ if ready => Self::Ready { message, available },
            Some(why) => Self::Hindered { why, progress: message, available },
            None => Self::NotReady { why: Failure::new("NotReady", message), available },
        }
    }

    /// The same with what is missing of all that the spec names. A service that serves without its key needs none: a model
    /// that is stored does not.
    pub(crate) fn with_missing(self, missing: &[String]) -> Self {
        match self {
            Self::NotReady { why, available } if !missing.is_empty() => {
                let why = Failure::new(DEPENDENCY_MISSING, with_missing(why.message, missing));
                Self::NotReady { why, available }
            }
            Self::Hindered { why, progress, available: 0 } => {
                let why = Failure::new(why.reason, with_missing(why.message, missing));
                Self::Hindered { why, progress, available: 0 }
            }
            other => other,
        }
    }

    /// Whether it serves.
    pub(crate) fn is_ready(&self) -> bool {
        match self {
            Self::Ready { .. } => true,
            Self::Hindered { available, .. } => *available > 0,
            Self::NotReady { .. } | Self::Failed { .. } => false,
        }
    }
}

/// The whole status, and the event if it is a transition.
pub(crate) fn report(subject: &Subject, standing: &Standing, again: Again) -> Report {
    if let Standing::Failed { why, available } = standing
        && let Some(left) = subject.patience(why)
    {
        let standing = Standing::NotReady { why: why.clone(), available: *available };
        return report(subject, &standing, Again::After(left));
    }
    let mut conditions = Conditions::read(&subject.status);
    let hindered = hinder(&mut conditions, subject, standing);
    let mut set = |kind: &str, holds: bool, reason: &str, message: &str| {
        conditions.set(kind, holds, reason, message, subject.moment());
    };
    let (state, notice, available) = match standing {
        Standing::Ready { message, available } => {
            set("Ready", true, "Ready", message);
            set("Failed", false, "Ready", "");
            ("Ready", notice(false, "Ready", message), *available)
        }
        Standing::NotReady { why, available } => {
            set("Ready", false, &why.reason, &why.message);
            set("Failed", false, &why.reason, &why.message);
            ("NotReady", notice(false, "NotReady", &why.message), *available)
        }
        Standing::Hindered { why, progress, available } if *available > 0 => {
            let serve = if *available == 1 { "replica serves" } else { "replicas serve" };
            let message = format!("{available} {serve}; {progress}; {}", why.message);
            set("Ready", true, "Ready", &message);
            set("Failed", false, "Ready", "");
            ("Ready", notice(false, "Ready", &message), *available)
        }
        Standing::Hindered { why, .. } => {
            set("Ready", false, &why.reason, &why.message);
            set("Failed", false, &why.reason, &why.message);
            ("NotReady", notice(false, "NotReady", &why.message), 0)
        }
        Standing::Failed { why, available } => {
            set("Ready", false, &why.reason, &why.message);
            set("Failed", true, &why.reason, &why.message);
            let message = format!("{}: {}", why.reason, why.message);
            ("Failed", notice(true, "Failed", &message), *available)
        }
    };
    let mut status = json!({"state": state, "conditions": conditions.to_value()});
    if available > 0 {
        status["availableReplicas"] = json!(available);
    }
    let before = Conditions::read(&subject.status);
    let reason = |conditions: &Conditions| conditions.get("Failed").map(|failed| failed.reason.clone());
    let moved =
        subject.status["state"] != state || (state == "Failed" && reason(&before) != reason(&conditions));
    // A new one whose rollout has begun is as it was asked for.
    let begun = subject.status["state"].is_null()
        && state == "NotReady"
        && reason(&conditions).as_deref() == Some("NotReady");
    // What keeps pods from starting says more than that the object is not ready.
    let notice = hindered.or_else(|| (moved && !begun).then_some(notice));
    Report { status, notices: notice.into_iter().collect(), again }
}

/// Says what keeps pods from starting, or that nothing does; a new reason is an event.
fn hinder(conditions: &mut Conditions, subject: &Subject, standing: &Standing) -> Option<Notice> {
    let known = conditions.get(REPLICA_FAILURE).map(|known| known.reason.clone());
    let Standing::Hindered { why, .. } = standing else {
        conditions.remove(REPLICA_FAILURE);
        return None;
    };
    let is_news = known.as_ref() != Some(&why.reason);
    if is_news {
        // It holds since now, whatever was in the way before.
        conditions.remove(REPLICA_FAILURE);
    }
    conditions.set(REPLICA_FAILURE, true, &why.reason, &why.message, subject.moment());
    is_news.then(|| notice(true, &why.reason, &why.message))
}

fn notice(warning: bool, reason: &str, message: &str) -> Notice {
    Notice { warning, reason: reason.to_owned(), message: message.to_owned() }
}
