//! Why a command does not do what it is asked, and the exit status that says so.

use runtime::CallError;

/// Exit status: done.
pub(crate) const DONE: u8 = 0;
/// Exit status: the API server, or a program that was run, refused or did not answer.
pub(crate) const REFUSED: u8 = 1;
/// Exit status: the command line cannot be used. clap ends with the same.
pub(crate) const USAGE: u8 = 2;
/// Exit status: the question is answered, and the answer is no.
pub(crate) const NO: u8 = 3;
/// Exit status: what was waited for has not come in time.
pub(crate) const TIMEOUT: u8 = 4;

/// Why a command came to nothing. One line: object, value, remedy.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// Nothing says where the cluster is.
    #[error(
        "kubeconfig: {problem}: name a readable file with --kubeconfig or KUBECONFIG, and one of its contexts with --context"
    )]
    Kubeconfig {
        /// What is wrong with it.
        problem: String,
    },
    /// A call to the API server.
    #[error("{doing}: {words}{remedy}", words = words(.error), remedy = remedy(.doing, .error))]
    Call {
        /// What was asked.
        doing: String,
        /// What came back.
        error: CallError,
    },
    /// The command line cannot be used with what there is.
    #[error("{0}")]
    Usage(String),
    /// Something refuses, and says why.
    #[error("{0}")]
    Refused(String),
    /// What was waited for has not come.
    #[error("{0}")]
    Timeout(String),
    /// The terminal or a file cannot be written.
    #[error("{what}: {source}")]
    Io {
        /// Which file, or stdout.
        what: String,
        /// What the system said.
        source: std::io::Error,
    },
}

impl Failure {
    /// The exit status.
    pub(crate) fn status(&self) -> u8 {
        match self {
            Self::Usage(_) => USAGE,
            Self::Timeout(_) => TIMEOUT,
            Self::Kubeconfig { .. } | Self::Call { .. } | Self::Refused(_) | Self::Io { .. } => REFUSED,
        }
    }

    /// Whether the API server says that the caller may not.
    pub(crate) fn is_forbidden(&self) -> bool {
        matches!(self, Self::Call { error, .. } if error.is_forbidden())
    }

    /// Whether the API server says that there is no such object.
    pub(crate) fn is_not_found(&self) -> bool {
        matches!(self, Self::Call { error, .. } if error.is_not_found())
    }

    /// Whether whoever read the output has gone, as `head` does: nothing to complain of.
    pub(crate) fn is_broken_pipe(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == std::io::ErrorKind::BrokenPipe)
    }
}

/// Kinds that a hub answers, and no API server.
const ANSWERED_BY_THE_HUB: [&str; 4] =
    ["NIMAssignment", "ClusterCapacity", "PlacementExplanation", "PlacementSimulation"];

/// What the API server or the connection said.
fn words(error: &CallError) -> String {
    // The client's own words where the answer is no Status but text.
    let is_text = |status: &&kube::core::Status| status.reason.starts_with("Failed to parse");
    match error.status() {
        Some(status) if is_text(&status) => status.message.trim().to_owned(),
        Some(status) if !status.message.is_empty() => status.message.clone(),
        _ => error.words(),
    }
}

/// What the caller can do about it, as far as the answer tells.
fn remedy(doing: &str, error: &CallError) -> &'static str {
    let said = words(error);
    let is_unserved =
        said.contains("could not find the requested resource") || said.contains("page not found");
    match error.code() {
        None => ": check the address and the credentials of the kubeconfig",
        Some(401) => ": log in again, or choose another user or context of the kubeconfig",
        Some(403) => ": ask the fleet's admin for this right",
        Some(404) if is_unserved => {
            ": this cluster does not serve it: choose the hub's context with --context, or see kubectl nimfleet doctor"
        }
        Some(503) if ANSWERED_BY_THE_HUB.iter().any(|kind| doing.starts_with(kind)) => {
            ": no hub answers queries at the moment: see kubectl nimfleet doctor hub"
        }
        Some(_) => "",
    }
}

#[cfg(test)]
mod tests {
    use kube::core::Status;

    use super::*;

    fn answer(code: u16, message: &str, doing: &str) -> Failure {
        let status = Status { code, ..Status::failure(message, "Reason") };
        let error = CallError::Failed(kube::Error::Api(Box::new(status)));
        Failure::Call { doing: format!("{doing} nim/chat"), error }
    }

    #[test]
    fn a_failure_names_the_object_and_the_remedy() {
        for (code, message, remedy) in [
            (403, "nimplacements.nimfleet.io is forbidden: User \"a\" cannot get", "ask the fleet's admin"),
            (404, "the server could not find the requested resource", "choose the hub's context"),
            (503, "service unavailable", "doctor hub"),
        ] {
            let failure = answer(code, message, "PlacementExplanation");
            let text = failure.to_string();
            assert!(text.starts_with(&format!("PlacementExplanation nim/chat: {message}: ")), "{text}");
            assert!(text.contains(remedy), "{text}");
            assert_eq!((failure.status(), failure.is_forbidden()), (REFUSED, code == 403));
        }
        let missing = answer(404, "nimplacements.nimfleet.io \"chat\" not found", "NIMPlacement").to_string();
        assert!(missing.ends_with("not found"), "{missing}");
        let away = answer(503, "etcdserver: leader changed", "NIMPlacement").to_string();
        assert!(away.ends_with("leader changed"), "{away}");
    }
}
