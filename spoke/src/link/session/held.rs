//! What this cluster holds of the hub, as far as the session knows.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use proto::{Buckets, Fingerprint, bucket};

use crate::deliver::{HeldObject, ObjectRef};

/// The objects that are held, with their fingerprints.
#[derive(Debug, Default)]
pub(super) struct Held {
    by_uid: BTreeMap<String, HeldObject>,
    /// Every object by its name: a hub can give one uid to several.
    names: BTreeSet<Name>,
    buckets: Buckets,
}

/// Kind, namespace and name of an object.
pub(super) type Name = (String, String, String);

pub(super) fn name(object: &ObjectRef) -> Name {
    (object.kind.clone(), object.namespace.clone(), object.name.clone())
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

    /// Whether an object is held, in any version, by its uid or its name.
    pub(super) fn has(&self, object: &ObjectRef) -> bool {
        self.by_uid.contains_key(&object.uid) || self.names.contains(&name(object))
    }

    /// All of it, in a few bytes.
    pub(super) fn fingerprint(&self) -> Fingerprint {
        self.buckets.all()
    }

    /// An object was applied.
    pub(super) fn put(&mut self, object: HeldObject) {
        let uid = object.object.uid.clone();
        self.forget(&uid);
        self.names.insert(name(&object.object));
        self.buckets.add(&uid, object.generation, &object.hash);
        self.by_uid.insert(uid, object);
    }

    /// An object is not held any more.
    pub(super) fn gone(&mut self, object: &ObjectRef) {
        self.names.remove(&name(object));
        self.forget(&object.uid);
    }

    fn forget(&mut self, uid: &str) {
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
