//! The status of a microservice.

use serde_json::json;

use crate::operator::engine::condition::Conditions;
use crate::operator::engine::kind::{Again, Failure, Notice, Report, Subject};

/// What a microservice has come to.
#[derive(Clone, Debug)]
pub(crate) enum Standing {
    Ready { message: String, available: i64 },
    NotReady { why: Failure, available: i64 },
    Failed(Failure),
}

/// The whole status, and the event if it is a transition.
pub(crate) fn report(subject: &Subject, standing: &Standing, again: Again) -> Report {
    if let Standing::Failed(why) = standing
        && let Some(left) = subject.patience(why)
    {
        let standing = Standing::NotReady { why: why.clone(), available: 0 };
        return report(subject, &standing, Again::After(left));
    }
    let mut conditions = Conditions::read(&subject.status);
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
        Standing::Failed(why) => {
            set("Ready", false, &why.reason, &why.message);
            set("Failed", true, &why.reason, &why.message);
            let message = format!("{}: {}", why.reason, why.message);
            ("Failed", notice(true, "Failed", &message), 0)
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
    Report { status, notices: (moved && !begun).then_some(notice).into_iter().collect(), again }
}

fn notice(warning: bool, reason: &str, message: &str) -> Notice {
    Notice { warning, reason: reason.to_owned(), message: message.to_owned() }
}
