//! Growing, jittered delays, one row per object, and what was settled with the API server.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use kube::core::DynamicObject;

/// First delay; doubles up to [`LONGEST`], plus up to as much jitter.
const SHORTEST: Duration = Duration::from_millis(500);
/// Longest delay before jitter.
const LONGEST: Duration = Duration::from_mins(5);

/// Namespace and name.
pub(crate) type Key = (String, String);

/// The key of an object.
pub(crate) fn key(object: &DynamicObject) -> Key {
    (object.metadata.namespace.clone().unwrap_or_default(), object.metadata.name.clone().unwrap_or_default())
}

/// The delays of one kind's objects.
#[derive(Debug, Default)]
pub(crate) struct Retries {
    rows: Mutex<HashMap<Key, ExponentialBackoff>>,
}

impl Retries {
    /// The next delay of this object.
    pub(crate) fn next(&self, key: &Key) -> Duration {
        let mut rows = lock(&self.rows);
        let row = rows.entry(key.clone()).or_insert_with(|| {
            let shape = ExponentialBuilder::default().with_min_delay(SHORTEST).with_max_delay(LONGEST);
            shape.with_factor(2.0).without_max_times().with_jitter().build()
        });
        row.next().unwrap_or(LONGEST)
    }

    /// It went well: the next delay is the first again.
    pub(crate) fn reset(&self, key: &Key) {
        lock(&self.rows).remove(key);
    }
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

/// A panic elsewhere does not make these maps wrong.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_per_object_and_begin_anew_after_success() {
        let retries = Retries::default();
        let (a, b): (Key, Key) = (("ns".into(), "a".into()), ("ns".into(), "b".into()));
        let delays: Vec<Duration> = (0..12).map(|_| retries.next(&a)).collect();
        assert!(delays[0] >= SHORTEST && delays[0] <= SHORTEST * 2, "{delays:?}");
        assert!(delays[3] > delays[0] && delays[11] <= LONGEST * 2, "{delays:?}");
        assert!(retries.next(&b) <= SHORTEST * 2, "another object is not held back");
        retries.reset(&a);
        assert!(retries.next(&a) <= SHORTEST * 2);
    }

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
