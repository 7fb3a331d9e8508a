//! I1: nothing leaves a spoke unless a tombstone of the epoch that is stored there named it, and a user asked for it.

use std::collections::BTreeSet;

use super::{Fact, Invariant, World};

#[derive(Default)]
pub(super) struct NoRemovalUnasked {
    unwanted: BTreeSet<String>,
    /// uid, hub ID, term, incarnation.
    tombstones: BTreeSet<(String, String, u64, String)>,
}

impl Invariant for NoRemovalUnasked {
    fn statement(&self) -> &'static str {
        "I1: no object leaves a spoke unless a tombstone with an epoch that is not below the stored one named it, after \
         a user asked for it"
    }

    fn done(&mut self, fact: &Fact, _world: &World) -> Result<(), String> {
        match fact {
            Fact::Unwanted { uid } => drop(self.unwanted.insert(uid.clone())),
            Fact::Tombstone { uid, epoch } => {
                let epoch = epoch.clone();
                self.tombstones.insert((uid.clone(), epoch.hub_id, epoch.term, epoch.incarnation));
            }
            Fact::Removed { spoke, uid, epoch, stored, .. } => {
                let named = (uid.clone(), epoch.hub_id.clone(), epoch.term, epoch.incarnation.clone());
                if !self.tombstones.contains(&named) {
                    return Err(format!("{uid} left spoke {spoke} without a tombstone of epoch {epoch}"));
                }
                let is_below = stored
                    .as_ref()
                    .is_none_or(|stored| stored.hub_id != epoch.hub_id || stored.term > epoch.term);
                if is_below {
                    return Err(format!("{uid} left spoke {spoke} by {epoch:?}, where {stored:?} is stored"));
                }
                if !self.unwanted.contains(uid) {
                    return Err(format!("{uid} left spoke {spoke}, and nobody had asked for it"));
                }
            }
            _ => {}
        }
        Ok(())
    }
}
