//! Puts NIM objects on the queue of their kind: whatever learns that something changed for one wakes it.

use std::collections::BTreeMap;
use std::sync::Arc;

use kube::core::{ApiResource, DynamicObject};
use kube::runtime::reflector::ObjectRef;
use tokio::sync::mpsc;

/// The objects of one kind that are to be looked at.
pub(crate) type Queue = mpsc::UnboundedReceiver<ObjectRef<DynamicObject>>;

type Sender = mpsc::UnboundedSender<ObjectRef<DynamicObject>>;

/// Wakes objects of every kind. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Waker {
    queues: Arc<BTreeMap<&'static str, (ApiResource, Sender)>>,
}

impl Waker {
    /// A waker for these kinds, and where each kind's objects come out.
    pub(crate) fn new(
        kinds: impl Iterator<Item = (&'static str, ApiResource)>,
    ) -> (Self, BTreeMap<&'static str, Queue>) {
        let mut queues = BTreeMap::new();
        let mut woken = BTreeMap::new();
        for (kind, resource) in kinds {
            let (sender, queue) = mpsc::unbounded_channel();
            queues.insert(kind, (resource, sender));
            woken.insert(kind, queue);
        }
        (Self { queues: Arc::new(queues) }, woken)
    }

    /// Has one object looked at soon. A kind that nobody runs, or an object that is not there, has no effect.
    pub(crate) fn wake(&self, kind: &str, namespace: &str, name: &str) {
        if let Some((resource, queue)) = self.queues.get(kind) {
            // The receiver ends only when the operator stops.
            let _ = queue.send(ObjectRef::new_with(name, resource.clone()).within(namespace));
        }
    }
}
