//! The end of a cluster's last outage, and whether that is reason to wait before it counts again.

use jiff::{SignedDuration, Timestamp};

/// How a cluster came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Comeback {
    /// When its session was up again, by the hub's clock.
    pub at: Timestamp,
    /// How long it had been silent.
    pub silent_for: SignedDuration,
    /// How long it had been up before that; none if that was since its first session.
    pub up_for: Option<SignedDuration>,
}

impl Comeback {
    /// The comeback at the end of a silence; `before` is the one before it.
    #[must_use]
    pub fn new(silent_since: Timestamp, at: Timestamp, before: Option<Self>) -> Self {
        Self {
            at,
            silent_for: at.duration_since(silent_since),
            up_for: before.map(|before| silent_since.duration_since(before.at)),
        }
    }

    /// When the cluster counts again, if that is not at once. A break shorter than `noticed_after` is a restart, unless
    /// the one before it is less than `stable_after` ago: then the link flaps.
    #[must_use]
    pub fn settles_at(
        &self,
        noticed_after: SignedDuration,
        stable_after: SignedDuration,
    ) -> Option<Timestamp> {
        let flaps = self.up_for.is_some_and(|up| up < stable_after);
        (self.silent_for >= noticed_after || flaps)
            .then(|| self.at.checked_add(stable_after).unwrap_or(Timestamp::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOTICED: SignedDuration = SignedDuration::from_secs(30);
    const STABLE: SignedDuration = SignedDuration::from_secs(60);

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn a_restart_counts_at_once_an_outage_and_flapping_are_watched() {
        // Each outage: from, to; and when the cluster counts again after it.
        let story = [
            ((100, 103), None, "a restart"),
            ((300, 329), None, "a slow restart"),
            ((600, 630), Some(690), "an outage"),
            ((640, 641), Some(701), "a break while it is watched"),
            ((700, 701), Some(761), "and another"),
            ((800, 801), None, "calm for longer than it is watched"),
            ((820, 821), Some(881), "two breaks within a minute: it flaps"),
        ];
        let mut before = None;
        for ((from, to), expected, what) in story {
            let comeback = Comeback::new(at(from), at(to), before);
            assert_eq!(comeback.settles_at(NOTICED, STABLE), expected.map(at), "{what}");
            before = Some(comeback);
        }
    }
}
