//! What was settled with the API server, and the keys of objects.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use kube::core::DynamicObject;

/// Namespace and name.
pub(crate) type Key = (String, String);

/// The key of an object.
pub(crate) fn key(object: &DynamicObject) -> Key {
    (object.metadata.namespace.clone().unwrap_or_default(), object.metadata.name.clone().unwrap_or_default())
}

/// Which hash was applied and answered with which resource version, by uid of the child. Where the API server changes
/// what it is given, comparing fields never settles; this does.
#[derive(Debug, Default)]
pub(crate) struct Settled {
    rows: Mutex<HashMap<String, (String, String)>>,
}

impl Settled {
    pub(crate) fn remember(&self, uid: &str, hash: &str, version: &str) {
        lock(&self.rows).insert(uid.to_owned(), (hash.to_owned(), version.to_owned()));
    }

    pub(crate) fn holds(&self, uid: &str, hash: &str, version: &str) -> bool {
        lock(&self.rows).get(uid).is_some_and(|row| row.0 == hash && row.1 == version)
    }

    pub(crate) fn forget(&self, uid: &str) {
        lock(&self.rows).remove(uid);
    }
}

/// A panic elsewhere does not make the map wrong.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_hash_and_version_are_settled() {
        let settled = Settled::default();
        settled.remember("u", "h", "7");
        assert!(settled.holds("u", "h", "7"));
        assert!(
            !settled.holds("u", "h", "8") && !settled.holds("u", "i", "7") && !settled.holds("v", "h", "7")
        );
        settled.forget("u");
        assert!(!settled.holds("u", "h", "7"));
    }
}
