//! From an address to a channel: TCP and TLS, with errors that say what to do.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use rustls::{CertificateError, ClientConfig, OtherError};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint};
use tower::service_fn;

use super::settings::{CaHash, HubAddress};
use super::tls::WrongCa;

/// For each of name resolution with TCP, and TLS.
const STEP: Duration = Duration::from_secs(10);
/// Finds a connection that died without a word while no session is up yet.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// There is no connection to the hub.
#[derive(Debug, thiserror::Error)]
pub(super) enum DialError {
    #[error("hub {address}: {problem}: check hub.address, DNS and firewalls, and that the hub runs")]
    Tcp { address: HubAddress, problem: String },
    #[error(
        "hub {address}: its CA does not have the hash {ca_hash}: something else answers there, or the hash is of \
         another hub; get the join line again with `nimfleet-hub join-command <cluster>`"
    )]
    WrongCa { address: HubAddress, ca_hash: CaHash },
    #[error(
        "hub {address}: its CA is not the one this spoke joined: check hub.address; if the hub has a new CA, delete \
         the Secret nimfleet-spoke-identity and join again with a new token"
    )]
    OtherCa { address: HubAddress },
    #[error(
        "hub {address}: its certificate is not for {}: start the hub with --advertise {address}, or dial a name that \
         it advertises",
        address.host()
    )]
    WrongName { address: HubAddress },
    #[error("hub {address}: no TLS with it: {problem}: check that hub.address is the hub's link port (7443)")]
    Tls { address: HubAddress, problem: String },
}

impl DialError {
    /// Whether somebody has to act before it can go better.
    pub(super) fn needs_somebody(&self) -> bool {
        !matches!(self, Self::Tcp { .. } | Self::Tls { .. })
    }
}

/// Dials the hub.
pub(super) async fn dial(
    address: &HubAddress,
    ca_hash: CaHash,
    config: Arc<ClientConfig>,
) -> Result<Channel, DialError> {
    let tcp_problem = |problem| DialError::Tcp { address: address.clone(), problem };
    let tls_problem = |problem| DialError::Tls { address: address.clone(), problem };
    let late = || format!("no answer within {} s", STEP.as_secs());
    let tcp = timeout(STEP, TcpStream::connect((address.host(), address.port())))
        .await
        .map_err(|_| tcp_problem(late()))?
        .map_err(|error| tcp_problem(error.to_string()))?;
    // Acks are small, and the hub waits for them.
    tcp.set_nodelay(true).map_err(|error| tcp_problem(error.to_string()))?;
    let connector = TlsConnector::from(config);
    let tls = timeout(STEP, connector.connect(address.server_name(), tcp))
        .await
        .map_err(|_| tls_problem(late()))?
        .map_err(|error| explain(address, ca_hash, &error))?;
    // The channel is for this one connection: when it is lost, the session ends and a new one dials anew.
    let once = Arc::new(Mutex::new(Some(TokioIo::new(tls))));
    let connector = service_fn(move |_| {
        let tls = once.lock().unwrap_or_else(PoisonError::into_inner).take();
        async move { tls.ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected)) }
    });
    Endpoint::from_static("http://nimfleet-hub")
        .http2_keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE)
        .connect_with_connector(connector)
        .await
        .map_err(|error| tls_problem(error.to_string()))
}

fn explain(address: &HubAddress, ca_hash: CaHash, error: &io::Error) -> DialError {
    let address = address.clone();
    let rustls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match rustls {
        Some(rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(inner))))
            if inner.is::<WrongCa>() =>
        {
            DialError::WrongCa { address, ca_hash }
        }
        Some(rustls::Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        )) => DialError::WrongName { address },
        Some(rustls::Error::InvalidCertificate(
            CertificateError::UnknownIssuer | CertificateError::BadSignature,
        )) => DialError::OtherCa { address },
        _ => DialError::Tls { address, problem: error.to_string() },
    }
}
