//! TLS of the hub's listener: 1.3 only, a client certificate where the client has one, by the CAs of the moment.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hub_core::identity::SpokeCertificate;
use jiff::Timestamp;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::{Sleep, sleep};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::server::Connected;

use super::limits::Limits;
use super::{Counters, ServeError};
use crate::pki::Trust;

/// A client that has not finished its handshake by then is cut.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Handshakes at once: bounds what strangers can make the hub hold.
const HANDSHAKES: usize = 1024;
/// How long a client without a certificate may stay: enough for the longest call to enrol.
const STRANGER: Duration = Duration::from_mins(1);

/// Who is at the other end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Peer {
    pub(super) address: SocketAddr,
    /// `None` for a client without one.
    pub(super) certificate: Option<SpokeCertificate>,
}

/// The listener's TLS settings, and the CAs they were made from.
#[derive(Clone)]
pub(super) struct Door {
    config: Arc<ServerConfig>,
    trust: Arc<Trust>,
}

impl Door {
    /// Settings with a certificate made for `names`.
    pub(super) fn new(trust: Arc<Trust>, names: &[String], now: Timestamp) -> Result<Self, ServeError> {
        let (chain, key) = trust.signer().server_certificate(names, now)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_client_cert_verifier(trust.verifier()?)
            .with_single_cert(chain, key)?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        // A resumed session keeps the certificate it began with: not wanted where a certificate may be refused later.
        config.send_tls13_tickets = 0;
        Ok(Self { config: Arc::new(config), trust })
    }

    /// Whether it was made from these CAs.
    pub(super) fn is_of(&self, trust: &Arc<Trust>) -> bool {
        Arc::ptr_eq(&self.trust, trust)
    }
}

/// Accepts until `stop`; hands over what has shaken hands.
pub(super) async fn accept(
    listener: TcpListener,
    door: watch::Receiver<Door>,
    accepted: mpsc::Sender<io::Result<TlsConnection>>,
    limits: Limits,
    counters: Counters,
    stop: CancellationToken,
) {
    let slots = Arc::new(Semaphore::new(HANDSHAKES));
    loop {
        let Ok(slot) = slots.clone().acquire_owned().await else { return };
        let tcp = tokio::select! {
            () = stop.cancelled() => return,
            tcp = listener.accept() => tcp,
        };
        let (tcp, from) = match tcp {
            Ok(tcp) => tcp,
            Err(error) => {
                // Out of file descriptors, most likely: to ask again at once would only burn the processor.
                tracing::warn!(%error, "a connection could not be accepted");
                sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let Some(handshake) = limits.begin_handshake(from.ip()) else {
            counters.failed_handshakes.inc();
            continue;
        };
        let (door, accepted, counters) = (door.borrow().clone(), accepted.clone(), counters.clone());
        tokio::spawn(async move {
            let _under_way = (slot, handshake);
            let acceptor = TlsAcceptor::from(door.config.clone());
            let problem = match tokio::time::timeout(HANDSHAKE, acceptor.accept(tcp)).await {
                Ok(Ok(stream)) => {
                    // Fails only when the server has ended.
                    drop(accepted.send(Ok(TlsConnection::new(stream, from, &door.trust))).await);
                    return;
                }
                Ok(Err(error)) => error.to_string(),
                Err(_) => format!("not finished within {} s", HANDSHAKE.as_secs()),
            };
            counters.failed_handshakes.inc();
            tracing::info!(%from, problem, "TLS handshake failed");
        });
    }
}

/// One connection, with what its certificate says. It ends with the certificate.
pub(super) struct TlsConnection {
    stream: TlsStream<TcpStream>,
    peer: Peer,
    end: Pin<Box<Sleep>>,
}

impl TlsConnection {
    fn new(stream: TlsStream<TcpStream>, address: SocketAddr, trust: &Trust) -> Self {
        // A lost small write would wait for the peer's delayed acknowledgement; without it the link is only slower.
        drop(stream.get_ref().0.set_nodelay(true));
        let leaf = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
        let certificate = leaf.and_then(|leaf| trust.read(leaf));
        let left = certificate.as_ref().map_or(STRANGER, |certificate| {
            Duration::try_from(certificate.expires.duration_since(Timestamp::now())).unwrap_or_default()
        });
        Self { stream, peer: Peer { address, certificate }, end: Box::pin(sleep(left)) }
    }
}

impl Connected for TlsConnection {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

impl AsyncRead for TlsConnection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.end.as_mut().poll(cx).is_ready() {
            let problem = "the certificate of this connection is over, or it never had one";
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, problem)));
        }
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for TlsConnection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
