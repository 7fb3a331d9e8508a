//! FleetSync: runs one session on one stream.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use jiff::Timestamp;
use proto::v1;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

use super::machine::Machine;
use super::message::ToSpoke;
use super::object::GoAwayReason;
use super::run::Runner;
use super::tls::Peer;
use super::wire;
use super::{Admission, Counters, EpochStore, Fleetbox, LinkEvent, Standing};
use crate::fleet::ClusterName;

/// Messages that may wait for a spoke that does not read. Deltas are bounded by bytes before that.
pub(super) const OUTBOUND: usize = 8192;

/// The service FleetSync.
pub(super) struct FleetSync<A, E> {
    pub(super) fleetbox: Fleetbox,
    pub(super) events: mpsc::Sender<LinkEvent>,
    pub(super) admission: Arc<A>,
    pub(super) epochs: Arc<E>,
    pub(super) heartbeat: Duration,
    pub(super) counters: Counters,
    pub(super) stop: CancellationToken,
}

#[tonic::async_trait]
impl<A: Admission, E: EpochStore> v1::fleet_sync_server::FleetSync for FleetSync<A, E> {
    type ConnectStream = ReceiverStream<Result<v1::HubMessage, Status>>;

    async fn connect(
        &self,
        request: Request<Streaming<v1::SpokeMessage>>,
    ) -> Result<Response<Self::ConnectStream>, Status> {
        let Some(Peer(Some((cluster, certificate_expiry)))) = request.extensions().get::<Peer>().cloned()
        else {
            return Err(Status::unauthenticated(
                "a client certificate of this hub's CA is needed: enrol first with a join token",
            ));
        };
        let (outbound, stream) = mpsc::channel(OUTBOUND);
        if let Some(goodbye) = self.gate(&cluster).await {
            tracing::info!(%cluster, ?goodbye, "spoke turned away");
            // The channel is new and empty.
            drop(outbound.try_send(Ok(wire::to_spoke(goodbye, Timestamp::now()))));
            return Ok(Response::new(ReceiverStream::new(stream)));
        }
        let machine = Machine::new(
            cluster,
            certificate_expiry,
            self.heartbeat,
            self.fleetbox.clone(),
            self.counters.clone(),
            Instant::now().into_std(),
        );
        let runner = Runner { machine, epochs: self.epochs.clone(), outbound, events: self.events.clone() };
        let inbound = request.into_inner().boxed();
        tokio::spawn(runner.run(inbound, self.stop.clone()));
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}

impl<A: Admission, E: EpochStore> FleetSync<A, E> {
    /// Why a spoke may not come in now, if it may not.
    async fn gate(&self, cluster: &ClusterName) -> Option<ToSpoke> {
        let (reason, message, seconds) = if !self.epochs.is_in_force() {
            let message = "this hub does not hold its lease at this moment".to_owned();
            (GoAwayReason::Unavailable, message, 1)
        } else if self.fleetbox.is_open() {
            match self.admission.standing(cluster).await {
                Ok(Standing::Accepted) => return None,
                Ok(Standing::Pending) => {
                    let message = format!("GPUCluster {cluster} is missing or its spec.accepted is not true");
                    (GoAwayReason::NotAccepted, message, 5)
                }
                Ok(Standing::Refused(message)) => (GoAwayReason::NotAccepted, message, 15),
                Err(error) => (GoAwayReason::Unavailable, format!("the hub could not look: {error}"), 2),
            }
        } else {
            let message = "the hub is starting: it has not read its own state yet".to_owned();
            (GoAwayReason::Unavailable, message, 1)
        };
        Some(ToSpoke::GoAway { reason, message, retry_after: Duration::from_secs(seconds) })
    }
}
