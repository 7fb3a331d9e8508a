//! One session follows another without a gap: the next certificate proves itself before the last session ends.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

use super::IdentityStore;
use super::backoff::Backoff;
use super::connect::Connection;
use super::credentials::Credentials;
use super::dial::{PATIENT, dial};
use super::enroll::{EnrollError, renew};
use super::lasting::Lasting;
use super::run::{Link, Trouble};
use super::session::End;
use crate::deliver::Deliver;

/// A session that is up, and how to end it.
struct Running<'a> {
    session: Pin<Box<dyn Future<Output = (End, Duration)> + Send + 'a>>,
    stop: CancellationToken,
}

impl<D: Deliver, S: IdentityStore> Link<D, S> {
    /// Runs sessions, each under the certificate that follows the last one's, until one ends that has no successor;
    /// also says how long that one was live.
    pub(super) async fn serve(
        &self,
        credentials: &Credentials<S>,
        lasting: &Lasting,
        channel: Channel,
        stop: &CancellationToken,
    ) -> (End, Duration) {
        let turn = Arc::new(Mutex::new(()));
        let mut current = self.begin((credentials, lasting), &turn, channel.clone(), None, stop);
        let mut renewing = Box::pin(self.renewed(credentials, channel));
        loop {
            let fresh = tokio::select! {
                ended = &mut current.session => return ended,
                fresh = &mut renewing => fresh,
            };
            let before = Some(current.stop.clone());
            let mut next = self.begin((credentials, lasting), &turn, fresh.clone(), before, stop);
            tokio::select! {
                // The hub has welcomed the next one, or the line is lost for both.
                _ = &mut current.session => current = next,
                (end, _) = &mut next.session => {
                    tracing::warn!(problem = end.message(), "no session with the new certificate yet; the last one goes on");
                    self.counters.failed_renewals.inc();
                }
            }
            renewing = Box::pin(self.renewed(credentials, fresh));
        }
    }

    fn begin<'a>(
        &'a self,
        (credentials, lasting): (&'a Credentials<S>, &'a Lasting),
        turn: &Arc<Mutex<()>>,
        channel: Channel,
        before: Option<CancellationToken>,
        stop: &CancellationToken,
    ) -> Running<'a> {
        let stop = stop.child_token();
        let connection = Connection {
            settings: &self.settings,
            credentials,
            turn: turn.clone(),
            before,
            deliver: &self.deliver,
            statuses: &self.statuses,
            capacity: &self.capacity,
            state: &self.state,
            counters: &self.counters,
            lasting,
        };
        let ended = stop.clone();
        let session = Box::pin(async move { connection.run(channel, &ended).await });
        Running { session, stop }
    }

    /// Waits until the certificate is to be renewed, renews it over the connection that is up, and gives a connection that
    /// the new one has opened. What fails is tried again for as long as it takes: until the certificate ends, nothing is
    /// lost.
    async fn renewed(&self, credentials: &Credentials<S>, channel: Channel) -> Channel {
        let mut backoff = Backoff::default();
        loop {
            credentials.is_due().await;
            match self.renew(credentials, channel.clone()).await {
                Ok(fresh) => {
                    self.counters.renewals.inc();
                    tracing::info!("certificate renewed");
                    return fresh;
                }
                Err(error) => {
                    self.counters.failed_renewals.inc();
                    let needs_somebody = error.needs_somebody();
                    tracing::warn!(%error, needs_somebody, "the certificate could not be renewed; trying again");
                    sleep(backoff.next(rand::random_range(0.5..1.0))).await;
                }
            }
        }
    }

    async fn renew(&self, credentials: &Credentials<S>, channel: Channel) -> Result<Channel, Trouble> {
        let renewed = renew(&self.settings, channel).await?;
        let tls = renewed.mutual().map_err(EnrollError::from)?;
        // The certificate is kept once it has been seen to work: until then the last one is as good.
        let fresh = dial(&self.settings, tls, PATIENT).await.map_err(EnrollError::from)?;
        credentials.keep(renewed, None).await?;
        Ok(fresh)
    }
}
