//! One call to the API server, with an end.

use std::future::Future;
use std::time::Duration;

use super::DeliverError;

/// How long one call may take before it counts as failed; the link's caller tries again.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// Waits for a call; what the API server said, refusals included, is the inner result.
pub(super) async fn timed<T>(
    what: &str,
    call: impl Future<Output = kube::Result<T>>,
) -> Result<kube::Result<T>, DeliverError> {
    tokio::time::timeout(CALL_TIMEOUT, call)
        .await
        .map_err(|_| DeliverError::Timeout { what: what.to_owned(), seconds: CALL_TIMEOUT.as_secs() })
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
    DeliverError::Api { what: what.to_owned(), source }
}

/// Whether the API server said that there is no such thing.
pub(super) fn is_not_found(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 404)
}

/// Whether an apply failed because the namespace of its object is not there.
pub(super) fn misses_namespace(error: &DeliverError) -> bool {
    matches!(error, DeliverError::Api { source: kube::Error::Api(status), .. }
        if status.code == 404 && status.details.as_ref().is_some_and(|details| details.kind == "namespaces"))
}
