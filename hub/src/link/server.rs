//! The hub's listener: TLS, then Enrollment for those without a certificate and FleetSync for those with one.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::BoxFuture;
use hub_core::link::{HANDSHAKES_PER_SECOND, LinkEvent, TokenBucket};
use jiff::{SignedDuration, Timestamp};
use proto::v1::enrollment_server::EnrollmentServer;
use proto::v1::fleet_sync_server::FleetSyncServer;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::{MissedTickBehavior, interval};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;

use super::connect::{FleetSync, INDEXING};
use super::enroll::Enrollment;
use super::limits::Limits;
use super::tls::Door;
use super::{Admission, Counters, DesiredState, EpochStore, rollover, tls};
use crate::pki::{Authorities, AuthorityError, Secrets, Tokens, Trust};

/// How often both sides send something in a small fleet, and a third of the silence that ends a session.
pub const HEARTBEAT: Duration = Duration::from_secs(10);

/// How often each side asks the other's HTTP/2 whether it lives: finds connections that ended without a word, and keeps
/// those alive that pass through a proxy or load balancer which cuts what is idle, after a minute in the strictest.
const KEEPALIVE: Duration = Duration::from_secs(30);
/// A spoke needs one stream, one for a renewal, and one more while it replaces a broken one.
const STREAMS: u32 = 4;
/// A request to enrol is about 1 KiB.
const ENROLL_BYTES: usize = 64 * 1024;
/// Join tokens that are over are looked for so often.
const CLEARED_EVERY: Duration = Duration::from_mins(10);
/// Connections that have shaken hands and wait to be served.
const HANDED_OVER: usize = 64;

/// The listener cannot work.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// No certificate for it.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// The TLS library refuses what it was given.
    #[error("TLS cannot be set up")]
    Tls(#[from] rustls::Error),
    /// A part of the server has ended by itself.
    #[error("{0} has ended")]
    Ended(&'static str),
    /// The HTTP/2 server ended.
    #[error("the link's server ended")]
    Transport(#[from] tonic::transport::Error),
}

/// What the link's server works with.
pub struct Server<A, E, S> {
    /// What every cluster shall hold.
    pub desired: DesiredState,
    /// Takes what the sessions say; bounded by its maker.
    pub events: mpsc::Sender<LinkEvent>,
    /// Who may join.
    pub admission: Arc<A>,
    /// The right to change spokes.
    pub epochs: Arc<E>,
    /// Sign.
    pub authorities: Arc<Authorities<S>>,
    /// Life of the certificates of spokes.
    pub certificate_life: SignedDuration,
    /// A spoke whose certificate ended no longer ago than this gets another by proof of its key.
    pub return_within: SignedDuration,
    /// Lets new spokes ask.
    pub tokens: Tokens<S>,
    /// DNS names and IP addresses that spokes dial; `localhost` and `127.0.0.1` are added.
    pub names: Vec<String>,
    /// The shortest interval that sessions are given: [`HEARTBEAT`], but for tests.
    pub heartbeat: Duration,
    /// Counts.
    pub counters: Counters,
}

impl<A: Admission, E: EpochStore, S: Secrets> Server<A, E, S> {
    /// Serves until `stop` is cancelled; then every session is told to come again, and the listener closes.
    pub async fn serve(self, listener: TcpListener, stop: CancellationToken) -> Result<(), ServeError> {
        let Self {
            desired,
            events,
            admission,
            epochs,
            authorities,
            tokens,
            mut names,
            heartbeat,
            counters,
            ..
        } = self;
        let (certificate_life, return_within) = (self.certificate_life, self.return_within);
        names.extend(["localhost".to_owned(), "127.0.0.1".to_owned()]);
        let trust = authorities.subscribe();
        let (open, door) = watch::channel(Door::new(authorities.current(), &names, Timestamp::now())?);
        let (accepted, connections) = mpsc::channel(HANDED_OVER);
        let limits = Limits::new();
        let accepting = tls::accept(listener, door, accepted, limits.clone(), counters.clone(), stop.clone());
        let leading = rollover::lead(authorities.clone(), admission.clone(), counters.clone(), stop.clone());
        let opening = renew_door(open, trust.clone(), names, stop.clone());
        let tokens = Arc::new(tokens);
        let clearing = clear(tokens.clone(), stop.clone());
        let enrollment = Enrollment {
            admission: admission.clone(),
            authorities,
            tokens,
            certificate_life,
            return_within,
            limits,
            counters: counters.clone(),
        };
        let (stopped, asked) = (stop.clone(), stop.clone());
        let sync = FleetSync {
            desired,
            events,
            admission,
            epochs,
            heartbeat,
            counters,
            trust,
            stop,
            handshakes: Mutex::new(TokenBucket::new(HANDSHAKES_PER_SECOND, HANDSHAKES_PER_SECOND)),
            indexing: Arc::new(Semaphore::new(INDEXING)),
        };
        let serving = tonic::transport::Server::builder()
            .http2_keepalive_interval(Some(KEEPALIVE))
            .max_concurrent_streams(STREAMS)
            .add_service(EnrollmentServer::new(enrollment).max_decoding_message_size(ENROLL_BYTES))
            .add_service(FleetSyncServer::new(sync).max_decoding_message_size(proto::MAX_MESSAGE_BYTES))
            .serve_with_incoming_shutdown(ReceiverStream::new(connections), stopped.cancelled_owned());
        // Each runs until it is told to stop: one that ends before takes the others with it.
        let part = |name: &'static str, part: BoxFuture<'static, ()>| {
            let stop = asked.clone();
            async move {
                part.await;
                if stop.is_cancelled() { Ok(()) } else { Err(ServeError::Ended(name)) }
            }
        };
        tokio::try_join!(
            part("accepting connections", Box::pin(accepting)),
            part("leading the rollover of CAs", Box::pin(leading)),
            part("renewing the listener's certificate", Box::pin(opening)),
            part("clearing join tokens", Box::pin(clearing)),
            async { Ok(serving.await?) },
        )?;
        Ok(())
    }
}

/// Clears tokens away that nobody can use any more.
async fn clear<S: Secrets>(tokens: Arc<Tokens<S>>, stop: CancellationToken) {
    let mut looks = interval(CLEARED_EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = looks.tick() => {}
        }
        if let Err(error) = tokens.clear(Timestamp::now()).await {
            tracing::warn!(%error, "old join tokens could not be cleared away; trying again later");
        }
    }
}

/// Opens the listener anew whenever the hub's CAs have changed. Connections that are up stay as they are.
async fn renew_door(
    door: watch::Sender<Door>,
    mut trust: watch::Receiver<Arc<Trust>>,
    names: Vec<String>,
    stop: CancellationToken,
) {
    loop {
        let current = trust.borrow_and_update().clone();
        if !door.borrow().is_of(&current) {
            match Door::new(current, &names, Timestamp::now()) {
                Ok(new) => drop(door.send_replace(new)),
                Err(error) => tracing::error!(%error, "the listener keeps its old CAs"),
            }
        }
        tokio::select! {
            () = stop.cancelled() => return,
            changed = trust.changed() => if changed.is_err() {
                return;
            },
        }
    }
}
