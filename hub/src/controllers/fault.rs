//! What can go wrong between the hub and its API server: one category for log, event and metric.

use runtime::call::{CallError, LIMIT, within};
use runtime::{Broken, chain};

/// A reconcile that could not be finished. It is tried again.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    /// The API server did not carry out a call.
    #[error("{what}: {source}")]
    Call {
        /// What was tried.
        what: String,
        /// Why it came to nothing.
        source: CallError,
    },
    /// Somebody else goes on changing what is written.
    #[error("{what}: another client goes on changing them: leave these objects to the hub")]
    Contended {
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
            Self::Call { source, .. } => source.category(),
            Self::Contended { .. } => "Conflict",
            Self::Json { .. } => "Json",
            Self::Broken { broken: Broken::Panic(_), .. } => "Panic",
            Self::Broken { broken: Broken::Overdue(_), .. } => "Overdue",
        }
    }

    /// What was tried and what the API server said to it, for conditions and events.
    pub(crate) fn words(&self) -> String {
        let said = |what: &str, source: &CallError| Some(format!("{what}: {}", source.status()?.message));
        match self {
            Self::Call { what, source } => said(what, source).unwrap_or_else(|| chain(self)),
            Self::Contended { .. } | Self::Json { .. } | Self::Broken { .. } => chain(self),
        }
    }

    /// Whether nobody answered ([`CallError::is_away`]).
    pub(crate) fn is_away(&self) -> bool {
        matches!(self, Self::Call { source, .. } if source.is_away())
    }

    /// Whether no object of that name is there.
    pub(crate) fn is_not_found(&self) -> bool {
        matches!(self, Self::Call { source, .. } if source.is_not_found())
    }

    /// Whether the object that was written is not there (any more).
    pub(crate) fn is_gone(&self) -> bool {
        matches!(self, Self::Call { source, .. } if source.is_gone())
    }
}

/// Bounds a call to the API server.
pub(crate) async fn call<T>(
    what: impl Fn() -> String,
    call: impl Future<Output = kube::Result<T>>,
) -> Result<T, Fault> {
    within(LIMIT, call).await.map_err(|source| Fault::Call { what: what(), source })
}
