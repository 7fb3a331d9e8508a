//! How long to wait after failures: twice as long each time, up to a longest wait.

use std::time::Duration;

use backon::ExponentialBuilder;

/// The wait after so many failures before this one: `first`, then twice as long each time, `longest` at most.
#[must_use]
pub fn doubled(first: Duration, longest: Duration, failures: u32) -> Duration {
    first.saturating_mul(2_u32.saturating_pow(failures)).min(longest)
}

/// Such waits without end, each longer by a random part of itself, so that many that failed at once do not come back at once.
#[must_use]
pub fn jittered(first: Duration, longest: Duration) -> ExponentialBuilder {
    let waits = ExponentialBuilder::default().with_min_delay(first).with_max_delay(longest);
    waits.with_jitter().without_max_times()
}

#[cfg(test)]
mod tests {
    use backon::BackoffBuilder;

    use super::*;

    const FIRST: Duration = Duration::from_millis(300);
    const LONGEST: Duration = Duration::from_secs(2);

    #[test]
    fn a_wait_is_twice_the_one_before_up_to_the_longest() {
        let waits = [0, 1, 2, 3, u32::MAX].map(|failures| doubled(FIRST, LONGEST, failures).as_millis());
        assert_eq!(waits, [300, 600, 1200, 2000, 2000]);
        assert_eq!(doubled(Duration::MAX, LONGEST, u32::MAX), LONGEST);
    }

    #[test]
    fn jitter_adds_a_part_of_a_wait_and_waits_do_not_end() {
        for (number, wait) in jittered(FIRST, LONGEST).build().take(1000).enumerate() {
            let least = doubled(FIRST, LONGEST, u32::try_from(number).unwrap());
            assert!((least..=least.mul_f64(2.001)).contains(&wait), "{number}: {wait:?}");
        }
    }
}
