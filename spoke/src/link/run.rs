//! The life of the link: join once, then one session after another, with one certificate after another.

use std::sync::Arc;
use std::time::Duration;

use runtime::panics::caught;
use tokio::sync::watch;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::backoff::Backoff;
use super::credentials::{Credentials, CredentialsError};
use super::dial::dial;
use super::enroll::{Answer, EnrollError, come_back, join};
use super::identity::{Enrolled, IdentityError};
use super::lasting::Lasting;
use super::message::GoAwayReason;
use super::session::End;
use super::{Counters, IdentityStore, LinkState, Settings};
use crate::deliver::Deliver;
use crate::facts::CapacityReport;
use crate::report::Outbox;

/// What is added at most to the wait that a hub asks for, so that its spokes do not come back as one.
const SPREAD: Duration = Duration::from_secs(1);

/// What the link works with.
pub struct Link<D, S> {
    /// Where to dial and as whom.
    pub settings: Settings,
    /// Where key and certificate are kept.
    pub identity: S,
    /// What applies the hub's objects.
    pub deliver: Arc<D>,
    /// Statuses on their way to the hub.
    pub statuses: Outbox,
    /// What the cluster can run; `None` until first observed.
    pub capacity: watch::Receiver<Option<CapacityReport>>,
    /// Tells how the link is.
    pub state: watch::Sender<LinkState>,
    /// Counts.
    pub counters: Counters,
}

impl<D: Deliver, S: IdentityStore + Clone> Link<D, S> {
    /// Keeps the link up until `stop` is cancelled. Never fails: whatever goes wrong is logged, told by `state` and
    /// tried again.
    pub async fn run(self, stop: CancellationToken) {
        let (mut backoff, lasting) = (Backoff::default(), Lasting::default());
        let Some(credentials) = stop.run_until_cancelled(self.credentials(&mut backoff)).await else {
            return;
        };
        while !stop.is_cancelled() {
            let wait = match credentials.enrolled().await {
                None => stop.run_until_cancelled(self.join(&credentials, &mut backoff)).await,
                Some(enrolled) => self.session(&credentials, &enrolled, &lasting, &mut backoff, &stop).await,
            };
            let Some(wait) = wait else { return };
            stop.run_until_cancelled(sleep(wait)).await;
        }
    }

    /// Reads who this spoke is, for as long as it takes.
    async fn credentials(&self, backoff: &mut Backoff) -> Credentials<S> {
        loop {
            let error = match Credentials::load(self.identity.clone()).await {
                Ok(credentials) => return credentials,
                Err(error) => Trouble::from(error),
            };
            sleep(self.failed(&error, backoff)).await;
        }
    }

    /// One session, if the hub takes the certificate; else what is needed for another one. Gives the wait before the
    /// next attempt, or `None` when stopped.
    async fn session(
        &self,
        credentials: &Credentials<S>,
        enrolled: &Enrolled,
        lasting: &Lasting,
        backoff: &mut Backoff,
        stop: &CancellationToken,
    ) -> Option<Duration> {
        let patience = backoff.patience();
        let dialled =
            async { dial(&self.settings, enrolled.mutual()?, patience).await.map_err(EnrollError::from) };
        let error = match stop.run_until_cancelled(dialled).await? {
            Ok(channel) => {
                let served = caught(self.serve(credentials, lasting, channel, stop)).await;
                self.counters.connected.set(0);
                let (end, lived) = served.unwrap_or_else(|panic| {
                    (
                        End::Lost(format!("a fault of the spoke, to be reported with this line: {panic}")),
                        Duration::ZERO,
                    )
                });
                if stop.is_cancelled() {
                    return None;
                }
                backoff.lived(lived);
                backoff.set_cap(lasting.longest_wait());
                return stop.run_until_cancelled(self.ended(credentials, end, backoff)).await;
            }
            Err(error) => error,
        };
        if error.needs_token() {
            return stop.run_until_cancelled(self.not_taken(credentials, enrolled, error, backoff)).await;
        }
        Some(self.failed(&error.into(), backoff))
    }

    /// The hub does not take the certificate, or is not known by it.
    async fn not_taken(
        &self,
        credentials: &Credentials<S>,
        enrolled: &Enrolled,
        error: EnrollError,
        backoff: &mut Backoff,
    ) -> Duration {
        let is_over = matches!(&error, EnrollError::Dial(super::dial::DialError::Expired { .. }));
        let error = if is_over {
            match come_back(&self.settings, enrolled).await {
                Ok(answer) => return self.answered(credentials, answer, None, backoff).await,
                Err(error) => error,
            }
        } else {
            error
        };
        if error.needs_token() && self.has_fresh_token(credentials).await {
            return self.join(credentials, backoff).await;
        }
        self.failed(&error.into(), backoff)
    }

    /// A session is over.
    async fn ended(&self, credentials: &Credentials<S>, end: End, backoff: &mut Backoff) -> Duration {
        self.trouble(end.message(), None, end.needs_somebody());
        let own = wait(backoff, matches!(end, End::EpochRefused(_)));
        match end {
            End::GoneAway(goodbye) => {
                let shut_out = matches!(goodbye.reason, GoAwayReason::NotAccepted | GoAwayReason::Revoked);
                if shut_out && self.has_fresh_token(credentials).await {
                    return self.join(credentials, backoff).await;
                }
                goodbye.retry_after + own.min(SPREAD)
            }
            End::Lost(_) | End::EpochRefused(_) => own,
        }
    }

    async fn has_fresh_token(&self, credentials: &Credentials<S>) -> bool {
        credentials.is_fresh(self.settings.token.as_deref().unwrap_or_default()).await
    }

    /// Asks once with the token. What this spoke was known by before stays until there is something new.
    async fn join(&self, credentials: &Credentials<S>, backoff: &mut Backoff) -> Duration {
        let Some(token) = self.settings.token.as_deref().filter(|token| !token.is_empty()) else {
            let cluster = self.settings.cluster.clone();
            return self.failed(&EnrollError::NoToken { cluster }.into(), backoff);
        };
        let asked = async {
            let key_pem = credentials.joining_key().await?;
            Ok::<_, Trouble>(join(&self.settings, token, &key_pem).await?)
        };
        match asked.await {
            Ok(answer) => self.answered(credentials, answer, Some(token), backoff).await,
            Err(error) => self.failed(&error, backoff),
        }
    }

    async fn answered(
        &self,
        credentials: &Credentials<S>,
        answer: Answer,
        token: Option<&str>,
        backoff: &mut Backoff,
    ) -> Duration {
        match answer {
            Answer::Pending { message, retry_after } => {
                tracing::info!(answer = message, "the hub has not accepted this cluster yet");
                self.state.send_replace(LinkState::Pending { message });
                retry_after
            }
            Answer::Enrolled(enrolled) => match credentials.keep(enrolled, token).await {
                Ok(()) => {
                    self.counters.enrolments.inc();
                    let by_token = token.is_some();
                    tracing::info!(hub = %self.settings.address, cluster = self.settings.cluster, by_token, "enrolled");
                    Duration::ZERO
                }
                Err(error) => self.failed(&error.into(), backoff),
            },
        }
    }

    /// Tells of a failed attempt and gives the wait before the next.
    fn failed(&self, error: &Trouble, backoff: &mut Backoff) -> Duration {
        let needs_somebody = error.needs_somebody();
        self.trouble(&error.to_string(), std::error::Error::source(error), needs_somebody);
        wait(backoff, needs_somebody)
    }

    /// Tells what is wrong.
    fn trouble(
        &self,
        message: &str,
        source: Option<&(dyn std::error::Error + 'static)>,
        needs_somebody: bool,
    ) {
        self.counters.failed_attempts.inc();
        let message = source.map_or_else(|| message.to_owned(), |source| format!("{message}: {source}"));
        if needs_somebody {
            tracing::error!(problem = message, "no link to the hub until somebody acts");
            self.state.send_replace(LinkState::Refused { message });
        } else {
            tracing::warn!(problem = message, "no link to the hub");
            self.state.send_replace(LinkState::Connecting { problem: message });
        }
    }
}

/// Why an attempt failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    #[error(transparent)]
    Enroll(#[from] EnrollError),
}

impl Trouble {
    pub(super) fn needs_somebody(&self) -> bool {
        match self {
            Self::Credentials(CredentialsError::Identity(error)) => {
                matches!(error, IdentityError::Content { .. })
            }
            Self::Credentials(_) => true,
            Self::Enroll(error) => error.needs_somebody(),
        }
    }
}

fn wait(backoff: &mut Backoff, needs_somebody: bool) -> Duration {
    let random = rand::random_range(0.0..1.0);
    if needs_somebody { Backoff::slow(random) } else { backoff.next(random) }
}
