//! Which Secrets a hub has brought: their names alone, since Secrets are never listed.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::{Api, Patch, PatchParams};
use serde_json::{Value, json};
use tokio::sync::Mutex;

use super::call::{carried_out, failed, is_not_found, timed};
use super::cluster::FIELD_MANAGER;
use super::kinds::SECRET;
use super::{DeliverError, HeldObject, ObjectRef, marks_of};

/// Name of the ConfigMap, in the spoke's own namespace: `<uid on the hub>: <namespace>/<name>`.
const NAME: &str = "nimfleet-spoke-secrets";

/// Reads and writes the index. What it names and is not there, or is not the hub's, is not held.
pub(super) struct SecretIndex {
    client: kube::Client,
    maps: Api<ConfigMap>,
    /// Two that make the ConfigMap at once would lose an entry.
    turn: Mutex<()>,
}

/// A Secret that was brought.
#[derive(Debug, PartialEq, Eq)]
struct Entry {
    namespace: String,
    name: String,
}

impl SecretIndex {
    pub(super) fn new(client: kube::Client, namespace: &str) -> Self {
        Self { maps: Api::namespaced(client.clone(), namespace), client, turn: Mutex::new(()) }
    }

    /// The Secrets that are here and are that hub's: asked for one by one, their data aside.
    pub(super) async fn held(&self, hub_id: &str) -> Result<Vec<HeldObject>, DeliverError> {
        let map = carried_out(&format!("read ConfigMap {NAME}"), self.maps.get_opt(NAME)).await?;
        let mut held = Vec::new();
        for Entry { namespace, name } in entries(&map.and_then(|map| map.data).unwrap_or_default()) {
            let secrets: Api<Secret> = Api::namespaced(self.client.clone(), &namespace);
            let what = format!("read the marks of Secret {namespace}/{name}");
            let found = match timed(&what, secrets.get_metadata_opt(&name)).await? {
                Ok(found) => found,
                // The owner accepts it no more, and has taken the right to see it.
                Err(kube::Error::Api(status)) if status.is_forbidden() => continue,
                Err(error) => return Err(failed(&what, error)),
            };
            let marks = found.and_then(|found| marks_of(&found.metadata));
            let Some(marks) = marks.filter(|marks| marks.hub_id == hub_id) else { continue };
            let (api_version, kind) = (SECRET.api_version(), SECRET.kind.to_owned());
            let object = ObjectRef { uid: marks.uid, api_version, kind, namespace, name };
            held.push(HeldObject { object, generation: marks.generation, hash: marks.hash });
        }
        Ok(held)
    }

    /// Notes a Secret that is about to be applied.
    pub(super) async fn add(&self, uid: &str, namespace: &str, name: &str) -> Result<(), DeliverError> {
        self.write(uid, &json!(format!("{namespace}/{name}"))).await
    }

    /// Forgets a Secret that is gone.
    pub(super) async fn remove(&self, uid: &str) -> Result<(), DeliverError> {
        self.write(uid, &Value::Null).await
    }

    async fn write(&self, uid: &str, entry: &Value) -> Result<(), DeliverError> {
        let _turn = self.turn.lock().await;
        let what = format!("write ConfigMap {NAME}");
        let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        let change = Patch::Merge(json!({ "data": { uid: entry } }));
        match timed(&what, self.maps.patch(NAME, &params, &change)).await? {
            Ok(_) => return Ok(()),
            Err(error) if !is_not_found(&error) => return Err(failed(&what, error)),
            Err(_) if entry.is_null() => return Ok(()),
            Err(_) => {}
        }
        let map = json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": NAME }, "data": { uid: entry },
        });
        let apply = PatchParams::apply(FIELD_MANAGER);
        carried_out(&what, self.maps.patch(NAME, &apply, &Patch::Apply(map))).await.map(drop)
    }
}

fn entries(data: &BTreeMap<String, String>) -> Vec<Entry> {
    let entry = |text: &String| {
        let (namespace, name) = text.split_once('/')?;
        Some(Entry { namespace: namespace.to_owned(), name: name.to_owned() })
    };
    data.values().filter_map(entry).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_a_namespace_and_a_name() {
        let data =
            BTreeMap::from([("u".to_owned(), "models/ngc".to_owned()), ("v".to_owned(), "x".to_owned())]);
        assert_eq!(entries(&data), [Entry { namespace: "models".into(), name: "ngc".into() }]);
    }
}
