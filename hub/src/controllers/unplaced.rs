//! NIM objects that no placement has: their status says so, also where an earlier process of the hub left another one.

use std::time::Duration;

use crds::condition;
use hub_core::aggregate::{NOT_PLACED, is_nowhere, unplaced_status};
use hub_core::objects::{Catalog, NIM_API_VERSION, NIM_KINDS, owner};
use hub_scheduler::fleet::ObjectRef;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::DynamicObject;
use kube::core::ObjectMeta;
use kube::{Resource, ResourceExt};

use super::fault::Fault;
use super::placement::{STATUS_MANAGER, write_status};
use super::stores::nim_resource;
use super::{Hub, time_until};

/// An object and the placement that selects it are most often applied together: for so long nothing is said of the object.
const GRACE: SignedDuration = SignedDuration::from_secs(15);
/// How soon an object is looked at that came before every placement had its first turn.
const UNTIL_DECIDED: Duration = Duration::from_secs(1);
/// A report that was under way when the object was released may have written after us: the object is looked at once more.
const AGAIN: Duration = Duration::from_secs(5);

/// A NIM object by its name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct ObjectKey {
    kind: &'static str,
    namespace: String,
    name: String,
}

impl std::fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}/{}", self.kind, self.namespace, self.name)
    }
}

impl Hub {
    /// An object may be placed nowhere.
    pub(super) fn may_be_unplaced(&self, kind: &str, object: &impl ResourceExt) {
        let Some(kind) = NIM_KINDS.into_iter().find(|known| *known == kind) else { return };
        let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
        self.unplaced.add_soon(ObjectKey { kind, namespace, name });
    }
}

/// One look at one object.
pub(super) async fn reconcile(hub: &Hub, key: &ObjectKey) -> Result<(), Fault> {
    if !hub.desired.is_open() {
        // Placements have their first turns now, and take what they select.
        hub.unplaced.add_after(key.clone(), UNTIL_DECIDED);
        return Ok(());
    }
    let Some(object) = hub.stores.object(key.kind, &key.namespace, &key.name) else { return Ok(()) };
    let Some(uid) = object.uid().filter(|_| object.metadata.deletion_timestamp.is_none()) else {
        return Ok(());
    };
    if owner(object.as_ref()).is_some() || hub.live().claims.contains_key(&uid) {
        return Ok(());
    }
    let now = Timestamp::now();
    match says(&object, now) {
        Says::Enough => return Ok(()),
        Says::Later(at) => {
            hub.unplaced.add_after(key.clone(), time_until(at, now));
            return Ok(());
        }
        Says::Stale => {}
    }
    let ObjectKey { kind, namespace, name } = key.clone();
    let api_version = NIM_API_VERSION.to_owned();
    let stored = conditions(&object);
    let generation = object.metadata.generation.unwrap_or_default();
    let status = unplaced_status(kind, generation, &stored, &[], now);
    let about = object.object_ref(&nim_resource(kind));
    let object = ObjectRef { uid, api_version, kind: kind.to_owned(), namespace, name };
    write_status(hub, &object, &about, &stored, &status).await?;
    hub.unplaced.add_after(key.clone(), AGAIN);
    Ok(())
}

/// What the status of an object that no placement has says.
enum Says {
    /// It is true, or somebody else's.
    Enough,
    /// Nothing yet, and until then it need not.
    Later(Timestamp),
    /// It is not true.
    Stale,
}

fn says(object: &DynamicObject, now: Timestamp) -> Says {
    let state = object.data.pointer("/status/state").and_then(|state| state.as_str());
    match state {
        Some(NOT_PLACED) if condition::find(&conditions(object), "Ready").is_some_and(is_nowhere) => {
            Says::Enough
        }
        Some(_) if is_ours(&object.metadata) => Says::Stale,
        Some(_) => Says::Enough,
        None => {
            let created = object.metadata.creation_timestamp.as_ref().map_or(now, |created| created.0);
            let at = created.checked_add(GRACE).unwrap_or(Timestamp::MAX);
            if now < at { Says::Later(at) } else { Says::Stale }
        }
    }
}

fn conditions(object: &DynamicObject) -> Vec<Condition> {
    let stored = object.data.pointer("/status/conditions").cloned().unwrap_or_default();
    serde_json::from_value(stored).unwrap_or_default()
}

/// Whether the hub has written the state: an operator that works on this cluster's objects writes states of its own, and is left
/// alone.
fn is_ours(meta: &ObjectMeta) -> bool {
    let managed = meta.managed_fields.iter().flatten();
    managed.into_iter().any(|entry| entry.manager.as_deref() == Some(STATUS_MANAGER))
}
