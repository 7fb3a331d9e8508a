//! One writer at a time for each object.

use std::hash::{DefaultHasher, Hash, Hasher};

use tokio::sync::{Mutex, MutexGuard};

/// Number of locks. Objects that share one merely wait for each other.
const LOCKS: usize = 64;

/// Locks by name: the link's calls and the healing of local edits never write the same object at once, so that an
/// older payload cannot overtake a newer one.
pub(super) struct Turns {
    locks: [Mutex<()>; LOCKS],
}

impl Turns {
    pub(super) fn new() -> Self {
        Self { locks: std::array::from_fn(|_| Mutex::new(())) }
    }

    /// Waits until nobody else writes the object of that kind, namespace and name.
    pub(super) async fn of(&self, kind: &str, namespace: &str, name: &str) -> MutexGuard<'_, ()> {
        let mut hasher = DefaultHasher::new();
        (kind, namespace, name).hash(&mut hasher);
        let remainder = hasher.finish() % LOCKS as u64;
        self.locks[usize::try_from(remainder).unwrap_or(0)].lock().await
    }
}
