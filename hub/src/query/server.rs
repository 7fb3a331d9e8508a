//! The listener of the API: TLS by the hub's CA, for the front proxy of the hub's API server alone.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, Client};
use runtime::chain;
use rustls::pki_types::{CertificateDer, pem::PemObject};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;

use super::api_service;
use super::endpoint::{self, Endpoint};
use super::front_proxy::{FrontProxy, Unusable};
use super::pace::Pace;
use super::routes::{Answering, router};
use crate::controllers::Hub;
use crate::pki::{AuthorityError, Trust};

/// How often it is looked whether the front proxy or the hub's CAs have changed: two reads.
const EVERY: Duration = Duration::from_mins(1);
/// The same until there was something to serve with.
const AT_FIRST: Duration = Duration::from_secs(2);
/// A client that has not finished its handshake by then is cut.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Handshakes and connections that wait, at once: the API server keeps a few open.
const AT_ONCE: usize = 32;

/// What the API is served with.
pub(crate) struct Query {
    pub(crate) hub: Arc<Hub>,
    pub(crate) client: Client,
    pub(crate) trust: watch::Receiver<Arc<Trust>>,
    /// The DNS name under which the API server reaches it.
    pub(crate) name: String,
    /// Where this pod is; none outside a pod, where somebody else leads the API server to it.
    pub(crate) endpoint: Option<Endpoint>,
}

/// It cannot be served.
#[derive(Debug, thiserror::Error)]
enum QueryError {
    #[error(transparent)]
    FrontProxy(#[from] Unusable),
    #[error("ConfigMap kube-system/extension-apiserver-authentication is not there")]
    NoConfigMap,
    #[error("the API server was asked in vain")]
    Api(#[from] kube::Error),
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    #[error("TLS cannot be set up: {0}")]
    Tls(String),
}

/// Settings of the listener, and what they were made from.
#[derive(Clone)]
struct Door {
    config: Arc<ServerConfig>,
    proxy: FrontProxy,
    trust: Arc<Trust>,
}

/// Serves until `stop`. Until the API server has said who its front proxy is, nobody is let in.
pub(crate) async fn serve(query: Query, listener: TcpListener, stop: CancellationToken) {
    let (door, doors) = watch::channel(None::<Door>);
    let (proxy, proxies) = watch::channel(None);
    let (accepted, connections) = mpsc::channel(AT_ONCE);
    let address = listener.local_addr().unwrap_or_else(|_| SocketAddr::from(([0, 0, 0, 0], 0)));
    let answering = Answering {
        hub: query.hub.clone(),
        client: query.client.clone(),
        proxy: proxies,
        pace: Arc::new(Pace::new()),
    };
    let serving = axum::serve(Handed { connections, address }, router(answering))
        .with_graceful_shutdown(stop.clone().cancelled_owned());
    tokio::select! {
        () = stop.cancelled() => {}
        () = accept(listener, doors, accepted) => {}
        () = keep(&query, &door, &proxy) => {}
        ended = serving => if let Err(error) = ended {
            tracing::warn!(%error, "the query API has ended");
        },
    }
}

/// Keeps the settings as the API server and the hub's CAs want them.
async fn keep(query: &Query, door: &watch::Sender<Option<Door>>, proxy: &watch::Sender<Option<FrontProxy>>) {
    let mut trust = query.trust.clone();
    let (mut first, mut looks) = (interval(AT_FIRST), interval(EVERY));
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut said = String::new();
    loop {
        let served = door.borrow().is_some();
        tokio::select! {
            _ = looks.tick() => {}
            _ = first.tick(), if !served => {}
            Ok(()) = trust.changed() => {}
        }
        let current = trust.borrow_and_update().clone();
        let problem = match look(query, current, door, proxy).await {
            Ok(()) => String::new(),
            Err(error) => chain(&error),
        };
        if !problem.is_empty() && problem != said {
            tracing::warn!(problem, "the query API cannot be served as it should; trying again");
        }
        said = problem;
    }
}

async fn look(
    query: &Query,
    trust: Arc<Trust>,
    door: &watch::Sender<Option<Door>>,
    proxy: &watch::Sender<Option<FrontProxy>>,
) -> Result<(), QueryError> {
    let api: Api<ConfigMap> = Api::namespaced(query.client.clone(), "kube-system");
    let map = api.get_opt("extension-apiserver-authentication").await?.ok_or(QueryError::NoConfigMap)?;
    let front = FrontProxy::read(&map.data.unwrap_or_default())?;
    let is_same = |door: &Door| door.proxy == front && Arc::ptr_eq(&door.trust, &trust);
    if !door.borrow().as_ref().is_some_and(is_same) {
        let config = config(&front, &trust, &query.name)?;
        proxy.send_replace(Some(front.clone()));
        door.send_replace(Some(Door { config: Arc::new(config), proxy: front, trust: trust.clone() }));
    }
    if let Some(endpoint) = &query.endpoint {
        endpoint::publish(&query.client, endpoint).await?;
    }
    Ok(api_service::publish(&query.client, &trust.bundle_pem()).await?)
}

fn config(proxy: &FrontProxy, trust: &Trust, name: &str) -> Result<ServerConfig, QueryError> {
    let broken = |error: &dyn std::fmt::Display| QueryError::Tls(error.to_string());
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(proxy.ca_pem.as_bytes()) {
        roots.add(certificate.map_err(|error| broken(&error))?).map_err(|error| broken(&error))?;
    }
    let (chain, key) = trust.signer().server_certificate(&[name.to_owned()], Timestamp::now())?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .build()
        .map_err(|error| broken(&error))?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| broken(&error))?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)
        .map_err(|error| broken(&error))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// Accepts, and hands over what has shaken hands and is the front proxy's.
async fn accept(
    listener: TcpListener,
    doors: watch::Receiver<Option<Door>>,
    accepted: mpsc::Sender<(TlsStream<TcpStream>, SocketAddr)>,
) {
    let slots = Arc::new(Semaphore::new(AT_ONCE));
    loop {
        let Ok(slot) = slots.clone().acquire_owned().await else { return };
        let (tcp, from) = match listener.accept().await {
            Ok(connection) => connection,
            Err(error) => {
                tracing::warn!(%error, "a connection to the query API could not be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let Some(door) = doors.borrow().clone() else { continue };
        let accepted = accepted.clone();
        tokio::spawn(async move {
            let _under_way = slot;
            match timeout(HANDSHAKE, TlsAcceptor::from(door.config).accept(tcp)).await {
                Ok(Ok(stream)) if is_front_proxy(&stream, &door.proxy) => {
                    drop(accepted.send((stream, from)).await);
                }
                Ok(Ok(_)) => tracing::info!(%from, "refused: not the front proxy of the API server"),
                Ok(Err(error)) => tracing::debug!(%from, %error, "TLS handshake with the query API failed"),
                Err(_) => tracing::debug!(%from, "TLS handshake with the query API was not finished in time"),
            }
        });
    }
}

fn is_front_proxy(stream: &TlsStream<TcpStream>, proxy: &FrontProxy) -> bool {
    let certificate = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
    let Some(Ok((_, parsed))) = certificate.map(|der| x509_parser::parse_x509_certificate(der)) else {
        return false;
    };
    parsed.subject().iter_common_name().filter_map(|name| name.as_str().ok()).any(|name| proxy.is(name))
}

/// Connections that are handed over, as axum takes them.
struct Handed {
    connections: mpsc::Receiver<(TlsStream<TcpStream>, SocketAddr)>,
    address: SocketAddr,
}

impl axum::serve::Listener for Handed {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        match self.connections.recv().await {
            Some(connection) => connection,
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        Ok(self.address)
    }
}
