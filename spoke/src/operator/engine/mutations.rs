//! Which fields of delivered objects this cluster's admission changes: delivery finds them in the API server's answers,
//! the operator tells them on the objects.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crds::compare::Difference;

use super::retry::Undone;
use super::wake::Waker;

/// Kind, namespace and name.
type Key = (String, String, String);

/// Fields of delivered objects that were stored otherwise than they were applied. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Mutations {
    rows: Arc<Mutex<HashMap<Key, Row>>>,
    waker: Waker,
}

#[derive(Clone, Default)]
struct Row {
    /// Hash of the payload that was applied.
    hash: String,
    differences: Vec<Difference>,
    undone: Undone,
}

impl Mutations {
    pub(crate) fn new(waker: Waker) -> Self {
        Self { rows: Arc::default(), waker }
    }

    /// Takes note of how an object is stored whose payload of this hash was applied. News wakes the object.
    pub(crate) fn note(
        &self,
        (kind, namespace, name): (&str, &str, &str),
        hash: &str,
        differences: Vec<Difference>,
    ) {
        let mut rows = self.lock();
        let row = rows.entry(key(kind, namespace, name)).or_default();
        let is_first = row.hash.is_empty();
        if row.hash != hash {
            *row = Row { hash: hash.to_owned(), undone: Undone::default(), ..row.clone() };
        }
        let is_news = is_first || row.differences != differences;
        row.differences = differences;
        drop(rows);
        if is_news {
            self.waker.wake(kind, namespace, name);
        }
    }

    /// Takes note of edits that were undone.
    pub(crate) fn undone(&self, (kind, namespace, name): (&str, &str, &str), edits: Vec<Difference>) {
        if let Some(row) = self.lock().get_mut(&key(kind, namespace, name)) {
            row.undone.note(edits, Instant::now());
        }
    }

    /// Whether another controller makes these edits of an object, whose payload of this hash was applied, as often as they
    /// are undone.
    pub(crate) fn is_fought_over(
        &self,
        (kind, namespace, name): (&str, &str, &str),
        hash: &str,
        edits: &[Difference],
    ) -> bool {
        let rows = self.lock();
        let row = rows.get(&key(kind, namespace, name)).filter(|row| row.hash == hash);
        row.is_some_and(|row| row.undone.is_fought_over(edits, Instant::now()))
    }

    /// What was found of an object; none if this process has found nothing out yet.
    pub(crate) fn of(&self, kind: &str, namespace: &str, name: &str) -> Option<Vec<Difference>> {
        self.lock().get(&key(kind, namespace, name)).map(|row| row.differences.clone())
    }

    /// What was found when the payload of this hash was applied.
    pub(crate) fn answered(
        &self,
        (kind, namespace, name): (&str, &str, &str),
        hash: &str,
    ) -> Option<Vec<Difference>> {
        let rows = self.lock();
        let row = rows.get(&key(kind, namespace, name)).filter(|row| row.hash == hash);
        row.map(|row| row.differences.clone())
    }

    /// The object has gone.
    pub(crate) fn forget(&self, kind: &str, namespace: &str, name: &str) {
        self.lock().remove(&key(kind, namespace, name));
    }

    /// A panic elsewhere does not make the map wrong.
    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Row>> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn key(kind: &str, namespace: &str, name: &str) -> Key {
    (kind.to_owned(), namespace.to_owned(), name.to_owned())
}
