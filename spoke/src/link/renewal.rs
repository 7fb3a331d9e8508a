//! When a certificate is renewed: early enough for many tries, and not by all spokes at once.

use jiff::{SignedDuration, Timestamp};

/// The moment by which it is renewed at the latest, as parts of a certificate's life: two thirds, as everywhere.
const LATEST: (i64, i64) = (2, 3);
/// It is renewed up to this part of its life before that, so that clusters that joined together do not ask together.
const SPREAD: i64 = 10;

/// When a certificate that is valid from and until then is renewed; `random` is in `0.0..1.0`.
pub(super) fn due(not_before: Timestamp, not_after: Timestamp, random: f64) -> Timestamp {
    let life = not_after.duration_since(not_before).max(SignedDuration::ZERO).as_millis();
    let life = i64::try_from(life).unwrap_or(i64::MAX / 4);
    let latest = life / LATEST.1 * LATEST.0;
    let early = part(life / SPREAD, random);
    not_before.checked_add(SignedDuration::from_millis(latest - early)).unwrap_or(not_after)
}

/// A moment within that many seconds from now.
pub(super) fn within(now: Timestamp, seconds: u32, random: f64) -> Timestamp {
    let wait = part(i64::from(seconds) * 1000, random);
    now.checked_add(SignedDuration::from_millis(wait)).unwrap_or(now)
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "a part of a span, to the millisecond or so"
)]
fn part(whole: i64, random: f64) -> i64 {
    (whole as f64 * random) as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn a_certificate_is_renewed_at_two_thirds_or_a_tenth_earlier() {
        for (from, to, random, expected) in [
            (0, 900, 0.0, 600),
            (0, 900, 1.0, 510),
            (0, 900, 0.5, 555),
            (1000, 1900, 0.0, 1600),
            (0, 15, 0.0, 10),
        ] {
            assert_eq!(due(at(from), at(to), random), at(expected), "{from}..{to} {random}");
        }
        let backwards = due(at(10), at(0), 0.5);
        assert_eq!(backwards, at(10), "a certificate without life is renewed at once");
    }

    #[test]
    fn a_wish_of_the_hub_is_met_within_its_time() {
        assert_eq!(within(at(0), 300, 0.0), at(0));
        assert_eq!(within(at(0), 300, 1.0), at(300));
    }

    proptest::proptest! {
        #[test]
        fn never_after_two_thirds_never_before_the_start(start in 0_i64..4_000_000_000, life in 1_i64..400_000_000, random in 0.0..1.0_f64) {
            let due = due(at(start), at(start + life), random);
            proptest::prop_assert!(due >= at(start) && due <= at(start + life * 2 / 3 + 1));
        }
    }
}
