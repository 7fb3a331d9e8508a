//! Which of the kinds that a cluster may lack its API server serves, and which Kubernetes it is.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::core::PartialObjectMeta;
use kube::runtime::watcher::{Config, Event};
use kube::{Api, Client};
use tokio::sync::watch;

use super::call::{call, call_opt};
use crate::operator::cluster::ClusterFacts;

/// The group of kinds that Kubernetes itself serves, or not, by its version.
pub(crate) const BUILT_IN: (&str, &str) = ("resource.k8s.io", "v1");

/// How often an API server is asked for what it tells by no watch: its version, and the kinds of [`BUILT_IN`].
const ASK_AGAIN: Duration = Duration::from_mins(1);
/// How soon, when it did not answer.
const ASK_SOON: Duration = Duration::from_secs(2);

/// Kinds by the name of their definition, `<plural>.<group>`. `None` is not known yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Served {
    /// By a CustomResourceDefinition.
    pub(crate) defined: Option<BTreeSet<String>>,
    /// By Kubernetes itself.
    pub(crate) built_in: Option<BTreeSet<String>>,
}

impl Served {
    /// Whether a kind is served, once that is known.
    pub(crate) fn has(&self, definition: &str) -> Option<bool> {
        let (_, group) = definition.split_once('.')?;
        let names = if group == BUILT_IN.0 { &self.built_in } else { &self.defined };
        names.as_ref().map(|names| names.contains(definition))
    }
}

/// Follows the definitions named `wanted`, of which only the names are fetched, for ever.
pub(crate) async fn definitions(client: Client, wanted: BTreeSet<String>, served: watch::Sender<Served>) {
    let api: Api<PartialObjectMeta<CustomResourceDefinition>> = Api::all(client);
    let mut events = runtime::watch::events(api, Config::default(), "CustomResourceDefinition").boxed();
    let mut names = BTreeSet::new();
    let mut known = false;
    while let Some(event) = events.next().await {
        match event {
            Event::Init => names.clear(),
            Event::InitApply(definition) | Event::Apply(definition) => {
                let name = definition.metadata.name.unwrap_or_default();
                if definition.metadata.deletion_timestamp.is_some() {
                    names.remove(&name);
                } else if wanted.contains(&name) {
                    names.insert(name);
                }
            }
            Event::Delete(definition) => {
                names.remove(definition.metadata.name.as_deref().unwrap_or_default());
            }
            Event::InitDone => known = true,
        }
        if known {
            served.send_if_modified(|served| {
                let changed = served.defined.as_ref() != Some(&names);
                if changed {
                    served.defined = Some(names.clone());
                }
                changed
            });
        }
    }
}

/// Follows what only asking tells, for ever.
pub(crate) async fn built_in(
    client: Client,
    served: watch::Sender<Served>,
    facts: watch::Sender<ClusterFacts>,
) {
    let (group, version) = BUILT_IN;
    let group_version = format!("{group}/{version}");
    loop {
        let kubernetes =
            call(|| "ask for the version of Kubernetes".to_owned(), client.apiserver_version()).await;
        let asked = || format!("ask for the kinds of {group_version}");
        let kinds = call_opt(asked, client.list_api_group_resources(&group_version)).await;
        let pause = match (kubernetes, kinds) {
            (Ok(kubernetes), Ok(kinds)) => {
                let kinds = kinds.into_iter().flat_map(|list| list.resources);
                let names: BTreeSet<String> = kinds.map(|kind| format!("{}.{group}", kind.name)).collect();
                facts.send_if_modified(|facts| {
                    let changed = facts.kubernetes != kubernetes.git_version;
                    facts.kubernetes = kubernetes.git_version;
                    changed
                });
                served.send_if_modified(|served| {
                    let changed = served.built_in.as_ref() != Some(&names);
                    served.built_in = Some(names);
                    changed
                });
                ASK_AGAIN
            }
            (Err(error), _) | (_, Err(error)) => {
                tracing::debug!(%error, "it is asked again");
                ASK_SOON
            }
        };
        tokio::time::sleep(pause).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_looked_for_where_it_is_told_of() {
        let names = |name: &str| Some(BTreeSet::from([name.to_owned()]));
        let mut served = Served::default();
        assert_eq!(served.has("leaderworkersets.leaderworkerset.x-k8s.io"), None);
        served.defined = names("leaderworkersets.leaderworkerset.x-k8s.io");
        assert_eq!(served.has("leaderworkersets.leaderworkerset.x-k8s.io"), Some(true));
        assert_eq!(served.has("httproutes.gateway.networking.k8s.io"), Some(false));
        assert_eq!(served.has("resourceclaimtemplates.resource.k8s.io"), None);
        served.built_in = names("resourceclaims.resource.k8s.io");
        assert_eq!(served.has("resourceclaims.resource.k8s.io"), Some(true));
        assert_eq!(served.has("resourceclaimtemplates.resource.k8s.io"), Some(false));
    }
}
