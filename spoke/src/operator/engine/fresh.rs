//! What was made a moment ago and its watch has yet to show, so that nothing is made twice.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kube::core::DynamicObject;

use super::retry::Key;

/// Objects of one kind that were made and not seen since, by namespace and name. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Fresh {
    rows: Arc<Mutex<HashMap<Key, Option<Arc<DynamicObject>>>>>,
}

impl Fresh {
    /// An object is about to be made. From now on its watch is listened to: what it says first counts, even if it
    /// comes before the answer.
    pub(crate) fn expect(&self, key: Key) {
        self.lock().insert(key, None);
    }

    /// It was made, and the watch has said nothing of it meanwhile.
    pub(crate) fn made(&self, key: &Key, object: &Arc<DynamicObject>) {
        if let Some(row) = self.lock().get_mut(key) {
            *row = Some(Arc::clone(object));
        }
    }

    /// The watch has shown it, or that it has gone; or it was not made.
    pub(crate) fn forget(&self, key: &Key) {
        self.lock().remove(key);
    }

    /// The watch begins anew.
    pub(crate) fn clear(&self) {
        self.lock().clear();
    }

    /// What was made under that name and has not been seen since.
    pub(crate) fn get(&self, key: &Key) -> Option<Arc<DynamicObject>> {
        self.lock().get(key).cloned().flatten()
    }

    /// A panic elsewhere does not make the map wrong.
    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Option<Arc<DynamicObject>>>> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use kube::core::ApiResource;

    use super::*;

    fn made() -> (Key, Arc<DynamicObject>) {
        let resource = ApiResource::erase::<k8s_openapi::api::apps::v1::Deployment>(&());
        (("ns".into(), "llm".into()), Arc::new(DynamicObject::new("llm", &resource).within("ns")))
    }

    #[test]
    fn what_was_made_is_there_until_the_watch_speaks_of_it() {
        let (fresh, (key, object)) = (Fresh::default(), made());
        fresh.expect(key.clone());
        assert!(fresh.get(&key).is_none(), "not made yet");
        fresh.made(&key, &object);
        assert!(fresh.get(&key).is_some());
        fresh.forget(&key);
        assert!(fresh.get(&key).is_none());
    }

    #[test]
    fn what_the_watch_said_before_the_answer_came_counts() {
        let (fresh, (key, object)) = (Fresh::default(), made());
        fresh.expect(key.clone());
        fresh.forget(&key);
        fresh.made(&key, &object);
        assert!(fresh.get(&key).is_none(), "it may have been deleted again");
    }
}
