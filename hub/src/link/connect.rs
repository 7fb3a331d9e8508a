//! FleetSync: runs one session on one stream.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::StreamExt;
use futures::stream::BoxStream;
use jiff::Timestamp;
use proto::v1;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

use super::allowance::Allowance;
use super::identified::Identified;
use super::lanes::lanes;
use super::machine::Machine;
use super::message::ToSpoke;
use super::object::GoAwayReason;
use super::run::Runner;
use super::terms::Terms;
use super::tls::Peer;
use super::wire;
use super::{Admission, Counters, EpochStore, Fleetbox, LinkEvent, Standing};
use crate::pki::{SpokeCertificate, Trust};

/// Spokes whose index is waited for at once.
pub(super) const INDEXING: usize = 64;

/// The service FleetSync.
pub(super) struct FleetSync<A, E> {
    pub(super) fleetbox: Fleetbox,
    pub(super) events: mpsc::Sender<LinkEvent>,
    pub(super) admission: Arc<A>,
    pub(super) epochs: Arc<E>,
    pub(super) heartbeat: Duration,
    pub(super) counters: Counters,
    pub(super) trust: watch::Receiver<Arc<Trust>>,
    pub(super) stop: CancellationToken,
    /// Handshakes of all spokes.
    pub(super) handshakes: Mutex<Allowance>,
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
        if let Some(goodbye) = self.gate(&certificate).await {
            let SpokeCertificate { cluster, serial, .. } = &certificate;
            tracing::info!(%cluster, from = %address, serial, ?goodbye, "spoke turned away");
            // The lane is new and empty.
            drop(outbound.send(wire::to_spoke(goodbye, Timestamp::now())));
            return Ok(Response::new(stream));
        }
        let machine = Machine::new(
            certificate.cluster.clone(),
            certificate.expires,
            self.terms(),
            self.fleetbox.clone(),
            self.counters.clone(),
            Instant::now().into_std(),
        );
        let runner = Runner {
            machine,
            identified: Identified::new(certificate, self.trust.clone()),
            address,
            admission: self.admission.clone(),
            epochs: self.epochs.clone(),
            outbound,
            events: self.events.clone(),
            indexing: self.indexing.clone(),
            permit: None,
        };
        let inbound = request.into_inner().boxed();
        tokio::spawn(runner.run(inbound, self.stop.clone()));
        Ok(Response::new(stream))
    }
}

impl<A: Admission, E: EpochStore> FleetSync<A, E> {
    /// What a session is given now.
    fn terms(&self) -> Terms {
        let random = [rand::random_range(0.0..1.0), rand::random_range(0.0..1.0)];
        Terms::of(self.fleetbox.clusters(), self.heartbeat, random)
    }

    /// Why a spoke may not come in now, if it may not.
    async fn gate(&self, certificate: &SpokeCertificate) -> Option<ToSpoke> {
        let now = Instant::now().into_std();
        // First the one, so that a spoke that dials without end takes no turn of others.
        let mailbox = self.fleetbox.mailbox(&certificate.cluster);
        let wait =
            if mailbox.knock(now) { mailbox.turn(now, &self.handshakes) } else { self.terms().come_back };
        if !wait.is_zero() {
            self.counters.turned_away.inc();
            return Some(ToSpoke::GoAway {
                reason: GoAwayReason::Unavailable,
                message: "too many spokes come at once, or this one too often: dial again".to_owned(),
                retry_after: wait,
            });
        }
        let (reason, message, seconds) = if !self.epochs.is_in_force() {
            let message = "this hub does not hold its lease at this moment".to_owned();
            (GoAwayReason::Unavailable, message, 1)
        } else if self.fleetbox.is_open() {
            let (reason, message) = turned_away(&*self.admission, certificate).await?;
            let seconds = match reason {
                GoAwayReason::NotAccepted => 5,
                GoAwayReason::Unavailable => 2,
                _ => 15,
            };
            (reason, message, seconds)
        } else {
            let message = "the hub is starting: it has not read its own state yet".to_owned();
            (GoAwayReason::Unavailable, message, 1)
        };
        Some(ToSpoke::GoAway { reason, message, retry_after: Duration::from_secs(seconds) })
    }
}

/// Why the holder of a certificate may not have a session now, if it may not.
pub(super) async fn turned_away(
    admission: &impl Admission,
    certificate: &SpokeCertificate,
) -> Option<(GoAwayReason, String)> {
    match admission.standing(certificate).await {
        Ok(Standing::Accepted) => None,
        Ok(Standing::Pending) => {
            let cluster = &certificate.cluster;
            Some((GoAwayReason::NotAccepted, format!("spec.accepted of GPUCluster {cluster} is not true")))
        }
        Ok(Standing::Refused(message)) => Some((GoAwayReason::NotAccepted, message)),
        Ok(Standing::Revoked(message)) => Some((GoAwayReason::Revoked, message)),
        Err(error) => Some((GoAwayReason::Unavailable, format!("the hub could not look: {error}"))),
    }
}
