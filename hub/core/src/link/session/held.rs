//! What a spoke holds, as far as its session knows.

use std::collections::{BTreeSet, HashMap};

use proto::{Buckets, bucket};

use crate::fleet::HeldObject;
use crate::link::object::DesiredObject;

/// Objects that a spoke holds, with their fingerprints.
#[derive(Debug, Default)]
pub(super) struct Held {
    by_uid: HashMap<String, Version>,
    buckets: Buckets,
}

#[derive(Debug, PartialEq)]
struct Version {
    generation: i64,
    hash: String,
}

impl Held {
    /// Whether an object is held exactly so.
    pub(super) fn has(&self, object: &DesiredObject) -> bool {
        self.by_uid
            .get(&object.object.uid)
            .is_some_and(|held| held.generation == object.generation && held.hash == object.hash)
    }

    /// Whether an object is held in any version.
    pub(super) fn has_any(&self, uid: &str) -> bool {
        self.by_uid.contains_key(uid)
    }

    /// An object is held in this version now.
    pub(super) fn insert(&mut self, uid: &str, generation: i64, hash: &str) {
        self.remove(uid);
        self.buckets.add(uid, generation, hash);
        self.by_uid.insert(uid.to_owned(), Version { generation, hash: hash.to_owned() });
    }

    /// An object is not held any more.
    pub(super) fn remove(&mut self, uid: &str) {
        if let Some(held) = self.by_uid.remove(uid) {
            self.buckets.remove(uid, held.generation, &held.hash);
        }
    }

    /// What the spoke says of these buckets replaces what was known of them.
    pub(super) fn replace(&mut self, buckets: &BTreeSet<u8>, index: &[HeldObject]) {
        let known: Vec<String> =
            self.by_uid.keys().filter(|uid| buckets.contains(&bucket(uid))).cloned().collect();
        for uid in known {
            self.remove(&uid);
        }
        for held in index.iter().filter(|held| buckets.contains(&bucket(&held.object.uid))) {
            self.insert(&held.object.uid, held.generation, &held.hash);
        }
    }

    /// The fingerprints of all of it.
    pub(super) fn buckets(&self) -> &Buckets {
        &self.buckets
    }
}
