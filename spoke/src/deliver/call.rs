//! One call to the API server, with an end.

use std::future::Future;

use runtime::CallError;
use runtime::call::{LIMIT, within};

use super::DeliverError;

/// Waits for a call; what the API server said, refusals included, is the inner result.
pub(super) async fn timed<T>(
    what: &str,
    call: impl Future<Output = kube::Result<T>>,
) -> Result<kube::Result<T>, DeliverError> {
    match within(LIMIT, call).await {
        Ok(answer) => Ok(Ok(answer)),
        Err(CallError::Failed(error)) => Ok(Err(error)),
        Err(source @ CallError::Timeout(_)) => Err(DeliverError::Call { what: what.to_owned(), source }),
    }
}

/// Waits for a call of which every failure may pass.
pub(super) async fn carried_out<T>(
    what: &str,
    call: impl Future<Output = kube::Result<T>>,
) -> Result<T, DeliverError> {
    timed(what, call).await?.map_err(|source| failed(what, source))
}

/// Says which call failed.
pub(super) fn failed(what: &str, source: kube::Error) -> DeliverError {
    DeliverError::Call { what: what.to_owned(), source: source.into() }
}

/// Whether the API server said that there is no such thing.
pub(super) fn is_not_found(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 404)
}

/// Whether an apply failed because the namespace of its object is not there.
pub(super) fn misses_namespace(error: &DeliverError) -> bool {
    let DeliverError::Call { source, .. } = error else { return false };
    let details = source.status().and_then(|status| status.details.as_ref());
    source.is_not_found() && details.is_some_and(|details| details.kind == "namespaces")
}
