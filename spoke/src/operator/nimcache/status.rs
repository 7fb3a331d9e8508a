//! The status of a NIMCache.

use crds::marks::RETRY_ANNOTATION;
use jiff::Timestamp;
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

/// Reasons that an event tells itself; other failures are told as `ReconcileFailed`, as upstream does.
const TOLD: [&str; 2] = ["PVCNotFound", "ManifestUnreadable"];

/// What a NIMCache has come to.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Standing {
    /// It was ready before, and a model once stored stays stored.
    StillReady,
    /// Something is in the way.
    Blocked(Failure),
    /// Something has to come, or to go, first.
    Waits(Failure),
    /// The claim with the model is going, or has gone.
    Unclaimed(Failure),
    /// The model was stored before, for a NIMCache of this name.
    Found { profiles: Value },
    /// The manifest is being read.
    Extracting(Failure),
    /// The job is on its way, or has ended.
    Downloading { progress: Progress, profiles: Value },
    /// The last job failed, for this reason, and was cleared away; another follows.
    Resting(Failure),
}

/// What else is known for the status.
pub(super) struct Known<'a> {
    /// `model-free`, or empty.
    pub(super) kind: &'a str,
    pub(super) claim: &'a str,
    /// The claim was made for it.
    pub(super) claim_made: bool,
    /// Which attempt is running, or has failed.
    pub(super) attempt: u32,
    /// When the next begins, once one has failed.
    pub(super) due: Option<Timestamp>,
    /// The generation that the download under way, or done, is for.
    pub(super) made_for: Option<i64>,
}

/// Why a NIMCache has failed or is blocked, for those who wait for it.
pub(crate) fn problem(conditions: &Conditions) -> String {
    let failed = conditions.get(JOB_COMPLETED).filter(|one| one.status == "False");
    let blocked = conditions.get(RECONCILE_FAILED).filter(|one| one.status == "True");
    let unclaimed = conditions.get(PVC_CREATED).filter(|one| one.status == "False");
    failed.or(blocked).or(unclaimed).map(|one| one.message.clone()).unwrap_or_default()
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
        Standing::Unclaimed(_) => {
            for kind in [JOB_CREATED, JOB_PENDING, JOB_COMPLETED] {
                conditions.remove(kind);
            }
            "NotReady"
        }
        Standing::Found { profiles: stored } => {
            let message = "The model was stored before: it is not downloaded again";
            conditions.remove(JOB_PENDING);
            conditions.set(JOB_COMPLETED, true, "JobCompleted", message, moment);
            conditions.of_any_generation(JOB_COMPLETED);
            conditions.set(JOB_CREATED, true, "JobCreated", message, moment);
            profiles = Some(stored.clone());
            "Ready"
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
        Standing::Resting(why) => {
            conditions.remove(JOB_CREATED);
            conditions.set(JOB_COMPLETED, false, &why.reason, &failed(known, why), moment);
            "Failed"
        }
    };
    claimed(&mut conditions, standing, known, state, moment);
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

/// Whether there is a claim. One that took the place of a lost one is told as made once the model lies on it.
fn claimed(conditions: &mut Conditions, standing: &Standing, known: &Known<'_>, state: &str, moment: Moment) {
    let missing = match standing {
        Standing::Unclaimed(why) => Some(why),
        Standing::Blocked(why) | Standing::Waits(why) if why.reason == "PVCNotFound" => Some(why),
        _ => None,
    };
    let was_lost = conditions.get(PVC_CREATED).is_some_and(|one| one.status == "False");
    if let Some(why) = missing {
        conditions.set(PVC_CREATED, false, &why.reason, &why.message, moment);
        return;
    }
    if was_lost && state != "Ready" {
        return;
    }
    if known.claim_made {
        let message = "The PVC has been created for caching NIM model";
        conditions.set(PVC_CREATED, true, "PVCCreated", message, moment);
    } else if was_lost {
        conditions.remove(PVC_CREATED);
    }
}

/// A failed attempt, with what follows and what may be done. The cause, which may be long, comes last.
fn failed(known: &Known<'_>, why: &Failure) -> String {
    let next = known.due.map(|due| format!("the next begins at {due:.0}")).unwrap_or_default();
    format!(
        "The Job to cache NIM has failed (attempt {}): {next}, or at once if the annotation {RETRY_ANNOTATION} of the NIMCache \
         gets a new value; the cause: {}",
        known.attempt, why.message
    )
}

fn download(
    conditions: &mut Conditions,
    progress: &Progress,
    known: &Known<'_>,
    moment: Moment,
) -> &'static str {
    let attempt = known.attempt;
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
            let message = format!("The Job to cache NIM is in progress (attempt {attempt}){before}");
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
            conditions.set(JOB_COMPLETED, false, &why.reason, &failed(known, why), moment);
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
        let reason = TOLD.iter().find(|told| now.reason == **told).copied().unwrap_or("ReconcileFailed");
        return if same { Vec::new() } else { notice(true, reason, &now.message) };
    }
    let lost = |conditions: &Conditions| {
        conditions.get(PVC_CREATED).filter(|one| one.status == "False").map(|one| one.reason.clone())
    };
    if let Some(reason) = lost(conditions).filter(|reason| lost(&before).as_ref() != Some(reason)) {
        return notice(true, &reason, &problem(conditions));
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
