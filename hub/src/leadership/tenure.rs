//! Whose lease is it? Judged by what was seen and when, never by the clock of another machine.

use std::time::{Duration, Instant};

use k8s_openapi::api::coordination::v1::LeaseSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use runtime::Identity;

/// What to do about the lease now.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is free, has run out, or was held by our pod's last process: take it.
    Take,
    /// It is ours: renew it.
    Renew,
    /// Somebody holds it.
    Wait {
        /// Who.
        holder: String,
    },
}

/// What one process has seen of the lease.
#[derive(Debug)]
pub(super) struct Tenure {
    identity: Identity,
    /// Whether we have held it: what was ours and is another's is lost, even if that one runs where we do.
    held: bool,
    /// The foreign lease seen last, and when it was first seen like that.
    seen: Option<(String, Option<MicroTime>, Instant)>,
}

impl Tenure {
    pub(super) fn new(identity: Identity) -> Self {
        Self { identity, held: false, seen: None }
    }

    pub(super) fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The lease was written as ours.
    pub(super) fn took(&mut self) {
        self.held = true;
    }

    /// Judges the lease as read at `now`. A foreign lease has run out once it has been seen without any change for as
    /// long as it says it holds.
    pub(super) fn judge(&mut self, lease: Option<&LeaseSpec>, now: Instant) -> Verdict {
        let holder = lease.and_then(|lease| lease.holder_identity.as_deref()).unwrap_or_default();
        if holder == self.identity.to_string() {
            self.held = true;
            return Verdict::Renew;
        }
        if self.held {
            // Taken, or damaged by hand: either way somebody else may have led since.
            let holder = if holder.is_empty() { "nobody" } else { holder }.to_owned();
            return Verdict::Wait { holder };
        }
        let Some(lease) = lease.filter(|_| !holder.is_empty() && !self.identity.succeeds(holder)) else {
            return Verdict::Take;
        };
        let holds = u64::try_from(lease.lease_duration_seconds.unwrap_or_default()).unwrap_or(0);
        match &self.seen {
            Some((who, renewed, since)) if who == holder && *renewed == lease.renew_time => {
                if now.saturating_duration_since(*since) >= Duration::from_secs(holds) {
                    return Verdict::Take;
                }
            }
            _ => self.seen = Some((holder.to_owned(), lease.renew_time.clone(), now)),
        }
        Verdict::Wait { holder: holder.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(holder: &str, renewed: i64) -> LeaseSpec {
        LeaseSpec {
            holder_identity: Some(holder.to_owned()),
            lease_duration_seconds: Some(10),
            renew_time: Some(MicroTime(jiff::Timestamp::from_second(renewed).unwrap())),
            ..LeaseSpec::default()
        }
    }

    fn tenure() -> Tenure {
        Tenure::new(Identity::new(Some("hub-1"), "me"))
    }

    fn wait(holder: &str) -> Verdict {
        Verdict::Wait { holder: holder.to_owned() }
    }

    #[test]
    fn what_is_free_is_taken_and_what_is_ours_renewed() {
        let now = Instant::now();
        for (what, found, expected) in [
            ("none", None, Verdict::Take),
            ("empty", Some(LeaseSpec::default()), Verdict::Take),
            ("released", Some(lease("", 1)), Verdict::Take),
            ("ours", Some(lease("hub-1_me", 1)), Verdict::Renew),
            ("of our pod's last process", Some(lease("hub-1_before", 1)), Verdict::Take),
            ("of another pod", Some(lease("hub-2_me", 1)), wait("hub-2_me")),
            ("of a pod whose name begins like ours", Some(lease("hub-10_x", 1)), wait("hub-10_x")),
        ] {
            assert_eq!(tenure().judge(found.as_ref(), now), expected, "{what}");
        }
        let mut nameless = Tenure::new(Identity::new(None, "me"));
        assert_eq!(nameless.judge(Some(&lease("other", 1)), now), wait("other"));
    }

    #[test]
    fn a_foreign_lease_runs_out_by_our_own_clock_and_every_renewal_starts_the_wait_anew() {
        let (mut tenure, start) = (tenure(), Instant::now());
        let after = |millis| start + Duration::from_millis(millis);
        // A renewal "in 1970" is not old: it may be the other's clock.
        assert_eq!(tenure.judge(Some(&lease("hub-2_x", 0)), start), wait("hub-2_x"));
        assert_eq!(tenure.judge(Some(&lease("hub-2_x", 0)), after(9999)), wait("hub-2_x"));
        assert_eq!(tenure.judge(Some(&lease("hub-2_x", 5)), after(10_000)), wait("hub-2_x"));
        assert_eq!(tenure.judge(Some(&lease("hub-3_x", 5)), after(19_000)), wait("hub-3_x"));
        assert_eq!(tenure.judge(Some(&lease("hub-3_x", 5)), after(28_999)), wait("hub-3_x"));
        assert_eq!(tenure.judge(Some(&lease("hub-3_x", 5)), after(29_000)), Verdict::Take);
    }

    #[test]
    fn what_was_held_and_is_not_any_more_is_lost() {
        let now = Instant::now();
        for found in [Some(lease("hub-2_x", 1)), Some(lease("hub-1_next", 1)), Some(lease("", 1)), None] {
            let mut tenure = tenure();
            assert_eq!(tenure.judge(Some(&lease("hub-1_me", 1)), now), Verdict::Renew);
            let later = now + Duration::from_hours(1);
            assert!(matches!(tenure.judge(found.as_ref(), later), Verdict::Wait { .. }), "{found:?}");
        }
    }
}
