//! FleetSync: runs one session on one stream.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::StreamExt;
use futures::stream::BoxStream;
use hub_core::identity::SpokeCertificate;
use hub_core::link::{GoAwayReason, LinkEvent, Terms, TokenBucket, go_away};
use jiff::Timestamp;
use proto::v1;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

use super::identified::{Identified, dropped};
use super::lanes::lanes;
use super::run::Runner;
use super::session::Session;
use super::tls::Peer;
use super::{Admission, Counters, DesiredState, EpochStore, MemberIdentity, Membership};
use crate::pki::Trust;

/// Spokes whose index is waited for at once.
pub(super) const INDEXING: usize = 64;

/// The service FleetSync.
pub(super) struct FleetSync<A, E> {
    pub(super) desired: DesiredState,
    pub(super) events: mpsc::Sender<LinkEvent>,
    pub(super) admission: Arc<A>,
    pub(super) epochs: Arc<E>,
    pub(super) heartbeat: Duration,
    pub(super) counters: Counters,
    pub(super) trust: watch::Receiver<Arc<Trust>>,
    pub(super) stop: CancellationToken,
    /// Handshakes of all spokes.
    pub(super) handshakes: Mutex<TokenBucket>,
    /// One for each spoke whose index is waited for.
    pub(super) indexing: Arc<Semaphore>,
}

#[tonic::async_trait]
impl<A: Admission, E: EpochStore> v1::fleet_sync_server::FleetSync for FleetSync<A, E> {
    type ConnectStream = BoxStream<'static, Result<v1::HubMessage, Status>>;

    async fn connect(
        &self,
        request: Request<Streaming<v1::SpokeMessage>>,
    ) -> Result<Response<Self::ConnectStream>, Status> {
        let Some(Peer { certificate: Some(certificate), address }) =
            request.extensions().get::<Peer>().cloned()
        else {
            tracing::warn!("session refused: no client certificate");
            return Err(Status::unauthenticated(
                "a client certificate of this hub's CA is needed: enrol first with a join token",
            ));
        };
        let (outbound, stream) = lanes();
        let identity = match self.admit(&certificate).await {
            Ok(identity) => identity,
            Err(goodbye) => {
                let SpokeCertificate { cluster, serial, .. } = &certificate;
                tracing::info!(%cluster, from = %address, serial, ?goodbye, "spoke turned away");
                // The lane is new and empty.
                let Goodbye { reason, message, retry_after } = goodbye;
                drop(outbound.send(go_away(reason, message, retry_after, Timestamp::now())));
                return Ok(Response::new(stream));
            }
        };
        let session = Session::new(
            certificate.cluster.clone(),
            certificate.expires,
            self.terms(),
            self.epochs.key(),
            &self.desired,
            Instant::now().into_std(),
        );
        let runner = Runner {
            session,
            identified: Identified::new(certificate, identity, self.trust.clone()),
            address,
            admission: self.admission.clone(),
            epochs: self.epochs.clone(),
            outbound,
            counters: self.counters.clone(),
            events: self.events.clone(),
            indexing: self.indexing.clone(),
            permit: None,
        };
        let inbound = request.into_inner().boxed();
        tokio::spawn(runner.run(inbound, self.stop.clone()));
        Ok(Response::new(stream))
    }
}

/// Why a spoke is not admitted now, and when it may dial again.
#[derive(Debug)]
struct Goodbye {
    reason: GoAwayReason,
    message: String,
    retry_after: Duration,
}

impl<A: Admission, E: EpochStore> FleetSync<A, E> {
    /// What a session is given now.
    fn terms(&self) -> Terms {
        let random = [rand::random_range(0.0..1.0), rand::random_range(0.0..1.0)];
        Terms::of(self.desired.clusters(), self.heartbeat, random)
    }

    /// The identity that the spoke is held to, if it is admitted now; else why not.
    async fn admit(&self, certificate: &SpokeCertificate) -> Result<MemberIdentity, Goodbye> {
        let goodbye =
            |reason, message, seconds| Goodbye { reason, message, retry_after: Duration::from_secs(seconds) };
        let now = Instant::now().into_std();
        // The cluster's own limit comes first, so that a spoke that dials without end takes no admission slot of others.
        let link = self.desired.link(&certificate.cluster);
        let wait =
            if link.may_attempt(now) { link.slot(now, &self.handshakes) } else { self.terms().come_back };
        if !wait.is_zero() {
            self.counters.turned_away.inc();
            return Err(Goodbye {
                reason: GoAwayReason::Unavailable,
                message: "too many spokes come at once, or this one too often: dial again".to_owned(),
                retry_after: wait,
            });
        }
        if !self.epochs.is_in_force() {
            let message = "this hub does not hold its lease at this moment".to_owned();
            return Err(goodbye(GoAwayReason::Unavailable, message, 1));
        }
        if !self.desired.is_open() {
            let message = "the hub is starting: it has not read its own state yet".to_owned();
            return Err(goodbye(GoAwayReason::Unavailable, message, 1));
        }
        let dropped = dropped(&self.trust.borrow(), certificate);
        if let Some(message) = dropped {
            return Err(goodbye(GoAwayReason::Revoked, message, 15));
        }
        match membership(&*self.admission, certificate).await {
            Ok(membership) => Ok(membership),
            Err((reason, message)) => {
                let seconds = match reason {
                    GoAwayReason::NotAccepted => 5,
                    GoAwayReason::Unavailable => 2,
                    _ => 15,
                };
                Err(goodbye(reason, message, seconds))
            }
        }
    }
}

/// What the holder of a certificate is held to if it may have a session now; else why not.
pub(super) async fn membership(
    admission: &impl Admission,
    certificate: &SpokeCertificate,
) -> Result<MemberIdentity, (GoAwayReason, String)> {
    match admission.membership(certificate).await {
        Ok(Membership::Accepted(membership)) => Ok(membership),
        Ok(Membership::Pending) => {
            let cluster = &certificate.cluster;
            Err((GoAwayReason::NotAccepted, format!("spec.accepted of GPUCluster {cluster} is not true")))
        }
        Ok(Membership::Refused(message)) => Err((GoAwayReason::NotAccepted, message)),
        Ok(Membership::Revoked(message)) => Err((GoAwayReason::Revoked, message)),
        Err(error) => Err((GoAwayReason::Unavailable, format!("the hub could not look: {error}"))),
    }
}
