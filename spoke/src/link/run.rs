//! The life of the link: enrol once, then one session after another.

use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use tokio::sync::watch;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::backoff::Backoff;
use super::connect::Connection;
use super::dial::dial;
use super::enroll::{EnrollError, Enrolled, enroll, new_key};
use super::session::End;
use super::tls::{TlsError, mutual};
use super::{Counters, Identity, IdentityError, IdentityStore, LinkState, Settings};
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

impl<D: Deliver, S: IdentityStore> Link<D, S> {
    /// Keeps the link up until `stop` is cancelled. Never fails: whatever goes wrong is logged, told by `state` and
    /// tried again.
    pub async fn run(self, stop: CancellationToken) {
        tokio::select! {
            () = stop.cancelled() => {}
            tls = self.enrolled() => self.sessions(&tls, &stop).await,
        }
    }

    /// Has a certificate, sooner or later.
    async fn enrolled(&self) -> Arc<ClientConfig> {
        let mut backoff = Backoff::default();
        loop {
            let wait = match self.try_enrol().await {
                Ok(Attempt::Enrolled(enrolment)) => return enrolment,
                Ok(Attempt::Pending(message, retry_after)) => {
                    tracing::info!(message, "the hub has not accepted this cluster yet");
                    self.state.send_replace(LinkState::Pending { message });
                    retry_after
                }
                Err(error) => {
                    let needs_somebody = error.needs_somebody();
                    self.trouble(&error.to_string(), std::error::Error::source(&error), needs_somebody);
                    wait(&mut backoff, needs_somebody)
                }
            };
            sleep(wait).await;
        }
    }

    async fn try_enrol(&self) -> Result<Attempt, Trouble> {
        let mut identity = if let Some(identity) = self.identity.load().await? {
            identity
        } else {
            // Kept before it is used: the token is bound to the key by its first use.
            let identity = Identity { key_pem: new_key()?, certificate: None };
            self.identity.save(&identity).await?;
            identity
        };
        if let Some((certificate_pem, ca_pem)) = &identity.certificate {
            let config = mutual(&identity.key_pem, certificate_pem, ca_pem)?;
            return Ok(Attempt::Enrolled(Arc::new(config)));
        }
        match enroll(&self.settings, &identity.key_pem).await? {
            Enrolled::Pending { message, retry_after } => Ok(Attempt::Pending(message, retry_after)),
            Enrolled::Certificate { certificate_pem, ca_pem } => {
                let config = mutual(&identity.key_pem, &certificate_pem, &ca_pem)?;
                identity.certificate = Some((certificate_pem, ca_pem));
                self.identity.save(&identity).await?;
                tracing::info!(hub = %self.settings.address, cluster = self.settings.cluster, "enrolled");
                Ok(Attempt::Enrolled(Arc::new(config)))
            }
        }
    }

    async fn sessions(&self, tls: &Arc<ClientConfig>, stop: &CancellationToken) {
        let mut backoff = Backoff::default();
        while !stop.is_cancelled() {
            let dialled = tokio::select! {
                () = stop.cancelled() => return,
                dialled = dial(&self.settings.address, self.settings.ca_hash, tls.clone()) => dialled,
            };
            let wait = match dialled {
                Err(error) => {
                    self.trouble(&error.to_string(), None, error.needs_somebody());
                    wait(&mut backoff, error.needs_somebody())
                }
                Ok(channel) => {
                    let (end, lived) = self.connection().run(channel, stop).await;
                    if stop.is_cancelled() {
                        return;
                    }
                    backoff.lived(lived);
                    self.trouble(end.message(), None, end.needs_somebody());
                    let own = wait(&mut backoff, matches!(end, End::EpochRefused(_)));
                    match end {
                        End::GoneAway(goodbye) => goodbye.retry_after + own.min(SPREAD),
                        End::Lost(_) | End::EpochRefused(_) => own,
                    }
                }
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = sleep(wait) => {}
            }
        }
    }

    fn connection(&self) -> Connection<'_, D> {
        Connection {
            settings: &self.settings,
            deliver: &self.deliver,
            statuses: &self.statuses,
            capacity: &self.capacity,
            state: &self.state,
            counters: &self.counters,
        }
    }

    fn trouble(&self, message: &str, source: Option<&dyn std::error::Error>, needs_somebody: bool) {
        self.counters.failed_attempts.inc();
        let message = source.map_or_else(|| message.to_owned(), |source| format!("{message}: {source}"));
        if needs_somebody {
            tracing::error!(message, "no link to the hub until somebody acts");
            self.state.send_replace(LinkState::Refused { message });
        } else {
            tracing::warn!(message, "no link to the hub");
            self.state.send_replace(LinkState::Connecting { problem: message });
        }
    }
}

/// What an attempt to enrol came to: TLS settings with our certificate, or a wait for the admin.
enum Attempt {
    Enrolled(Arc<ClientConfig>),
    Pending(String, Duration),
}

/// Why an attempt to enrol failed.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error(transparent)]
    Identity(#[from] IdentityError),
    #[error(transparent)]
    Enroll(#[from] EnrollError),
    #[error(transparent)]
    Tls(#[from] TlsError),
}

impl Trouble {
    fn needs_somebody(&self) -> bool {
        match self {
            Self::Identity(error) => matches!(error, IdentityError::Content { .. }),
            Self::Enroll(error) => error.needs_somebody(),
            Self::Tls(_) => true,
        }
    }
}

fn wait(backoff: &mut Backoff, needs_somebody: bool) -> Duration {
    let random = rand::random_range(0.0..1.0);
    if needs_somebody { Backoff::slow(random) } else { backoff.next(random) }
}
