//! What the operator sees: watch caches of NIM objects and of what was made for them, and facts of the cluster.

use std::collections::BTreeMap;
use std::sync::Arc;

use kube::core::{ApiResource, DynamicObject};
use kube::runtime::reflector::{ObjectRef, Store};
use kube::{Api, Client};
use runtime::Health;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::child::ChildKind;
use super::fresh::Fresh;
use super::judge::Judge;
use super::mutations::Mutations;
use super::packed::unpack;
use super::wake::Waker;
use crate::operator::cluster::ClusterFacts;
use crate::operator::diagnosis::{Events, Pods};
use crate::operator::models::Models;
use crate::operator::namespaces::Namespaces;
use crate::operator::references::References;
use crate::operator::registry::Images;
use crate::operator::rival::Rival;

/// A watch cache and how its kind is called.
#[derive(Clone)]
pub(crate) struct Cache {
    pub(crate) resource: ApiResource,
    pub(crate) store: Store<DynamicObject>,
    /// Cancelled once the cache has been filled, or its kind is known to be missing from the cluster: any number may
    /// wait for it, which the store's own signal forbids.
    pub(crate) filled: CancellationToken,
    /// What was made here and has yet to be seen.
    pub(crate) fresh: Fresh,
}

impl Cache {
    /// A cache that somebody fills.
    pub(crate) fn new(resource: ApiResource, store: Store<DynamicObject>) -> Self {
        Self { resource, store, filled: CancellationToken::new(), fresh: Fresh::default() }
    }

    /// The object of that name, if the cache has it or it was made a moment ago.
    pub(crate) fn get(&self, namespace: &str, name: &str) -> Option<Arc<DynamicObject>> {
        let seen = self.store.get(&ObjectRef::new_with(name, self.resource.clone()).within(namespace));
        seen.map(unpack).or_else(|| self.fresh.get(&(namespace.to_owned(), name.to_owned())))
    }

    /// All objects of one namespace that satisfy the predicate, which sees the content of NIM objects alone.
    pub(crate) fn of_namespace(
        &self,
        namespace: &str,
        wanted: impl Fn(&DynamicObject) -> bool,
    ) -> Vec<Arc<DynamicObject>> {
        let found = self
            .store
            .state_filter(|object| object.metadata.namespace.as_deref() == Some(namespace) && wanted(object));
        found.into_iter().map(unpack).collect()
    }
}

/// Everything that is observed. Cheap to clone.
#[derive(Clone)]
pub(crate) struct World {
    pub(crate) client: Client,
    /// Every kind of child; the cache of one that the cluster lacks is empty.
    pub(crate) children: Arc<BTreeMap<ChildKind, Cache>>,
    /// Pods of services that are not ready.
    pub(crate) pods: Pods,
    /// What events say, asked when something does not start.
    pub(crate) events: Events,
    /// ResourceClaims, whoever made them, without their specs.
    pub(crate) claims: Cache,
    /// Pods of LeaderWorkerSets, without their specs.
    pub(crate) group_pods: Cache,
    /// NIM objects by kind.
    pub(crate) subjects: Arc<BTreeMap<&'static str, Cache>>,
    pub(crate) facts: watch::Receiver<ClusterFacts>,
    /// Which namespaces take restricted pods only.
    pub(crate) namespaces: Namespaces,
    /// Cancelled once `facts` tells what the nodes are.
    pub(crate) nodes_seen: CancellationToken,
    /// Another operator in this cluster: nothing is written while there is one.
    pub(crate) rival: watch::Receiver<Rival>,
    /// Has NIM objects looked at.
    pub(crate) waker: Waker,
    /// What is served, asked in the background.
    pub(crate) models: Models,
    /// What images are, asked of their registries in the background.
    pub(crate) images: Images,
    /// What objects refer to by name, followed in the background.
    pub(crate) references: References,
    /// What this cluster's admission changes of delivered objects.
    pub(crate) mutations: Mutations,
    /// Asked before children are written; none lets everything be written.
    pub(crate) judge: Option<Arc<dyn Judge>>,
}

impl World {
    /// A child, if the cache has it.
    pub(crate) fn child(&self, kind: ChildKind, namespace: &str, name: &str) -> Option<Arc<DynamicObject>> {
        self.children.get(&kind)?.get(namespace, name)
    }

    /// A NIM object, if the cache has it.
    pub(crate) fn subject(&self, kind: &str, namespace: &str, name: &str) -> Option<Arc<DynamicObject>> {
        self.subjects.get(kind)?.get(namespace, name)
    }

    /// Direct access to objects of a kind.
    pub(crate) fn api(&self, namespace: &str, resource: &ApiResource) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), namespace, resource)
    }

    fn caches(&self) -> impl Iterator<Item = &Cache> {
        let others = [&self.claims, &self.group_pods];
        self.children.values().chain(self.subjects.values()).chain(others)
    }

    /// The same as [`World::synced`]; `health` is told what is missing until then.
    pub(crate) async fn filled(&self, health: &Health) {
        let filled = |cache: &Cache| {
            let (name, filled) = (format!("cache of {}", cache.resource.kind), cache.filled.clone());
            async move {
                health.lacks(name.as_str(), "it has not been read from the API server yet");
                filled.cancelled().await;
                health.has(&name);
            }
        };
        futures::future::join_all(self.caches().map(filled)).await;
        health.lacks("pods of services", "they have not been read from the API server yet");
        self.pods.filled.cancelled().await;
        health.has("pods of services");
        health.lacks("cluster facts", "nodes, or other NIM operators, have not been looked at yet");
        self.synced().await;
        health.has("cluster facts");
    }

    /// Waits until every cache of a kind that the cluster has was filled once, and the cluster is known.
    pub(crate) async fn synced(&self) {
        for cache in self.caches() {
            cache.filled.cancelled().await;
        }
        self.pods.filled.cancelled().await;
        self.nodes_seen.cancelled().await;
        // The sender ends only with the operator.
        let _ = self.rival.clone().wait_for(|rival| *rival != Rival::Unknown).await;
    }
}
