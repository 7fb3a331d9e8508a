//! What can go wrong between the hub and its API server: one category for log, event and metric.

use std::time::Duration;

use runtime::Broken;
use tokio::time::timeout;

use crate::leadership::Fenced;

/// Longest wait for an answer of the API server.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// A reconcile that could not be finished. It is tried again.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    /// The API server said no, or the connection broke.
    #[error("{what}: the API server did not carry it out")]
    Api {
        /// What was tried.
        what: String,
        /// What it said.
        #[source]
        source: kube::Error,
    },
    /// No answer in time.
    #[error("{what}: no answer from the API server within {} s", CALL_TIMEOUT.as_secs())]
    Timeout {
        /// What was tried.
        what: String,
    },
    /// An object cannot be written as JSON.
    #[error("{what}: cannot be written as JSON")]
    Json {
        /// What it is.
        what: String,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// The hub's own work came to no end: a fault of the hub.
    #[error("{what}: a fault of the hub, to be reported with this line")]
    Broken {
        /// What was worked on.
        what: String,
        /// How it broke.
        #[source]
        broken: Broken,
    },
}

impl Fault {
    /// The category, for metrics.
    pub(crate) fn category(&self) -> &'static str {
        match self {
            Self::Api { source: kube::Error::Api(status), .. } => match status.code {
                403 => "Forbidden",
                404 => "NotFound",
                409 => "Conflict",
                422 | 400 => "Invalid",
                _ => "Refused",
            },
            Self::Api { source: kube::Error::Service(source), .. } if source.is::<Fenced>() => "NotLeading",
            Self::Api { .. } => "Unreachable",
            Self::Timeout { .. } => "Timeout",
            Self::Json { .. } => "Json",
            Self::Broken { broken: Broken::Panic(_), .. } => "Panic",
            Self::Broken { broken: Broken::Overdue(_), .. } => "Overdue",
        }
    }

    /// What was tried and what the API server said to it, for conditions and events.
    pub(crate) fn words(&self) -> String {
        match self {
            Self::Api { what, source: kube::Error::Api(status) } => format!("{what}: {}", status.message),
            other => chain(other),
        }
    }

    /// Whether nobody answered: the API server is away or starts, or this hub may not write at this moment. An answer that
    /// blames what was asked, such as a webhook that fails for one object (500), is a refusal: it is asked less and less.
    pub(crate) fn is_away(&self) -> bool {
        match self {
            Self::Api { source: kube::Error::Api(status), .. } => [429, 502, 503, 504].contains(&status.code),
            Self::Api { .. } | Self::Timeout { .. } => true,
            Self::Json { .. } | Self::Broken { .. } => false,
        }
    }

    /// Whether the object that was written is not there (any more).
    pub(crate) fn is_gone(&self) -> bool {
        match self {
            // A uid that does not match is answered with a conflict: the object of that uid is gone.
            Self::Api { source: kube::Error::Api(status), .. } => {
                status.is_not_found() || (status.is_conflict() && status.message.contains("uid"))
            }
            _ => false,
        }
    }
}

/// The error and its causes on one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        // kube repeats the cause in its own words.
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

/// Bounds a call to the API server.
pub(crate) async fn call<T>(
    what: impl Fn() -> String,
    call: impl Future<Output = kube::Result<T>>,
) -> Result<T, Fault> {
    match timeout(CALL_TIMEOUT, call).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(source)) => Err(Fault::Api { what: what(), source }),
        Err(_) => Err(Fault::Timeout { what: what() }),
    }
}
