//! The status of a NIMCache.

use std::time::Duration;

use serde_json::{Value, json};

use super::progress::Progress;
use super::spec_change;
use crate::operator::engine::condition::{Conditions, Moment};
use crate::operator::engine::kind::{Again, Failure, Notice, Report, Subject};

const PVC_CREATED: &str = "NIM_CACHE_PVC_CREATED";
pub(super) const JOB_CREATED: &str = "NIM_CACHE_JOB_CREATED";
const JOB_PENDING: &str = "NIM_CACHE_JOB_PENDING";
const JOB_COMPLETED: &str = "NIM_CACHE_JOB_COMPLETED";
const RECONCILE_FAILED: &str = "NIM_CACHE_RECONCILE_FAILED";

/// What a NIMCache has come to.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Standing {
    /// It was ready before, and a model once stored stays stored.
    StillReady,
    /// Something is in the way.
    Blocked(Failure),
    /// Something has to come, or to go, first.
    Waits(Failure),
    /// The manifest is being read.
    Extracting(Failure),
    /// The job is on its way, or has ended.
    Downloading { progress: Progress, profiles: Value },
    /// The last job failed, for this reason, and was cleared away; another follows, or none.
    Resting { failed: u32, most: u32, why: Failure, left: Option<Duration> },
}

/// What else is known for the status.
pub(super) struct Known<'a> {
    /// `model-free`, or empty.
    pub(super) kind: &'a str,
    pub(super) claim: &'a str,
    /// The claim was made for it.
    pub(super) claim_made: bool,
    /// Which attempt is running, and how many there may be.
    pub(super) attempt: (u32, u32),
    /// The generation that the download under way, or done, is for.
    pub(super) made_for: Option<i64>,
}

/// Why a NIMCache has failed or is blocked, for those who wait for it.
pub(crate) fn problem(conditions: &Conditions) -> String {
    let failed = conditions.get(JOB_COMPLETED).filter(|one| one.status == "False");
    let blocked = conditions.get(RECONCILE_FAILED).filter(|one| one.status == "True");
    failed.or(blocked).map(|one| one.message.clone()).unwrap_or_default()
}

/// What a NIMCache is at that has not failed, for those who wait for it; empty where it has not begun.
pub(crate) fn waits(conditions: &Conditions) -> String {
    let Some(pending) = conditions.get(JOB_PENDING) else { return String::new() };
    if pending.status == "True" {
        format!("{}: {}", pending.reason, pending.message)
    } else {
        pending.message.clone()
    }
}

/// The whole status, and the event if it is a transition.
pub(super) fn report(subject: &Subject, standing: &Standing, known: &Known<'_>, again: Again) -> Report {
    if *standing == Standing::StillReady {
        return spec_change::still_ready(subject, again);
    }
    let mut conditions = Conditions::read(&subject.status);
    let moment = subject.moment();
    spec_change::mark(&mut conditions, known.made_for, moment);
    if known.claim_made {
        conditions.set(
            PVC_CREATED,
            true,
            "PVCCreated",
            "The PVC has been created for caching NIM model",
            moment,
        );
    }
    if !matches!(standing, Standing::Blocked(_)) && conditions.is_true(RECONCILE_FAILED) {
        conditions.set(RECONCILE_FAILED, false, "Reconciled", "", moment);
    }
    let mut profiles = None;
    let state = match standing {
        Standing::StillReady => "Ready",
        Standing::Blocked(why) => {
            conditions.set(RECONCILE_FAILED, true, &why.reason, &why.message, moment);
            "NotReady"
        }
        Standing::Waits(why) => {
            conditions.remove(JOB_COMPLETED);
            conditions.set(JOB_PENDING, true, &why.reason, &why.message, moment);
            "NotReady"
        }
        Standing::Extracting(why) => {
            let message = format!("waiting for the model manifest of the image: {}", why.message);
            conditions.set(JOB_PENDING, true, &why.reason, &message, moment);
            "Pending"
        }
        Standing::Downloading { progress, profiles: selected } => {
            let made = Moment { generation: known.made_for.unwrap_or(moment.generation), ..moment };
            conditions.set(JOB_CREATED, true, "JobCreated", "The Job to cache NIM has been created", made);
            let state = download(&mut conditions, progress, known, moment);
            profiles = (state == "Ready").then(|| selected.clone());
            state
        }
        Standing::Resting { failed, most, why, left } => {
            conditions.remove(JOB_CREATED);
            let next = match left {
                Some(left) => format!("the next attempt begins in {} min", left.as_secs().div_ceil(60)),
                None => "it is given up; change the spec, or remove the annotation \
                         nimfleet.io/download-attempts to begin anew"
                    .to_owned(),
            };
            // A message that counts minutes would be written every minute: it is fixed when the rest begins.
            let resting =
                conditions.get(JOB_COMPLETED).is_some_and(|one| one.message.contains("the next attempt"));
            if left.is_none() || !resting {
                let message = format!(
                    "{failed} of {most} attempts to download have failed; {next}; the last: {}",
                    why.message
                );
                conditions.set(JOB_COMPLETED, false, &why.reason, &message, moment);
            }
            "Failed"
        }
    };
    let mut status = json!({"state": state, "conditions": conditions.to_value()});
    if !known.kind.is_empty() {
        status["type"] = json!(known.kind);
    }
    if state == "Ready" {
        status["pvc"] = json!(known.claim);
    }
    if let Some(profiles) = profiles.filter(|list| list.as_array().is_some_and(|list| !list.is_empty())) {
        status["profiles"] = profiles;
    }
    let notices = notices(&subject.status, state, &conditions);
    Report { status, notices, again }
}

fn download(
    conditions: &mut Conditions,
    progress: &Progress,
    known: &Known<'_>,
    moment: Moment,
) -> &'static str {
    let (attempt, most) = known.attempt;
    if !matches!(progress, Progress::Failed(_) | Progress::Succeeded) {
        conditions.remove(JOB_COMPLETED);
    }
    match progress {
        Progress::Started => "Started",
        Progress::Pending(why) => {
            let message = format!("The Job to cache NIM is in pending state: {}", why.message);
            conditions.set(JOB_PENDING, true, &why.reason, &message, moment);
            "Pending"
        }
        Progress::Running { failed, last } => {
            let before = match last {
                Some(last) => format!("; {failed} pods of it have failed, the last: {}", last.message),
                None => String::new(),
            };
            let message =
                format!("The Job to cache NIM is in progress (attempt {attempt} of {most}){before}");
            conditions.set(JOB_PENDING, false, "JobRunning", &message, moment);
            "InProgress"
        }
        Progress::Succeeded => {
            conditions.set(JOB_PENDING, false, "JobRunning", "The Job to cache NIM has ended", moment);
            let message = "The Job to cache NIM has successfully completed";
            conditions.set(JOB_COMPLETED, true, "JobCompleted", message, moment);
            // Which generation was stored is told by the condition of the Job that stored it.
            conditions.of_any_generation(JOB_COMPLETED);
            "Ready"
        }
        Progress::Failed(why) => {
            let message =
                format!("The Job to cache NIM has failed (attempt {attempt} of {most}): {}", why.message);
            conditions.set(JOB_COMPLETED, false, &why.reason, &message, moment);
            "Failed"
        }
    }
}

/// One event when the state moves, or when another thing is in the way.
fn notices(old: &Value, state: &str, conditions: &Conditions) -> Vec<Notice> {
    let before = Conditions::read(old);
    let blocked = conditions.get(RECONCILE_FAILED).filter(|one| one.status == "True");
    let notice = |warning: bool, reason: &str, message: &str| {
        vec![Notice { warning, reason: reason.to_owned(), message: message.to_owned() }]
    };
    if let Some(now) = blocked {
        let known = before.get(RECONCILE_FAILED).filter(|one| one.status == "True");
        let same = known.is_some_and(|known| known.reason == now.reason && known.message == now.message);
        return if same { Vec::new() } else { notice(true, "ReconcileFailed", &now.message) };
    }
    if old["state"] == state {
        return Vec::new();
    }
    let message = match state {
        "Failed" => problem(conditions),
        _ => format!("NIMCache is {state}"),
    };
    notice(state == "Failed", state, &message)
}
