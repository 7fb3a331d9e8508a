//! The Secrets that a placement lists: asked for by name, once a minute while they are listed, never listed or watched.

use std::time::Duration;

use hub_core::placement::assignments::SECRET;
use hub_core::placement::selection::{ListedSecret, Selection};
use hub_core::resolve;
use hub_scheduler::fleet::{ObjectRef, PlacementKey};
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use runtime::chain;
use tokio::time::Instant;

use super::super::Hub;
use super::super::fault::call;
use super::Book;

/// How long a change of a Secret may go unnoticed: a watch would need the right to read all of them.
const EVERY: Duration = Duration::from_mins(1);

/// Reads what the placement lists, where it was not just read.
pub(super) async fn read(hub: &Hub, selection: &mut Selection, book: &mut Book) {
    let names = if selection.is_leaving() { Vec::new() } else { selection.placement.spec.secrets.clone() };
    book.secrets.retain(|name, _| names.contains(name));
    for name in &names {
        // One that cannot be sent is looked for at every turn: somebody may have just made it.
        let is_fresh = |(at, known): &(Instant, ListedSecret)| at.elapsed() < EVERY && known.payload.is_ok();
        let is_fresh = book.secrets.get(name).is_some_and(is_fresh);
        if !is_fresh {
            let known = book.secrets.remove(name).map(|(_, known)| known);
            let listed = listed(hub, &selection.key, name, known).await;
            book.secrets.insert(name.clone(), (Instant::now(), listed));
        }
    }
    selection.secrets = book.secrets.values().map(|(_, listed)| listed.clone()).collect();
    if !names.is_empty() {
        hub.placements.add_after(selection.key.clone(), EVERY);
    }
}

/// The Secret as it is; as it was known, while the API server does not say.
async fn listed(hub: &Hub, key: &PlacementKey, name: &str, known: Option<ListedSecret>) -> ListedSecret {
    let api: Api<Secret> = Api::namespaced(hub.client.clone(), &key.namespace);
    let none = |problem: String| ListedSecret {
        object: reference(key, name, format!("secret/{name}")),
        payload: Err(format!("spec.secrets: {problem}")),
    };
    if key.namespace == hub.namespace {
        return none(format!("Secret {name} is of the hub's own namespace, and travels nowhere"));
    }
    match call(|| format!("reading Secret {name}"), api.get_opt(name)).await {
        Ok(Some(stored)) => {
            let object = reference(key, name, stored.metadata.uid.clone().unwrap_or_default());
            let payload =
                resolve::secret(&stored, hub.salt.bytes()).map_err(|why| format!("spec.secrets: {why}"));
            ListedSecret { object, payload }
        }
        Ok(None) => none(format!(
            "there is no Secret {name} in namespace {}: create it, or take it out of the list",
            key.namespace
        )),
        Err(fault) if fault.category() == "Forbidden" => {
            none(format!("the hub may not read Secret {name}: see `secrets` in the values of nimfleet-hub"))
        }
        Err(fault) => known.unwrap_or_else(|| none(chain(&fault))),
    }
}

fn reference(key: &PlacementKey, name: &str, uid: String) -> ObjectRef {
    ObjectRef {
        uid,
        api_version: "v1".to_owned(),
        kind: SECRET.to_owned(),
        namespace: key.namespace.clone(),
        name: name.to_owned(),
    }
}
