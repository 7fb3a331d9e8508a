//! A token bucket: so much of something is allowed per second, saved up to a limit.

use std::time::{Duration, Instant};

/// A token bucket. Who takes more than there is may, and has to wait until it is made good.
#[derive(Debug)]
pub struct TokenBucket {
    per_second: f64,
    most: f64,
    left: f64,
    at: Option<Instant>,
}

impl TokenBucket {
    /// So much per second, and at most so much at once.
    #[must_use]
    pub fn new(per_second: u32, most: u32) -> Self {
        Self { per_second: per_second.into(), most: most.into(), left: most.into(), at: None }
    }

    /// Takes one, if there is one.
    pub fn take(&mut self, now: Instant) -> bool {
        self.fill(now);
        let there_is = self.left >= 1.0;
        if there_is {
            self.left -= 1.0;
        }
        there_is
    }

    /// Takes one, if need be of what is yet to come: the answer is when that is, from now.
    pub fn book(&mut self, now: Instant) -> Duration {
        self.spend(1, now);
        self.debt()
    }

    /// Takes so much, whether it is there or not.
    pub fn spend(&mut self, cost: u32, now: Instant) {
        self.fill(now);
        self.left -= f64::from(cost);
    }

    /// How long it takes until all that was spent is made good; zero if it is.
    #[must_use]
    pub fn debt(&self) -> Duration {
        Duration::from_secs_f64((-self.left / self.per_second).max(0.0))
    }

    fn fill(&mut self, now: Instant) {
        let passed = self.at.map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        self.at = Some(now);
        self.left = (self.left + passed.as_secs_f64() * self.per_second).min(self.most);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_allowed_and_then_so_many_per_second() {
        let mut bucket = TokenBucket::new(10, 5);
        let mut now = Instant::now();
        assert_eq!((0..9).filter(|_| bucket.take(now)).count(), 5);
        now += Duration::from_millis(300);
        assert_eq!((0..9).filter(|_| bucket.take(now)).count(), 3);
        now += Duration::from_mins(1);
        assert_eq!((0..9).filter(|_| bucket.take(now)).count(), 5, "no more is saved up");
    }

    #[test]
    fn what_is_booked_comes_one_after_the_other() {
        let mut bucket = TokenBucket::new(10, 2);
        let now = Instant::now();
        let booked: Vec<u128> = (0..5).map(|_| bucket.book(now).as_millis()).collect();
        assert_eq!(booked, [0, 0, 100, 200, 300]);
        assert_eq!(bucket.book(now + Duration::from_millis(300)).as_millis(), 100);
    }

    #[test]
    fn what_was_spent_beforehand_is_waited_for() {
        let mut bucket = TokenBucket::new(10, 5);
        let now = Instant::now();
        bucket.spend(5, now);
        assert_eq!(bucket.debt(), Duration::ZERO);
        bucket.spend(20, now);
        assert_eq!(bucket.debt(), Duration::from_secs(2));
        bucket.spend(0, now + Duration::from_secs(3));
        assert_eq!(bucket.debt(), Duration::ZERO);
    }
}
