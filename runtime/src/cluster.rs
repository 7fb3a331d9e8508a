//! Where the API server of a process's own cluster is, and how it is reached.

use std::path::{Path, PathBuf};

use kube::Config;
use kube::config::{KubeConfigOptions, Kubeconfig};

use crate::error::chain;

/// Why there is no way to an API server.
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

/// The cluster of the kubeconfig, else the pod's own, else that of `KUBECONFIG`.
///
/// # Errors
///
/// The file cannot be used, or there is none and the process is not in a pod.
pub async fn config(kubeconfig: Option<&Path>) -> Result<Config, ConfigError> {
    let config = match kubeconfig {
        Some(path) => from_file(path).await?,
        None => Config::infer().await.map_err(|error| ConfigError::None(chain(&error)))?,
    };
    let file = match kubeconfig {
        Some(path) => Kubeconfig::read_from(path),
        None => Kubeconfig::read(),
    };
    Ok(own(config, file.ok().and_then(|file| named_proxy(&file))))
}

async fn from_file(path: &Path) -> Result<Config, ConfigError> {
    let wrong = |problem: String| ConfigError::File { path: path.to_owned(), problem };
    let file = Kubeconfig::read_from(path).map_err(|error| wrong(chain(&error)))?;
    Config::from_custom_kubeconfig(file, &KubeConfigOptions::default())
        .await
        .map_err(|error| wrong(chain(&error)))
}

/// Our own settings: a proxy of the environment (`HTTPS_PROXY`) is not the API server's, only a kubeconfig may name one for
/// it; and retries are ours, per object.
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
        let Err(error) = config(Some(Path::new("/nonexistent/kubeconfig"))).await else {
            panic!("it connected")
        };
        let text = error.to_string();
        assert!(
            text.starts_with("kubeconfig: /nonexistent/kubeconfig: ") && text.contains("--kubeconfig"),
            "{text}"
        );
    }
}
