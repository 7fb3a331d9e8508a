//! What a session is given by its hub: how often to speak, how long to live, when to come back. All of it follows from the size
//! of the fleet, which only the hub knows.

use std::time::Duration;

/// Spokes that may connect per second: a session costs a hub about a millisecond of one processor.
pub const HANDSHAKES_PER_SECOND: u32 = 400;
/// Signs of life that a hub hears per second, at most.
const HEARTBEATS_PER_SECOND: u32 = 100;
/// No interval is longer: three of them have to pass before a silent spoke is known to be silent.
const LONGEST_HEARTBEAT: Duration = Duration::from_mins(2);
/// The ceiling of a spoke's waits between two attempts: in a small fleet nobody waits longer than the first.
const WAIT: (Duration, Duration) = (Duration::from_secs(2), Duration::from_mins(1));
/// A session ends at an age between these: sessions spread over hubs and times, and certificates are picked up.
const AGE: (Duration, Duration) = (Duration::from_hours(6), Duration::from_hours(12));
/// Who is told to come again comes after this and up to a second more, or as long as the whole fleet takes.
const COME_BACK: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(1));

/// What a session is given by its hub.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Both sides give a sign of life at least this often, and call the session dead after three silent intervals.
    pub heartbeat: Duration,
    /// The ceiling of the spoke's waits between two attempts to connect.
    pub longest_wait: Duration,
    /// The session ends at this age; the spoke comes back at once.
    pub max_age: Duration,
    /// How long a spoke stays away that is told to come again.
    pub come_back: Duration,
}

impl Terms {
    /// The terms in a fleet of so many spokes. `shortest` is the shortest heartbeat; the two `random` numbers are in
    /// `0.0..1.0` and spread the fleet over time.
    #[must_use]
    pub fn of(spokes: usize, shortest: Duration, random: [f64; 2]) -> Self {
        let spokes = u32::try_from(spokes).unwrap_or(u32::MAX);
        let storm = Duration::from_secs(1) * spokes / HANDSHAKES_PER_SECOND;
        Self {
            heartbeat: (Duration::from_secs(1) * spokes / HEARTBEATS_PER_SECOND)
                .clamp(shortest, shortest.max(LONGEST_HEARTBEAT)),
            longest_wait: storm.clamp(WAIT.0, WAIT.1),
            max_age: AGE.0 + AGE.1.saturating_sub(AGE.0).mul_f64(random[0]),
            come_back: COME_BACK.0 + storm.max(COME_BACK.1).mul_f64(random[1]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_grows_with_the_fleet_between_its_bounds() {
        let seconds = Duration::from_secs;
        let table = [
            (0, 10, 2, 1),
            (4, 10, 2, 1),
            (2000, 20, 5, 5),
            (4000, 40, 10, 10),
            (10_000, 100, 25, 25),
            (1_000_000, 120, 60, 2500),
        ];
        for (spokes, heartbeat, wait, storm) in table {
            let terms = Terms::of(spokes, seconds(10), [0.0, 1.0]);
            assert_eq!(terms.heartbeat, seconds(heartbeat), "{spokes}");
            assert_eq!(terms.longest_wait, seconds(wait), "{spokes}");
            assert_eq!(terms.come_back, COME_BACK.0 + seconds(storm), "{spokes}");
        }
        assert_eq!(
            Terms::of(4, seconds(300), [0.0; 2]).heartbeat,
            seconds(300),
            "what the operator says counts"
        );
        assert_eq!(Terms::of(4, seconds(10), [0.0; 2]).max_age, AGE.0);
        assert_eq!(Terms::of(4, seconds(10), [1.0; 2]).max_age, AGE.1);
        assert_eq!(Terms::of(usize::MAX, seconds(10), [0.0; 2]).heartbeat, LONGEST_HEARTBEAT);
    }
}
