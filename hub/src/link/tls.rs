//! TLS of the hub's listener: 1.3 only, a client certificate where the client has one.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use jiff::Timestamp;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::server::Connected;

use super::{Counters, ServeError};
use crate::fleet::ClusterName;
use crate::pki::{Authority, identity_of};

/// A client that has not finished its handshake by then is cut.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Handshakes at once: bounds what strangers can make the hub hold.
const HANDSHAKES: usize = 256;

/// Who is at the other end, by certificate; `None` for a client without one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Peer(pub(super) Option<(ClusterName, Timestamp)>);

/// The listener's TLS settings, with a certificate made for `names`.
pub(super) fn config(
    authority: &Authority,
    names: &[String],
    now: Timestamp,
) -> Result<ServerConfig, ServeError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(authority.certificate().clone())?;
    let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .allow_unauthenticated()
        .build()
        .map_err(|error| rustls::Error::General(error.to_string()))?;
    let (chain, key) = authority.server_certificate(names, now)?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(clients)
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    // A resumed session keeps the certificate it began with: not wanted where a certificate may be refused later.
    config.send_tls13_tickets = 0;
    Ok(config)
}

/// Accepts until `stop`; hands over what has shaken hands.
pub(super) async fn accept(
    listener: TcpListener,
    config: ServerConfig,
    accepted: mpsc::Sender<io::Result<TlsConnection>>,
    counters: Counters,
    stop: CancellationToken,
) {
    let acceptor = TlsAcceptor::from(Arc::new(config));
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
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let (acceptor, accepted, counters) = (acceptor.clone(), accepted.clone(), counters.clone());
        tokio::spawn(async move {
            let _slot = slot;
            let problem = match tokio::time::timeout(HANDSHAKE, acceptor.accept(tcp)).await {
                Ok(Ok(stream)) => {
                    // Fails only when the server has ended.
                    drop(accepted.send(Ok(TlsConnection::new(stream))).await);
                    return;
                }
                Ok(Err(error)) => error.to_string(),
                Err(_) => format!("not finished within {} s", HANDSHAKE.as_secs()),
            };
            counters.failed_handshakes.inc();
            tracing::debug!(%from, problem, "TLS handshake failed");
        });
    }
}

/// One connection, with what its certificate says.
pub(super) struct TlsConnection {
    stream: TlsStream<TcpStream>,
    peer: Peer,
}

impl TlsConnection {
    fn new(stream: TlsStream<TcpStream>) -> Self {
        // A lost small write would wait for the peer's delayed acknowledgement; without it the link is only slower.
        drop(stream.get_ref().0.set_nodelay(true));
        let leaf = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
        let peer = Peer(leaf.and_then(identity_of));
        Self { stream, peer }
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
