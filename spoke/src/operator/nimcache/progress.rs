//! How far a download has come, from its job and the job's pods.

use serde_json::Value;

use super::extraction::waiting;
use crate::operator::engine::kind::Failure;

/// How far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// The job was just made.
    Started,
    /// No pod of it runs.
    Pending(Failure),
    /// A pod downloads, or is tried again after a failed one.
    Running,
    Succeeded,
    /// The job itself has given up; one failed pod is not that.
    Failed(String),
}

/// Reads a job. `pods` are its pods.
pub(super) fn of(job: &Value, pods: &[Value]) -> Progress {
    let status = &job["status"];
    let conditions = status["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
    let holds = |kind: &str| conditions.iter().find(|one| one["type"] == kind && one["status"] == "True");
    if let Some(failed) = holds("Failed") {
        return Progress::Failed(why(failed, pods));
    }
    let count = |field: &str| status[field].as_i64().unwrap_or_default();
    if holds("Complete").is_some() || count("succeeded") > 0 {
        return Progress::Succeeded;
    }
    if count("active") == 0 {
        return Progress::Pending(Failure::new("JobPending", "the job has no active pod"));
    }
    let mut active = pods.iter().filter(|pod| pod["status"]["phase"] == "Pending");
    let runs = pods.iter().any(|pod| pod["status"]["phase"] == "Running");
    match active.find_map(waiting) {
        Some(reason) if !runs => Progress::Pending(reason),
        _ => Progress::Running,
    }
}

/// Why the job gave up: its own reason, and what the last failed container said.
fn why(failed: &Value, pods: &[Value]) -> String {
    let said = pods.iter().rev().flat_map(|pod| {
        let list = pod["status"]["containerStatuses"].as_array().map(Vec::as_slice).unwrap_or_default();
        list.iter().map(|container| &container["state"]["terminated"])
    });
    let mut said = said.filter(|end| end["exitCode"].as_i64().is_some_and(|code| code != 0)).map(|end| {
        let message = end["message"].as_str().unwrap_or_default().trim();
        let text = format!("exit code {}: {message}", end["exitCode"]);
        text.trim_end_matches([':', ' ']).to_owned()
    });
    let text = |field: &str| failed[field].as_str().unwrap_or_default();
    let own = format!("{}: {}", text("reason"), text("message"));
    match said.next() {
        Some(said) => format!("{own}; {said}"),
        None => own,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_table_of_jobs() {
        let pending = json!({"status": {"phase": "Pending", "containerStatuses": [{"state": {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}}]}});
        let running = json!({"status": {"phase": "Running"}});
        let failed = json!({"status": {"phase": "Failed", "containerStatuses": [{"state": {"terminated": {"exitCode": 3, "message": "no access"}}}]}});
        let gave_up = json!({"status": {"failed": 6, "conditions": [{"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded", "message": "limit"}]}});
        for (job, pods, expected) in [
            (json!({}), vec![], Progress::Pending(Failure::new("JobPending", "the job has no active pod"))),
            (json!({"status": {"active": 1}}), vec![], Progress::Running),
            (
                json!({"status": {"active": 1}}),
                vec![pending.clone()],
                Progress::Pending(Failure::new("ImagePullBackOff", "no such image")),
            ),
            (json!({"status": {"active": 1}}), vec![pending, running], Progress::Running),
            (json!({"status": {"succeeded": 1}}), vec![], Progress::Succeeded),
            (
                gave_up,
                vec![failed],
                Progress::Failed("BackoffLimitExceeded: limit; exit code 3: no access".into()),
            ),
        ] {
            assert_eq!(of(&job, &pods), expected, "{job}");
        }
    }

    #[test]
    fn a_failed_pod_is_not_a_failed_download() {
        let job = json!({"status": {"failed": 1, "active": 1}});
        assert_eq!(of(&job, &[json!({"status": {"phase": "Failed"}})]), Progress::Running);
        assert!(matches!(of(&json!({"status": {"failed": 1}}), &[]), Progress::Pending(_)));
    }
}
