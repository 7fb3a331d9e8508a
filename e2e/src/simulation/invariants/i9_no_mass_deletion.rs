//! I9: no more leaves a spoke at once than its deletion guard lets, unless an admin has confirmed it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use spoke::deliver::marks_of;

use super::{Fact, Invariant, World};
use crate::simulation::agenda::Time;

/// Deletions within this time count together, milliseconds; so many may always go, and this part of what is held. As in
/// production.
const WINDOW: Time = 600_000;
const ALWAYS: usize = 10;
const PART: usize = 5;

/// What happened in one spoke within the window.
#[derive(Default)]
struct Lately {
    /// uids that were deleted without an admin's confirmation.
    deleted: VecDeque<(Time, String)>,
    /// How many objects were held.
    held: VecDeque<(Time, usize)>,
}

#[derive(Default)]
pub(super) struct NoMassDeletion {
    /// By spoke: a new agent process knows what the one before has deleted.
    lately: BTreeMap<usize, Lately>,
}

impl Invariant for NoMassDeletion {
    fn statement(&self) -> &'static str {
        "I9: within ten minutes no more than ten objects, or a fifth of those held, are deleted from a spoke that no admin \
         has confirmed, whoever decided it and however often its agent restarts"
    }

    fn done(&mut self, fact: &Fact, world: &World) -> Result<(), String> {
        let now = world.stage.now;
        let spoke = match fact {
            Fact::Applied { spoke, .. } | Fact::Removed { spoke, .. } => *spoke,
            _ => return Ok(()),
        };
        let objects = world.spokes[spoke].kube.objects.values();
        let held = objects.filter(|live| marks_of(&live.meta).is_some()).count();
        let lately = self.lately.entry(spoke).or_default();
        lately.held.push_back((now, held));
        let Fact::Removed { uid, guarded: true, .. } = fact else { return Ok(()) };
        lately.deleted.push_back((now, uid.clone()));
        let begin = now.saturating_sub(WINDOW);
        lately.deleted.retain(|(at, _)| *at > begin);
        lately.held.retain(|(at, _)| *at > begin);
        let deleted: BTreeSet<&String> = lately.deleted.iter().map(|(_, uid)| uid).collect();
        let held = lately.held.iter().map(|(_, held)| *held).max().unwrap_or_default();
        let most = ALWAYS.max((held + deleted.len()) / PART);
        if deleted.len() > most {
            return Err(format!(
                "spoke {spoke} has deleted {deleted:?}, and held no more than {held} at once"
            ));
        }
        Ok(())
    }
}
