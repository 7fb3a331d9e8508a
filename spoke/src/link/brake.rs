//! The deletion brake: many deletions at once, and old ones, wait for the admin's word.
//!
//! It is here and not on the hub because the hub is what it guards against: one that was restored, misled or is at fault
//! would not hold itself back, and only this side knows what it really holds.

use std::collections::{BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use crate::deliver::{Cause, HoldReason, Policy, Tombstone};

/// Deletions within this time count together.
const WINDOW: Duration = Duration::from_mins(10);
/// So many may always go; above that, this part of what is held (20 %).
const FEW: usize = 3;
const PART: usize = 5;
/// A deletion that was decided this long before the session began was not meant for what is here now. Three times
/// `failover.lostAfter` as it is by default.
const OLD: Duration = Duration::from_mins(15);

/// What was deleted lately. It outlives sessions, so that a hub that dials anew is no way around it.
#[derive(Debug, Default)]
pub struct Brake {
    /// When a deletion was let through, and whose.
    released: VecDeque<(Instant, String)>,
}

/// What becomes of some tombstones.
#[derive(Debug, Default)]
pub(super) struct Judged<T> {
    /// To be carried out, in the order they came.
    pub(super) go: Vec<T>,
    /// To be held back, each with the reason and a sentence.
    pub(super) held: Vec<(T, HoldReason, String)>,
}

/// What a deletion is judged by.
pub(super) struct Facts<'a> {
    /// Whether the object is here.
    pub(super) is_held: &'a dyn Fn(&str) -> bool,
    /// How many objects are here.
    pub(super) count: usize,
    /// How many other deletions are held back.
    pub(super) waiting: usize,
    /// When this session began, milliseconds since the Unix epoch by the hub's clock.
    pub(super) began_ms: i64,
    /// Now.
    pub(super) now: Instant,
}

impl Brake {
    /// Judges deletions that came together.
    pub(super) fn judge<T>(
        &mut self,
        batch: Vec<T>,
        tombstone: impl Fn(&T) -> &Tombstone,
        facts: &Facts<'_>,
    ) -> Judged<T> {
        while self.released.front().is_some_and(|(at, _)| facts.now.duration_since(*at) >= WINDOW) {
            self.released.pop_front();
        }
        let known: BTreeSet<&str> = self.released.iter().map(|(_, uid)| uid.as_str()).collect();
        let counts = |one: &T| {
            let tombstone = tombstone(one);
            deletes(tombstone)
                && (facts.is_held)(&tombstone.object.uid)
                && !known.contains(tombstone.object.uid.as_str())
        };
        let counted: Vec<bool> = batch.iter().map(counts).collect();
        let asked = counted.iter().filter(|counts| **counts).count();
        let lately = self.released.len();
        let most = FEW.max((facts.count + lately) / PART);
        let too_many = lately + facts.waiting + asked > most;
        let mut judged = Judged { go: Vec::new(), held: Vec::new() };
        for (one, counts) in batch.into_iter().zip(counted) {
            let tombstone = tombstone(&one);
            if !counts {
                judged.go.push(one);
            } else if too_many {
                let message = format!(
                    "{asked} more deletions would make {} within {} min, of {} objects; more than {most} wait to be \
                     confirmed",
                    lately + facts.waiting + asked,
                    WINDOW.as_secs() / 60,
                    facts.count + lately,
                );
                judged.held.push((one, HoldReason::TooMany, message));
            } else if let Some(age) = age(tombstone, facts.began_ms).filter(|age| *age >= OLD) {
                let message = format!(
                    "it was decided {} min before this cluster came back; deletions that old wait to be confirmed",
                    age.as_secs() / 60
                );
                judged.held.push((one, HoldReason::Stale, message));
            } else {
                self.released.push_back((facts.now, tombstone.object.uid.clone()));
                judged.go.push(one);
            }
        }
        judged
    }
}

/// Whether a tombstone is subject to the brake: it deletes, and nobody has weighed it against what is here.
pub(super) fn deletes(tombstone: &Tombstone) -> bool {
    tombstone.policy == Policy::Delete && tombstone.cause == Cause::Admin
}

/// How long before the session it was decided; none if the hub does not say.
fn age(tombstone: &Tombstone, began_ms: i64) -> Option<Duration> {
    let decided = Some(tombstone.decided_ms).filter(|decided| *decided > 0)?;
    u64::try_from(began_ms.saturating_sub(decided)).ok().map(Duration::from_millis)
}
