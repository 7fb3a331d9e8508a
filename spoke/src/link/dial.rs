//! From an address to a channel: TCP and TLS, with errors that say what to do.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use rustls::{AlertDescription, CertificateError, ClientConfig, OtherError};
use tokio::io::AsyncBufReadExt;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint};
use tower::service_fn;

use super::settings::{CaHash, HubAddress, Settings};
use super::tls::WrongCa;

/// The patience where nothing is lost by waiting: while there is no certificate yet, or another one is in use.
pub(super) const PATIENT: Duration = Duration::from_secs(10);

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
        "hub {address}: its CA is not one that this spoke trusts: check hub.address; if the hub has a new CA, get a \
         new token with `nimfleet-hub join-command <cluster>`"
    )]
    OtherCa { address: HubAddress },
    #[error("hub {address}: the certificate of this spoke has expired, by the hub's clock")]
    Expired { address: HubAddress },
    #[error(
        "hub {address}: it does not take the certificate of this spoke ({problem}): if the hub has a new CA, get a new \
         token with `nimfleet-hub join-command <cluster>`"
    )]
    NotTaken { address: HubAddress, problem: String },
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

    /// Whether a new token would help.
    pub(super) fn needs_token(&self) -> bool {
        matches!(self, Self::Expired { .. } | Self::NotTaken { .. } | Self::OtherCa { .. })
    }
}

/// Dials the hub. A channel means that the hub has taken our certificate, if we showed one. Each step has `patience`:
/// name resolution with TCP and a proxy, TLS, the hub's first word, and the beginning of HTTP/2.
pub(super) async fn dial(
    settings: &Settings,
    config: Arc<ClientConfig>,
    patience: Duration,
) -> Result<Channel, DialError> {
    let (address, ca_hash) = (&settings.address, settings.ca_hash);
    let tcp_problem = |problem| DialError::Tcp { address: address.clone(), problem };
    let tls_problem = |problem| DialError::Tls { address: address.clone(), problem };
    let late = |what: &str| format!("{what}: no answer within {} s", patience.as_secs_f64());
    let tcp = timeout(patience, settings.proxy.connect(address))
        .await
        .map_err(|_| tcp_problem(late("TCP")))?
        .map_err(|error| tcp_problem(error.to_string()))?;
    let connector = TlsConnector::from(config);
    let mut tls = timeout(patience, connector.connect(address.server_name(), tcp))
        .await
        .map_err(|_| tls_problem(late("handshake")))?
        .map_err(|error| explain(address, ca_hash, &error))?;
    // A client's handshake is over before the server has looked at its certificate; what the server says first, be it a
    // refusal or the first frame of HTTP/2, comes after.
    let first = timeout(patience, tls.fill_buf()).await.map_err(|_| tls_problem(late("first word")))?;
    match first {
        Ok([]) => return Err(tls_problem("it closed the connection".to_owned())),
        Ok(_) => {}
        Err(error) => return Err(explain(address, ca_hash, &error)),
    }
    // The channel is for this one connection: when it is lost, the session ends and a new one dials anew.
    let once = Arc::new(Mutex::new(Some(TokioIo::new(tls))));
    let connector = service_fn(move |_| {
        let tls = once.lock().unwrap_or_else(PoisonError::into_inner).take();
        async move { tls.ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected)) }
    });
    let endpoint = Endpoint::from_static("http://nimfleet-hub")
        .http2_keep_alive_interval(settings.keepalive)
        .keep_alive_timeout(settings.keepalive);
    timeout(patience, endpoint.connect_with_connector(connector))
        .await
        .map_err(|_| tls_problem(late("HTTP/2")))?
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
        Some(rustls::Error::AlertReceived(AlertDescription::CertificateExpired)) => {
            DialError::Expired { address }
        }
        Some(rustls::Error::AlertReceived(
            alert @ (AlertDescription::UnknownCA
            | AlertDescription::BadCertificate
            | AlertDescription::CertificateUnknown
            | AlertDescription::CertificateRevoked
            | AlertDescription::DecryptError),
        )) => DialError::NotTaken { address, problem: format!("{alert:?}") },
        _ => DialError::Tls { address, problem: error.to_string() },
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;
    use tokio::net::TcpListener;
    use tokio::time::Instant;

    use super::super::proxy::Proxy;
    use super::super::settings::KEEPALIVE;
    use super::super::tls::pinned;
    use super::*;

    #[tokio::test]
    async fn a_hub_that_accepts_and_says_nothing_is_left_after_the_patience() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let ca_hash: CaHash = format!("sha256:{}", "0".repeat(64)).parse().unwrap();
        let settings = Settings {
            address: listener.local_addr().unwrap().to_string().parse().unwrap(),
            ca_hash,
            cluster: "east".to_owned(),
            token: None,
            cluster_uid: String::new(),
            capabilities: Vec::new(),
            limits: String::new(),
            instance: (String::new(), 0),
            proxy: Proxy::default(),
            keepalive: KEEPALIVE,
        };
        let hanging = tokio::spawn(async move {
            let (mut tcp, _) = listener.accept().await.unwrap();
            // It reads all and answers nothing, as a process that is stopped does.
            tcp.read_to_end(&mut Vec::new()).await
        });
        let (begun, patience) = (Instant::now(), Duration::from_millis(200));
        let error = dial(&settings, Arc::new(pinned(ca_hash).unwrap()), patience).await.unwrap_err();
        assert!(error.to_string().contains("handshake: no answer within 0.2 s"), "{error}");
        assert!(!error.needs_somebody(), "it is tried again");
        assert!(begun.elapsed() < patience * 5, "{:?}", begun.elapsed());
        drop(hanging.await.unwrap());
    }
}
