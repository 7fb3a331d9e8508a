//! Watches: each keeps a cache and tells which NIM objects a change concerns.

use futures::StreamExt;
use kube::core::{ApiResource, DynamicObject, TypeMeta};
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client};
use runtime::watch::{Change, Mirror, attempts};
use tokio_util::sync::CancellationToken;

use super::decide::trim;
use super::packed::pack;
use super::retry::key;
use super::world::Cache;

/// One watch to be run.
pub(crate) struct Watch {
    cache: Cache,
    mirror: Mirror<DynamicObject>,
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
        let mirror = Mirror::new(resource.clone());
        let cache = Cache::new(resource, mirror.reader());
        (Self { cache: cache.clone(), mirror, selector, packed: false }, cache)
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
        let mut events = attempts(api, config, self.kind().to_owned()).boxed();
        let types = TypeMeta {
            api_version: self.cache.resource.api_version.clone(),
            kind: self.cache.resource.kind.clone(),
        };
        while let Some(next) = events.next().await {
            match next {
                Ok(event) => {
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
                Err(error) if is_not_found(&error) => told(Told::NotFound),
                // It is in the log.
                Err(_) => {}
            }
        }
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self, told: &impl Fn(Told<'_>)) {
        for object in &self.mirror.clear() {
            told(Told::Object(object));
        }
    }

    fn take(&mut self, event: &Event<DynamicObject>, told: &impl Fn(Told<'_>)) {
        let fresh = &self.cache.fresh;
        self.mirror.take(event, |change| match change {
            Change::Listed => {
                fresh.clear();
                told(Told::Filled);
            }
            Change::Stored { before, after, is_listed } => {
                fresh.forget(&key(after));
                let is_edited = is_listed || before.is_none_or(|before| is_edited(before, after));
                told(if is_edited { Told::Edited(after) } else { Told::Object(after) });
            }
            Change::Gone(object) => {
                fresh.forget(&key(object));
                told(Told::Edited(object));
            }
        });
    }
}

/// Whether more of an object has changed than its status and metadata.
fn is_edited(before: &DynamicObject, after: &DynamicObject) -> bool {
    let (old, new) = (&before.metadata, &after.metadata);
    old.uid != new.uid || old.generation != new.generation || old.deletion_timestamp != new.deletion_timestamp
}

fn is_not_found(error: &watcher::Error) -> bool {
    let (watcher::Error::InitialListFailed(cause) | watcher::Error::WatchStartFailed(cause)) = error else {
        return false;
    };
    matches!(cause, kube::Error::Api(status) if status.code == 404)
}
