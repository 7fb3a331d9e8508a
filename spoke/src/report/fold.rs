//! From a delivered object to what the hub is told about it.

use std::collections::BTreeMap;

use kube::api::DynamicObject;
use serde_json::Value;

use super::waiting::LONGEST;
use super::{CachedProfile, Condition, ObjectStatus, Unschedulable};
use crate::deliver::{DeliverableKind, ObjectRef, marks_of};
use crate::operator::{NOT_CREATED, REPLICA_FAILURE, SCALED_TO_ZERO};

/// The status of an object; `None` when it is not delivered.
///
/// `observed_at_ms` is the time of observation, milliseconds since the Unix epoch.
pub(super) fn status(
    kind: DeliverableKind,
    object: &DynamicObject,
    observed_at_ms: i64,
) -> Option<ObjectStatus> {
    let marks = marks_of(&object.metadata)?;
    // What the operator wrote about an older spec must not pass for the state of the new one.
    let status = object.data.get("status").filter(|status| is_about_this_generation(object, status));
    let conditions = conditions(status);
    let (state, wanted_replicas) = (text(status, "state"), wanted_replicas(kind, object));
    // What runs on Knative has no count of its own: it is Ready when as many replicas are there as it needs.
    let uncounted = if state == "Ready" { wanted_replicas } else { 0 };
    Some(ObjectStatus {
        object: ObjectRef {
            uid: marks.uid,
            api_version: kind.api_version(),
            kind: kind.kind.to_owned(),
            namespace: object.metadata.namespace.clone()?,
            name: object.metadata.name.clone()?,
        },
        generation: marks.generation,
        hash: marks.hash,
        state,
        conditions,
        ready_replicas: status.and_then(|status| count(status, "availableReplicas")).unwrap_or(uncounted),
        wanted_replicas,
        observed_at_ms,
        profiles: profiles(status),
        unschedulable: None,
        claim: if kind.kind == "NIMCache" { text(status, "pvc") } else { String::new() },
        services: if kind.kind == "NIMPipeline" { services(object) } else { Vec::new() },
    })
}

/// Replicas whose pods the API server refuses to have made, of those that an object lacks: the operator says so.
pub(super) fn not_created(status: &ObjectStatus, lacks: i32) -> Option<Unschedulable> {
    let failed = status.conditions.iter().find(|one| one.kind == REPLICA_FAILURE && one.status == "True")?;
    (failed.reason == NOT_CREATED && lacks > 0).then(|| Unschedulable {
        replicas: lacks,
        message: failed.message.chars().take(LONGEST).collect(),
        since_ms: failed.last_transition_ms,
    })
}

/// Whether every statement of the status that names a generation names the live one, and one does. The NIM API has
/// no status.observedGeneration of its own, so the conditions' is read as well.
fn is_about_this_generation(object: &DynamicObject, status: &Value) -> bool {
    let Some(live) = object.metadata.generation else { return false };
    let own = status.get("observedGeneration").and_then(Value::as_i64);
    let of_conditions = list(Some(status), "conditions")
        .filter_map(|condition| condition.get("observedGeneration").and_then(Value::as_i64))
        .max();
    own.or(of_conditions).is_some_and(|observed| observed >= live)
}

/// Names of the enabled services of a NIMPipeline.
fn services(pipeline: &DynamicObject) -> Vec<String> {
    let enabled = list(pipeline.data.get("spec"), "services")
        .filter(|service| service.get("enabled").and_then(Value::as_bool) == Some(true));
    enabled.map(|service| text(Some(service), "name")).collect()
}

/// One where the object does not say, as the API's default; what is not a service has no replicas, and none are wanted of one
/// that its autoscaler has stopped.
fn wanted_replicas(kind: DeliverableKind, object: &DynamicObject) -> i32 {
    if matches!(kind.kind, "NIMCache" | "NIMPipeline" | "NIMBuild") || is_scaled_to_zero(object) {
        return 0;
    }
    object.data.get("spec").and_then(|spec| count(spec, "replicas")).unwrap_or(1)
}

fn is_scaled_to_zero(object: &DynamicObject) -> bool {
    let is_it = |condition: &Value| {
        text(Some(condition), "type") == SCALED_TO_ZERO && text(Some(condition), "status") == "True"
    };
    list(object.data.get("status"), "conditions").any(is_it)
}

fn conditions(status: Option<&Value>) -> Vec<Condition> {
    let mut conditions: Vec<Condition> = list(status, "conditions")
        .map(|condition| Condition {
            kind: text(Some(condition), "type"),
            status: text(Some(condition), "status"),
            reason: text(Some(condition), "reason"),
            message: text(Some(condition), "message"),
            last_transition_ms: text(Some(condition), "lastTransitionTime")
                .parse()
                .map_or(0, jiff::Timestamp::as_millisecond),
        })
        .collect();
    conditions.sort_by(|one, other| one.kind.cmp(&other.kind));
    conditions
}

/// The profiles of a NIMCache's status, by name.
pub(crate) fn profiles(status: Option<&Value>) -> Vec<CachedProfile> {
    let mut profiles: Vec<CachedProfile> = list(status, "profiles")
        .map(|profile| CachedProfile { name: text(Some(profile), "name"), tags: tags(profile) })
        .collect();
    profiles.sort_by(|one, other| one.name.cmp(&other.name));
    profiles
}

fn tags(profile: &Value) -> BTreeMap<String, String> {
    let config = profile.get("config").and_then(Value::as_object);
    let text = |(key, value): (&String, &Value)| Some((key.clone(), value.as_str()?.to_owned()));
    config.into_iter().flatten().filter_map(text).collect()
}

fn list<'a>(parent: Option<&'a Value>, key: &str) -> impl Iterator<Item = &'a Value> {
    parent.and_then(|parent| parent.get(key)).and_then(Value::as_array).into_iter().flatten()
}

fn text(parent: Option<&Value>, key: &str) -> String {
    parent.and_then(|parent| parent.get(key)).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn count(parent: &Value, key: &str) -> Option<i32> {
    parent.get(key).and_then(Value::as_i64).and_then(|count| i32::try_from(count).ok())
}

#[cfg(test)]
#[path = "fold/tests.rs"]
mod tests;
