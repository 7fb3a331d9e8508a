//! The status of a NIMPipeline.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::service::State;
use crate::operator::engine::condition::Conditions;
use crate::operator::engine::kind::{Again, Failure, Notice, Report, Subject};

/// What a NIMPipeline has come to.
pub(super) enum Standing {
    /// It cannot be carried out as it is written: what it made before is left as it is.
    Refused(Failure),
    /// Its services are as they shall be, but for the first failure.
    Applied { states: BTreeMap<String, State>, failure: Option<Failure> },
}

/// The whole status, and the event if it is a transition.
pub(super) fn report(subject: &Subject, standing: &Standing, again: Again) -> Report {
    let (state, why) = verdict(standing);
    let mut conditions = Conditions::read(&subject.status);
    let mut set = |kind: &str, holds: bool, message: &str| {
        conditions.set(kind, holds, &why.reason, message, subject.moment());
    };
    set("Ready", state == "Ready", &why.message);
    set("Failed", state == "Failed", if state == "Ready" { "" } else { &why.message });
    let mut status = json!({ "state": state, "conditions": conditions.to_value() });
    if let Standing::Applied { states, .. } = standing {
        let words = states.iter().map(|(name, state)| (name.clone(), json!(state.word)));
        status["states"] = Value::Object(words.collect());
    }
    let before = Conditions::read(&subject.status);
    let reason = |conditions: &Conditions| conditions.get("Ready").map(|ready| ready.reason.clone());
    let moved = subject.status["state"] != state || reason(&before) != reason(&conditions);
    let notice = Notice { warning: state == "Failed", reason: state.to_owned(), message: why.message };
    Report { status, notices: moved.then_some(notice).into_iter().collect(), again }
}

/// The state, and why it is that.
fn verdict(standing: &Standing) -> (&'static str, Failure) {
    let (states, failure) = match standing {
        Standing::Refused(why) => return ("Failed", why.clone()),
        Standing::Applied { states, failure } => (states, failure),
    };
    if let Some(why) = failure {
        // A NIMService of someone else stays until a person decides; what else went wrong may pass.
        let state = if why.reason.ends_with("Conflict") { "Failed" } else { "NotReady" };
        return (state, why.clone());
    }
    let list = |word: &str, is: bool| -> Vec<String> {
        let with_why = |(name, state): (&String, &State)| match state.why.as_str() {
            "" => name.clone(),
            why => format!("{name} ({why})"),
        };
        states.iter().filter(|(_, state)| (state.word == word) == is).map(with_why).collect()
    };
    let failed = list("Failed", true);
    if !failed.is_empty() {
        return ("Failed", Failure::new("ServiceFailed", format!("failed: {}", failed.join(", "))));
    }
    let waiting = list("Ready", false);
    if waiting.is_empty() {
        let message = format!("{} of {0} services are ready", states.len());
        return ("Ready", Failure::new("Ready", message));
    }
    let ready = states.len() - waiting.len();
    let message =
        format!("{ready} of {} services are ready; not ready: {}", states.len(), waiting.join(", "));
    ("NotReady", Failure::new("ServicesNotReady", message))
}
