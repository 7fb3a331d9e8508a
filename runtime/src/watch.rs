//! Watches that do not end, and copies of what they see.
//!
//! A watch that fails is told once in the log, then begun anew: soon while nobody answers, ever less often after an answer that is no. A list that takes the place of
//! what was known says of every object what was known of it before, and which objects vanished unseen.

mod pace;

use std::collections::HashMap;
use std::fmt::Debug;
use std::hash::Hash;
use std::sync::Arc;

use futures::{Stream, StreamExt};
use kube::Resource;
use kube::api::Api;
use kube::runtime::reflector::store::Writer;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::watcher::{self, Config, Event};
use serde::de::DeserializeOwned;

use crate::error::chain;

use pace::paced;

/// Events of `api`, for ever. Failures are logged; `what` names the watch there. Objects come without managedFields.
pub fn events<K>(api: Api<K>, config: Config, what: impl Into<String>) -> impl Stream<Item = Event<K>> + Send
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    attempts(api, config, what).filter_map(|event| {
        std::future::ready(
            event.ok().map(|event| event.modify(|object| object.meta_mut().managed_fields = None)),
        )
    })
}

/// The same, with the failures and the managedFields.
pub fn attempts<K>(
    api: Api<K>,
    config: Config,
    what: impl Into<String>,
) -> impl Stream<Item = Result<Event<K>, watcher::Error>> + Send
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let (what, mut is_failing) = (what.into(), false);
    paced(watcher::watcher(api, config)).inspect(move |event| match event {
        // Init says that the watch begins to list, which may fail again.
        Ok(event) => is_failing &= matches!(event, Event::Init),
        Err(error) => {
            if !std::mem::replace(&mut is_failing, true) {
                tracing::warn!(what, error = %chain(error), "watch failed; it is tried again");
            }
        }
    })
}

/// A copy of what an API server holds of one kind, kept by the events of a watch.
#[derive(Debug)]
pub struct Mirror<K: Resource + Clone + 'static>
where
    K::DynamicType: Eq + Hash + Clone,
{
    writer: Writer<K>,
    kind: K::DynamicType,
}

/// What an event says of an object of a mirror, or of all of them.
#[derive(Debug)]
pub enum Change<'a, K> {
    /// Everything that there is was listed: each object of the list is told next, then those that have vanished.
    Listed,
    /// An object is there.
    Stored {
        /// What was known of it before.
        before: Option<&'a K>,
        /// What there is now.
        after: &'a K,
        /// Whether a list says so; it may be as it was before.
        is_listed: bool,
    },
    /// An object is gone; what was seen of it last.
    Gone(&'a K),
}

impl<K: Resource + Clone + 'static> Mirror<K>
where
    K::DynamicType: Eq + Hash + Clone,
{
    /// An empty copy of one kind.
    #[must_use]
    pub fn new(kind: K::DynamicType) -> Self {
        Self { writer: Writer::new(kind.clone()), kind }
    }

    /// What reads the copy.
    #[must_use]
    pub fn reader(&self) -> Store<K> {
        self.writer.as_reader()
    }

    /// The kind.
    #[must_use]
    pub fn kind(&self) -> &K::DynamicType {
        &self.kind
    }

    /// Takes an event in, then tells what it changes: whoever is told finds it in the copy.
    pub fn take(&mut self, event: &Event<K>, mut tell: impl FnMut(Change<'_, K>)) {
        let reader = self.writer.as_reader();
        match event {
            Event::Init | Event::InitApply(_) => self.writer.apply_watcher_event(event),
            Event::Apply(object) => {
                let before = reader.get(&self.name(object));
                self.writer.apply_watcher_event(event);
                tell(Change::Stored { before: before.as_deref(), after: object, is_listed: false });
            }
            Event::Delete(object) => {
                self.writer.apply_watcher_event(event);
                tell(Change::Gone(object));
            }
            Event::InitDone => {
                let named = |object: Arc<K>| (self.name(&object), object);
                let mut before: HashMap<_, _> = reader.state().into_iter().map(named).collect();
                self.writer.apply_watcher_event(event);
                tell(Change::Listed);
                for object in reader.state() {
                    let before = before.remove(&self.name(&object));
                    tell(Change::Stored { before: before.as_deref(), after: &object, is_listed: true });
                }
                for object in before.values() {
                    tell(Change::Gone(object));
                }
            }
        }
    }

    /// Forgets everything, and returns what was known: for a kind that is no longer served.
    pub fn clear(&mut self) -> Vec<Arc<K>> {
        let before = self.reader().state();
        self.writer.apply_watcher_event(&Event::Init);
        self.writer.apply_watcher_event(&Event::InitDone);
        before
    }

    fn name(&self, object: &K) -> ObjectRef<K> {
        ObjectRef::from_obj_with(object, self.kind.clone())
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::ResourceExt;
    use kube::api::ObjectMeta;

    use super::*;

    fn map(name: &str, version: &str) -> ConfigMap {
        let (name, version) = (Some(name.to_owned()), Some(version.to_owned()));
        let metadata = ObjectMeta { name, resource_version: version, ..ObjectMeta::default() };
        ConfigMap { metadata, ..ConfigMap::default() }
    }

    /// What is told of an event, for example `a 1→2`; each object told as there, or as gone, is so in the copy.
    fn told(mirror: &mut Mirror<ConfigMap>, event: &Event<ConfigMap>) -> Vec<String> {
        let reader = mirror.reader();
        let mut told = Vec::new();
        mirror.take(event, |change| {
            let version = |map: &ConfigMap| map.resource_version().unwrap_or_default();
            let kept = |map: &ConfigMap| reader.get(&ObjectRef::from_obj(map));
            told.push(match change {
                Change::Listed => "listed".to_owned(),
                Change::Stored { before, after, is_listed } => {
                    assert_eq!(kept(after).as_deref(), Some(after));
                    let (before, listed) = (before.map(version).unwrap_or_default(), ["", " listed"]);
                    format!(
                        "{} {before}→{}{}",
                        after.name_any(),
                        version(after),
                        listed[usize::from(is_listed)]
                    )
                }
                Change::Gone(object) => {
                    assert_eq!(kept(object), None);
                    format!("{} {} gone", object.name_any(), version(object))
                }
            });
        });
        told.sort();
        told
    }

    #[test]
    fn a_list_says_what_was_known_before_and_what_vanished_unseen() {
        let mut mirror = Mirror::new(());
        let mut list = |objects: &[(&str, &str)]| {
            assert!(told(&mut mirror, &Event::Init).is_empty());
            for (name, version) in objects {
                assert!(told(&mut mirror, &Event::InitApply(map(name, version))).is_empty());
            }
            told(&mut mirror, &Event::InitDone)
        };
        assert_eq!(
            list(&[("a", "1"), ("b", "1"), ("c", "1")]),
            ["a →1 listed", "b →1 listed", "c →1 listed", "listed"]
        );
        assert_eq!(
            list(&[("a", "1"), ("b", "2"), ("d", "1")]),
            ["a 1→1 listed", "b 1→2 listed", "c 1 gone", "d →1 listed", "listed"]
        );
        assert_eq!(told(&mut mirror, &Event::Apply(map("a", "3"))), ["a 1→3"]);
        assert_eq!(told(&mut mirror, &Event::Apply(map("e", "3"))), ["e →3"]);
        assert_eq!(told(&mut mirror, &Event::Delete(map("a", "4"))), ["a 4 gone"]);
        let mut left: Vec<_> = mirror.clear().iter().map(|map| map.name_any()).collect();
        left.sort();
        assert_eq!(
            (left, mirror.reader().state().len()),
            (vec!["b".to_owned(), "d".to_owned(), "e".to_owned()], 0)
        );
    }
}
