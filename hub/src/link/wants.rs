//! What one cluster shall hold, with what has changed, what its spoke has refused, and what it holds back.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use proto::Buckets;

use super::object::{Cause, DesiredObject, HeldBack, Removal};
use crate::fleet::HoldReason;

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
    /// All that shall be held, to be compared with what a spoke says it holds.
    wanted: Buckets,
    dirty: BTreeSet<String>,
    /// Hash that the spoke refused, by uid.
    refused: HashMap<String, String>,
    /// Removals that the spoke holds back.
    held_back: BTreeMap<String, (HoldReason, String)>,
}

impl Wants {
    /// The cluster shall hold this object; says whether that is news.
    pub(super) fn set_desired(&mut self, object: DesiredObject) -> bool {
        let uid = object.object.uid.clone();
        if matches!(self.by_uid.get(&uid), Some(Want::Keep(known)) if known.is_same(&object)) {
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
        self.forget(&uid);
        if let Want::Keep(object) = &want {
            self.wanted.add(&uid, object.generation, &object.hash);
        }
        self.dirty.insert(uid.clone());
        self.by_uid.insert(uid, want);
    }

    /// The object is nobody's concern any more.
    pub(super) fn forget(&mut self, uid: &str) {
        if let Some(Want::Keep(object)) = self.by_uid.remove(uid) {
            self.wanted.remove(uid, object.generation, &object.hash);
        }
        self.dirty.remove(uid);
        self.refused.remove(uid);
        self.held_back.remove(uid);
    }

    /// What is wanted of one object.
    pub(super) fn get(&self, uid: &str) -> Option<&Want> {
        self.by_uid.get(uid)
    }

    /// Every uid and what is wanted of it, in no order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&String, &Want)> {
        self.by_uid.iter()
    }

    /// Every object that shall be held, in no order.
    pub(super) fn kept(&self) -> impl Iterator<Item = &Arc<DesiredObject>> {
        self.by_uid.values().filter_map(|want| match want {
            Want::Keep(object) => Some(object),
            Want::Remove(_) => None,
        })
    }

    /// Of how many objects something is wanted.
    pub(super) fn len(&self) -> usize {
        self.by_uid.len()
    }

    /// The fingerprints of all that shall be held.
    pub(super) fn wanted(&self) -> &Buckets {
        &self.wanted
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

    /// The spoke holds this removal back until the admin has confirmed it.
    pub(super) fn hold_back(&mut self, uid: &str, reason: HoldReason, message: String) {
        if matches!(self.by_uid.get(uid), Some(Want::Remove(_))) {
            self.held_back.insert(uid.to_owned(), (reason, message));
        }
    }

    /// The spoke has carried out a removal, or had nothing to remove.
    pub(super) fn gone(&mut self, uid: &str) {
        self.held_back.remove(uid);
    }

    /// The removals that the spoke holds back, by uid.
    pub(super) fn held_back(&self) -> Vec<HeldBack> {
        let held = self.held_back.iter().filter_map(|(uid, (reason, message))| {
            let Some(Want::Remove(removal)) = self.by_uid.get(uid) else { return None };
            Some(HeldBack { object: removal.object.clone(), reason: *reason, message: message.clone() })
        });
        held.collect()
    }

    /// The admin has confirmed what is held back: it is sent again, and says so. How many that is.
    pub(super) fn confirm_held_back(&mut self) -> usize {
        let confirmed = std::mem::take(&mut self.held_back);
        for uid in confirmed.keys() {
            if let Some(Want::Remove(removal)) = self.by_uid.get_mut(uid) {
                *removal = Arc::new(Removal { cause: Cause::Confirmed, ..Removal::clone(removal) });
                self.dirty.insert(uid.clone());
            }
        }
        confirmed.len()
    }
}
