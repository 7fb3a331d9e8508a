//! How fast placements may move, over the whole fleet: so many in any minute.

use std::collections::VecDeque;

use jiff::{SignedDuration, Timestamp};

/// The time over which moves are counted.
const WINDOW: SignedDuration = SignedDuration::from_mins(1);

/// The moves of the last minute. A hub that starts has none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pace {
    begun: VecDeque<Timestamp>,
}

/// How many moves may begin now, and when there will be more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowance {
    /// So many.
    pub now: u32,
    /// When the next becomes free; none if none is in use.
    pub more_at: Option<Timestamp>,
}

impl Allowance {
    /// No limit.
    pub const FREE: Self = Self { now: u32::MAX, more_at: None };
}

impl Pace {
    /// What may begin at `now`, of `per_minute` in any minute.
    #[must_use]
    pub fn allowance(&self, per_minute: u32, now: Timestamp) -> Allowance {
        let recent: Vec<Timestamp> =
            self.begun.iter().copied().filter(|at| now.duration_since(*at) < WINDOW).collect();
        let used = u32::try_from(recent.len()).unwrap_or(u32::MAX);
        let more_at = recent.first().and_then(|first| first.checked_add(WINDOW).ok());
        Allowance { now: per_minute.saturating_sub(used), more_at }
    }

    /// So many moves have begun.
    pub fn begin(&mut self, moves: usize, now: Timestamp) {
        self.begun.retain(|at| now.duration_since(*at) < WINDOW);
        self.begun.extend(std::iter::repeat_n(now, moves));
    }
}
