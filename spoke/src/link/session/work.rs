//! What a session has to do: one piece of work per object at a time, and deletions not before the brake lets them go.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, Instant};

use super::held::Held;
use super::{Effect, ack};
use crate::deliver::{Epoch, HeldObject, Outcome, RejectionClass, Tombstone};
use crate::link::brake::{Brake, Facts, deletes};
use crate::link::message::{Hub, Work};

/// Deletions wait until none has come for this long, so that many are seen as many however they are sent; none waits
/// longer than the second.
const QUIET: Duration = Duration::from_millis(300);
const GATHERED_FOR: Duration = Duration::from_secs(2);

/// What a session has to do.
#[derive(Debug, Default)]
pub(super) struct Workload {
    /// Under way, by uid.
    under_way: HashMap<String, Doing>,
    /// Waits until its object's last work is done: the latest wins.
    next: BTreeMap<String, Order>,
    /// Deletions that are gathered until they are judged together.
    gathered: Vec<(Tombstone, u64)>,
    /// When the first and the last of them came.
    gathering: Option<(Instant, Instant)>,
    /// Whose deletion is held back.
    held_back: BTreeSet<String>,
}

#[derive(Debug)]
struct Order {
    delta: u64,
    work: Work,
}

/// Work under way.
#[derive(Debug)]
pub(super) struct Doing {
    /// The delta it came with.
    pub(super) delta: u64,
    /// Hash of the payload; empty for a removal.
    pub(super) hash: String,
    /// What is held once it is done.
    becomes: Option<HeldObject>,
}

impl Workload {
    /// How many objects there is something to do for.
    pub(super) fn len(&self) -> usize {
        self.under_way.len() + self.next.len() + self.gathered.len()
    }

    /// Whether there is nothing to do.
    pub(super) fn is_still(&self) -> bool {
        self.under_way.is_empty() && self.gathered.is_empty()
    }

    /// When deletions are judged next.
    pub(super) fn due(&self) -> Option<Instant> {
        self.gathering.map(|(first, last)| (last + QUIET).min(first + GATHERED_FOR))
    }

    /// Takes one piece of work of a delta.
    pub(super) fn take(
        &mut self,
        delta: u64,
        work: Work,
        epoch: &Epoch,
        held: &Held,
        now: Instant,
        effects: &mut Vec<Effect>,
    ) {
        // The latest wins: what is wanted now is the only thing that counts.
        self.held_back.remove(work.uid());
        self.gathered.retain(|(tombstone, _)| tombstone.object.uid != work.uid());
        match work {
            Work::Remove(tombstone) if deletes(&tombstone) && held.has(&tombstone.object.uid) => {
                self.gathered.push((tombstone, delta));
                let first = self.gathering.map_or(now, |(first, _)| first);
                self.gathering = Some((first, now));
            }
            work => self.start(Order { delta, work }, epoch, effects),
        }
    }

    /// Judges the deletions that were gathered.
    pub(super) fn release(
        &mut self,
        brake: &mut Brake,
        epoch: &Epoch,
        held: &Held,
        hub: &Hub,
        now: Instant,
        effects: &mut Vec<Effect>,
    ) {
        self.gathering = None;
        let facts = Facts {
            is_held: &|uid| held.has(uid),
            count: held.len(),
            waiting: self.held_back.len(),
            began_ms: hub.time_ms,
            now,
        };
        let judged = brake.judge(std::mem::take(&mut self.gathered), |(tombstone, _)| tombstone, &facts);
        for ((tombstone, delta), reason, message) in judged.held {
            let uid = tombstone.object.uid;
            let outcome = if hub.knows_brake {
                Outcome::Held { reason, message }
            } else {
                let message =
                    format!("the deletion is held back: {message}; this hub is too old for that: upgrade it");
                Outcome::Rejected { class: RejectionClass::Invalid, message }
            };
            effects.push(ack(delta, &uid, "", outcome));
            self.held_back.insert(uid);
        }
        for (tombstone, delta) in judged.go {
            self.start(Order { delta, work: Work::Remove(tombstone) }, epoch, effects);
        }
    }

    /// Takes note that work on an object is done; none if there was none.
    pub(super) fn done(&mut self, uid: &str, held: &mut Held, outcome: &Outcome) -> Option<Doing> {
        let mut done = self.under_way.remove(uid)?;
        match outcome {
            Outcome::Accepted => {
                if let Some(object) = done.becomes.take() {
                    held.put(object);
                }
            }
            Outcome::Gone => held.gone(uid),
            Outcome::Rejected { .. } | Outcome::Held { .. } => {}
        }
        Some(done)
    }

    /// Starts what has waited for that.
    pub(super) fn go_on(&mut self, uid: &str, epoch: &Epoch, effects: &mut Vec<Effect>) {
        if let Some(order) = self.next.remove(uid) {
            self.start(order, epoch, effects);
        }
    }

    fn start(&mut self, order: Order, epoch: &Epoch, effects: &mut Vec<Effect>) {
        match self.under_way.entry(order.work.uid().to_owned()) {
            Entry::Occupied(busy) => drop(self.next.insert(busy.key().clone(), order)),
            Entry::Vacant(free) => {
                let Order { delta, work } = order;
                free.insert(Doing { delta, hash: work.hash().to_owned(), becomes: becomes(&work) });
                effects.push(Effect::Deliver(work, epoch.clone()));
            }
        }
    }
}

/// What is held once a piece of work has succeeded.
fn becomes(work: &Work) -> Option<HeldObject> {
    match work {
        Work::Upsert(upsert) => Some(HeldObject {
            object: upsert.object.clone(),
            generation: upsert.generation,
            hash: upsert.hash.clone(),
        }),
        Work::Remove(_) => None,
    }
}
