//! The way to the hub's own API server, and what must be there.

use std::path::Path;

use hub_core::objects::{NIM_API_VERSION, NIM_KINDS};
use kube::Client;
use runtime::call::{LIMIT, within};
use runtime::chain;
use runtime::cluster::config;

use super::AppError;
use crate::controllers::nim_resource;

/// The fleet's own kinds that the hub watches: group and version, plurals.
const OWN_KINDS: (&str, [&str; 4]) =
    ("nimfleet.io/v1alpha1", ["gpuclusters", "nimplacements", "nimplacementdecisions", "gpuquotas"]);

/// Connects, and checks that the API server answers.
pub(super) async fn connect(kubeconfig: Option<&Path>) -> Result<(Client, String), AppError> {
    let config = config(kubeconfig).await?;
    let url = config.cluster_url.to_string();
    let problem = |problem: String| AppError::ApiServer { url: url.clone(), problem };
    let client = Client::try_from(config).map_err(|error| problem(chain(&error)))?;
    within(LIMIT, client.apiserver_version()).await.map_err(|error| problem(error.words()))?;
    Ok((client, url))
}

/// Refuses to start where a kind is missing: watching it would fail for ever, and quietly.
pub(super) async fn check_kinds(client: &Client, url: &str) -> Result<(), AppError> {
    let mut missing = Vec::new();
    let own = (OWN_KINDS.0, OWN_KINDS.1.map(str::to_owned).to_vec());
    let nim = (NIM_API_VERSION, NIM_KINDS.map(|kind| nim_resource(kind).plural).to_vec());
    for (group, plurals) in [own, nim] {
        let served = match within(LIMIT, client.list_api_group_resources(group)).await {
            Ok(list) => list.resources.into_iter().map(|resource| resource.name).collect(),
            // A group that nobody serves is answered in plain text, so that only the code tells.
            Err(error) if error.is_not_found() => Vec::new(),
            Err(error) => {
                return Err(AppError::ApiServer { url: url.to_owned(), problem: error.words() });
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
