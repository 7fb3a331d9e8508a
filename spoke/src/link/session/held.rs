//! What this cluster holds of the hub, as far as the session knows.

use std::collections::{BTreeMap, HashMap};

use proto::{Buckets, Fingerprint, bucket};

use crate::deliver::HeldObject;

/// The objects that are held, with their fingerprints.
#[derive(Debug, Default)]
pub(super) struct Held {
    by_uid: BTreeMap<String, HeldObject>,
    buckets: Buckets,
}

impl Held {
    /// As read from the cluster.
    pub(super) fn new(all: Vec<HeldObject>) -> Self {
        let mut held = Self::default();
        for object in all {
            held.put(object);
        }
        held
    }

    /// How many objects.
    pub(super) fn len(&self) -> usize {
        self.by_uid.len()
    }

    /// Whether an object is held, in any version.
    pub(super) fn has(&self, uid: &str) -> bool {
        self.by_uid.contains_key(uid)
    }

    /// All of it, in a few bytes.
    pub(super) fn fingerprint(&self) -> Fingerprint {
        self.buckets.all()
    }

    /// An object was applied.
    pub(super) fn put(&mut self, object: HeldObject) {
        let uid = object.object.uid.clone();
        self.gone(&uid);
        self.buckets.add(&uid, object.generation, &object.hash);
        self.by_uid.insert(uid, object);
    }

    /// An object is not held any more.
    pub(super) fn gone(&mut self, uid: &str) {
        if let Some(old) = self.by_uid.remove(uid) {
            self.buckets.remove(uid, old.generation, &old.hash);
        }
    }

    /// Every object, by uid.
    pub(super) fn all(&self) -> Vec<HeldObject> {
        self.by_uid.values().cloned().collect()
    }

    /// The buckets in which the hub thinks otherwise, and all that is held in them.
    pub(super) fn differing(&self, theirs: &HashMap<u32, u64>) -> (Vec<u8>, Vec<HeldObject>) {
        let buckets = self.buckets.differing(theirs);
        let held = self.by_uid.values().filter(|held| buckets.contains(&bucket(&held.object.uid)));
        (buckets.iter().copied().collect(), held.cloned().collect())
    }
}
