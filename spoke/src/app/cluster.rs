//! The client of this cluster's API server.

use std::path::Path;
use std::time::Duration;

use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use kube::client::{Body, ConfigExt};
use kube::{Client, Config};
use runtime::chain;
use runtime::cluster::{ConfigError, config};
use tower::ServiceBuilder;

/// How often a connection is asked whether it lives; after as long again without an answer it is given up.
const KEEPALIVE: Duration = Duration::from_secs(15);

/// A client for the cluster of the kubeconfig, else of the pod's own, else of `KUBECONFIG`.
pub(super) async fn connect(kubeconfig: Option<&Path>) -> Result<Client, ConfigError> {
    client(config(kubeconfig).await?).map_err(|error| ConfigError::None(chain(&error)))
}

/// All requests and watches share one connection (HTTP/2), as with Go's client: kube's own would open one for each that
/// is under way, with the memory and the handshake that a connection takes. Through a proxy, kube's own is used.
fn client(config: Config) -> kube::Result<Client> {
    if config.proxy_url.is_some() || config.cluster_url.scheme_str() != Some("https") {
        return Client::try_from(config);
    }
    let tls = config.rustls_client_config()?;
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(config.connect_timeout);
    let connector = hyper_rustls::HttpsConnectorBuilder::new().with_tls_config(tls).https_only();
    let connector = connector.enable_all_versions().wrap_connector(tcp);
    let http = legacy::Client::builder(TokioExecutor::new())
        .timer(TokioTimer::new())
        .http2_keep_alive_interval(KEEPALIVE)
        .http2_keep_alive_timeout(KEEPALIVE)
        .http2_keep_alive_while_idle(true)
        .build::<_, Body>(connector);
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        .map_err(tower::BoxError::from)
        .service(http);
    Ok(Client::new(service, config.default_namespace))
}
