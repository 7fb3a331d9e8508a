//! Makes our own by server-side apply what was written by other means: fields that an earlier operator set, and those
//! that we set when we created an object. Without it a field that is no longer rendered would stay for ever.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{FieldsV1, ManagedFieldsEntry};
use kube::core::DynamicObject;
use serde_json::{Map, Value, json};

use super::apply::MANAGER;
use super::child::DESIRED_HASH;

/// Field managers of the operators that may have run before this one: a Go client names itself after its binary, which
/// is `manager` in the images of NVIDIA's operator.
const PREDECESSORS: &[&str] = &["manager", "k8s-nim-operator", "nim-operator"];

/// Whether a field manager is this operator, or one that may have run before it.
pub(super) fn is_predecessor(manager: &str) -> bool {
    manager == MANAGER || PREDECESSORS.contains(&manager)
}

/// Keeps of an object's managed fields who still owns some that are to become ours, which is seldom anyone.
pub(crate) fn keep_owners(object: &mut DynamicObject) {
    let applied = was_applied(object);
    object.metadata.managed_fields = object.metadata.managed_fields.take().and_then(|entries| {
        let left: Vec<_> = entries
            .into_iter()
            .filter(|entry| is_taken(entry, applied) && split(entry).is_some())
            .map(|entry| ManagedFieldsEntry { fields_v1: None, time: None, ..entry })
            .collect();
        (!left.is_empty()).then_some(left)
    });
}

/// The JSON patch that makes the fields of such owners ours; `None` when there are none. It changes nothing but
/// who owns what, and only if the object is still as it was looked at.
pub(crate) fn patch(object: &DynamicObject) -> Option<Value> {
    let applied = was_applied(object);
    let entries = object.metadata.managed_fields.as_deref().unwrap_or_default();
    let version = &object.types.as_ref()?.api_version;
    let ours = |entry: &ManagedFieldsEntry| {
        entry.manager.as_deref() == Some(MANAGER) && entry.operation.as_deref() == Some("Apply")
    };
    let mut kept = Vec::new();
    let mut own = entries.iter().find(|entry| ours(entry)).cloned();
    let mut found = false;
    for entry in entries.iter().filter(|entry| !ours(entry)) {
        let same_version = entry.api_version.as_ref() == Some(version);
        match split(entry).filter(|_| same_version && is_taken(entry, applied)) {
            None => kept.push(entry.clone()),
            Some((taken, left)) => {
                found = true;
                if let Some(left) = left {
                    kept.push(ManagedFieldsEntry { fields_v1: Some(FieldsV1(left)), ..entry.clone() });
                }
                let fields = match own.and_then(|own| own.fields_v1) {
                    Some(FieldsV1(before)) => union(before, taken),
                    None => taken,
                };
                own = Some(ManagedFieldsEntry {
                    manager: Some(MANAGER.to_owned()),
                    operation: Some("Apply".to_owned()),
                    fields_v1: Some(FieldsV1(fields)),
                    ..entry.clone()
                });
            }
        }
    }
    kept.extend(own);
    found.then(|| {
        json!([
            {"op": "replace", "path": "/metadata/resourceVersion", "value": object.metadata.resource_version},
            {"op": "replace", "path": "/metadata/managedFields", "value": kept},
        ])
    })
}

/// Whether this operator has made or applied the object before.
fn was_applied(object: &DynamicObject) -> bool {
    let entries = object.metadata.managed_fields.as_deref().unwrap_or_default();
    object.metadata.annotations.as_ref().is_some_and(|all| all.contains_key(DESIRED_HASH))
        || entries.iter().any(|entry| entry.manager.as_deref() == Some(MANAGER))
}

/// Whether the fields of this owner are to become ours. What others of a predecessor's name wrote after us is theirs.
fn is_taken(entry: &ManagedFieldsEntry, applied: bool) -> bool {
    let manager = entry.manager.as_deref().unwrap_or_default();
    entry.operation.as_deref() == Some("Update")
        && entry.subresource.as_deref().unwrap_or_default().is_empty()
        && (manager == MANAGER || !applied && PREDECESSORS.contains(&manager))
}

/// Divides what an owner owns into what is taken and what is left to it: finalizers and the status are never ours.
/// `None` when nothing is taken.
fn split(entry: &ManagedFieldsEntry) -> Option<(Value, Option<Value>)> {
    let FieldsV1(Value::Object(mut taken)) = entry.fields_v1.clone()? else { return None };
    let mut left = Map::new();
    if let Some(status) = taken.remove("f:status") {
        left.insert("f:status".to_owned(), status);
    }
    let metadata = taken.get_mut("f:metadata").and_then(Value::as_object_mut);
    if let Some((metadata, finalizers)) = metadata.and_then(|m| m.remove("f:finalizers").map(|f| (m, f))) {
        left.insert("f:metadata".to_owned(), json!({ "f:finalizers": finalizers }));
        if metadata.is_empty() {
            taken.remove("f:metadata");
        }
    }
    let left = (!left.is_empty()).then_some(Value::Object(left));
    (!taken.is_empty()).then_some((Value::Object(taken), left))
}

/// All fields of two sets. An empty map is a field itself, `.` the same beside fields below it.
fn union(a: Value, b: Value) -> Value {
    match (a, b) {
        (Value::Object(mut a), Value::Object(b)) if !a.is_empty() && !b.is_empty() => {
            for (key, below) in b {
                let both = match a.remove(&key) {
                    Some(before) => union(before, below),
                    None => below,
                };
                a.insert(key, both);
            }
            Value::Object(a)
        }
        (Value::Object(leaf), Value::Object(mut deeper))
        | (Value::Object(mut deeper), Value::Object(leaf))
            if leaf.is_empty() =>
        {
            if !deeper.is_empty() {
                deeper.insert(".".to_owned(), json!({}));
            }
            Value::Object(deeper)
        }
        (a, _) => a,
    }
}

#[cfg(test)]
mod tests;
