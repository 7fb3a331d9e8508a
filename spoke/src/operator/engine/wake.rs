//! Puts NIM objects on the queue of their kind: whatever learns that something changed for one wakes it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Changes within this time are one reconcile. Every reconcile waits for it, so it only gathers what one write of the
/// API server sets off.
const DEBOUNCE: Duration = Duration::from_millis(10);

/// An object of a kind.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ObjectKey {
    pub(crate) namespace: String,
    pub(crate) name: String,
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// The objects of one kind that are to be looked at.
pub(crate) type Queue = runtime::Queue<ObjectKey>;

/// Wakes objects of every kind. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Waker {
    queues: Arc<BTreeMap<&'static str, Queue>>,
}

impl Waker {
    /// A waker for these kinds, and where each kind's objects come out.
    pub(crate) fn new(kinds: impl Iterator<Item = &'static str>) -> (Self, BTreeMap<&'static str, Queue>) {
        let queues: BTreeMap<_, _> = kinds.map(|kind| (kind, Queue::new(kind))).collect();
        (Self { queues: Arc::new(queues.clone()) }, queues)
    }

    /// Has one object looked at soon. A kind that nobody runs, or an object that is not there, has no effect.
    pub(crate) fn wake(&self, kind: &str, namespace: &str, name: &str) {
        if let Some(queue) = self.queues.get(kind) {
            queue.add_after(key(namespace, name), DEBOUNCE);
        }
    }

    /// The same, of an object that somebody has just made or edited: what failed before is forgotten.
    pub(crate) fn wake_edited(&self, kind: &str, namespace: &str, name: &str) {
        if let Some(queue) = self.queues.get(kind) {
            queue.forgive(&key(namespace, name));
        }
        self.wake(kind, namespace, name);
    }
}

fn key(namespace: &str, name: &str) -> ObjectKey {
    ObjectKey { namespace: namespace.to_owned(), name: name.to_owned() }
}
