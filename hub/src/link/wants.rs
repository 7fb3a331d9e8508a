//! What one cluster shall hold, with what has changed and what its spoke has refused.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::object::{DesiredObject, Removal};

/// What is wanted of one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Want {
    /// The cluster shall hold it.
    Keep(Arc<DesiredObject>),
    /// The cluster shall hold it no longer.
    Remove(Arc<Removal>),
}

impl Want {
    /// What tells two wants of one uid apart: the hash, or nothing for a removal.
    pub(super) fn hash(&self) -> &str {
        match self {
            Self::Keep(object) => &object.hash,
            Self::Remove(_) => "",
        }
    }
}

/// All that is wanted of one cluster, by uid.
#[derive(Debug, Default)]
pub(super) struct Wants {
    by_uid: HashMap<String, Want>,
    dirty: BTreeSet<String>,
    /// Hash that the spoke refused, by uid.
    refused: HashMap<String, String>,
}

impl Wants {
    /// The cluster shall hold this object; says whether that is news.
    pub(super) fn set_desired(&mut self, object: DesiredObject) -> bool {
        let uid = object.object.uid.clone();
        if matches!(self.by_uid.get(&uid), Some(Want::Keep(known)) if known.hash == object.hash) {
            return false;
        }
        self.set(uid, Want::Keep(Arc::new(object)));
        true
    }

    /// The cluster shall hold this object no longer; says whether that is news.
    pub(super) fn set_removal(&mut self, removal: Removal) -> bool {
        let uid = removal.object.uid.clone();
        if matches!(self.by_uid.get(&uid), Some(Want::Remove(known)) if known.policy == removal.policy) {
            return false;
        }
        self.set(uid, Want::Remove(Arc::new(removal)));
        true
    }

    fn set(&mut self, uid: String, want: Want) {
        self.refused.remove(&uid);
        self.dirty.insert(uid.clone());
        self.by_uid.insert(uid, want);
    }

    /// The object is nobody's concern any more.
    pub(super) fn forget(&mut self, uid: &str) {
        self.by_uid.remove(uid);
        self.dirty.remove(uid);
        self.refused.remove(uid);
    }

    /// What is wanted of one object.
    pub(super) fn get(&self, uid: &str) -> Option<&Want> {
        self.by_uid.get(uid)
    }

    /// Every uid and what is wanted of it, in no order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&String, &Want)> {
        self.by_uid.iter()
    }

    /// The uids that changed since the last call.
    pub(super) fn take_dirty(&mut self) -> BTreeSet<String> {
        std::mem::take(&mut self.dirty)
    }

    /// The spoke refused this hash of the object.
    pub(super) fn refuse(&mut self, uid: &str, hash: &str) {
        self.refused.insert(uid.to_owned(), hash.to_owned());
    }

    /// Whether the spoke has refused what is wanted of this object.
    pub(super) fn is_refused(&self, uid: &str, want: &Want) -> bool {
        self.refused.get(uid).is_some_and(|hash| hash == want.hash())
    }

    /// Another agent process may judge otherwise: what was refused is tried once more.
    pub(super) fn forget_refusals(&mut self) {
        self.refused.clear();
    }
}
