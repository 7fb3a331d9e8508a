//! What is said of each object: its own status, and how many of its pods no node takes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::waiting::{Service, Waiting};
use super::{ObjectStatus, Outbox, fold};

/// Brings both together on their way to the outbox. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Board {
    outbox: Outbox,
    known: Arc<Mutex<Known>>,
}

#[derive(Debug, Default)]
struct Known {
    services: BTreeMap<Service, ObjectStatus>,
    waiting: Waiting,
}

impl Board {
    pub(super) fn new(outbox: Outbox) -> Self {
        Self { outbox, known: Arc::default() }
    }

    /// An object's own status is news.
    pub(super) fn status(&self, status: ObjectStatus) {
        if status.object.kind != "NIMService" {
            return self.outbox.put(status);
        }
        let service = (status.object.namespace.clone(), status.object.name.clone());
        let mut known = self.lock();
        known.services.insert(service.clone(), status);
        self.tell(&known, &service);
    }

    /// An object is not delivered any more.
    pub(super) fn forget(&self, namespace: &str, name: &str, uid: &str) {
        self.outbox.forget(uid);
        let mut known = self.lock();
        let service = (namespace.to_owned(), name.to_owned());
        if known.services.get(&service).is_some_and(|status| status.object.uid == uid) {
            known.services.remove(&service);
        }
    }

    /// Something about pods is news.
    pub(super) fn pods(&self, change: impl FnOnce(&mut Waiting) -> std::collections::BTreeSet<Service>) {
        let mut known = self.lock();
        for service in change(&mut known.waiting) {
            self.tell(&known, &service);
        }
    }

    fn tell(&self, known: &Known, service: &Service) {
        let Some(status) = known.services.get(service) else { return };
        let lacks = status.wanted_replicas.saturating_sub(status.ready_replicas);
        let unschedulable = known.waiting.of(service, lacks).or_else(|| fold::not_created(status, lacks));
        self.outbox.put(ObjectStatus { unschedulable, ..status.clone() });
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
