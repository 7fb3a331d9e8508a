//! How often people may ask what would be decided: each question looks at every cluster.

use std::num::NonZeroU32;

use governor::clock::{Clock, DefaultClock};
use governor::{DefaultDirectRateLimiter, DefaultKeyedRateLimiter, NotUntil, Quota};

use super::answer::Refusal;

/// Questions per second and at once of one user.
const PER_USER: (NonZeroU32, NonZeroU32) = (NonZeroU32::MIN, eight());
/// The same of all users: what they ask takes a small part of one processor in a fleet of ten thousand clusters.
const OVERALL: (NonZeroU32, NonZeroU32) =
    (NonZeroU32::MIN.saturating_add(3), NonZeroU32::MIN.saturating_add(15));
/// Users that are remembered before those are forgotten that have all their turns again.
const USERS: usize = 4096;

const fn eight() -> NonZeroU32 {
    NonZeroU32::MIN.saturating_add(7)
}

/// How often people may ask.
pub(super) struct Pace {
    per_user: DefaultKeyedRateLimiter<String>,
    overall: DefaultDirectRateLimiter,
}

impl Pace {
    pub(super) fn new() -> Self {
        let quota = |(per_second, at_once)| Quota::per_second(per_second).allow_burst(at_once);
        Self {
            per_user: DefaultKeyedRateLimiter::keyed(quota(PER_USER)),
            overall: DefaultDirectRateLimiter::direct(quota(OVERALL)),
        }
    }

    /// Takes a turn of a user. To be asked before anything is done for them.
    pub(super) fn of_user(&self, user: &str) -> Result<(), Refusal> {
        if self.per_user.len() > USERS {
            self.per_user.retain_recent();
        }
        self.per_user.check_key(&user.to_owned()).map_err(|until| {
            refused(&until, &format!("{user} asks more than {} questions a second", PER_USER.0))
        })
    }

    /// Takes a turn of all. To be asked once it is known that the user may ask: nobody else uses these up.
    pub(super) fn of_all(&self) -> Result<(), Refusal> {
        let words = format!("all users together ask more than {} questions a second", OVERALL.0);
        self.overall.check().map_err(|until| refused(&until, &words))
    }
}

fn refused(until: &NotUntil<<DefaultClock as Clock>::Instant>, why: &str) -> Refusal {
    let wait = until.wait_time_from(DefaultClock::default().now());
    let seconds = wait.as_secs().saturating_add(1);
    Refusal::too_many(format!("{why}; ask again in {seconds} s"), seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_too_often_waits_and_costs_nobody_else() {
        let pace = Pace::new();
        let taken = (0..100).filter(|_| pace.of_user("jane").is_ok()).count();
        assert!((8..12).contains(&taken), "{taken}");
        let said = format!("{:?}", pace.of_user("jane").unwrap_err());
        assert!(said.contains("429") && said.contains("ask again in 1 s") && said.contains("jane"), "{said}");
        assert!(pace.of_user("joe").is_ok());
        let taken = (0..100).filter(|_| pace.of_all().is_ok()).count();
        assert!((16..24).contains(&taken), "{taken}");
    }
}
