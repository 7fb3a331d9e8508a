//! The right to work in this cluster: one spoke at a time.

use std::time::Duration;

use kube::Client;
use runtime::Identity;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::args::Args;
use crate::lease::{self, Held, LeaseError};

/// The right itself; without a lease where none can be had and no hub depends on it.
pub(super) struct Tenure(Option<Held>);

/// Waits for the right. `None` when stopped before. An operator without a hub works without a lease where it may not
/// keep one: it was started by hand.
pub(super) async fn acquire(
    client: &Client,
    args: &Args,
    stop: &CancellationToken,
) -> Result<Option<Tenure>, LeaseError> {
    let pod = args.pod_name.as_deref();
    let identity = Identity::new(pod, &Uuid::new_v4().to_string());
    let refused_for = if pod.is_some() { lease::REFUSED_FOR } else { Duration::ZERO };
    match lease::acquire(client.clone(), &args.namespace, identity, refused_for, stop).await {
        Ok(held) => Ok(held.map(|held| Tenure(Some(held)))),
        Err(error @ (LeaseError::NoNamespace(_) | LeaseError::Forbidden { .. })) if args.no_hub => {
            tracing::warn!(%error, "working without a lease: a second instance in this cluster would not be noticed");
            Ok(Some(Tenure(None)))
        }
        Err(error) => Err(error),
    }
}

impl Tenure {
    /// Keeps the right until stopped. When another instance has taken it, everything here is stopped.
    pub(super) async fn keep(self, stop: &CancellationToken) -> Result<(), LeaseError> {
        let Some(held) = self.0 else {
            stop.cancelled().await;
            return Ok(());
        };
        let kept = held.keep(stop.clone()).await;
        stop.cancel();
        kept
    }
}
