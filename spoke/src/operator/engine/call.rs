//! Calls to the API server: each with a time limit and with words that say what was tried.

use std::future::Future;

use runtime::call::{LIMIT, within};

/// Why a call did not succeed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallError {
    /// The API server refused, was not reached, or did not answer in time.
    #[error("{what}: {}", explain(source))]
    Call { what: String, source: runtime::CallError },
    /// Whether children may be written is not known.
    #[error("limits: {0}")]
    Judge(String),
}

impl CallError {
    /// True when the object was changed by someone else in between: try again, nothing is wrong.
    pub(crate) fn is_conflict(&self) -> bool {
        self.answer().is_some_and(runtime::CallError::is_conflict)
    }

    /// True when nobody answered, or a server that starts or is too busy.
    pub(crate) fn is_away(&self) -> bool {
        self.answer().is_none_or(runtime::CallError::is_away)
    }

    /// True when the API server could not find out whether it takes what was sent. What was sent may be right, and is sent
    /// again.
    pub(crate) fn is_passing(&self) -> bool {
        self.answer().is_none_or(runtime::CallError::is_passing)
    }

    /// True when a field was to be changed that may not change.
    pub(crate) fn is_immutable(&self) -> bool {
        self.answer().is_some_and(runtime::CallError::is_immutable)
    }

    /// True when the API server, or a webhook, does not take what was sent, however often it is sent.
    pub(crate) fn is_refusal(&self) -> bool {
        self.answer().is_some_and(runtime::CallError::is_refusal)
    }

    /// The HTTP status the API server answered with.
    pub(crate) fn code(&self) -> Option<u16> {
        self.answer().and_then(runtime::CallError::code)
    }

    /// Why a call came to nothing, if there was one.
    fn answer(&self) -> Option<&runtime::CallError> {
        match self {
            Self::Call { source, .. } => Some(source),
            Self::Judge(_) => None,
        }
    }
}

fn explain(error: &runtime::CallError) -> String {
    match error {
        runtime::CallError::Failed(kube::Error::Api(response)) => {
            format!("{} ({})", response.message, response.reason)
        }
        runtime::CallError::Failed(other) => other.to_string(),
        timeout @ runtime::CallError::Timeout(_) => timeout.to_string(),
    }
}

/// Runs one call within the time limit.
pub(crate) async fn call<T>(
    what: impl FnOnce() -> String,
    future: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, CallError> {
    within(LIMIT, future).await.map_err(|source| CallError::Call { what: what(), source })
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
