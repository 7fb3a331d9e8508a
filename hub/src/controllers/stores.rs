//! What the hub watches, and where it is kept.
//!
//! NIM objects are kept as they are stored, field by field, since they are forwarded as they are; only what nobody
//! reads is dropped to save memory.

use std::sync::Arc;

use crds::fleet::{GPUCluster, GPUQuota, NIMPlacement, NIMPlacementDecision};
use futures::StreamExt;
use hub_core::objects::{Catalog, NIM_KINDS, owner};
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind};
use kube::core::PartialObjectMeta;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::watcher::Config;
use kube::{Api, Client, Resource, ResourceExt};
use runtime::Health;
use runtime::watch::{Change, Mirror, attempts};
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;

use super::placement::STATUS_MANAGER;

/// What kubectl keeps for itself; as large as the object.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// The hub's view of its API server.
#[derive(Clone)]
pub(crate) struct Stores {
    pub(crate) placements: Store<NIMPlacement>,
    pub(crate) decisions: Store<NIMPlacementDecision>,
    pub(crate) clusters: Store<GPUCluster>,
    pub(crate) quotas: Store<GPUQuota>,
    namespaces: Store<PartialObjectMeta<Namespace>>,
    nim: Vec<Store<DynamicObject>>,
}

/// What the watches write into.
pub(crate) struct Mirrors {
    pub(crate) placements: Mirror<NIMPlacement>,
    pub(crate) decisions: Mirror<NIMPlacementDecision>,
    pub(crate) clusters: Mirror<GPUCluster>,
    pub(crate) quotas: Mirror<GPUQuota>,
    pub(crate) namespaces: Mirror<PartialObjectMeta<Namespace>>,
    pub(crate) nim: Vec<Mirror<DynamicObject>>,
}

/// How the API server knows a NIM kind.
pub(crate) fn nim_resource(kind: &str) -> ApiResource {
    let plural = format!("{}s", kind.to_ascii_lowercase());
    ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk("apps.nvidia.com", "v1alpha1", kind), &plural)
}

impl Stores {
    /// Empty stores.
    pub(crate) fn new() -> (Self, Mirrors) {
        let mirrors = Mirrors {
            placements: Mirror::new(()),
            decisions: Mirror::new(()),
            clusters: Mirror::new(()),
            quotas: Mirror::new(()),
            namespaces: Mirror::new(()),
            nim: NIM_KINDS.map(|kind| Mirror::new(nim_resource(kind))).into(),
        };
        let stores = Self {
            placements: mirrors.placements.reader(),
            decisions: mirrors.decisions.reader(),
            clusters: mirrors.clusters.reader(),
            quotas: mirrors.quotas.reader(),
            namespaces: mirrors.namespaces.reader(),
            nim: mirrors.nim.iter().map(Mirror::reader).collect(),
        };
        (stores, mirrors)
    }

    /// Waits until everything has been read once, and tells `health` what is missing. `false` if a watch has ended.
    pub(crate) async fn synced(&self, health: &Health) -> bool {
        async fn filled<K>(kind: &str, store: &Store<K>, health: &Health) -> bool
        where
            K: Resource + Clone + 'static,
            K::DynamicType: Eq + std::hash::Hash + Clone,
        {
            let cache = format!("cache of {kind}");
            health.lacks(cache.as_str(), "it has not been read from the API server yet");
            let is_filled = store.wait_until_ready().await.is_ok();
            health.has(&cache);
            is_filled
        }
        let nim = NIM_KINDS.iter().zip(&self.nim).map(|(kind, store)| filled(kind, store, health));
        let (nim, placements, decisions, clusters, quotas, namespaces) = tokio::join!(
            futures::future::join_all(nim),
            filled("NIMPlacement", &self.placements, health),
            filled("NIMPlacementDecision", &self.decisions, health),
            filled("GPUCluster", &self.clusters, health),
            filled("GPUQuota", &self.quotas, health),
            filled("Namespace", &self.namespaces, health),
        );
        nim.into_iter().all(|filled| filled) && placements && decisions && clusters && quotas && namespaces
    }

    /// A cluster.
    pub(crate) fn cluster(&self, name: &str) -> Option<Arc<GPUCluster>> {
        self.clusters.get(&ObjectRef::new(name))
    }

    fn of_kind(&self, kind: &str) -> Option<&Store<DynamicObject>> {
        NIM_KINDS.iter().position(|known| *known == kind).map(|index| &self.nim[index])
    }
}

impl Catalog for Stores {
    fn placement(&self, namespace: &str, name: &str) -> Option<Arc<NIMPlacement>> {
        self.placements.get(&ObjectRef::new(name).within(namespace))
    }

    fn quotas_of(&self, namespace: &str) -> Vec<Arc<GPUQuota>> {
        let mut quotas =
            self.quotas.state_filter(|quota| quota.metadata.namespace.as_deref() == Some(namespace));
        quotas.sort_by_key(|quota| quota.name_any());
        quotas
    }

    fn object(&self, kind: &str, namespace: &str, name: &str) -> Option<Arc<DynamicObject>> {
        let store = self.of_kind(kind)?;
        store.get(&ObjectRef::new_with(name, nim_resource(kind)).within(namespace))
    }

    fn objects_of(&self, kind: &str, namespace: &str) -> Vec<Arc<DynamicObject>> {
        let Some(store) = self.of_kind(kind) else { return Vec::new() };
        store.state_filter(|object| object.metadata.namespace.as_deref() == Some(namespace))
    }

    fn taken_by(&self, namespace: &str, placement: &str) -> Vec<(&'static str, Arc<DynamicObject>)> {
        let mut taken = Vec::new();
        for (kind, store) in NIM_KINDS.into_iter().zip(&self.nim) {
            let of_kind = store.state_filter(|object| {
                object.metadata.namespace.as_deref() == Some(namespace) && owner(object) == Some(placement)
            });
            taken.extend(of_kind.into_iter().map(|object| (kind, object)));
        }
        taken
    }

    fn has_cluster(&self, name: &str) -> bool {
        self.cluster(name).is_some()
    }
}

/// The watched kinds behave alike but for how their API is made.
pub(crate) trait Watched:
    Resource + Clone + DeserializeOwned + std::fmt::Debug + Send + Sync + 'static
{
}
impl<K: Resource + Clone + DeserializeOwned + std::fmt::Debug + Send + Sync + 'static> Watched for K {}

/// Watches one kind into its copy until cancelled, and tells `changed` of every object that is new, gone, or changed in anything
/// but its status: before, after. A list tells every object, whether it has changed or not.
pub(crate) async fn watch<K>(
    api: Api<K>,
    mut mirror: Mirror<K>,
    changed: impl Fn(Option<&K>, Option<&K>),
    stop: CancellationToken,
) where
    K: Watched,
    K::DynamicType: Eq + std::hash::Hash + Clone,
{
    let kind = K::kind(mirror.kind()).into_owned();
    let events = attempts(api, Config::default(), kind.clone()).take_until(stop.cancelled_owned());
    let mut events = std::pin::pin!(events);
    while let Some(event) = events.next().await {
        // A failure is in the log.
        let Ok(event) = event else { continue };
        mirror.take(&event.modify(|object| trim(object, &kind)), |change| match change {
            Change::Listed => {}
            Change::Stored { before, after, is_listed } => {
                if is_listed || before.is_none_or(|before| differs(before, after)) {
                    changed(before, Some(after));
                }
            }
            Change::Gone(object) => changed(Some(object), None),
        });
    }
}

fn differs<K: Resource>(before: &K, after: &K) -> bool {
    let (a, b) = (before.meta(), after.meta());
    a.uid != b.uid
        || a.generation.is_none()
        || a.generation != b.generation
        || a.deletion_timestamp != b.deletion_timestamp
        || a.labels != b.labels
        || a.annotations != b.annotations
        || a.finalizers != b.finalizers
}

/// Drops what nobody reads. Of a GPUCluster it stays known who wrote its spec, for the audit records; of a NIM object whether the
/// hub wrote its state.
fn trim(object: &mut impl Resource, kind: &str) {
    let meta = object.meta_mut();
    match &mut meta.managed_fields {
        Some(managed) if kind == "GPUCluster" => managed.retain(|entry| entry.subresource.is_none()),
        Some(managed) if NIM_KINDS.contains(&kind) => {
            managed.retain(|entry| entry.manager.as_deref() == Some(STATUS_MANAGER) && owns_state(entry));
            for entry in managed {
                entry.fields_v1 = None;
            }
        }
        managed => *managed = None,
    }
    if let Some(annotations) = &mut meta.annotations {
        annotations.remove(LAST_APPLIED);
    }
}

/// Whether a writer owns `status.state`.
fn owns_state(entry: &ManagedFieldsEntry) -> bool {
    entry.fields_v1.as_ref().is_some_and(|fields| fields.0.pointer("/f:status/f:state").is_some())
}

/// Every object of a kind, in all namespaces.
pub(crate) fn everywhere<K: Resource<DynamicType = ()>>(client: &Client) -> Api<K> {
    Api::all(client.clone())
}
