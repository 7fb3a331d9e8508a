//! What a watch has shown so far, reduced to what is needed of each object.

use std::collections::BTreeMap;

use kube::ResourceExt;
use kube::runtime::watcher::Event;

/// The objects of one watch by namespace and name, each reduced to a `T`.
pub(super) struct Seen<T> {
    now: BTreeMap<String, T>,
    /// A new list on its way; it replaces `now` once it is complete, so that nothing flickers meanwhile.
    listing: Option<BTreeMap<String, T>>,
    complete: bool,
}

impl<T> Default for Seen<T> {
    fn default() -> Self {
        Self { now: BTreeMap::new(), listing: None, complete: false }
    }
}

impl<T: PartialEq> Seen<T> {
    /// Takes an event in; objects that `reduce` has no use for are not kept. Says whether anything changed.
    pub(super) fn fold<K: ResourceExt>(&mut self, event: Event<K>, reduce: impl Fn(&K) -> Option<T>) -> bool {
        match event {
            Event::Init => {
                self.listing = Some(BTreeMap::new());
                false
            }
            Event::InitApply(object) => {
                if let (Some(listing), Some(reduced)) = (&mut self.listing, reduce(&object)) {
                    listing.insert(key(&object), reduced);
                }
                false
            }
            Event::InitDone => {
                let listed = self.listing.take().unwrap_or_default();
                let changed = !self.complete || listed != self.now;
                self.complete = true;
                self.now = listed;
                changed
            }
            Event::Apply(object) => match reduce(&object) {
                Some(reduced) if self.now.get(&key(&object)) == Some(&reduced) => false,
                Some(reduced) => {
                    self.now.insert(key(&object), reduced);
                    true
                }
                None => self.now.remove(&key(&object)).is_some(),
            },
            Event::Delete(object) => self.now.remove(&key(&object)).is_some(),
        }
    }

    /// Whether everything that exists has been seen once.
    pub(super) fn is_complete(&self) -> bool {
        self.complete
    }

    /// What is known, by `namespace/name`.
    pub(super) fn now(&self) -> &BTreeMap<String, T> {
        &self.now
    }
}

/// `namespace/name`, or the name alone for what has no namespace.
fn key<K: ResourceExt>(object: &K) -> String {
    match object.namespace() {
        Some(namespace) => format!("{namespace}/{}", object.name_any()),
        None => object.name_any(),
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ConfigMap;
    use serde_json::json;

    use super::*;

    fn map(name: &str, value: &str) -> ConfigMap {
        serde_json::from_value(json!({"metadata": {"namespace": "ns", "name": name}, "data": {"v": value}}))
            .unwrap()
    }

    fn reduce(map: &ConfigMap) -> Option<String> {
        map.data.as_ref()?.get("v").filter(|value| *value != "useless").cloned()
    }

    fn now(seen: &Seen<String>) -> Vec<(&str, &str)> {
        seen.now().iter().map(|(key, value)| (key.as_str(), value.as_str())).collect()
    }

    #[test]
    fn a_new_list_replaces_the_old_at_once() {
        let mut seen = Seen::default();
        assert!(!seen.is_complete());
        seen.fold(Event::Init, reduce);
        seen.fold(Event::InitApply(map("a", "1")), reduce);
        assert!(now(&seen).is_empty() && !seen.is_complete());
        assert!(seen.fold(Event::InitDone, reduce));
        assert_eq!(now(&seen), [("ns/a", "1")]);
        seen.fold(Event::Init, reduce);
        seen.fold(Event::InitApply(map("b", "2")), reduce);
        assert_eq!(now(&seen), [("ns/a", "1")], "the old holds until the new is complete");
        assert!(seen.fold(Event::InitDone, reduce));
        assert_eq!(now(&seen), [("ns/b", "2")]);
    }

    #[test]
    fn only_news_is_a_change() {
        let mut seen = Seen::default();
        assert!(seen.fold(Event::InitDone, reduce), "an empty list is news once");
        assert!(seen.fold(Event::Apply(map("a", "1")), reduce));
        assert!(!seen.fold(Event::Apply(map("a", "1")), reduce));
        assert!(seen.fold(Event::Apply(map("a", "2")), reduce));
        assert!(seen.fold(Event::Apply(map("a", "useless")), reduce), "no longer needed");
        assert!(!seen.fold(Event::Delete(map("a", "2")), reduce));
        seen.fold(Event::Init, reduce);
        assert!(!seen.fold(Event::InitDone, reduce));
    }
}
