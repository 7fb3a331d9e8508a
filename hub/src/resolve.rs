//! The object that one cluster is sent: the hub's object as stored, changed for that cluster, as canonical
//! bytes.
//!
//! The spec is never read through a typed struct, so nothing is lost or added on the way: only overrides and,
//! where replicas are divided, `spec.replicas` change it.

mod canonical;
mod overrides;
mod secret;
#[cfg(test)]
mod tests;

use std::fmt;

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::fleet::{Cluster, ClusterName, PlacementKey};

pub use overrides::{Override, read};
pub use secret::secret;

/// Labels and annotations under this prefix are the fleet's own and stay on the hub.
const OWN_PREFIX: &str = "nimfleet.io/";

/// What a cluster is sent for one object.
#[derive(Clone, PartialEq, Eq)]
pub struct Payload {
    /// `{apiVersion, kind, metadata{name, namespace, labels, annotations}, spec}` as canonical JSON.
    pub bytes: Vec<u8>,
    /// SHA-256 of the bytes, hex.
    pub hash: String,
}

impl fmt::Debug for Payload {
    /// Not the bytes: they may be a Secret's.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Payload").field("hash", &self.hash).finish_non_exhaustive()
    }
}

/// An object that cannot be resolved for a cluster.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    /// What is stored is no Kubernetes object.
    #[error("object: {field} is missing")]
    NoObject {
        /// Which field it lacks.
        field: &'static str,
    },
    /// An override whose cluster selector means nothing.
    #[error("{placement}: spec.overrides[{index}].clusterSelector: {reason}")]
    Selector {
        /// The placement.
        placement: PlacementKey,
        /// Which override.
        index: usize,
        /// What is wrong.
        reason: crate::fleet::InvalidSelector,
    },
    /// An override with an operation that cannot be read.
    #[error("{placement}: spec.overrides[{index}].jsonPatch[{operation}]: {reason}")]
    Operation {
        /// The placement.
        placement: PlacementKey,
        /// Which override.
        index: usize,
        /// Which operation.
        operation: usize,
        /// What is wrong.
        reason: String,
    },
    /// An operation that does not work on this object.
    #[error(
        "{}: spec.overrides[{index}].jsonPatch[{operation}] at {path}: {reason} in {subject}",
        subject.placement
    )]
    Patch {
        /// What was resolved.
        subject: Box<Subject>,
        /// Which override.
        index: usize,
        /// Which operation.
        operation: usize,
        /// Its path.
        path: String,
        /// What is wrong.
        reason: String,
    },
    /// An override that makes another object of it.
    #[error("{}: spec.overrides changes {field} of {subject}: it must stay", subject.placement)]
    Identity {
        /// What was resolved.
        subject: Box<Subject>,
        /// What it changes.
        field: &'static str,
    },
}

/// An object that was resolved for a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// The placement that asked for it.
    pub placement: PlacementKey,
    /// Kind of the object.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// The cluster.
    pub cluster: ClusterName,
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} for cluster {}", self.kind, self.name, self.cluster)
    }
}

/// The payload of `object`, as stored on the hub, for `cluster`. `replicas` is set where they are divided.
pub fn resolve(
    placement: &PlacementKey,
    object: &Value,
    cluster: &Cluster,
    replicas: Option<u32>,
    overrides: &[Override],
) -> Result<Payload, ResolveError> {
    let original = forwarded(object)?;
    let subject = || {
        let (kind, name) = (text(&original, "/kind"), text(&original, "/metadata/name"));
        Box::new(Subject { placement: placement.clone(), kind, name, cluster: cluster.name.clone() })
    };
    let mut resolved = original.clone();
    for (index, one) in overrides.iter().enumerate().filter(|(_, one)| one.concerns(cluster)) {
        one.apply(&mut resolved).map_err(|failed| ResolveError::Patch {
            subject: subject(),
            index,
            operation: failed.operation,
            path: failed.path,
            reason: failed.reason,
        })?;
    }
    for (pointer, field) in IDENTITY {
        if resolved.pointer(pointer) != original.pointer(pointer) {
            return Err(ResolveError::Identity { subject: subject(), field });
        }
    }
    // After the overrides, which may have put a status or an owner in.
    let mut resolved = forwarded(&resolved)?;
    if let (Some(replicas), Some(spec)) = (replicas, resolved.get_mut("spec").and_then(Value::as_object_mut))
    {
        spec.insert("replicas".to_owned(), Value::from(replicas));
    }
    let bytes = canonical::bytes(&resolved);
    let hash = hex::encode(Sha256::digest(&bytes));
    Ok(Payload { bytes, hash })
}

/// What an override must not change.
const IDENTITY: [(&str, &str); 4] = [
    ("/apiVersion", "apiVersion"),
    ("/kind", "kind"),
    ("/metadata/namespace", "metadata.namespace"),
    ("/metadata/name", "metadata.name"),
];

/// Prefixes of labels and annotations by which tools on the hub know their own objects. A copy in a member would be
/// taken for a resource of the same application there, and pruned; and it changes with every sync.
const TOOL_PREFIXES: [&str; 18] = [
    "applyset.kubernetes.io/",
    "argocd.argoproj.io/",
    "config.k8s.io/",
    "config.kubernetes.io/",
    "configmanagement.gke.io/",
    "configsync.gke.io/",
    "fleet.cattle.io/",
    "fluxcd.io/",
    "helm.sh/",
    "helm.toolkit.fluxcd.io/",
    "internal.config.kubernetes.io/",
    "kapp.k14s.io/",
    "kubectl.kubernetes.io/",
    "kustomize.toolkit.fluxcd.io/",
    "meta.helm.sh/",
    "objectset.rio.cattle.io/",
    "pulumi.com/",
    "reconcile.fluxcd.io/",
];
/// Labels by which Helm and Argo CD know their objects. `app.kubernetes.io/instance` is Argo CD's default tracking label.
const TOOL_LABELS: [&str; 2] = ["app.kubernetes.io/instance", "app.kubernetes.io/managed-by"];

/// Whether a label or annotation is the user's: not a mark of the fleet's, nor of a tool that applies objects on the hub.
fn travels(key: &str) -> bool {
    !key.starts_with(OWN_PREFIX)
        && !TOOL_PREFIXES.iter().any(|prefix| key.starts_with(prefix))
        && !TOOL_LABELS.contains(&key)
}

/// The part of an object that is its user's: neither what the API server keeps, nor status, nor marks of the fleet or of
/// GitOps tools.
fn forwarded(object: &Value) -> Result<Value, ResolveError> {
    let mut forwarded = Map::new();
    for field in ["apiVersion", "kind"] {
        let value =
            object.get(field).filter(|value| value.is_string()).ok_or(ResolveError::NoObject { field })?;
        forwarded.insert(field.to_owned(), value.clone());
    }
    let metadata = object.get("metadata");
    let mut kept = Map::new();
    for (field, name) in [("name", "metadata.name"), ("namespace", "metadata.namespace")] {
        let value = metadata.and_then(|metadata| metadata.get(field)).filter(|value| value.is_string());
        kept.insert(field.to_owned(), value.ok_or(ResolveError::NoObject { field: name })?.clone());
    }
    for field in ["labels", "annotations"] {
        let Some(all) = metadata.and_then(|metadata| metadata.get(field)?.as_object()) else { continue };
        let of_user = all.iter().filter(|(key, _)| travels(key));
        let of_user: Map<_, _> = of_user.map(|(key, value)| (key.clone(), value.clone())).collect();
        if !of_user.is_empty() {
            kept.insert(field.to_owned(), Value::Object(of_user));
        }
    }
    forwarded.insert("metadata".to_owned(), Value::Object(kept));
    if let Some(spec) = object.get("spec") {
        forwarded.insert("spec".to_owned(), spec.clone());
    }
    Ok(Value::Object(forwarded))
}

fn text(object: &Value, pointer: &str) -> String {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
}
