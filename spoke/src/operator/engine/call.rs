//! Calls to the API server: each with a time limit and with words that say what was tried.

use std::future::Future;
use std::time::Duration;

/// How long one call may take.
const LIMIT: Duration = Duration::from_secs(10);

/// What is said of an object that is refused, whatever the HTTP status: by a webhook, and of a field that a schema lacks.
const REFUSALS: [&str; 2] = ["denied the request", "failed to create typed patch object"];

/// Why a call did not succeed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallError {
    /// The API server refused, or was not reached.
    #[error("{what}: {}", explain(source))]
    Api { what: String, source: Box<kube::Error> },
    /// No answer in time.
    #[error("{what}: no answer from the API server within {} s", LIMIT.as_secs())]
    Timeout { what: String },
    /// Whether children may be written is not known.
    #[error("limits: {0}")]
    Judge(String),
}

impl CallError {
    /// True when the object was changed by someone else in between: try again, nothing is wrong.
    pub(crate) fn is_conflict(&self) -> bool {
        self.code() == Some(409)
    }

    /// True when nobody answered, or a server that starts or is too busy.
    pub(crate) fn is_away(&self) -> bool {
        self.code().is_none_or(|code| [429, 502, 503, 504].contains(&code))
    }

    /// True when the API server could not find out whether it takes what was sent: nobody answered, it is too busy, or a
    /// webhook that it has to ask does not answer. What was sent may be right, and is sent again.
    pub(crate) fn is_passing(&self) -> bool {
        let Some(code) = self.code() else { return true };
        let words = self.to_string();
        let is_word = REFUSALS.iter().any(|refusal| words.contains(refusal));
        code == 409 || code == 429 || (code >= 500 && !is_word)
    }

    /// True when a field was to be changed that may not change.
    pub(crate) fn is_immutable(&self) -> bool {
        self.code() == Some(422) && self.to_string().contains("immutable")
    }

    /// True when the API server, or a webhook, does not take what was sent, however often it is sent.
    pub(crate) fn is_refusal(&self) -> bool {
        self.code().is_some_and(|code| matches!(code, 400 | 403 | 415 | 422))
    }

    /// The HTTP status the API server answered with.
    pub(crate) fn code(&self) -> Option<u16> {
        match self {
            Self::Api { source, .. } => match source.as_ref() {
                kube::Error::Api(response) => Some(response.code),
                _ => None,
            },
            Self::Timeout { .. } | Self::Judge(_) => None,
        }
    }
}

fn explain(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(response) => format!("{} ({})", response.message, response.reason),
        other => other.to_string(),
    }
}

/// Runs one call within the time limit.
pub(crate) async fn call<T>(
    what: impl FnOnce() -> String,
    future: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, CallError> {
    match tokio::time::timeout(LIMIT, future).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(source)) => Err(CallError::Api { what: what(), source: Box::new(source) }),
        Err(_) => Err(CallError::Timeout { what: what() }),
    }
}

/// The same, where absence is an answer.
pub(crate) async fn call_opt<T>(
    what: impl FnOnce() -> String,
    future: impl Future<Output = Result<T, kube::Error>>,
) -> Result<Option<T>, CallError> {
    match call(what, future).await {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.code() == Some(404) => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(code: u16, message: &str) -> CallError {
        let status = kube::core::Status { code, ..kube::core::Status::failure(message, "InternalError") };
        CallError::Api {
            what: "apply Service n".into(),
            source: Box::new(kube::Error::Api(Box::new(status))),
        }
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
            assert_eq!(error(code, message).is_passing(), expected, "{code} {message}");
        }
        assert!(CallError::Timeout { what: "apply".into() }.is_passing());
    }
}
