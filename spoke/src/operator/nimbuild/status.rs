//! The status of a NIMBuild.

use serde_json::{Value, json};

use super::profile::Chosen;
use crate::operator::diagnosis;
use crate::operator::engine::condition::{Conditions, Moment};
use crate::operator::engine::kind::{Again, Failure, Notice, Report, Subject};

const WAIT: &str = "NIM_BUILD_WAIT_FOR_NIM_CACHE_READY";
const NOT_FOUND: &str = "NIM_BUILD_NIM_CACHE_NOT_FOUND";
const CACHE_FAILED: &str = "NIM_BUILD_NIM_CACHE_FAILED";
const NONE: &str = "NIM_BUILD_NO_BUILDABLE_PROFILE_FOUND";
const SEVERAL: &str = "NIM_BUILD_MULTIPLE_BUILDABLE_PROFILES_FOUND";
const SINGLE: &str = "NIM_BUILD_SINGLE_BUILDABLE_PROFILE_FOUND";
const CREATED: &str = "NIM_BUILD_ENGINE_BUILD_POD_CREATED";
const PENDING: &str = "NIM_BUILD_ENGINE_BUILD_POD_PENDING";
const COMPLETED: &str = "NIM_BUILD_ENGINE_BUILD_POD_COMPLETED";
const READ: &str = "NIM_BUILD_MODEL_MANIFEST_POD_COMPLETED";
const RECONCILE_FAILED: &str = "NIM_BUILD_RECONCILE_FAILED";

/// What a build waits for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Wait {
    NotFound(String),
    Failed(String),
    NotReady(String),
}

/// Why there is nothing to build from.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum NoProfile {
    None(String),
    Several(String),
}

/// How far the pod that builds has come.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Stage {
    /// Not running, and why.
    Waits(Failure),
    Runs,
    Ready,
    Failed(String),
}

/// What a build has come to.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Standing {
    Done,
    Waits(Wait),
    NoProfile(NoProfile),
    /// The spec cannot be carried out.
    Broken(Failure),
    /// Something went wrong that may pass; it is tried again.
    Hindered(Failure),
    /// `reads` says that the manifest of what is built will be read.
    Builds {
        chosen: Chosen,
        stage: Stage,
        reads: bool,
    },
    Reads {
        chosen: Chosen,
        why: Option<Failure>,
    },
    Built {
        chosen: Chosen,
        found: Value,
    },
    Unread(Failure),
}

/// True when the engine was built.
pub(super) fn is_built(conditions: &Conditions) -> bool {
    conditions.is_true(COMPLETED)
}

/// True when nothing is left to do.
pub(super) fn is_done(conditions: &Conditions) -> bool {
    conditions.is_true(READ)
}

/// Why a pod does not run yet; `told` is what events say where it says nothing itself.
pub(super) fn waiting(pod: &Value, told: Option<&Failure>) -> Option<Failure> {
    let why = diagnosis::waiting(pod)?;
    Some(told.filter(|_| diagnosis::is_mute(&why)).cloned().unwrap_or(why))
}

/// Reads a live pod that builds. Its readiness is the sign: the engine is served once it is built.
pub(super) fn stage(pod: &Value, told: Option<&Failure>) -> Stage {
    let status = &pod["status"];
    let conditions = status["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
    if conditions.iter().any(|one| one["type"] == "Ready" && one["status"] == "True") {
        return Stage::Ready;
    }
    match status["phase"].as_str() {
        Some("Failed") => {
            let containers = status["containerStatuses"].as_array().map(Vec::as_slice).unwrap_or_default();
            let ended = containers.iter().find_map(|one| one["state"]["terminated"].as_object());
            let text = |field: &str| ended.and_then(|ended| ended.get(field)?.as_str()).unwrap_or_default();
            let words = [text("reason"), text("message"), status["message"].as_str().unwrap_or_default()];
            let words: Vec<&str> = words.into_iter().filter(|word| !word.is_empty()).collect();
            Stage::Failed(words.join(": "))
        }
        Some("Succeeded") => Stage::Ready,
        Some("Running") => Stage::Runs,
        _ => waiting(pod, told).map_or(Stage::Runs, Stage::Waits),
    }
}

/// The whole status, and the event if it is a transition.
pub(super) fn report(subject: &Subject, standing: &Standing, again: Again) -> Report {
    if *standing == Standing::Done {
        return Report { status: subject.status.clone(), notices: Vec::new(), again };
    }
    let mut conditions = Conditions::read(&subject.status);
    let moment = subject.moment();
    // What is said anew stays, so that it keeps the time since when it holds.
    let told = passing(standing).map(|(kind, ..)| kind);
    for kind in [WAIT, NOT_FOUND, CACHE_FAILED, NONE, SEVERAL] {
        if told != Some(kind) {
            conditions.remove(kind);
        }
    }
    if let Some((kind, reason, message, _)) = passing(standing) {
        conditions.set(kind, true, reason, message, moment);
    }
    if !matches!(standing, Standing::Broken(_) | Standing::Hindered(_))
        && conditions.is_true(RECONCILE_FAILED)
    {
        conditions.set(RECONCILE_FAILED, false, "Reconciled", "", moment);
    }
    let mut input = subject.status.get("inputProfile").cloned();
    let mut output = subject.status.get("outputProfile").cloned();
    let state = match standing {
        Standing::Done => "Ready",
        Standing::Waits(_) | Standing::NoProfile(_) => {
            passing(standing).map_or("Pending", |(.., state)| state)
        }
        Standing::Broken(why) => {
            conditions.set(RECONCILE_FAILED, true, &why.reason, &why.message, moment);
            "Failed"
        }
        Standing::Hindered(why) => {
            conditions.set(RECONCILE_FAILED, true, &why.reason, &why.message, moment);
            "Pending"
        }
        Standing::Builds { chosen, stage, reads } => {
            input = Some(chosen.shown.clone());
            building(&mut conditions, chosen, stage, *reads, moment)
        }
        Standing::Reads { chosen, why } => {
            input = Some(chosen.shown.clone());
            let waiting = Failure::new("PodRunning", "the manifest of the engine is being read");
            let why = why.clone().unwrap_or(waiting);
            conditions.set(READ, false, &why.reason, &why.message, moment);
            "InProgress"
        }
        Standing::Built { chosen, found } => {
            input = Some(chosen.shown.clone());
            output = Some(found.clone());
            let name = found["name"].as_str().unwrap_or_default();
            let message = format!("profile {name} was built and added to the cache");
            conditions.set(READ, true, "PodCompleted", &message, moment);
            "Ready"
        }
        Standing::Unread(why) => {
            conditions.set(READ, false, &why.reason, &why.message, moment);
            "Failed"
        }
    };
    let mut status = json!({"state": state, "conditions": conditions.to_value()});
    for (field, value) in [("inputProfile", input), ("outputProfile", output)] {
        if let Some(value) = value {
            status[field] = value;
        }
    }
    let notices = notices(&subject.status, state, &conditions);
    Report { status, notices, again }
}

/// What a build is told that cannot begin: condition, reason, message and state.
fn passing(standing: &Standing) -> Option<(&'static str, &'static str, &str, &'static str)> {
    Some(match standing {
        Standing::Waits(Wait::NotFound(message)) => (NOT_FOUND, "NIMCacheNotFound", message, "Pending"),
        Standing::Waits(Wait::Failed(message)) => (CACHE_FAILED, "NIMCacheFailed", message, "Failed"),
        Standing::Waits(Wait::NotReady(message)) => (WAIT, "NIMCacheNotReady", message, "Pending"),
        Standing::NoProfile(NoProfile::None(message)) => (NONE, "NoBuildableProfileFound", message, "Failed"),
        Standing::NoProfile(NoProfile::Several(message)) => {
            (SEVERAL, "MultipleBuildableProfilesFound", message, "Failed")
        }
        _ => return None,
    })
}

/// The conditions of a build under way, and the state.
fn building(
    conditions: &mut Conditions,
    chosen: &Chosen,
    stage: &Stage,
    reads: bool,
    moment: Moment,
) -> &'static str {
    if matches!(stage, Stage::Waits(_) | Stage::Runs) {
        // The one before it failed and was removed.
        conditions.remove(COMPLETED);
    }
    let mut set = |kind: &str, holds: bool, reason: &str, message: &str| {
        conditions.set(kind, holds, reason, message, moment);
    };
    set(SINGLE, true, "BuildableProfileFound", &format!("building from profile {}", chosen.name()));
    set(CREATED, true, "EngineBuildPodCreated", "The pod that builds the engine has been created");
    match stage {
        Stage::Waits(why) => {
            set(PENDING, true, &why.reason, &why.message);
            "Pending"
        }
        Stage::Runs => {
            set(PENDING, true, "PodRunning", "The engine is being built");
            "InProgress"
        }
        Stage::Ready => {
            set(PENDING, false, "PodReady", "The engine has been built");
            set(COMPLETED, true, "PodReady", "The engine has been built");
            if reads {
                return "InProgress";
            }
            // Nothing is printed for caches of other sources; the engine is served from the volume.
            set(READ, true, "PodCompleted", "The cache keeps no manifest of its source");
            "Ready"
        }
        Stage::Failed(why) => {
            set(PENDING, false, "PodFailed", "The pod that builds the engine has failed");
            set(COMPLETED, false, "PodFailed", &format!("The pod that builds the engine has failed: {why}"));
            "Failed"
        }
    }
}

/// One event when the state moves, or when another thing is in the way.
fn notices(old: &Value, state: &str, conditions: &Conditions) -> Vec<Notice> {
    let before = Conditions::read(old);
    let in_the_way = [NOT_FOUND, CACHE_FAILED, NONE, SEVERAL, RECONCILE_FAILED];
    let why =
        in_the_way.iter().find_map(|kind| conditions.get(kind).filter(|one| one.status == "True")).or_else(
            || [COMPLETED, READ].iter().find_map(|kind| conditions.get(kind).filter(|_| state == "Failed")),
        );
    let known = why.and_then(|why| before.get(&why.type_));
    let told = match (why, known) {
        (Some(why), Some(known)) => known.reason == why.reason && known.message == why.message,
        (Some(_), None) => false,
        (None, _) => old["state"] == state,
    };
    if told && old["state"] == state {
        return Vec::new();
    }
    let message = why.map_or_else(|| format!("NIMBuild is {state}"), |why| why.message.clone());
    let reason = if conditions.is_true(RECONCILE_FAILED) { "ReconcileFailed" } else { state };
    vec![Notice { warning: state == "Failed", reason: reason.to_owned(), message }]
}
