//! Since when this process has known an object as it is written.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::child::Owner;
use super::retry::Key;

/// Uid and generation, and since when they are known.
type Known = (String, i64, Instant);

/// The ages of one kind's objects.
#[derive(Debug, Default)]
pub(crate) struct Ages {
    rows: Mutex<HashMap<Key, Known>>,
}

impl Ages {
    /// How long this generation of the object has been known: not at all when it is seen for the first time.
    pub(crate) fn known_for(&self, key: &Key, owner: &Owner) -> Duration {
        let mut rows = self.lock();
        let (uid, generation, since) =
            rows.entry(key.clone()).or_insert_with(|| (owner.uid.clone(), owner.generation, Instant::now()));
        if *uid != owner.uid || *generation != owner.generation {
            (*uid, *generation, *since) = (owner.uid.clone(), owner.generation, Instant::now());
        }
        since.elapsed()
    }

    /// The object is no more.
    pub(crate) fn forget(&self, key: &Key) {
        self.lock().remove(key);
    }

    /// A panic elsewhere does not make the map wrong.
    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Known>> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operator::engine::decide::tests::owner;

    #[tokio::test(start_paused = true)]
    async fn an_object_is_as_old_as_what_is_written_in_it() {
        let (ages, key): (Ages, Key) = (Ages::default(), ("ns".into(), "n".into()));
        assert_eq!(ages.known_for(&key, &owner()), Duration::ZERO);
        tokio::time::advance(Duration::from_secs(5)).await;
        assert_eq!(ages.known_for(&key, &owner()), Duration::from_secs(5));
        for other in [Owner { generation: 2, ..owner() }, Owner { uid: "u2".into(), ..owner() }] {
            assert_eq!(ages.known_for(&key, &other), Duration::ZERO);
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        ages.forget(&key);
        assert_eq!(ages.known_for(&key, &owner()), Duration::ZERO);
    }
}
