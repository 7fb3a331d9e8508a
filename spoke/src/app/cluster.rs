//! The client of this cluster's API server.

use std::path::{Path, PathBuf};
use std::time::Duration;

use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use kube::client::{Body, ConfigExt};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use tower::ServiceBuilder;

use crate::watch::chain;

/// How often a connection is asked whether it lives; after as long again without an answer it is given up.
const KEEPALIVE: Duration = Duration::from_secs(15);

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be used.
    #[error("kubeconfig: {path}: {problem}: name a readable kubeconfig with --kubeconfig", path = .path.display())]
    File {
        /// As given.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// Nothing says where the cluster is.
    #[error("cluster: none found: {0}: run in a pod, set KUBECONFIG or name a file with --kubeconfig")]
    None(String),
}

/// A client for the cluster of the kubeconfig, else of the pod's own, else of `KUBECONFIG`.
pub(super) async fn connect(kubeconfig: Option<&Path>) -> Result<Client, ConfigError> {
    let config = match kubeconfig {
        Some(path) => from_file(path).await?,
        None => Config::infer().await.map_err(|error| ConfigError::None(chain(&error)))?,
    };
    let proxy = match kubeconfig {
        Some(path) => Kubeconfig::read_from(path).ok().and_then(|file| named_proxy(&file)),
        None => Kubeconfig::read().ok().and_then(|file| named_proxy(&file)),
    };
    let config = own(config, proxy);
    client(config).map_err(|error| ConfigError::None(chain(&error)))
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

async fn from_file(path: &Path) -> Result<Config, ConfigError> {
    let wrong = |problem: String| ConfigError::File { path: path.to_owned(), problem };
    let file = Kubeconfig::read_from(path).map_err(|error| wrong(chain(&error)))?;
    Config::from_custom_kubeconfig(file, &KubeConfigOptions::default())
        .await
        .map_err(|error| wrong(chain(&error)))
}

/// Our own settings: the link's proxy (`HTTPS_PROXY`) is not the API server's, only a kubeconfig may name one for it;
/// and retries are ours, per object.
fn own(mut config: Config, proxy: Option<String>) -> Config {
    config.proxy_url = proxy.and_then(|url| url.parse().ok());
    config.default_retry = false;
    config
}

/// The proxy that the current context's cluster names.
fn named_proxy(file: &Kubeconfig) -> Option<String> {
    let current = file.current_context.as_ref()?;
    let context = file.contexts.iter().find(|context| &context.name == current)?.context.as_ref()?;
    let cluster = file.clusters.iter().find(|cluster| cluster.name == context.cluster)?.cluster.as_ref()?;
    cluster.proxy_url.clone().filter(|url| !url.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_links_proxy_is_not_the_api_servers() {
        let mut config = Config::new("https://127.0.0.1:6443".parse().unwrap());
        config.proxy_url = Some("http://from-the-environment:3128".parse().unwrap());
        let config = own(config, None);
        assert_eq!((config.proxy_url, config.default_retry), (None, false));
        let named =
            own(Config::new("https://127.0.0.1:6443".parse().unwrap()), Some("http://named:1".into()));
        assert_eq!(named.proxy_url.unwrap().to_string(), "http://named:1/");
    }

    #[test]
    fn the_proxy_of_the_current_context_counts() {
        let text = "\
current-context: b
contexts: [{name: a, context: {cluster: one, user: u}}, {name: b, context: {cluster: two, user: u}}]
clusters:
- {name: one, cluster: {server: 'https://a', proxy-url: 'http://a:1'}}
- {name: two, cluster: {server: 'https://b', proxy-url: 'http://b:1'}}
";
        assert_eq!(named_proxy(&Kubeconfig::from_yaml(text).unwrap()).as_deref(), Some("http://b:1"));
    }

    #[tokio::test]
    async fn an_unusable_kubeconfig_says_file_problem_and_remedy() {
        let Err(error) = connect(Some(Path::new("/nonexistent/kubeconfig"))).await else {
            panic!("it connected")
        };
        let text = error.to_string();
        assert!(
            text.starts_with("kubeconfig: /nonexistent/kubeconfig: ") && text.contains("--kubeconfig"),
            "{text}"
        );
    }
}
