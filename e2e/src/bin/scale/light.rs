//! A spoke without a cluster: its real link, and memory that holds what the hub sends.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use spoke::deliver::{
    AcceptError, Deliver, DeliverError, Epoch, HeldObject, ObjectRef, Outcome, Release, Tombstone, Upsert,
};
use spoke::link::{Identity, IdentityError, IdentityStore};
use spoke::report::{Condition, ObjectStatus, Outbox};

use super::board::Board;

/// A cluster in memory: everything it is sent is ready at once.
pub(super) struct Light {
    memory: Mutex<Memory>,
    pub(super) statuses: Outbox,
    board: Arc<Board>,
}

#[derive(Default)]
struct Memory {
    held: HashMap<String, HeldObject>,
    epoch: Option<Epoch>,
}

impl Light {
    pub(super) fn new(board: Arc<Board>) -> Self {
        Self { memory: Mutex::default(), statuses: Outbox::default(), board }
    }

    /// What it holds under that name, if it does.
    pub(super) fn held(&self, name: &str) -> Option<HeldObject> {
        self.lock().held.values().find(|held| held.object.name == name).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Deliver for Light {
    async fn held(&self) -> Result<Vec<HeldObject>, DeliverError> {
        Ok(self.lock().held.values().cloned().collect())
    }

    async fn highest_epoch(&self) -> Result<Option<Epoch>, DeliverError> {
        Ok(self.lock().epoch.clone())
    }

    async fn accept_epoch(&self, epoch: &Epoch) -> Result<(), AcceptError> {
        self.lock().epoch = Some(epoch.clone());
        Ok(())
    }

    async fn releases(&self) -> Result<Vec<Release>, DeliverError> {
        Ok(Vec::new())
    }

    async fn store_releases(&self, _: &[Release]) -> Result<(), DeliverError> {
        Ok(())
    }

    async fn upsert(&self, upsert: &Upsert, _: &Epoch) -> Result<Outcome, DeliverError> {
        let Upsert { object, generation, hash, .. } = upsert.clone();
        let held = HeldObject { object, generation, hash };
        let before = self.lock().held.insert(held.object.uid.clone(), held.clone());
        if before.is_none_or(|before| before.hash != held.hash) {
            self.board.delivered(&held.object.name);
        }
        self.statuses.put(status(held, true, "it serves"));
        Ok(Outcome::Accepted)
    }

    async fn remove(&self, tombstone: &Tombstone, _: &Epoch) -> Result<Outcome, DeliverError> {
        self.lock().held.remove(&tombstone.object.uid);
        self.statuses.forget(&tombstone.object.uid);
        Ok(Outcome::Gone)
    }
}

/// What a spoke would report of an object.
pub(super) fn status(held: HeldObject, ready: bool, message: &str) -> ObjectStatus {
    let HeldObject { object, generation, hash } = held;
    let (word, reason) = if ready { ("True", "Ready") } else { ("False", "NotReady") };
    let now = jiff::Timestamp::now().as_millisecond();
    let condition = Condition {
        kind: "Ready".to_owned(),
        status: word.to_owned(),
        reason: reason.to_owned(),
        message: message.to_owned(),
        last_transition_ms: now,
    };
    ObjectStatus {
        object: ObjectRef { ..object },
        generation,
        hash,
        state: reason.to_owned(),
        conditions: vec![condition],
        ready_replicas: i32::from(ready),
        wanted_replicas: 1,
        observed_at_ms: now,
        profiles: vec![],
        unschedulable: None,
        claim: String::new(),
        services: Vec::new(),
    }
}

/// An identity that was signed beforehand.
#[derive(Clone)]
pub(super) struct Signed(pub(super) Identity);

impl IdentityStore for Signed {
    async fn load(&self) -> Result<Option<Identity>, IdentityError> {
        Ok(Some(self.0.clone()))
    }

    async fn save(&self, _: &Identity) -> Result<(), IdentityError> {
        Ok(())
    }
}
