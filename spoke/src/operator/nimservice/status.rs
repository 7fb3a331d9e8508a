//! The status of a NIMService.

use serde_json::json;

use crate::operator::engine::condition::Conditions;
use crate::operator::engine::kind::{Again, Failure, Notice, Report, Subject};

/// What a NIMService has come to.
#[derive(Clone, Debug)]
pub(super) enum Standing {
    Ready { message: String, available: i64, endpoints: (String, String) },
    NotReady { why: Failure, available: i64 },
    Failed(Failure),
}

/// The whole status, and the event if it is a transition.
pub(super) fn report(subject: &Subject, standing: &Standing, again: Again) -> Report {
    let mut conditions = Conditions::read(&subject.status);
    let mut set = |kind: &str, holds: bool, reason: &str, message: &str| {
        conditions.set(kind, holds, reason, message, subject.moment());
    };
    let (state, notice, available, model) = match standing {
        Standing::Ready { message, available, endpoints } => {
            set("Ready", true, "Ready", message);
            set("Failed", false, "Ready", "");
            let known = subject.status["model"]["name"].as_str().unwrap_or_default();
            let model =
                json!({"name": known, "clusterEndpoint": endpoints.0, "externalEndpoint": endpoints.1});
            ("Ready", notice(false, "Ready", message), *available, Some(model))
        }
        Standing::NotReady { why, available } => {
            set("Ready", false, &why.reason, &why.message);
            set("Failed", false, &why.reason, &why.message);
            ("NotReady", notice(false, "NotReady", &why.message), *available, None)
        }
        Standing::Failed(why) => {
            set("Ready", false, &why.reason, &why.message);
            set("Failed", true, &why.reason, &why.message);
            let message = format!("{}: {}", why.reason, why.message);
            ("Failed", notice(true, "Failed", &message), 0, None)
        }
    };
    let mut status = json!({"state": state, "conditions": conditions.to_value()});
    if available > 0 {
        status["availableReplicas"] = json!(available);
    }
    if let Some(model) = model {
        status["model"] = model;
    }
    let before = Conditions::read(&subject.status);
    let reason = |conditions: &Conditions| conditions.get("Failed").map(|failed| failed.reason.clone());
    let moved =
        subject.status["state"] != state || (state == "Failed" && reason(&before) != reason(&conditions));
    // A new service whose rollout has begun is as it was asked for.
    let begun = subject.status["state"].is_null()
        && state == "NotReady"
        && reason(&conditions).as_deref() == Some("NotReady");
    Report { status, notices: (moved && !begun).then_some(notice).into_iter().collect(), again }
}

fn notice(warning: bool, reason: &str, message: &str) -> Notice {
    Notice { warning, reason: reason.to_owned(), message: message.to_owned() }
}
