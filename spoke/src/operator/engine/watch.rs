//! Watches: each keeps a cache and tells which NIM objects a change concerns.

use futures::StreamExt;
use kube::core::{ApiResource, DynamicObject};
use kube::runtime::reflector::store::Writer;
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, watcher as watch_objects};
use kube::{Api, Client};
use tokio_util::sync::CancellationToken;

use super::decide::trim;
use super::world::Cache;

/// One watch to be run.
pub(crate) struct Watch {
    cache: Cache,
    writer: Writer<DynamicObject>,
    selector: Option<String>,
}

impl Watch {
    /// A watch of one kind in all namespaces, and the cache it will fill.
    pub(crate) fn new(resource: ApiResource, selector: Option<String>) -> (Self, Cache) {
        let writer = Writer::new(resource.clone());
        let cache = Cache { resource, store: writer.as_reader(), filled: CancellationToken::new() };
        (Self { cache: cache.clone(), writer, selector }, cache)
    }

    /// Runs until stopped. `changed` is called with every object that came, changed or went.
    pub(crate) async fn run(
        mut self,
        client: Client,
        stop: CancellationToken,
        changed: impl Fn(&DynamicObject) + Send,
    ) {
        let api: Api<DynamicObject> = Api::all_with(client, &self.cache.resource);
        let config = watcher::Config { label_selector: self.selector.take(), ..watcher::Config::default() };
        let mut events = watch_objects(api, config).default_backoff().boxed();
        let kind = self.cache.resource.kind.clone();
        loop {
            let next = tokio::select! {
                () = stop.cancelled() => return,
                next = events.next() => next,
            };
            match next {
                None => return,
                Some(Err(error)) => tracing::warn!(%kind, %error, "the watch failed and is begun anew"),
                Some(Ok(event)) => self.take(&event.modify(trim), &changed),
            }
        }
    }

    fn take(&mut self, event: &Event<DynamicObject>, changed: &impl Fn(&DynamicObject)) {
        // What went away while the watch was down is seen only by comparing before and after.
        let before = if matches!(event, Event::InitDone) { self.cache.store.state() } else { Vec::new() };
        self.writer.apply_watcher_event(event);
        match event {
            Event::Apply(object) | Event::Delete(object) => changed(object),
            Event::InitDone => {
                self.cache.filled.cancel();
                let after = self.cache.store.state();
                for object in &after {
                    changed(object);
                }
                for gone in before {
                    let (namespace, name) =
                        (gone.metadata.namespace.as_deref(), gone.metadata.name.as_deref());
                    if self.cache.get(namespace.unwrap_or_default(), name.unwrap_or_default()).is_none() {
                        changed(&gone);
                    }
                }
            }
            Event::Init | Event::InitApply(_) => {}
        }
    }
}
