//! The hub's epoch: the right to change spokes.

/// The highest term above which an admin can raise the hub: half of all. A term rises by one at each start, so a hub never
/// comes near it by itself, and as many starts are left above it.
pub const HIGHEST_RAISE: u64 = u64::MAX / 2;

/// The right to change a spoke.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Epoch {
    /// Made once per hub.
    pub hub_id: String,
    /// Rises whenever a process begins to lead, above an epoch that a spoke proves, and above what an admin asks for.
    pub term: u64,
    /// Random, new with every term, so that a hub restored from a backup cannot repeat an epoch.
    pub incarnation: String,
}

impl Epoch {
    /// The epoch that follows, with a term above `term` and above this one's. `incarnation` is random. `None` when no number is
    /// left above them.
    #[must_use]
    pub fn next_above(&self, term: u64, incarnation: String) -> Option<Self> {
        let term = term.max(self.term).checked_add(1)?;
        Some(Self { hub_id: self.hub_id.clone(), term, incarnation })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_epoch_keeps_the_hub_and_rises_above_both() {
        let epoch = Epoch { hub_id: "h".into(), term: 4, incarnation: "i".into() };
        for (above, term) in [(0, 5), (4, 5), (5, 6), (9, 10), (HIGHEST_RAISE, HIGHEST_RAISE + 1)] {
            let next = epoch.next_above(above, "next".to_owned()).unwrap();
            assert_eq!((next.hub_id.as_str(), next.term), ("h", term), "above {above}");
            assert_ne!(next.incarnation, epoch.incarnation);
        }
    }

    #[test]
    fn no_term_comes_twice_at_the_end_of_all_numbers() {
        let last = Epoch { hub_id: "h".into(), term: u64::MAX, incarnation: "i".into() };
        assert_eq!(last.next_above(0, "next".to_owned()), None);
        let epoch = Epoch { term: 4, ..last };
        assert_eq!(epoch.next_above(u64::MAX, "next".to_owned()), None);
    }
}
