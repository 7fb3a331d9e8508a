//! One spoke at a time in one cluster: a Lease that fences a second instance.
//!
//! The holder renews every 2 s; another instance takes over once it has seen no renewal for 6 s by its own clock,
//! so skewed clocks do no harm. A container that is started again takes its pod's lease over at once, and a clean end
//! releases it.
//!
//! A holder that cannot reach the API server keeps its work: nobody can take the lease meanwhile without that server,
//! and a cluster whose control plane is restarted should not lose its agent. It ends as soon as it reads that another
//! one holds the lease.

mod tenure;

use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::{Api, PostParams};
use runtime::Identity;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use tenure::{Tenure, Verdict};

use crate::watch::chain;

/// Name of the Lease, in the spoke's own namespace.
const NAME: &str = "nimfleet-spoke";

/// How long a lease holds without renewal.
const DURATION: Duration = Duration::from_secs(6);

/// How often it is renewed: two renewals may fail before anybody else moves.
const RENEW: Duration = Duration::from_secs(2);

/// How long one call may take.
const CALL_TIMEOUT: Duration = Duration::from_secs(2);

/// How long a refusal (403) may last in a pod: an API server that has just started gives it until it has read its roles,
/// which takes seconds, or minutes where it is busy.
pub const REFUSED_FOR: Duration = Duration::from_mins(5);

/// Why there is no lease.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    /// There is nowhere to keep it.
    #[error("namespace {0}: it does not exist: create it, or name another with --namespace")]
    NoNamespace(String),
    /// It is not allowed.
    #[error(
        "Lease {namespace}/{NAME}: not permitted ({message}): grant get, create and update, as the chart does"
    )]
    Forbidden {
        /// Namespace of the spoke.
        namespace: String,
        /// What the API server said.
        message: String,
    },
    /// Another instance has taken it; this one has to end.
    #[error(
        "Lease {namespace}/{NAME}: lost to {holder}: only one spoke may run in a cluster, so this one ends"
    )]
    Lost {
        /// Namespace of the spoke.
        namespace: String,
        /// Identity of the instance that has it.
        holder: String,
    },
}

/// A lease that this process holds. Whoever has it calls [`Held::keep`] at once.
pub struct Held {
    leases: Api<Lease>,
    namespace: String,
    tenure: Tenure,
}

/// Waits until this instance holds the lease; `None` when cancelled before. A refusal (403) is an error when it has lasted
/// for `refused_for`.
pub async fn acquire(
    client: kube::Client,
    namespace: &str,
    identity: Identity,
    refused_for: Duration,
    cancel: &CancellationToken,
) -> Result<Option<Held>, LeaseError> {
    let mut held = Held {
        leases: Api::namespaced(client, namespace),
        namespace: namespace.to_owned(),
        tenure: Tenure::new(identity),
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
                tracing::info!(namespace, identity = %held.tenure.identity(), "this instance holds the lease");
                return Ok(Some(held));
            }
            Ok(Step::HeldBy(holder)) => {
                if is_news(&holder) {
                    tracing::info!(holder, at_most = ?DURATION, "waiting for the lease of another instance to end");
                }
            }
            Ok(Step::Contended) => {
                if is_news("contended") {
                    tracing::info!("standing by: another instance was faster to write the lease");
                }
            }
            Ok(Step::Unanswered(problem)) => {
                if is_news(&problem) {
                    tracing::warn!(problem, "the lease cannot be read or written; tried again");
                }
            }
            Err(error @ LeaseError::Forbidden { .. })
                if refused.get_or_insert_with(Instant::now).elapsed() < refused_for =>
            {
                if is_news("refused") {
                    tracing::warn!(%error, at_most = ?refused_for, "the lease cannot be had yet; tried again");
                }
            }
            Err(error) => return Err(error),
        }
        tokio::select! {
            () = cancel.cancelled() => return Ok(None),
            () = tokio::time::sleep(RENEW / 4) => {}
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
    /// Renews until cancelled, then releases. An error means that another instance has taken over.
    pub async fn keep(mut self, stop: CancellationToken) -> Result<(), LeaseError> {
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                () = tokio::time::sleep(RENEW) => {}
            }
            match self.step().await {
                Ok(Step::Holding) => {}
                Ok(Step::HeldBy(holder)) => {
                    return Err(LeaseError::Lost { namespace: self.namespace, holder });
                }
                // The next look tells who wrote it.
                Ok(Step::Contended) => tracing::info!("the lease was written by another since it was read"),
                Ok(Step::Unanswered(problem)) => tracing::warn!(problem, "the lease could not be renewed"),
                Err(error) => tracing::warn!(%error, "the lease could not be renewed"),
            }
        }
        self.release().await;
        Ok(())
    }

    /// Reads the lease and takes or renews it where that is right.
    async fn step(&mut self) -> Result<Step, LeaseError> {
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
            Ok(()) => Ok(Step::Holding),
            Err(problem) => self.passing(&problem),
        }
    }

    /// Writes the lease as ours. The version read before makes sure that only one of two takers succeeds.
    async fn write(&self, live: Option<Lease>, taken: bool) -> Result<(), Problem> {
        let now = Some(MicroTime(jiff::Timestamp::now()));
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
        if spec.holder_identity != Some(self.tenure.identity().to_string()) {
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
                Err(LeaseError::NoNamespace(namespace))
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
