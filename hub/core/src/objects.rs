//! The objects of the hub's API server, as decisions look them up.

use std::sync::Arc;

use crds::fleet::{GPUQuota, NIMPlacement, SelectedKind};
use crds::marks::PLACEMENT_LABEL;
use kube::ResourceExt;
use kube::core::DynamicObject;
use serde_json::Value;

/// Group and version of the NIM kinds.
pub const NIM_API_VERSION: &str = "apps.nvidia.com/v1alpha1";
/// The kinds that a placement can take.
pub const NIM_KINDS: [&str; SelectedKind::ALL.len()] = {
    let mut names = [""; SelectedKind::ALL.len()];
    let mut at = 0;
    while at < names.len() {
        names[at] = SelectedKind::ALL[at].as_str();
        at += 1;
    }
    names
};

/// What is known of the hub's API server.
pub trait Catalog: Send + Sync {
    /// A placement.
    fn placement(&self, namespace: &str, name: &str) -> Option<Arc<NIMPlacement>>;
    /// Whether there is a GPUCluster of that name.
    fn has_cluster(&self, name: &str) -> bool;
    /// The quotas of a namespace, by name.
    fn quotas_of(&self, namespace: &str) -> Vec<Arc<GPUQuota>>;
    /// A NIM object.
    fn object(&self, kind: &str, namespace: &str, name: &str) -> Option<Arc<DynamicObject>>;
    /// All NIM objects of a kind in a namespace, in no order.
    fn objects_of(&self, kind: &str, namespace: &str) -> Vec<Arc<DynamicObject>>;
    /// All NIM objects that carry the label of a placement, each with its kind.
    fn taken_by(&self, namespace: &str, placement: &str) -> Vec<(&'static str, Arc<DynamicObject>)>;
}

/// A catalog with NIM objects that are supposed to be there too, or to be other than they are.
pub struct Supposed<'a> {
    /// What is known.
    pub catalog: &'a dyn Catalog,
    /// What is supposed, each with its kind; all of one namespace.
    pub objects: Vec<(&'static str, Arc<DynamicObject>)>,
}

impl Catalog for Supposed<'_> {
    fn placement(&self, namespace: &str, name: &str) -> Option<Arc<NIMPlacement>> {
        self.catalog.placement(namespace, name)
    }

    fn has_cluster(&self, name: &str) -> bool {
        self.catalog.has_cluster(name)
    }

    fn quotas_of(&self, namespace: &str) -> Vec<Arc<GPUQuota>> {
        self.catalog.quotas_of(namespace)
    }

    fn object(&self, kind: &str, namespace: &str, name: &str) -> Option<Arc<DynamicObject>> {
        let supposed = self.objects.iter().find(|(of, object)| *of == kind && object.name_any() == name);
        supposed.map(|(_, object)| object.clone()).or_else(|| self.catalog.object(kind, namespace, name))
    }

    fn objects_of(&self, kind: &str, namespace: &str) -> Vec<Arc<DynamicObject>> {
        let supposed = self.objects.iter().filter(|(of, _)| *of == kind).map(|(_, object)| object.clone());
        let mut objects: Vec<_> = supposed.collect();
        let names: Vec<String> = objects.iter().map(|object| object.name_any()).collect();
        let stored = self.catalog.objects_of(kind, namespace);
        objects.extend(stored.into_iter().filter(|object| !names.contains(&object.name_any())));
        objects
    }

    fn taken_by(&self, namespace: &str, placement: &str) -> Vec<(&'static str, Arc<DynamicObject>)> {
        self.catalog.taken_by(namespace, placement)
    }
}

/// The placement that has taken an object, by its label.
pub fn owner(object: &impl ResourceExt) -> Option<&str> {
    object.labels().get(PLACEMENT_LABEL).map(String::as_str)
}

/// The object as the API server would show it; a watch leaves kind and version out.
#[must_use]
pub fn plain(stored: &DynamicObject, kind: &str) -> Value {
    let mut json = stored.data.clone();
    if let Value::Object(fields) = &mut json {
        fields.insert("apiVersion".to_owned(), Value::from(NIM_API_VERSION));
        fields.insert("kind".to_owned(), Value::from(kind));
        fields.insert("metadata".to_owned(), serde_json::to_value(&stored.metadata).unwrap_or_default());
    }
    json
}
