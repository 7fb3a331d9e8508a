//! What the labels of namespaces ask of pods.

use futures::StreamExt;
use k8s_openapi::api::core::v1::Namespace;
use kube::core::PartialObjectMeta;
use kube::runtime::reflector::store::Writer;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::watcher::Config;
use kube::{Api, Client};

use super::engine::call::{CallError, call_opt};
use super::engine::pod_security::{ENFORCE, RESTRICTED};

/// Namespaces as a watch knows them, with the one label that counts. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Namespaces(Store<PartialObjectMeta<Namespace>>);

/// Fills the store of [`Namespaces`].
pub(crate) struct Filler(Writer<PartialObjectMeta<Namespace>>);

impl Namespaces {
    /// An empty store, and what fills it.
    pub(crate) fn new() -> (Self, Filler) {
        let writer = Writer::default();
        (Self(writer.as_reader()), Filler(writer))
    }

    /// Whether the namespace takes restricted pods only. One that the watch has not shown yet is asked for: what comes
    /// with its namespace may be faster than that.
    pub(crate) async fn is_restricted(&self, client: &Client, name: &str) -> Result<bool, CallError> {
        if let Some(seen) = self.0.get(&ObjectRef::new(name)) {
            return Ok(enforces_restricted(&seen));
        }
        let api: Api<Namespace> = Api::all(client.clone());
        let found = call_opt(|| format!("get Namespace {name}"), api.get_metadata(name)).await?;
        Ok(found.is_some_and(|found| enforces_restricted(&found)))
    }
}

impl Filler {
    /// Keeps the store up to date, for ever.
    pub(crate) async fn observe(mut self, client: Client) {
        let api: Api<PartialObjectMeta<Namespace>> = Api::all(client);
        let mut events = runtime::watch::events(api, Config::default(), "Namespace").boxed();
        while let Some(event) = events.next().await {
            self.0.apply_watcher_event(&event.modify(trim));
        }
    }
}

fn enforces_restricted(namespace: &PartialObjectMeta<Namespace>) -> bool {
    let labels = namespace.metadata.labels.as_ref();
    labels.and_then(|labels| labels.get(ENFORCE)).is_some_and(|level| level == RESTRICTED)
}

fn trim(namespace: &mut PartialObjectMeta<Namespace>) {
    namespace.metadata.annotations = None;
    if let Some(labels) = &mut namespace.metadata.labels {
        labels.retain(|key, _| key == ENFORCE);
    }
}

#[cfg(test)]
impl Namespaces {
    /// Namespaces with these levels.
    pub(crate) fn of(levels: &[(&str, &str)]) -> Self {
        use kube::runtime::watcher::Event;
        let mut writer = Writer::default();
        writer.apply_watcher_event(&Event::Init);
        for (name, level) in levels {
            let meta = serde_json::json!({"apiVersion": "v1", "kind": "Namespace",
                "metadata": {"name": name, "labels": {ENFORCE: level}}});
            writer.apply_watcher_event(&Event::InitApply(serde_json::from_value(meta).unwrap()));
        }
        writer.apply_watcher_event(&Event::InitDone);
        Self(writer.as_reader())
    }
}
