//! How fast placements may move, over the whole fleet: so many in any minute, shared fairly by namespaces, and counted
//! apart for lost clusters and for all other causes.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use jiff::{SignedDuration, Timestamp};

use crate::fleet::PlacementKey;

/// The time over which moves are counted.
const WINDOW: SignedDuration = SignedDuration::from_mins(1);
/// How long after the moment it was told to come a placement keeps its claim: its turn may have to wait for others.
const GRACE: SignedDuration = SignedDuration::from_secs(10);
/// When a placement is asked again that has to let other namespaces go first.
const SOON: SignedDuration = SignedDuration::from_secs(5);

/// What makes placements move. Each lane has the whole pace to itself, so that no wish holds up a failover.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lane {
    /// Their cluster is lost.
    Failover,
    /// Their cluster runs, and they leave it: it drains, they were told to rebalance, or it cannot run them.
    Relocation,
}

/// Something for each lane.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PerLane<T> {
    /// Of [`Lane::Failover`].
    pub failover: T,
    /// Of [`Lane::Relocation`].
    pub relocation: T,
}

impl<T> PerLane<T> {
    /// What is of a lane.
    #[must_use]
    pub const fn of(&self, lane: Lane) -> &T {
        match lane {
            Lane::Failover => &self.failover,
            Lane::Relocation => &self.relocation,
        }
    }

    /// What is of a lane, to be changed.
    pub const fn of_mut(&mut self, lane: Lane) -> &mut T {
        match lane {
            Lane::Failover => &mut self.failover,
            Lane::Relocation => &mut self.relocation,
        }
    }
}

/// How many moves may begin now, and when there will be more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowance {
    /// So many.
    pub now: u32,
    /// When to ask again for more; none if nothing is in use.
    pub more_at: Option<Timestamp>,
}

impl Allowance {
    /// No limit.
    pub const FREE: Self = Self { now: u32::MAX, more_at: None };
}

impl PerLane<Allowance> {
    /// No limit.
    pub const FREE: Self = Self { failover: Allowance::FREE, relocation: Allowance::FREE };
}

/// The moves of the last minute, and who waits for one. A hub that starts has none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pace {
    lanes: PerLane<Queue>,
}

/// One lane.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Queue {
    /// The moves of the last minute, oldest first, each with its namespace.
    begun: VecDeque<(Timestamp, String)>,
    /// The placements that were told to wait, and until when that counts.
    waiting: BTreeMap<PlacementKey, Timestamp>,
    /// When each namespace of those moved last.
    last: BTreeMap<String, Timestamp>,
}

impl Pace {
    /// What a placement may begin at `now`, of `per_minute` in any minute and lane.
    ///
    /// What is free goes to the namespace with the fewest moves of the last minute, of equal ones to the one that has not
    /// moved for longest, one move at a time, until nobody waits. A namespace that is alone gets all.
    #[must_use]
    pub fn allowance(&self, placement: &PlacementKey, per_minute: u32, now: Timestamp) -> PerLane<Allowance> {
        let of = |lane: &Queue| lane.allowance(placement, per_minute, now);
        PerLane { failover: of(&self.lanes.failover), relocation: of(&self.lanes.relocation) }
    }

    /// So many moves of a placement have begun.
    pub fn begin(&mut self, placement: &PlacementKey, moves: &PerLane<usize>, now: Timestamp) {
        for lane in [Lane::Failover, Lane::Relocation] {
            self.lanes.of_mut(lane).begin(&placement.namespace, *moves.of(lane), now);
        }
    }

    /// In which lanes a placement waits from now on, until each of these moments.
    pub fn wait(&mut self, placement: &PlacementKey, until: &PerLane<Option<Timestamp>>) {
        for lane in [Lane::Failover, Lane::Relocation] {
            let waiting = &mut self.lanes.of_mut(lane).waiting;
            match until.of(lane).and_then(|at| at.checked_add(GRACE).ok()) {
                Some(until) => waiting.insert(placement.clone(), until),
                None => waiting.remove(placement),
            };
        }
    }
}

impl Queue {
    fn allowance(&self, placement: &PlacementKey, per_minute: u32, now: Timestamp) -> Allowance {
        let recent = self.begun.iter().filter(|(at, _)| now.duration_since(*at) < WINDOW);
        let mut used: BTreeMap<&str, u32> = BTreeMap::new();
        let mut first = None;
        for (at, namespace) in recent {
            *used.entry(namespace).or_default() += 1;
            first.get_or_insert(*at);
        }
        let free = per_minute.saturating_sub(used.values().sum());
        let share = self.share(&placement.namespace, free, used, now);
        let next = first.and_then(|first| first.checked_add(WINDOW).ok());
        // What is free and not theirs is taken by others in a moment, or by nobody.
        let others_first = (free > share).then(|| now.checked_add(SOON).ok()).flatten();
        Allowance { now: share, more_at: [next, others_first].into_iter().flatten().min() }
    }

    /// How much of what is free a namespace gets, if it takes all it can get.
    fn share<'a>(
        &'a self,
        namespace: &'a str,
        free: u32,
        mut used: BTreeMap<&'a str, u32>,
        now: Timestamp,
    ) -> u32 {
        let mut waiting: BTreeMap<&str, u32> = BTreeMap::new();
        // Of each namespace it counts how many wait; whoever asks may want more than one.
        for (placement, _) in self.waiting.iter().filter(|(_, until)| **until >= now) {
            *waiting.entry(&placement.namespace).or_default() += 1;
        }
        waiting.insert(namespace, u32::MAX);
        let mut share = 0;
        for given in 0..free {
            if waiting.len() == 1 {
                return share + (free - given);
            }
            let rank = |of: &str| (used.get(of).copied().unwrap_or_default(), self.last.get(of).copied());
            let first = waiting.keys().copied().min_by(|a, b| rank(a).cmp(&rank(b)).then(a.cmp(b)));
            let Some(next) = first else { return share };
            *used.entry(next).or_default() += 1;
            if next == namespace {
                share += 1;
            } else if let Some(left) = waiting.get_mut(next) {
                *left -= 1;
                if *left == 0 {
                    waiting.remove(next);
                }
            }
        }
        share
    }

    fn begin(&mut self, namespace: &str, moves: usize, now: Timestamp) {
        if moves == 0 {
            return;
        }
        self.begun.retain(|(at, _)| now.duration_since(*at) < WINDOW);
        self.waiting.retain(|_, until| *until >= now);
        let known: BTreeSet<&str> =
            self.waiting.keys().map(|placement| placement.namespace.as_str()).collect();
        self.last.retain(|of, at| known.contains(of.as_str()) || now.duration_since(*at) < WINDOW);
        self.begun.extend(std::iter::repeat_n((now, namespace.to_owned()), moves));
        self.last.insert(namespace.to_owned(), now);
    }
}
