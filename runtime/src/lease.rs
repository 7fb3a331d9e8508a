//! One process at a time: a Lease says which, and a fence keeps every other one from writing.
//!
//! ```text
//! renewed ── trusted ──► the holder's fence closes: no write passes
//! renewed ───── duration ─────► a process that saw no renewal for so long takes the Lease
//! ```
//!
//! Each process measures by its own clock from what it did or saw itself, so that skewed clocks do no harm. A process that is
//! started again in the same pod takes over the lease of the one before it at once, and a clean end releases the lease.
//!
//! What a holder does that cannot reach the API server is its [`Discipline`]. In either case it ends as soon as it reads that
//! another process holds the lease.

mod fence;
mod tenure;

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::{Api, PostParams};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::call::{CallError, within};
use crate::identity::Identity;
use tenure::{Tenure, Verdict};

pub use fence::{Fence, Fenced};

/// How often the holder renews: a fence of 8 s stays open through three renewals that fail, a lease of 6 s outlives two.
const RENEW: Duration = Duration::from_secs(2);
/// How often a process looks that waits for the lease, and a holder whose last renewal failed: once the API server is back,
/// nothing else is written before the lease is.
const LOOK: Duration = Duration::from_millis(500);
/// How long one call may take.
const CALL_TIMEOUT: Duration = Duration::from_secs(2);

/// How long a refusal (403) may last in a pod: an API server that has just started gives it until it has read its roles,
/// which takes seconds, or minutes where it is busy.
pub const REFUSED_FOR: Duration = Duration::from_mins(5);

/// Which lease a process wants, and how it holds it.
#[derive(Clone, Debug)]
pub struct Claim {
    /// Name of the Lease, and field manager of its writes.
    pub name: &'static str,
    /// Namespace of the Lease.
    pub namespace: String,
    /// Who wants it.
    pub identity: Identity,
    /// How long the lease holds without renewal. The holder renews every 2 s.
    pub duration: Duration,
    /// How long a refusal (403) may last before it is an error.
    pub refused_for: Duration,
    /// What the holder does while it cannot renew.
    pub discipline: Discipline,
    /// How people are told about it.
    pub words: Words,
}

/// What a holder does that cannot renew its lease, or finds that nobody holds it.
#[derive(Clone, Debug)]
pub enum Discipline {
    /// It alone may write: its fence closes `trusted` after the last renewal began, before anybody else may take the lease. A
    /// lease that nobody holds any more is lost, since another process may have held it meanwhile.
    OneWriter {
        /// Open while the lease is held and renewed.
        fence: Fence,
        /// How long a renewal is trusted; shorter than [`Claim::duration`].
        trusted: Duration,
    },
    /// It works on: without the API server nobody can take the lease, and a cluster whose control plane is restarted keeps
    /// its agent. A lease that nobody holds any more is taken again.
    WorksOn,
}

/// How a lease is spoken of in the log and in errors.
#[derive(Clone, Copy, Debug)]
pub struct Words {
    /// Logged when the lease is held, for example `this hub leads`.
    pub held: &'static str,
    /// Logged when another process holds it, for example `standing by`.
    pub waiting: &'static str,
    /// Another process that wants the lease, for example `another replica`.
    pub other: &'static str,
    /// What follows from its loss, for example `this hub ends, and comes back as a standby`.
    pub loss: &'static str,
}

/// Why this process does not hold the lease, or no longer.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    /// There is nowhere to keep it.
    #[error(
        "Lease {namespace}/{name}: the namespace does not exist: create it, or name another with --namespace"
    )]
    NoNamespace {
        /// Namespace of the lease.
        namespace: String,
        /// Name of the lease.
        name: &'static str,
    },
    /// It is not allowed.
    #[error(
        "Lease {namespace}/{name}: not permitted ({message}): grant get, create and update, as the chart does"
    )]
    Forbidden {
        /// Namespace of the lease.
        namespace: String,
        /// Name of the lease.
        name: &'static str,
        /// What the API server said.
        message: String,
    },
    /// Another process has taken it; this one has to end.
    #[error("Lease {namespace}/{name}: lost to {holder}: {loss}")]
    Lost {
        /// Namespace of the lease.
        namespace: String,
        /// Name of the lease.
        name: &'static str,
        /// Identity of the process that has it, or `nobody`.
        holder: String,
        /// What follows: [`Words::loss`].
        loss: &'static str,
    },
}

/// The lease, held by this process. Whoever has it calls [`Held::keep`] at once.
#[derive(Debug)]
pub struct Held {
    leases: Api<Lease>,
    claim: Claim,
    tenure: Tenure,
}

/// Waits until this process holds the lease; `None` when cancelled before. The fence, if there is one, is open from then on.
///
/// # Errors
///
/// The namespace is missing, or a refusal (403) has lasted for [`Claim::refused_for`].
pub async fn acquire(
    client: kube::Client,
    claim: Claim,
    cancel: &CancellationToken,
) -> Result<Option<Held>, LeaseError> {
    let is_one_writer = matches!(claim.discipline, Discipline::OneWriter { .. });
    let tenure = Tenure::new(claim.identity.clone(), is_one_writer);
    let mut held = Held { leases: Api::namespaced(client, &claim.namespace), claim, tenure };
    let (words, at_most) = (held.claim.words, held.claim.refused_for);
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
                let Claim { namespace, identity, .. } = &held.claim;
                tracing::info!(namespace, %identity, "{}", words.held);
                return Ok(Some(held));
            }
            Ok(Step::HeldBy(holder)) => {
                if is_news(&holder) {
                    tracing::info!(holder, "{}", words.waiting);
                }
            }
            Ok(Step::Contended) => {
                if is_news("contended") {
                    tracing::info!("standing by: {} was faster to write the lease", words.other);
                }
            }
            Ok(Step::Unanswered(problem)) => {
                if is_news(&problem) {
                    tracing::warn!(problem, "the lease cannot be read or written; tried again");
                }
            }
            Err(error @ LeaseError::Forbidden { .. })
                if refused.get_or_insert_with(Instant::now).elapsed() < at_most =>
            {
                if is_news("refused") {
                    tracing::warn!(%error, ?at_most, "the lease cannot be had yet; tried again");
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
    /// Renews until cancelled, then releases.
    ///
    /// # Errors
    ///
    /// Another process holds the lease; with [`Discipline::OneWriter`] also when nobody does.
    pub async fn keep(mut self, stop: CancellationToken) -> Result<(), LeaseError> {
        let (mut wait, mut said) = (RENEW, String::new());
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                () = tokio::time::sleep(wait) => {}
            }
            wait = LOOK;
            let problem = match self.step().await {
                Ok(Step::Holding) => {
                    wait = RENEW;
                    String::new()
                }
                Ok(Step::HeldBy(holder)) => {
                    self.close_fence();
                    let Claim { namespace, name, words, .. } = self.claim;
                    return Err(LeaseError::Lost { namespace, name, holder, loss: words.loss });
                }
                // The next look tells who wrote it.
                Ok(Step::Contended) => "it was written by another since it was read".to_owned(),
                Ok(Step::Unanswered(problem)) => problem,
                Err(error) => error.to_string(),
            };
            if !problem.is_empty() && problem != said {
                tracing::warn!(problem, "the lease could not be renewed; tried again");
            }
            said = problem;
        }
        self.close_fence();
        self.release().await;
        Ok(())
    }

    fn close_fence(&self) {
        if let Discipline::OneWriter { fence, .. } = &self.claim.discipline {
            fence.close();
        }
    }

    /// Reads the lease and takes or renews it where that is right.
    async fn step(&mut self) -> Result<Step, LeaseError> {
        // What is trusted counts from before the call, however long it takes.
        let (begun, at) = (Instant::now().into_std(), Timestamp::now());
        let live = match within(CALL_TIMEOUT, self.leases.get_opt(self.claim.name)).await {
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
                if let Discipline::OneWriter { fence, trusted } = &self.claim.discipline {
                    fence.open_for(*trusted, begun, at);
                }
                Ok(Step::Holding)
            }
            Err(problem) => self.passing(&problem),
        }
    }

    /// Writes the lease as ours. The version read before makes sure that only one of two takers succeeds.
    async fn write(&self, live: Option<Lease>, taken: bool) -> Result<(), CallError> {
        let now = Some(MicroTime(Timestamp::now()));
        let exists = live.is_some();
        let mut lease = live.unwrap_or_else(|| Lease {
            metadata: ObjectMeta { name: Some(self.claim.name.to_owned()), ..ObjectMeta::default() },
            spec: None,
        });
        let spec = lease.spec.get_or_insert_with(LeaseSpec::default);
        if taken {
            spec.acquire_time.clone_from(&now);
            spec.lease_transitions = Some(spec.lease_transitions.unwrap_or(0).saturating_add(1));
        }
        spec.holder_identity = Some(self.claim.identity.to_string());
        spec.lease_duration_seconds = i32::try_from(self.claim.duration.as_secs()).ok();
        spec.renew_time = now;
        lease.metadata.managed_fields = None;
        self.store(&lease, exists).await
    }

    async fn release(&self) {
        let Ok(Some(mut lease)) = within(CALL_TIMEOUT, self.leases.get_opt(self.claim.name)).await else {
            return;
        };
        let Some(spec) = lease.spec.as_mut() else { return };
        if spec.holder_identity != Some(self.claim.identity.to_string()) {
            return;
        }
        spec.holder_identity = None;
        lease.metadata.managed_fields = None;
        match self.store(&lease, true).await {
            Ok(()) => tracing::info!("lease released"),
            Err(problem) => tracing::warn!(problem = problem.words(), "the lease could not be released"),
        }
    }

    async fn store(&self, lease: &Lease, exists: bool) -> Result<(), CallError> {
        let name = self.claim.name;
        let params = PostParams { field_manager: Some(name.to_owned()), ..PostParams::default() };
        if exists {
            within(CALL_TIMEOUT, self.leases.replace(name, &params, lease)).await.map(|_| ())
        } else {
            within(CALL_TIMEOUT, self.leases.create(&params, lease)).await.map(|_| ())
        }
    }

    /// What cannot get better by waiting is an error.
    fn passing(&self, problem: &CallError) -> Result<Step, LeaseError> {
        let (namespace, name) = (self.claim.namespace.clone(), self.claim.name);
        match problem.status() {
            Some(_) if problem.is_not_found() => Err(LeaseError::NoNamespace { namespace, name }),
            Some(status) if problem.is_forbidden() => {
                Err(LeaseError::Forbidden { namespace, name, message: status.message.clone() })
            }
            Some(_) if problem.is_conflict() => Ok(Step::Contended),
            _ => Ok(Step::Unanswered(problem.words())),
        }
    }
}

#[cfg(test)]
mod tests;
