//! What a spoke reports beyond what the hub keeps of it.

use std::collections::BTreeMap;
use std::fmt;

use jiff::{SignedDuration, Timestamp};

/// An excess is told of for so long after the last message that had it: a report is repeated every ten minutes.
const TOLD_FOR: SignedDuration = SignedDuration::from_mins(15);

/// More of something than the hub keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Excess {
    /// Of what, in the plural.
    pub what: &'static str,
    /// How much was reported.
    pub reported: u64,
    /// How much of it is kept.
    pub kept: u64,
}

impl fmt::Display for Excess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} {}", self.kept, self.reported, self.what)
    }
}

/// What one spoke has reported in excess lately: the most of each kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Excesses {
    by_what: BTreeMap<&'static str, (Excess, Timestamp)>,
}

impl Excesses {
    /// Takes one more. Says whether that is news: what is reported again and again is not.
    pub fn add(&mut self, excess: Excess, now: Timestamp) -> bool {
        match self.by_what.get_mut(excess.what) {
            Some((known, at)) if known.reported >= excess.reported => {
                *at = now;
                false
            }
            _ => {
                self.by_what.insert(excess.what, (excess, now));
                true
            }
        }
    }

    /// Forgets what has not been reported again for long.
    pub fn forget_old(&mut self, now: Timestamp) {
        self.by_what.retain(|_, (_, at)| now.duration_since(*at) < TOLD_FOR);
    }

    /// When the first of it will be forgotten; none if there is none.
    #[must_use]
    pub fn ends(&self) -> Option<Timestamp> {
        self.by_what.values().filter_map(|(_, at)| at.checked_add(TOLD_FOR).ok()).min()
    }

    /// Each kind, in its order.
    pub fn iter(&self) -> impl Iterator<Item = &Excess> {
        self.by_what.values().map(|(excess, _)| excess)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_of_each_kind_is_told_until_it_has_not_been_reported_for_long() {
        let at = |minute: i64| Timestamp::from_second(minute * 60).unwrap();
        let excess = |reported| Excess { what: "storage classes", reported, kept: 1024 };
        let mut all = Excesses::default();
        assert!(all.add(excess(5000), at(0)));
        assert!(!all.add(excess(5000), at(5)) && !all.add(excess(2000), at(10)), "it is known");
        assert!(all.add(excess(9000), at(11)));
        assert_eq!(all.iter().map(ToString::to_string).collect::<Vec<_>>(), ["1024 of 9000 storage classes"]);
        assert_eq!(all.ends(), Some(at(26)));
        all.forget_old(at(25));
        assert_eq!(all.iter().count(), 1);
        all.forget_old(at(26));
        assert_eq!((all.iter().count(), all.ends()), (0, None));
    }
}
