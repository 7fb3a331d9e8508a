//! The right to work in this cluster: one spoke at a time.
//!
//! A spoke that cannot reach the API server keeps its work: nobody can take the lease meanwhile without that server, and a
//! cluster whose control plane is restarted should not lose its agent.

use std::time::Duration;

use kube::Client;
use runtime::Identity;
use runtime::lease::{self, Claim, Discipline, Held, LeaseError, REFUSED_FOR, Words};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::args::Args;

/// Name of the Lease, in the spoke's own namespace.
const NAME: &str = "nimfleet-spoke";

/// How long a lease holds without renewal.
const DURATION: Duration = Duration::from_secs(6);

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
    let claim = Claim {
        name: NAME,
        namespace: args.namespace.clone(),
        identity: Identity::new(pod, &Uuid::new_v4().to_string()),
        duration: DURATION,
        // By hand, nothing is to be waited for.
        refused_for: if pod.is_some() { REFUSED_FOR } else { Duration::ZERO },
        discipline: Discipline::WorksOn,
        words: Words {
            held: "this instance holds the lease",
            waiting: "waiting for the lease of another instance to end",
            other: "another instance",
            loss: "only one spoke may run in a cluster, so this one ends",
        },
    };
    match lease::acquire(client.clone(), claim, stop).await {
        Ok(held) => Ok(held.map(|held| Tenure(Some(held)))),
        Err(error @ (LeaseError::NoNamespace { .. } | LeaseError::Forbidden { .. })) if args.no_hub => {
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
