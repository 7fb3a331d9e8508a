//! One hub leads: a Lease says which, and a fence keeps every other process from writing.
//!
//! All replicas run; one holds the Lease, keeps the sessions and writes. A standby watches the Lease and nothing else: its
//! link port is closed, so that load balancers and spokes pass it over, and it reads the fleet's state only after it has
//! taken the Lease, since whatever it had read before could be older than the last leader's last word. Reading takes a
//! fraction of the time that a lease takes to run out.
//!
//! ```text
//! renewed ─────────────── 8 s ─────────────► the leader's fence closes: no write, no delta
//! renewed ────────────────── 10 s ─────────────────► a standby that saw no renewal takes the Lease, and a higher term
//! ```
//!
//! Each side measures by its own clock from what it did or saw itself. A leader that cannot renew stops writing and goes
//! on as before once it can: nobody took the Lease meanwhile. One that reads of another leader ends. What had passed the
//! fence and not left the process when that was frozen still goes out once it runs again; the new leader sees it and
//! writes over it.

mod fence;
mod label;
mod tenure;

use std::time::Duration;

// Agents know a hub's cluster by this Lease.
use crds::marks::HUB_LEASE as NAME;
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::{Api, PostParams};
use runtime::Identity;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use tenure::{Tenure, Verdict};

use crate::controllers::chain;

pub use fence::{Fence, Fenced};
pub use label::keep as keep_label;

/// How long a lease holds without renewal.
const DURATION: Duration = Duration::from_secs(10);
/// How long a leader trusts a renewal: it has stopped before anybody else may start, whatever a call may still take.
const TRUSTED: Duration = Duration::from_secs(8);
/// How often it is renewed: three renewals may fail before the fence closes.
const RENEW: Duration = Duration::from_secs(2);
/// How often a standby looks.
const LOOK: Duration = Duration::from_millis(500);
/// How long one call may take.
const CALL_TIMEOUT: Duration = Duration::from_secs(2);

/// How long a refusal (403) may last: an API server that has just started gives it until it has read its roles, which takes
/// seconds, or minutes where it is busy.
pub(crate) const REFUSED_FOR: Duration = Duration::from_mins(5);

/// Why this hub does not lead, or no longer.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    /// There is nowhere to keep it.
    #[error(
        "Lease {namespace}/{NAME}: the namespace does not exist: create it, or name another with --namespace"
    )]
    NoNamespace {
        /// Namespace of the hub.
        namespace: String,
    },
    /// It is not allowed.
    #[error(
        "Lease {namespace}/{NAME}: not permitted ({message}): grant get, create and update, as the chart does"
    )]
    Forbidden {
        /// Namespace of the hub.
        namespace: String,
        /// What the API server said.
        message: String,
    },
    /// Another replica has taken it.
    #[error("Lease {namespace}/{NAME}: lost to {holder}: this hub ends, and comes back as a standby")]
    Lost {
        /// Namespace of the hub.
        namespace: String,
        /// Identity of the replica that leads now.
        holder: String,
    },
}

/// The lease, held by this process. Whoever has it calls [`Held::keep`] at once.
pub struct Held {
    leases: Api<Lease>,
    namespace: String,
    tenure: Tenure,
    fence: Fence,
}

/// Waits until this process leads; `None` when cancelled before. The fence is open from then on.
pub async fn acquire(
    client: kube::Client,
    namespace: &str,
    identity: Identity,
    cancel: &CancellationToken,
) -> Result<Option<Held>, LeaseError> {
    let mut held = Held {
        leases: Api::namespaced(client, namespace),
        namespace: namespace.to_owned(),
        tenure: Tenure::new(identity),
        fence: Fence::closed(),
    };
    let (mut said, mut refused) = (String::new(), None);
    // Each state is told when it begins, not at every look.
    let mut is_news = |state: &str| std::mem::replace(&mut said, state.to_owned()) != state;
    loop {
        let step = held.step().await;
        if !matches!(step, Err(LeaseError::Forbidden { .. })) {
            refused = None;
        }
        match step {
            Ok(Step::Holding) => {
                tracing::info!(namespace, identity = %held.tenure.identity(), "this hub leads");
                return Ok(Some(held));
            }
            Ok(Step::HeldBy(holder)) => {
                if is_news(&holder) {
                    tracing::info!(leader = holder, "standing by");
                }
            }
            Ok(Step::Contended) => {
                if is_news("contended") {
                    tracing::info!("standing by: another replica was faster to write the lease");
                }
            }
            Ok(Step::Unanswered(problem)) => {
                if is_news(&problem) {
                    tracing::warn!(problem, "the lease cannot be read or written; tried again");
                }
            }
            Err(error @ LeaseError::Forbidden { .. })
                if refused.get_or_insert_with(Instant::now).elapsed() < REFUSED_FOR =>
            {
                if is_news("refused") {
                    tracing::warn!(%error, at_most = ?REFUSED_FOR, "the lease cannot be had yet; tried again");
                }
            }
            Err(error) => return Err(error),
        }
        tokio::select! {
            () = cancel.cancelled() => return Ok(None),
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}

/// What one look at the lease came to.
enum Step {
    Holding,
    HeldBy(String),
    /// Another wrote it since it was read.
    Contended,
    Unanswered(String),
}

impl Held {
    /// What keeps this process from writing once its renewals fail.
    #[must_use]
    pub fn fence(&self) -> Fence {
        self.fence.clone()
    }

    /// Renews until cancelled, then releases. An error means that another replica leads.
    pub async fn keep(mut self, stop: CancellationToken) -> Result<(), LeaseError> {
        let mut wait = RENEW;
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                () = tokio::time::sleep(wait) => {}
            }
            // Once the API server is back, nothing is written before the lease is.
            wait = LOOK;
            match self.step().await {
                Ok(Step::Holding) => wait = RENEW,
                Ok(Step::HeldBy(holder)) => {
                    self.fence.close();
                    return Err(LeaseError::Lost { namespace: self.namespace, holder });
                }
                // The next look tells who wrote it.
                Ok(Step::Contended) => tracing::info!("the lease was written by another since it was read"),
                Ok(Step::Unanswered(problem)) => tracing::warn!(problem, "the lease could not be renewed"),
                Err(error) => tracing::warn!(%error, "the lease could not be renewed"),
            }
        }
        self.fence.close();
        self.release().await;
        Ok(())
    }

    /// Reads the lease and takes or renews it where that is right.
    async fn step(&mut self) -> Result<Step, LeaseError> {
        // What is trusted counts from before the call, however long it takes.
        let (begun, at) = (Instant::now().into_std(), Timestamp::now());
        let live = match self.call(self.leases.get_opt(NAME)).await {
            Ok(live) => live,
            Err(problem) => return self.passing(&problem),
        };
        let verdict =
            self.tenure.judge(live.as_ref().and_then(|lease| lease.spec.as_ref()), Instant::now().into_std());
        let written = match verdict {
            Verdict::Wait { holder } => return Ok(Step::HeldBy(holder)),
            Verdict::Take => self.write(live, true).await,
            Verdict::Renew => self.write(live, false).await,
        };
        match written {
            Ok(()) => {
                self.tenure.took();
                self.fence.open_for(TRUSTED, begun, at);
                Ok(Step::Holding)
            }
            Err(problem) => self.passing(&problem),
        }
    }

    /// Writes the lease as ours. The version read before makes sure that only one of two takers succeeds.
    async fn write(&self, live: Option<Lease>, taken: bool) -> Result<(), Problem> {
        let now = Some(MicroTime(Timestamp::now()));
        let exists = live.is_some();
        let mut lease = live.unwrap_or_else(|| Lease {
            metadata: ObjectMeta { name: Some(NAME.to_owned()), ..ObjectMeta::default() },
            spec: None,
        });
        let spec = lease.spec.get_or_insert_with(LeaseSpec::default);
        if taken {
            spec.acquire_time.clone_from(&now);
            spec.lease_transitions = Some(spec.lease_transitions.unwrap_or(0).saturating_add(1));
        }
        spec.holder_identity = Some(self.tenure.identity().to_string());
        spec.lease_duration_seconds = i32::try_from(DURATION.as_secs()).ok();
        spec.renew_time = now;
        lease.metadata.managed_fields = None;
        self.store(&lease, exists).await
    }

    async fn release(&self) {
        let Ok(Some(mut lease)) = self.call(self.leases.get_opt(NAME)).await else { return };
        let Some(spec) = lease.spec.as_mut() else { return };
        if spec.holder_identity.as_deref() != Some(self.tenure.identity().to_string().as_str()) {
            return;
        }
        spec.holder_identity = None;
        lease.metadata.managed_fields = None;
        match self.store(&lease, true).await {
            Ok(()) => tracing::info!("lease released"),
            Err(problem) => tracing::warn!(problem = problem.text(), "the lease could not be released"),
        }
    }

    async fn store(&self, lease: &Lease, exists: bool) -> Result<(), Problem> {
        let params = PostParams { field_manager: Some(NAME.to_owned()), ..PostParams::default() };
        if exists {
            self.call(self.leases.replace(NAME, &params, lease)).await.map(|_| ())
        } else {
            self.call(self.leases.create(&params, lease)).await.map(|_| ())
        }
    }

    async fn call<T>(&self, call: impl Future<Output = kube::Result<T>>) -> Result<T, Problem> {
        match tokio::time::timeout(CALL_TIMEOUT, call).await {
            Ok(answer) => answer.map_err(Problem::Failed),
            Err(_) => Err(Problem::TimedOut),
        }
    }

    /// What cannot get better by waiting is an error.
    fn passing(&self, problem: &Problem) -> Result<Step, LeaseError> {
        let namespace = self.namespace.clone();
        match problem {
            Problem::Failed(kube::Error::Api(status)) if status.code == 404 => {
                Err(LeaseError::NoNamespace { namespace })
            }
            Problem::Failed(kube::Error::Api(status)) if status.code == 403 => {
                Err(LeaseError::Forbidden { namespace, message: status.message.clone() })
            }
            Problem::Failed(kube::Error::Api(status)) if status.code == 409 => Ok(Step::Contended),
            _ => Ok(Step::Unanswered(problem.text())),
        }
    }
}

/// Why a call gave nothing.
enum Problem {
    Failed(kube::Error),
    TimedOut,
}

impl Problem {
    fn text(&self) -> String {
        match self {
            Self::Failed(error) => chain(error),
            Self::TimedOut => format!("no answer from the API server within {} s", CALL_TIMEOUT.as_secs()),
        }
    }
}

#[cfg(test)]
mod tests;
