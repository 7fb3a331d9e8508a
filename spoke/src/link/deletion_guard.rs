//! The deletion guard: many deletions at once, and old ones, wait until the fleet admin confirms them.
//!
//! It runs in the spoke because the hub is what it guards against: a hub that was restored, misled or is at fault would not
//! hold itself back, and only the spoke knows what its cluster holds.

use std::collections::{BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use crate::deliver::{Cause, HoldReason, ObjectRef, Policy, Release, Tombstone};

/// Deletions within this time count together.
const WINDOW: Duration = Duration::from_mins(10);
/// So many objects may always go within the window: a cluster that holds no more than these has nothing held.
const ALWAYS: usize = 10;
/// Above that, this part of what is held may go: 20 %.
const PART: usize = 5;
/// A deletion that was decided this long before the session began was not meant for what is here now. Three times
/// `failover.lostAfter` as it is by default.
const OLD: Duration = Duration::from_mins(15);

/// The deletions of the last ten minutes. It outlives sessions, and [`DeletionGuard::restore`] lets it outlive the process, so
/// that neither a new session nor a restart gives a hub a new budget.
#[derive(Debug, Default)]
pub struct DeletionGuard {
    /// Deletions that were let through, the oldest first.
    released: VecDeque<(Instant, Name)>,
    /// Counts changes of `released`.
    version: u64,
    /// The version that was stored last.
    stored: u64,
    restored: bool,
}

/// An object as both sides name it. Its uid alone would not do: a hub can give one uid to many objects.
type Name = (String, String, String, String);

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
    /// Whether the object is in the cluster, or may be.
    pub(super) is_held: &'a dyn Fn(&ObjectRef) -> bool,
    /// How many objects the cluster holds.
    pub(super) count: usize,
    /// How many other deletions are held back.
    pub(super) waiting: usize,
    /// When this session began, milliseconds since the Unix epoch by the hub's clock.
    pub(super) began_ms: i64,
    /// Now.
    pub(super) now: Instant,
}

impl DeletionGuard {
    /// Takes over what an earlier process let through, as it was stored.
    pub fn restore(&mut self, releases: Vec<Release>, now: Instant) {
        let mut before: VecDeque<_> = releases
            .into_iter()
            .filter(|release| release.age < WINDOW)
            .map(|release| (now.checked_sub(release.age).unwrap_or(now), name(&release.object)))
            .collect();
        before.make_contiguous().sort();
        before.append(&mut self.released);
        self.released = before;
        self.restored = true;
    }

    /// Whether what an earlier process let through is known.
    #[must_use]
    pub fn is_restored(&self) -> bool {
        self.restored
    }

    /// What was let through within the window, to be stored before any of it is carried out.
    pub(super) fn releases(&self, now: Instant) -> Vec<Release> {
        let release = |(at, name): &(Instant, Name)| {
            let (kind, namespace, name, uid) = name.clone();
            let object = ObjectRef { uid, api_version: String::new(), kind, namespace, name };
            Release { object, age: now.saturating_duration_since(*at) }
        };
        self.released.iter().map(release).collect()
    }

    /// The number of the latest change.
    pub(super) fn version(&self) -> u64 {
        self.version
    }

    /// What was let through up to this change is stored.
    pub(super) fn is_stored(&mut self, version: u64) {
        self.stored = self.stored.max(version);
    }

    /// Whether all that was let through is stored.
    pub(super) fn all_stored(&self) -> bool {
        self.stored == self.version
    }

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
        let known: BTreeSet<&Name> = self.released.iter().map(|(_, name)| name).collect();
        let counts = |one: &T| {
            let tombstone = tombstone(one);
            is_guarded(tombstone)
                && (facts.is_held)(&tombstone.object)
                && !known.contains(&name(&tombstone.object))
        };
        let counted: Vec<bool> = batch.iter().map(counts).collect();
        let asked = counted.iter().filter(|counts| **counts).count();
        let lately = self.released.len();
        let (would_go, here) = (lately + facts.waiting + asked, facts.count + lately);
        let most = ALWAYS.max(here / PART);
        let mut judged = Judged { go: Vec::new(), held: Vec::new() };
        for (one, counts) in batch.into_iter().zip(counted) {
            let tombstone = tombstone(&one);
            if !counts {
                judged.go.push(one);
            } else if would_go > most {
                let message = format!(
                    "{asked} more {} would make {would_go} within {} min, of {here} {} in this cluster; more than \
                     {most} wait to be confirmed",
                    if asked == 1 { "deletion" } else { "deletions" },
                    WINDOW.as_secs() / 60,
                    if here == 1 { "object" } else { "objects" },
                );
                judged.held.push((one, HoldReason::TooMany, message));
            } else if would_go > ALWAYS
                && let Some(age) = age(tombstone, facts.began_ms).filter(|age| *age >= OLD)
            {
                let message = format!(
                    "decided {} min before this cluster came back; {would_go} would go within {} min, and of \
                     deletions that old more than {ALWAYS} wait to be confirmed",
                    age.as_secs() / 60,
                    WINDOW.as_secs() / 60,
                );
                judged.held.push((one, HoldReason::Stale, message));
            } else {
                self.released.push_back((facts.now, name(&tombstone.object)));
                self.version += 1;
                judged.go.push(one);
            }
        }
        judged
    }
}

/// Whether the guard has a say about a tombstone: it deletes, and no admin has confirmed it. What failover decided counts
/// like anything else: a hub can call every deletion a failover.
#[must_use]
pub(super) fn is_guarded(tombstone: &Tombstone) -> bool {
    tombstone.policy == Policy::Delete && tombstone.cause != Cause::Confirmed
}

fn name(object: &ObjectRef) -> Name {
    (object.kind.clone(), object.namespace.clone(), object.name.clone(), object.uid.clone())
}

/// How long before the session an admin decided it; none if failover decided, which is always after the cluster was lost, or
/// if the hub does not say when.
fn age(tombstone: &Tombstone, began_ms: i64) -> Option<Duration> {
    let decided = Some(tombstone.decided_ms).filter(|decided| *decided > 0)?;
    let age = u64::try_from(began_ms.saturating_sub(decided)).ok().map(Duration::from_millis);
    age.filter(|_| tombstone.cause == Cause::Admin)
}
