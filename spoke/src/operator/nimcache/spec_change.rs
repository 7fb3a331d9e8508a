//! A model once stored stays as it is: what becomes visible when the spec asks for another one.

use serde_json::Value;

use super::status::JOB_CREATED;
use crate::operator::engine::condition::{Conditions, Moment};
use crate::operator::engine::kind::{Again, Notice, Report, Subject};

/// The condition of a NIMCache whose spec is not the one that was carried out.
const CHANGED: &str = "NIM_CACHE_SPEC_CHANGED";
const REASON: &str = "SpecChanged";

/// The report of a NIMCache that is ready: its status as it is, and whether its spec has changed since.
pub(super) fn still_ready(subject: &Subject, again: Again) -> Report {
    let mut conditions = Conditions::read(&subject.status);
    let before = conditions.clone();
    let stored = stored(&subject.status);
    mark(&mut conditions, stored, subject.moment());
    if conditions == before {
        return Report { status: subject.status.clone(), notices: Vec::new(), again };
    }
    let mut status = subject.status.clone();
    status["conditions"] = conditions.to_value();
    let told = conditions.get(CHANGED).filter(|_| before.get(CHANGED).is_none());
    let notice =
        |message: &str| Notice { warning: true, reason: REASON.to_owned(), message: message.to_owned() };
    Report { status, notices: told.map(|one| notice(&one.message)).into_iter().collect(), again }
}

/// The generation that was stored, as the status tells it.
pub(super) fn stored(status: &Value) -> Option<i64> {
    Conditions::read(status).get(JOB_CREATED).and_then(|one| one.observed_generation)
}

/// Sets the condition, or takes it back. `made_for` is the generation that the model is, or is being, stored for.
pub(super) fn mark(conditions: &mut Conditions, made_for: Option<i64>, moment: Moment) {
    match made_for.filter(|made_for| *made_for != moment.generation) {
        Some(made_for) => {
            let message = format!(
                "the spec was changed (generation {made_for} is stored, {} is asked for): a stored model stays as it \
                 is; make another NIMCache, or delete this one and make it again",
                moment.generation
            );
            conditions.set(CHANGED, true, REASON, &message, moment);
        }
        None => conditions.remove(CHANGED),
    }
}
