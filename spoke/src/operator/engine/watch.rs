//! Watches: each keeps a cache and tells which NIM objects a change concerns.

use futures::StreamExt;
use kube::core::{ApiResource, DynamicObject, TypeMeta};
use kube::runtime::reflector::ObjectRef;
use kube::runtime::reflector::store::Writer;
use kube::runtime::watcher as watch_objects;
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client};
use tokio_util::sync::CancellationToken;

use super::decide::trim;
use super::packed::pack;
use super::retry::key;
use super::world::Cache;

/// One watch to be run.
pub(crate) struct Watch {
    cache: Cache,
    writer: Writer<DynamicObject>,
    selector: Option<String>,
    packed: bool,
}

/// What a watch tells.
pub(crate) enum Told<'a> {
    /// An object came, changed or went; of a packed one only the metadata can be looked at.
    Object(&'a DynamicObject),
    /// The same, and somebody has made, edited or deleted it, or a list that says so has just been read.
    Edited(&'a DynamicObject),
    /// The cache holds everything there is.
    Filled,
    /// The API server does not know the kind.
    NotFound,
}

impl Watch {
    /// A watch of one kind in all namespaces, and the cache it will fill.
    pub(crate) fn new(resource: ApiResource, selector: Option<String>) -> (Self, Cache) {
        let writer = Writer::new(resource.clone());
        let cache = Cache::new(resource, writer.as_reader());
        (Self { cache: cache.clone(), writer, selector, packed: false }, cache)
    }

    /// The same, of a kind that is only read through the cache: it is kept [packed](super::packed).
    pub(crate) fn packed(mut self) -> Self {
        self.packed = true;
        self
    }

    /// The kind that is watched.
    pub(crate) fn kind(&self) -> &str {
        &self.cache.resource.kind
    }

    /// To be cancelled once the cache has been filled.
    pub(crate) fn filled(&self) -> CancellationToken {
        self.cache.filled.clone()
    }

    /// Watches for ever.
    pub(crate) async fn run(&mut self, client: Client, told: &(impl Fn(Told<'_>) + Send + Sync)) {
        let api: Api<DynamicObject> = Api::all_with(client, &self.cache.resource);
        let config = watcher::Config { label_selector: self.selector.clone(), ..watcher::Config::default() };
        let mut events = crate::watch::paced(watch_objects(api, config)).boxed();
        let types = TypeMeta {
            api_version: self.cache.resource.api_version.clone(),
            kind: self.cache.resource.kind.clone(),
        };
        let kind = types.kind.clone();
        let mut failing = false;
        while let Some(next) = events.next().await {
            match next {
                Ok(event) => {
                    failing = false;
                    let packed = self.packed;
                    let event = event.modify(|object| {
                        // The items of a list do not say their kind, and a child is compared with all that it is.
                        object.types.get_or_insert_with(|| types.clone());
                        trim(object);
                        if packed {
                            pack(object);
                        }
                    });
                    self.take(&event, told);
                }
                Err(error) => {
                    if is_not_found(&error) {
                        told(Told::NotFound);
                    }
                    if !failing {
                        tracing::warn!(%kind, %error, "the watch failed and is begun anew");
                    }
                    failing = true;
                }
            }
        }
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self, told: &impl Fn(Told<'_>)) {
        let before = self.cache.store.state();
        self.writer.apply_watcher_event(&Event::Init);
        self.writer.apply_watcher_event(&Event::InitDone);
        for object in &before {
            told(Told::Object(object));
        }
    }

    fn take(&mut self, event: &Event<DynamicObject>, told: &impl Fn(Told<'_>)) {
        // What went away while the watch was down is seen only by comparing before and after.
        let before = if matches!(event, Event::InitDone) { self.cache.store.state() } else { Vec::new() };
        let is_edited = match event {
            Event::Apply(object) => self.is_edited(object),
            _ => true,
        };
        self.writer.apply_watcher_event(event);
        match event {
            Event::Apply(object) | Event::Delete(object) => {
                self.cache.fresh.forget(&key(object));
                told(if is_edited { Told::Edited(object) } else { Told::Object(object) });
            }
            Event::InitDone => {
                self.cache.fresh.clear();
                told(Told::Filled);
                for object in &self.cache.store.state() {
                    told(Told::Edited(object));
                }
                for gone in before {
                    let (namespace, name) =
                        (gone.metadata.namespace.as_deref(), gone.metadata.name.as_deref());
                    if self.cache.get(namespace.unwrap_or_default(), name.unwrap_or_default()).is_none() {
                        told(Told::Edited(&gone));
                    }
                }
            }
            Event::Init | Event::InitApply(_) => {}
        }
    }
}

impl Watch {
    /// Whether more of an object has changed than its status and metadata.
    fn is_edited(&self, object: &DynamicObject) -> bool {
        let (namespace, name) = key(object);
        let known =
            self.cache.store.get(&ObjectRef::new_with(&name, self.cache.resource.clone()).within(&namespace));
        known.is_none_or(|known| {
            let (old, new) = (&known.metadata, &object.metadata);
            old.uid != new.uid
                || old.generation != new.generation
                || old.deletion_timestamp != new.deletion_timestamp
        })
    }
}

fn is_not_found(error: &watcher::Error) -> bool {
    let (watcher::Error::InitialListFailed(cause) | watcher::Error::WatchStartFailed(cause)) = error else {
        return false;
    };
    matches!(cause, kube::Error::Api(status) if status.code == 404)
}
