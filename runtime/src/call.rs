//! Calls to an API server: each has an end, and an outcome that says what to do about it.

use std::time::Duration;

use kube::core::Status;
use tokio::time::timeout;

use crate::error::chain;
use crate::lease::Fenced;

/// How long a call may take, unless something else depends on its end sooner.
pub const LIMIT: Duration = Duration::from_secs(10);

/// How the API server begins to speak of fields that the schema of an object lacks, whatever the HTTP status (500).
pub const UNKNOWN_FIELD: &str = "failed to create typed patch object";

/// What is said of an object that is refused, whatever the HTTP status: by a webhook, and of a field that a schema lacks.
const REFUSALS: [&str; 2] = ["denied the request", UNKNOWN_FIELD];

/// Why a call came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The API server said no, or the connection broke.
    #[error("the API server did not carry it out")]
    Failed(#[from] kube::Error),
    /// No answer in time; what was asked may have been carried out all the same.
    #[error("no answer from the API server within {} s", .0.as_secs())]
    Timeout(Duration),
}

/// Waits for a call for `limit` at most.
///
/// # Errors
///
/// It failed, or was not answered in time.
pub async fn within<T>(limit: Duration, call: impl Future<Output = kube::Result<T>>) -> Result<T, CallError> {
    match timeout(limit, call).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(CallError::Timeout(limit)),
    }
}

impl CallError {
    /// What the API server answered, if it did.
    #[must_use]
    pub fn status(&self) -> Option<&Status> {
        match self {
            Self::Failed(kube::Error::Api(status)) => Some(status),
            Self::Failed(_) | Self::Timeout(_) => None,
        }
    }

    /// The HTTP status of the answer, if there was one.
    #[must_use]
    pub fn code(&self) -> Option<u16> {
        self.status().map(|status| status.code)
    }

    /// What the API server or the connection said, or that nothing was said in time, in one line.
    #[must_use]
    pub fn words(&self) -> String {
        match self {
            Self::Failed(error) => chain(error),
            Self::Timeout(_) => self.to_string(),
        }
    }

    /// Somebody has changed or made the object meanwhile, or it is another one than was asked for: read it again.
    #[must_use]
    pub fn is_conflict(&self) -> bool {
        self.code() == Some(409)
    }

    /// The object is not there, or its namespace or kind.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        self.code() == Some(404)
    }

    /// It is not permitted: a role is missing, or admission or a quota says no.
    #[must_use]
    pub fn is_forbidden(&self) -> bool {
        self.code() == Some(403)
    }

    /// The very object that was asked for is not there (any more): a uid that does not match is answered with a conflict.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.is_not_found()
            || (self.is_conflict() && self.status().is_some_and(|status| status.message.contains("uid")))
    }

    /// Nobody answered: the API server is away, starts or is too busy, or this process may not write at this moment. An
    /// answer that blames what was asked, such as a webhook that fails for one object (500), is a refusal.
    #[must_use]
    pub fn is_away(&self) -> bool {
        self.code().is_none_or(|code| [429, 502, 503, 504].contains(&code))
    }

    /// The API server could not find out whether it takes what was sent: nobody answered, it is too busy, or a webhook that
    /// it has to ask does not answer. What was sent may be right, and is sent again.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        let Some(status) = self.status() else { return true };
        let is_refused = REFUSALS.iter().any(|refusal| status.message.contains(refusal));
        matches!(status.code, 409 | 429) || (status.code >= 500 && !is_refused)
    }

    /// The API server, or a webhook, does not take what was sent, however often it is sent.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        self.code().is_some_and(|code| matches!(code, 400 | 403 | 415 | 422))
    }

    /// A field was to be changed that may not change.
    #[must_use]
    pub fn is_immutable(&self) -> bool {
        self.status().is_some_and(|status| status.code == 422 && status.message.contains("immutable"))
    }

    /// A word of a closed list for it, for metrics and reasons.
    #[must_use]
    pub fn category(&self) -> &'static str {
        match self {
            Self::Failed(kube::Error::Api(status)) => match status.code {
                403 => "Forbidden",
                404 => "NotFound",
                409 => "Conflict",
                400 | 422 => "Invalid",
                _ => "Refused",
            },
            Self::Failed(kube::Error::Service(source)) if source.is::<Fenced>() => "NotLeading",
            Self::Failed(_) => "Unreachable",
            Self::Timeout(_) => "Timeout",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(code: u16, message: &str) -> CallError {
        let status = Status { code, ..Status::failure(message, "InternalError") };
        CallError::Failed(kube::Error::Api(Box::new(status)))
    }

    #[test]
    fn what_may_be_taken_later_is_told_from_what_is_refused() {
        for (code, message, expected) in [
            (
                500,
                "Internal error occurred: failed calling webhook \"mlws.kb.io\": failed to call webhook: Post \"https://10.0.0.1/mutate\": connect: connection refused",
                true,
            ),
            (
                500,
                "Internal error occurred: failed calling webhook \"mlws.kb.io\": context deadline exceeded",
                true,
            ),
            (500, "conversion webhook for serving.kserve.io/v1beta1 failed: no endpoints available", true),
            (500, "etcdserver: leader changed", true),
            (503, "the server is currently unable to handle the request", true),
            (504, "request did not complete within the allotted timeout", true),
            (429, "too many requests", true),
            (409, "the object has been modified", true),
            (
                500,
                "admission webhook \"inferenceservice.kserve-webhook-server.defaulter\" denied the request: bad name",
                false,
            ),
            (
                500,
                "failed to create typed patch object (ns/n): .spec.foo: field not declared in schema",
                false,
            ),
            (400, "admission webhook \"v\" denied the request: no", false),
            (403, "exceeded quota: gpus", false),
            (422, "spec.replicas: Invalid value: -1", false),
        ] {
            assert_eq!(answer(code, message).is_passing(), expected, "{code} {message}");
        }
        assert!(CallError::Timeout(LIMIT).is_passing());
    }

    #[test]
    fn an_answer_has_a_kind_and_a_lack_of_one_too() {
        let away = || CallError::Failed(kube::Error::Service("connection refused".into()));
        let fenced = CallError::Failed(kube::Error::Service(Box::new(Fenced)));
        for (error, category, is_away, is_refusal, is_gone) in [
            (answer(400, "no"), "Invalid", false, true, false),
            (answer(403, "no"), "Forbidden", false, true, false),
            (answer(404, "no"), "NotFound", false, false, true),
            (answer(409, "the object has been modified"), "Conflict", false, false, false),
            (
                answer(409, "Precondition failed: UID in precondition: a, uid: b"),
                "Conflict",
                false,
                false,
                true,
            ),
            (answer(422, "field is immutable"), "Invalid", false, true, false),
            (answer(429, "busy"), "Refused", true, false, false),
            (answer(500, "a webhook fails"), "Refused", false, false, false),
            (answer(503, "starting"), "Refused", true, false, false),
            (away(), "Unreachable", true, false, false),
            (fenced, "NotLeading", true, false, false),
            (CallError::Timeout(LIMIT), "Timeout", true, false, false),
        ] {
            let found = (error.category(), error.is_away(), error.is_refusal(), error.is_gone());
            assert_eq!(found, (category, is_away, is_refusal, is_gone), "{error:?}");
        }
        assert!(answer(422, "spec.selector: field is immutable").is_immutable());
        assert!(!answer(422, "spec.replicas: Invalid value").is_immutable());
        assert!(away().words().contains("connection refused"));
        assert_eq!(CallError::Timeout(LIMIT).words(), "no answer from the API server within 10 s");
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_without_an_answer_ends() {
        let begun = tokio::time::Instant::now();
        let outcome = within(LIMIT, std::future::pending::<kube::Result<()>>()).await;
        assert!(matches!(outcome, Err(CallError::Timeout(LIMIT))) && begun.elapsed() == LIMIT);
    }
}
