//! The way to the hub's own API server, and what must be there.

use std::path::Path;
use std::time::Duration;

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

use super::AppError;
use crate::controllers::{NIM_API_VERSION, NIM_KINDS, chain, nim_resource};

/// How long a start waits for an API server that does not answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// The fleet's own kinds that the hub watches: group and version, plurals.
const OWN_KINDS: (&str, [&str; 4]) =
    ("nimfleet.io/v1alpha1", ["gpuclusters", "nimplacements", "nimplacementdecisions", "gpuquotas"]);

/// Connects, and checks that the API server answers.
pub(super) async fn connect(kubeconfig: Option<&Path>) -> Result<(Client, String), AppError> {
    let mut config = config(kubeconfig).await?;
    // Our own backoff decides, object by object.
    config.default_retry = false;
    let url = config.cluster_url.to_string();
    let problem = |problem: String| AppError::ApiServer { url: url.clone(), problem };
    let client = Client::try_from(config).map_err(|error| problem(chain(&error)))?;
    match tokio::time::timeout(PATIENCE, client.apiserver_version()).await {
        Ok(Ok(_)) => Ok((client, url)),
        Ok(Err(error)) => Err(problem(chain(&error).replace('\n', " "))),
        Err(_) => Err(problem(format!("no answer within {} s", PATIENCE.as_secs()))),
    }
}

async fn config(kubeconfig: Option<&Path>) -> Result<Config, AppError> {
    let Some(path) = kubeconfig else {
        let mut config = Config::infer().await.map_err(|error| AppError::Kubeconfig {
            path: std::env::var("KUBECONFIG")
                .unwrap_or_else(|_| "none named, and not in a cluster".to_owned()),
            problem: chain(&error).replace('\n', " "),
        })?;
        // The proxy of the environment is for other traffic.
        config.proxy_url = None;
        return Ok(config);
    };
    let problem = |error: &dyn std::error::Error| AppError::Kubeconfig {
        path: path.display().to_string(),
        problem: chain(error).replace('\n', " "),
    };
    let read = Kubeconfig::read_from(path).map_err(|error| problem(&error))?;
    let proxy = current_proxy(&read);
    let mut config = Config::from_custom_kubeconfig(read, &KubeConfigOptions::default())
        .await
        .map_err(|error| problem(&error))?;
    config.proxy_url = proxy.and_then(|proxy| proxy.parse().ok());
    Ok(config)
}

/// `proxy-url` of the current context's cluster.
fn current_proxy(kubeconfig: &Kubeconfig) -> Option<String> {
    let current = kubeconfig.current_context.as_ref()?;
    let context = kubeconfig.contexts.iter().find(|one| one.name == *current)?.context.as_ref()?;
    let cluster = kubeconfig.clusters.iter().find(|one| one.name == context.cluster)?.cluster.as_ref()?;
    cluster.proxy_url.clone().filter(|proxy| !proxy.is_empty())
}

/// Refuses to start where a kind is missing: watching it would fail for ever, and quietly.
pub(super) async fn check_kinds(client: &Client, url: &str) -> Result<(), AppError> {
    let mut missing = Vec::new();
    let own = (OWN_KINDS.0, OWN_KINDS.1.map(str::to_owned).to_vec());
    let nim = (NIM_API_VERSION, NIM_KINDS.map(|kind| nim_resource(kind).plural).to_vec());
    for (group, plurals) in [own, nim] {
        let served = match tokio::time::timeout(PATIENCE, client.list_api_group_resources(group)).await {
            Ok(Ok(list)) => list.resources.into_iter().map(|resource| resource.name).collect(),
            // A group that nobody serves is answered in plain text, so that only the code tells.
            Ok(Err(kube::Error::Api(status))) if status.code == 404 => Vec::new(),
            Ok(Err(error)) => {
                return Err(AppError::ApiServer { url: url.to_owned(), problem: chain(&error) });
            }
            Err(_) => {
                return Err(AppError::ApiServer { url: url.to_owned(), problem: "no answer".to_owned() });
            }
        };
        let name = group.split('/').next().unwrap_or(group);
        missing.extend(
            plurals.iter().filter(|plural| !served.contains(plural)).map(|plural| format!("{plural}.{name}")),
        );
    }
    if missing.is_empty() {
        Ok(())
    } else {
        Err(AppError::Kinds { url: url.to_owned(), missing: missing.join(", ") })
    }
}
