//! How long to wait before the next attempt.

use std::time::Duration;

use runtime::backoff::doubled;

/// Ceiling of the first wait.
const BASE: Duration = Duration::from_millis(500);
/// Ceiling of every wait until a hub has said one that fits its fleet.
const CAP: Duration = Duration::from_secs(5);
/// No hub may make its spokes wait longer.
const LONGEST: Duration = Duration::from_mins(5);
/// The wait while somebody has to act, at most.
const SLOW: Duration = Duration::from_secs(15);
/// How long each step of an attempt to dial may take, at first and at most: a hub that is frozen, or whose place a standby
/// takes, accepts and says nothing; one that a whole fleet dials at once, or at the end of a bad line, needs longer.
const PATIENCE: (Duration, Duration) = (Duration::from_secs(3), Duration::from_secs(10));
/// A session that lived this long was healthy: what follows is a new trouble.
const HEALTHY: Duration = Duration::from_secs(10);

/// Full jitter: each wait is anywhere between nothing and a ceiling that doubles, so that a fleet whose hub restarts
/// does not come back as one.
#[derive(Debug)]
pub struct Backoff {
    attempts: u32,
    cap: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { attempts: 0, cap: CAP }
    }
}

impl Backoff {
    /// The next wait; `random` is in `0.0..1.0`.
    pub fn next(&mut self, random: f64) -> Duration {
        let ceiling = doubled(BASE, self.cap, self.attempts);
        self.attempts = self.attempts.saturating_add(1);
        ceiling.mul_f64(random)
    }

    /// How long each step of the next attempt may take: more with each that failed.
    #[must_use]
    pub fn patience(&self) -> Duration {
        let (least, most) = PATIENCE;
        doubled(least, most, self.attempts.saturating_sub(1))
    }

    /// A session was up for this long.
    pub fn lived(&mut self, time: Duration) {
        if time >= HEALTHY {
            self.attempts = 0;
        }
    }

    /// A hub knows how many would dial at once, and has said how long nobody has to wait longer than; `None` changes nothing.
    pub fn set_cap(&mut self, cap: Option<Duration>) {
        if let Some(cap) = cap {
            self.cap = cap.clamp(BASE, LONGEST);
        }
    }

    /// The wait while somebody has to act: long, but not the same for all.
    #[must_use]
    pub fn slow(random: f64) -> Duration {
        SLOW.mul_f64(0.5 + random / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ceilings_double_up_to_the_cap_and_fall_back_after_health() {
        let mut backoff = Backoff::default();
        let ceilings: Vec<_> = (0..6).map(|_| backoff.next(1.0).as_millis()).collect();
        assert_eq!(ceilings, [500, 1000, 2000, 4000, 5000, 5000]);
        backoff.lived(Duration::from_secs(9));
        assert_eq!(backoff.next(1.0), CAP);
        backoff.lived(HEALTHY);
        assert_eq!(backoff.next(0.5), BASE / 2);
    }

    #[test]
    fn a_hub_that_says_nothing_is_left_soon_and_waited_for_longer_each_time() {
        let mut backoff = Backoff::default();
        let waits: Vec<_> = (0..5)
            .map(|_| {
                backoff.next(0.0);
                backoff.patience().as_secs()
            })
            .collect();
        assert_eq!(waits, [3, 6, 10, 10, 10]);
        assert_eq!(Backoff { attempts: u32::MAX, ..Backoff::default() }.patience(), PATIENCE.1);
        backoff.lived(HEALTHY);
        assert_eq!(backoff.patience(), PATIENCE.0);
    }

    #[test]
    fn the_hub_says_the_cap_within_reason() {
        let seconds = Duration::from_secs;
        for (said, cap) in [(None, CAP), (Some(seconds(2)), seconds(2)), (Some(seconds(9999)), LONGEST)] {
            let mut backoff = Backoff { attempts: 20, ..Backoff::default() };
            backoff.set_cap(said);
            assert_eq!(backoff.next(1.0), cap, "{said:?}");
        }
        let mut none = Backoff { attempts: 20, ..Backoff::default() };
        none.set_cap(Some(Duration::ZERO));
        assert_eq!(none.next(1.0), BASE, "nobody dials without end");
    }

    #[test]
    fn very_many_attempts_do_not_overflow() {
        let mut backoff = Backoff { attempts: u32::MAX, cap: CAP };
        assert_eq!(backoff.next(1.0), CAP);
    }

    #[test]
    fn slow_is_slow() {
        assert!(Backoff::slow(0.0) >= SLOW / 2 && Backoff::slow(1.0) <= SLOW);
    }
}
