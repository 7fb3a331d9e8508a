//! From payload to manifest: what is applied, and the marks that make it ours.

use crds::marks;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::kinds::SECRET;
use super::{Epoch, Gang, ObjectRef, Upsert};

/// The payload as it came, kept on the object so that a local edit can be undone with no hub in sight.
pub(super) const PAYLOAD_ANNOTATION: &str = "nimfleet.io/payload";

/// Metadata that an object brings from the hub; everything else of its metadata belongs to the hub's cluster.
const CARRIED_METADATA: [&str; 4] = ["name", "namespace", "labels", "annotations"];

/// What a delivered object says about its origin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Marks {
    /// metadata.uid of the hub's object.
    pub uid: String,
    /// metadata.generation of the hub's object.
    pub generation: i64,
    /// Hash of the payload.
    pub hash: String,
    /// The hub it came from.
    pub hub_id: String,
    /// Epoch under which it was applied last, `<term>.<incarnation>`.
    pub epoch: String,
    /// What its pods take together, if they do.
    pub gang: Option<Box<Gang>>,
}

impl Marks {
    /// The marks that an upsert under an epoch leaves.
    #[must_use]
    pub fn new(upsert: &Upsert, epoch: &Epoch) -> Self {
        Self {
            uid: upsert.object.uid.clone(),
            generation: upsert.generation,
            hash: upsert.hash.clone(),
            hub_id: epoch.hub_id.clone(),
            epoch: epoch.to_string(),
            gang: upsert.gang.clone(),
        }
    }
}

/// Reads the marks of an object; `None` when it is not (or no longer) delivered by a hub.
#[must_use]
pub fn marks_of(meta: &ObjectMeta) -> Option<Marks> {
    let annotations = meta.annotations.as_ref()?;
    let read = |key: &str| annotations.get(key).cloned();
    Some(Marks {
        uid: read(marks::UID_ANNOTATION)?,
        generation: read(marks::GENERATION_ANNOTATION)?.parse().ok()?,
        hash: read(marks::HASH_ANNOTATION)?,
        hub_id: read(marks::HUB_ID_ANNOTATION)?,
        epoch: read(marks::EPOCH_ANNOTATION)?,
        gang: read(marks::GANG_ANNOTATION).and_then(|gang| serde_json::from_str(&gang).ok()),
    })
}

/// The label selector of delivered objects.
pub(super) fn delivered() -> String {
    format!("{}={}", marks::DELIVERED_LABEL, marks::DELIVERED)
}

/// The payload that was applied last, where it is still as it came.
pub(super) fn payload_of(meta: &ObjectMeta, marks: &Marks) -> Option<Vec<u8>> {
    let payload = meta.annotations.as_ref()?.get(PAYLOAD_ANNOTATION)?.as_bytes();
    (sha256(payload) == marks.hash).then(|| payload.to_vec())
}

/// Builds what is applied: the payload's own fields and our marks. An error says what is wrong with the payload. A Secret
/// does not keep its payload as a mark: metadata is shown where data is not.
pub fn manifest(object: &ObjectRef, payload: &[u8], marks: &Marks) -> Result<Value, String> {
    let actual = sha256(payload);
    if actual != marks.hash {
        return Err(format!("the payload of {object} has hash {actual}, the hub announced {}", marks.hash));
    }
    let text = std::str::from_utf8(payload).map_err(|error| format!("the payload of {object}: {error}"))?;
    let mut value: Value = serde_json::from_str(text)
        .map_err(|error| format!("the payload of {object} is not JSON: {error}"))?;
    for (pointer, expected) in [
        ("/apiVersion", &object.api_version),
        ("/kind", &object.kind),
        ("/metadata/namespace", &object.namespace),
        ("/metadata/name", &object.name),
    ] {
        let found = value.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        if found != expected {
            return Err(format!(
                "the payload of {object} says {found:?} at {pointer}, expected {expected:?}"
            ));
        }
    }
    let Some(root) = value.as_object_mut() else {
        return Err(format!("the payload of {object} is no object"));
    };
    root.remove("status");
    if let Some(Value::Object(metadata)) = root.get_mut("metadata") {
        metadata.retain(|key, _| CARRIED_METADATA.contains(&key.as_str()));
        let mut labels = take_map(metadata, "labels");
        // Fleet intent belongs to the hub's object; here it would keep the operator from rendering.
        labels.remove(marks::PLACEMENT_LABEL);
        labels.insert(marks::DELIVERED_LABEL.to_owned(), json!(marks::DELIVERED));
        metadata.insert("labels".to_owned(), Value::Object(labels));
        let mut annotations = take_map(metadata, "annotations");
        for (key, mark) in [
            (marks::UID_ANNOTATION, marks.uid.as_str()),
            (marks::GENERATION_ANNOTATION, &marks.generation.to_string()),
            (marks::HASH_ANNOTATION, &marks.hash),
            (marks::HUB_ID_ANNOTATION, &marks.hub_id),
            (marks::EPOCH_ANNOTATION, &marks.epoch),
        ] {
            annotations.insert(key.to_owned(), json!(mark));
        }
        annotations.remove(marks::GANG_ANNOTATION);
        if let Some(gang) = &marks.gang {
            annotations.insert(marks::GANG_ANNOTATION.to_owned(), json!(json!(gang).to_string()));
        }
        if object.kind != SECRET.kind {
            annotations.insert(PAYLOAD_ANNOTATION.to_owned(), json!(text));
        }
        metadata.insert("annotations".to_owned(), Value::Object(annotations));
    }
    Ok(value)
}

/// The JSON merge patch that lets an object go: marks off, and a note of who may take it again.
#[must_use]
pub fn release(meta: &ObjectMeta, hub_id: &str) -> Value {
    json!({
        "metadata": {
            // The patch must not hit an object that has changed since it was judged.
            "resourceVersion": meta.resource_version,
            "labels": { marks::DELIVERED_LABEL: null },
            "annotations": {
                marks::UID_ANNOTATION: null,
                marks::GENERATION_ANNOTATION: null,
                marks::HASH_ANNOTATION: null,
                marks::HUB_ID_ANNOTATION: null,
                marks::EPOCH_ANNOTATION: null,
                marks::GANG_ANNOTATION: null,
                PAYLOAD_ANNOTATION: null,
                marks::RETAINED_BY_ANNOTATION: hub_id,
            },
        },
    })
}

fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// The object under `key`; an empty one when it is missing or null.
fn take_map(parent: &mut Map<String, Value>, key: &str) -> Map<String, Value> {
    match parent.remove(key) {
        Some(Value::Object(map)) => map,
        _ => Map::new(),
    }
}

#[cfg(test)]
#[path = "manifest/tests.rs"]
mod tests;
