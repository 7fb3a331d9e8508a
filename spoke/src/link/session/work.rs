//! What a session has to do: one piece of work per object at a time, and deletions not before the guard lets them go.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, Instant};

use super::held::{Held, Name, name};
use super::{Effect, ack};
use crate::deliver::{Epoch, HeldObject, ObjectRef, Outcome, RejectionClass, Tombstone};
use crate::link::deletion_guard::{DeletionGuard, Facts, is_guarded};
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
    /// Deletions that the guard has let through. They begin once that is stored, so that a restart finds them counted.
    released: Vec<(Tombstone, u64)>,
    /// Whose deletion is held back.
    held_back: BTreeSet<String>,
    /// How many upserts of a name are under way.
    applying: HashMap<Name, usize>,
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
    /// The object.
    object: ObjectRef,
    /// What is held once it is done.
    becomes: Option<HeldObject>,
    /// The hub has been told that it takes a while.
    is_told: bool,
}

impl Workload {
    /// How many objects there is something to do for.
    pub(super) fn len(&self) -> usize {
        self.under_way.len() + self.next.len() + self.gathered.len() + self.released.len()
    }

    /// How many things it keeps, of whatever kind.
    #[cfg(test)]
    pub(super) fn size(&self) -> usize {
        self.len() + self.held_back.len()
    }

    /// Whether there is nothing to do but what the hub knows to take a while.
    pub(super) fn is_still(&self) -> bool {
        self.under_way.values().all(|doing| doing.is_told)
            && self.next.is_empty()
            && self.gathered.is_empty()
            && self.released.is_empty()
    }

    /// When deletions are judged next; not while those that were let through have yet to be stored.
    pub(super) fn due(&self) -> Option<Instant> {
        let gathering = self.gathering.filter(|_| self.released.is_empty());
        gathering.map(|(first, last)| (last + QUIET).min(first + GATHERED_FOR))
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
        self.next.remove(work.uid());
        self.gathered.retain(|(tombstone, _)| tombstone.object.uid != work.uid());
        self.released.retain(|(tombstone, _)| tombstone.object.uid != work.uid());
        match work {
            Work::Remove(tombstone)
                if is_guarded(&tombstone) && self.may_be_here(&tombstone.object, held) =>
            {
                self.gathered.push((tombstone, delta));
                let first = self.gathering.map_or(now, |(first, _)| first);
                self.gathering = Some((first, now));
            }
            work => self.start(Order { delta, work }, epoch, effects),
        }
    }

    /// Whether an object is here, or may be: it is being applied, and nobody knows how far that has come.
    fn may_be_here(&self, object: &ObjectRef, held: &Held) -> bool {
        held.has(object)
            || self.applying.contains_key(&name(object))
            || self.under_way.get(&object.uid).is_some_and(|doing| doing.becomes.is_some())
    }

    /// Judges the deletions that were gathered.
    pub(super) fn release(
        &mut self,
        guard: &mut DeletionGuard,
        epoch: &Epoch,
        held: &Held,
        hub: &Hub,
        now: Instant,
        effects: &mut Vec<Effect>,
    ) {
        self.gathering = None;
        let gathered = std::mem::take(&mut self.gathered);
        let facts = Facts {
            is_held: &|object| self.may_be_here(object, held),
            count: held.len(),
            waiting: self.held_back.len(),
            began_ms: hub.time_ms,
            now,
        };
        let judged = guard.judge(gathered, |(tombstone, _)| tombstone, &facts);
        for ((tombstone, delta), reason, message) in judged.held {
            let uid = tombstone.object.uid;
            let outcome = if hub.knows_guard {
                Outcome::Held { reason, message }
            } else {
                let message =
                    format!("the deletion is held back: {message}; this hub is too old for that: upgrade it");
                Outcome::Rejected { class: RejectionClass::Invalid, message }
            };
            effects.push(ack(delta, &uid, "", outcome));
            self.held_back.insert(uid);
        }
        self.released.extend(judged.go);
        self.begin_released(guard, epoch, now, effects);
    }

    /// Begins what the guard has let through, if that is stored; asks for that otherwise.
    pub(super) fn begin_released(
        &mut self,
        guard: &DeletionGuard,
        epoch: &Epoch,
        now: Instant,
        effects: &mut Vec<Effect>,
    ) {
        if self.released.is_empty() {
            return;
        }
        if !guard.all_stored() {
            effects.push(Effect::StoreReleases(guard.version(), guard.releases(now)));
            return;
        }
        for (tombstone, delta) in std::mem::take(&mut self.released) {
            self.start(Order { delta, work: Work::Remove(tombstone) }, epoch, effects);
        }
    }

    /// Takes note that work on an object is done; none if there was none.
    pub(super) fn done(&mut self, uid: &str, held: &mut Held, outcome: &Outcome) -> Option<Doing> {
        let mut done = self.ended(uid)?;
        match outcome {
            Outcome::Accepted => {
                if let Some(object) = done.becomes.take() {
                    held.put(object);
                }
            }
            Outcome::Gone => held.gone(&done.object),
            Outcome::Rejected { .. } | Outcome::Held { .. } | Outcome::Retrying { .. } => {}
        }
        Some(done)
    }

    /// Takes note that work on an object has not come to an outcome; none if there is none, or something else is wanted.
    pub(super) fn retrying(&mut self, uid: &str) -> Option<&Doing> {
        let doing = self.under_way.get_mut(uid).filter(|_| !self.next.contains_key(uid))?;
        doing.is_told = true;
        Some(doing)
    }

    /// Takes note that work on an object ended without an outcome.
    pub(super) fn given_up(&mut self, uid: &str) {
        self.ended(uid);
    }

    fn ended(&mut self, uid: &str) -> Option<Doing> {
        let done = self.under_way.remove(uid)?;
        if done.becomes.is_some()
            && let Entry::Occupied(mut count) = self.applying.entry(name(&done.object))
        {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
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
            Entry::Occupied(busy) => {
                effects.push(Effect::GiveUp(busy.key().clone()));
                self.next.insert(busy.key().clone(), order);
            }
            Entry::Vacant(free) => {
                let Order { delta, work } = order;
                let (hash, object, becomes) = (work.hash().to_owned(), work.object().clone(), becomes(&work));
                if becomes.is_some() {
                    *self.applying.entry(name(&object)).or_default() += 1;
                }
                free.insert(Doing { delta, hash, object, becomes, is_told: false });
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
