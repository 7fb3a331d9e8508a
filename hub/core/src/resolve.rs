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
use std::sync::Arc;

use crds::marks::RETRY_ANNOTATION;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::fleet::{Cluster, ClusterName, PlacementKey};

pub use overrides::{Concerned, MOST_OPERATIONS, Override, read};
use overrides::{SCHEDULED, Size, Why};
pub use secret::secret;

/// The largest object that a cluster is sent, bytes: etcd takes no larger request (1.5 MiB), and it fits into one message.
pub const MOST_BYTES: usize = 3 << 19;
/// Labels and annotations under this prefix are the fleet's own and stay on the hub.
const OWN_PREFIX: &str = "nimfleet.io/";

/// What a cluster is sent for one object.
#[derive(Clone, PartialEq, Eq)]
pub struct Payload {
    /// `{apiVersion, kind, metadata{name, namespace, labels, annotations}, spec}` as canonical JSON, shared by all clusters that
    /// are sent it.
    pub bytes: Arc<[u8]>,
    /// SHA-256 of the bytes, hex.
    pub hash: String,
}

impl Payload {
    fn new(bytes: Vec<u8>) -> Self {
        let hash = hex::encode(Sha256::digest(&bytes));
        Self { bytes: bytes.into(), hash }
    }
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
    /// More operations than a placement may have.
    #[error(
        "{placement}: spec.overrides: {count} operations in all of them together, at most {MOST_OPERATIONS}: change what all \
         clusters need in the object itself, or split the placement"
    )]
    Operations {
        /// The placement.
        placement: PlacementKey,
        /// How many.
        count: usize,
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
    /// An operation that makes an object larger than a cluster takes.
    #[error(
        "{}: spec.overrides[{index}].jsonPatch[{operation}]: {subject}: as it would be sent it has {bytes} bytes, more than the \
         {MOST_BYTES} that a cluster's API server takes: make {} smaller",
        subject.placement, subject.kind
    )]
    TooLarge {
        /// What was resolved.
        subject: Box<Subject>,
        /// Which override.
        index: usize,
        /// Which operation.
        operation: usize,
        /// Bytes after it.
        bytes: usize,
    },
    /// An override of what the scheduler decides.
    #[error(
        "{}: spec.overrides changes {field} of {subject}: it is the scheduler's: use replicaScheduling, or change the object \
         itself",
        subject.placement
    )]
    Scheduled {
        /// What was resolved.
        subject: Box<Subject>,
        /// What it changes.
        field: &'static str,
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
    let concerned = Concerned::of(overrides, cluster);
    let mut resolved = overridden(placement, object, &cluster.name, overrides, concerned)?;
    if let (Some(replicas), Some(spec)) = (replicas, resolved.get_mut("spec").and_then(Value::as_object_mut))
    {
        spec.insert("replicas".to_owned(), Value::from(replicas));
    }
    Ok(Payload::new(canonical::bytes(&resolved)))
}

/// What of `object`, as stored on the hub, is its user's, changed by those overrides that concern `cluster`.
pub fn overridden(
    placement: &PlacementKey,
    object: &Value,
    cluster: &ClusterName,
    overrides: &[Override],
    concerned: Concerned,
) -> Result<Value, ResolveError> {
    let original = forwarded(object)?;
    if concerned.is_empty() {
        return Ok(original);
    }
    let subject = || {
        let (kind, name) = (text(&original, "/kind"), text(&original, "/metadata/name"));
        Box::new(Subject { placement: placement.clone(), kind, name, cluster: cluster.clone() })
    };
    let mut resolved = original.clone();
    let mut size = Size::of(&resolved);
    for (index, one) in overrides.iter().enumerate().filter(|(index, _)| concerned.has(*index)) {
        one.apply(&mut resolved, &mut size).map_err(|failed| {
            let (subject, operation) = (subject(), failed.operation);
            match failed.why {
                Why::Patch { path, reason } => {
                    ResolveError::Patch { subject, index, operation, path, reason }
                }
                Why::TooLarge(bytes) => ResolveError::TooLarge { subject, index, operation, bytes },
            }
        })?;
    }
    for (pointer, field) in IDENTITY {
        if resolved.pointer(pointer) != original.pointer(pointer) {
            return Err(ResolveError::Identity { subject: subject(), field });
        }
    }
    for (pointer, field) in SCHEDULED {
        if resolved.pointer(pointer) != original.pointer(pointer) {
            return Err(ResolveError::Scheduled { subject: subject(), field });
        }
    }
    // After the overrides, which may have put a status or an owner in.
    forwarded(&resolved)
}

/// Bytes of a stored object as it would be sent without overrides.
#[must_use]
pub fn size(object: &Value) -> usize {
    forwarded(object).map_or(0, |forwarded| canonical::size(&forwarded))
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
    // The one wish to a cluster's agent that a user has.
    (key == RETRY_ANNOTATION || !key.starts_with(OWN_PREFIX))
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
