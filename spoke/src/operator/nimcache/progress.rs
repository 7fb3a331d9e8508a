//! How far a download has come, from its job and the job's pods.

use serde_json::Value;

use super::pods::CONTAINER;
use crate::operator::diagnosis::{ended, is_mute, waiting};
use crate::operator::engine::kind::Failure;
use crate::operator::microservice::status::{DEPENDENCY_MISSING, with_missing};

/// The reason of a job that failed while nothing tells why.
pub(super) const UNTOLD: &str = "JobFailed";

/// The reason of a job that has no pod.
pub(super) const IDLE: &str = "JobPending";

/// How far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// The job was just made.
    Started,
    /// No pod of it runs.
    Pending(Failure),
    /// A pod downloads, or is tried again after failed ones.
    Running {
        /// How many pods have failed before, and why the last did.
        failed: i64,
        last: Option<Failure>,
    },
    Succeeded,
    /// The job itself has given up; one failed pod is not that.
    Failed(Failure),
}

impl Progress {
    /// The same of a download that has not succeeded while something is missing that its pods start without.
    pub(super) fn with_missing(self, missing: &[String]) -> Self {
        match self {
            Self::Pending(why) => Self::Pending(lacking(why, missing)),
            Self::Running { failed, last: Some(last) } => {
                Self::Running { failed, last: Some(lacking(last, missing)) }
            }
            Self::Failed(why) => Self::Failed(lacking(why, missing)),
            other => other,
        }
    }
}

/// Why a download does not go on, with what is missing as the reason where something is.
pub(super) fn lacking(why: Failure, missing: &[String]) -> Failure {
    if missing.is_empty() || why.message.contains("; missing: ") {
        return why;
    }
    Failure::new(DEPENDENCY_MISSING, with_missing(why.message, missing))
}

/// Whether a job that has not ended has no pod, nor had one: something keeps it from being made.
pub(super) fn is_idle(job: &Value, pods: &[Value]) -> bool {
    let status = &job["status"];
    let count = |field: &str| status[field].as_i64().unwrap_or_default();
    pods.is_empty() && count("active") == 0 && count("succeeded") == 0 && status["conditions"].is_null()
}

/// Reads a job. `pods` are its pods, the oldest first; `told` is what events say where those say nothing.
pub(super) fn of(job: &Value, pods: &[Value], told: Option<&Failure>) -> Progress {
    let status = &job["status"];
    let conditions = status["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
    let holds = |kind: &str| conditions.iter().find(|one| one["type"] == kind && one["status"] == "True");
    if let Some(failed) = holds("Failed") {
        return Progress::Failed(why(failed, pods));
    }
    let count = |field: &str| status[field].as_i64().unwrap_or_default();
    if holds("Complete").is_some() || count("succeeded") > 0 || pods.iter().any(is_kept_by_sidecar) {
        return Progress::Succeeded;
    }
    if count("active") == 0 {
        let why = told.filter(|_| pods.is_empty()).cloned();
        return Progress::Pending(why.unwrap_or_else(|| idle(job, pods)));
    }
    let mut active = pods.iter().filter(|pod| pod["status"]["phase"] == "Pending");
    let runs = pods.iter().any(|pod| pod["status"]["phase"] == "Running");
    match active.find_map(waiting) {
        Some(reason) if !runs => {
            Progress::Pending(told.filter(|_| is_mute(&reason)).cloned().unwrap_or(reason))
        }
        _ => Progress::Running { failed: count("failed"), last: last(pods) },
    }
}

/// Whether the download of a pod has ended well while a container that an injector has added, a mesh's proxy, goes on: its job
/// would never end.
pub(super) fn is_kept_by_sidecar(pod: &Value) -> bool {
    let containers = pod["status"]["containerStatuses"].as_array().map(Vec::as_slice).unwrap_or_default();
    let is_done = |one: &Value| one["name"] == CONTAINER && one["state"]["terminated"]["exitCode"] == 0;
    let runs = |one: &Value| one["name"] != CONTAINER && one["state"]["running"].is_object();
    containers.iter().any(is_done) && containers.iter().any(runs)
}

/// Why no pod is active: one has failed and the next is due, or none could be made.
fn idle(job: &Value, pods: &[Value]) -> Failure {
    let message = if let Some(last) = last(pods) {
        format!("the job pauses after a failed pod: {}: {}", last.reason, last.message)
    } else {
        let name = job["metadata"]["name"].as_str().unwrap_or("of this NIMCache");
        format!("the job has no active pod; where that lasts, the events of Job {name} say why")
    };
    Failure::new(IDLE, message)
}

/// Why the last failed pod failed.
fn last(pods: &[Value]) -> Option<Failure> {
    pods.iter().rev().find_map(ended)
}

/// Why the job gave up: what its last failed pod said, else its own reason.
fn why(failed: &Value, pods: &[Value]) -> Failure {
    let text = |field: &str| failed[field].as_str().unwrap_or_default();
    let own = format!("{}: {}", text("reason"), text("message"));
    match last(pods) {
        Some(last) => Failure::new(last.reason, format!("{own}; {}", last.message)),
        None => Failure::new(UNTOLD, own),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_table_of_jobs() {
        let pending = json!({"status": {"phase": "Pending", "containerStatuses": [{"state": {"waiting": {"reason": "CreateContainerConfigError", "message": "no secret"}}}]}});
        let running = json!({"status": {"phase": "Running"}});
        let failed = json!({"status": {"phase": "Failed", "containerStatuses": [{"state": {"terminated": {"exitCode": 3, "message": "no luck"}}}]}});
        let gave_up = json!({"status": {"failed": 6, "conditions": [{"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded", "message": "limit"}]}});
        let ends = |code: i64, beside: Value| {
            json!({"status": {"phase": "Running", "containerStatuses": [
                {"name": CONTAINER, "state": {"terminated": {"exitCode": code}}},
                {"name": "istio-proxy", "state": beside},
            ]}})
        };
        let goes_on = json!({"running": {"startedAt": "2026-01-01T00:00:00Z"}});
        let over = json!({"terminated": {"exitCode": 0}});
        let runs = |failed, last| Progress::Running { failed, last };
        let told = Failure::new("DownloadFailed", "exit code 3: no luck");
        for (job, pods, expected) in [
            (json!({"status": {"active": 1}}), vec![], runs(0, None)),
            (
                json!({"status": {"active": 1}}),
                vec![pending.clone()],
                Progress::Pending(Failure::new(
                    "CreateContainerConfigError",
                    "CreateContainerConfigError: no secret",
                )),
            ),
            (json!({"status": {"active": 1}}), vec![pending, running.clone()], runs(0, None)),
            (
                json!({"status": {"active": 1, "failed": 1}}),
                vec![failed.clone(), running],
                runs(1, Some(told)),
            ),
            (json!({"status": {"succeeded": 1}}), vec![], Progress::Succeeded),
            (json!({"status": {"active": 1}}), vec![ends(0, goes_on.clone())], Progress::Succeeded),
            (json!({"status": {"active": 1}}), vec![ends(0, over)], runs(0, None)),
            (
                json!({"status": {"active": 1}}),
                vec![ends(3, goes_on)],
                runs(0, Some(Failure::new("DownloadFailed", "exit code 3"))),
            ),
            (
                gave_up.clone(),
                vec![failed],
                Progress::Failed(Failure::new(
                    "DownloadFailed",
                    "BackoffLimitExceeded: limit; exit code 3: no luck",
                )),
            ),
            (gave_up, vec![], Progress::Failed(Failure::new("JobFailed", "BackoffLimitExceeded: limit"))),
        ] {
            assert_eq!(of(&job, &pods, None), expected, "{job}");
        }
    }

    #[test]
    fn a_failed_pod_is_not_a_failed_download() {
        let job = json!({"status": {"failed": 1, "active": 1}});
        let pod = json!({"status": {"phase": "Failed"}});
        assert_eq!(of(&job, &[pod], None), Progress::Running { failed: 1, last: None });
        assert!(matches!(of(&json!({"status": {"failed": 1}}), &[], None), Progress::Pending(_)));
    }

    #[test]
    fn a_job_without_a_pod_says_where_to_look() {
        let Progress::Pending(why) = of(&json!({"metadata": {"name": "c-job"}}), &[], None) else { panic!() };
        assert_eq!(why.reason, "JobPending");
        assert!(why.message.contains("events of Job c-job"), "{}", why.message);
    }
    #[test]
    fn what_events_say_is_told_where_a_job_or_its_pod_says_nothing() {
        let refused = Failure::new("PodsNotCreated", "pods \"c-job-\" is forbidden");
        let job = json!({"metadata": {"name": "c-job"}, "status": {}});
        assert!(is_idle(&job, &[]));
        assert_eq!(of(&job, &[], Some(&refused)), Progress::Pending(refused.clone()));
        let active = json!({"status": {"active": 1}});
        assert!(!is_idle(&active, &[]));
        let waits = |reason: &str| json!({"status": {"phase": "Pending", "containerStatuses": [{"state": {"waiting": {"reason": reason}}}]}});
        let unmounted = Failure::new("FailedMount", "FailedMount: no such claim");
        let told = of(&active, &[waits("ContainerCreating")], Some(&unmounted));
        assert_eq!(told, Progress::Pending(unmounted.clone()));
        let Progress::Pending(own) = of(&active, &[waits("ImagePullBackOff")], Some(&unmounted)) else {
            panic!()
        };
        assert_eq!(own.reason, "ImagePullBackOff", "its own word counts");
    }
}
