//! Whose lease is it? Judged by what was seen and when, never by the clock of another machine.

use std::time::{Duration, Instant};

use k8s_openapi::api::coordination::v1::LeaseSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;

use crate::identity::Identity;

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
    /// Whether a lease that we held and that nobody holds now is lost.
    is_one_writer: bool,
    /// Whether it was read as ours: another process of our pod that has it then is no earlier one.
    was_ours: bool,
    /// Whether we wrote it as ours, so that work has begun.
    held: bool,
    /// The foreign lease seen last, and when it was first seen like that.
    seen: Option<(String, Option<MicroTime>, Instant)>,
}

impl Tenure {
    pub(super) fn new(identity: Identity, is_one_writer: bool) -> Self {
        Self { identity, is_one_writer, was_ours: false, held: false, seen: None }
    }

    /// The lease was written as ours.
    pub(super) fn took(&mut self) {
        (self.was_ours, self.held, self.seen) = (true, true, None);
    }

    /// Judges the lease as read at `now`. A foreign lease has run out once it has been seen without any change for as
    /// long as it says it holds.
    pub(super) fn judge(&mut self, lease: Option<&LeaseSpec>, now: Instant) -> Verdict {
        let holder = lease.and_then(|lease| lease.holder_identity.as_deref()).unwrap_or_default();
        if holder == self.identity.to_string() {
            (self.was_ours, self.seen) = (true, None);
            return Verdict::Renew;
        }
        let Some(lease) = lease.filter(|_| !holder.is_empty()) else {
            // Released, deleted or damaged by hand: another process may have held it since.
            let is_lost = self.held && self.is_one_writer;
            return if is_lost { Verdict::Wait { holder: "nobody".to_owned() } } else { Verdict::Take };
        };
        if !self.was_ours && self.identity.succeeds(holder) {
            return Verdict::Take;
        }
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

    const ONE_WRITER: bool = true;

    fn lease(holder: &str, renewed: i64) -> LeaseSpec {
        LeaseSpec {
            holder_identity: Some(holder.to_owned()),
            lease_duration_seconds: Some(10),
            renew_time: Some(MicroTime(jiff::Timestamp::from_second(renewed).unwrap())),
            ..LeaseSpec::default()
        }
    }

    fn tenure() -> Tenure {
        Tenure::new(Identity::new(Some("hub-1"), "me"), ONE_WRITER)
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
        let mut nameless = Tenure::new(Identity::new(None, "me"), ONE_WRITER);
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
    fn what_was_held_and_is_anothers_is_lost() {
        let now = Instant::now();
        for is_one_writer in [true, false] {
            for holder in ["hub-2_x", "hub-1_next"] {
                let mut tenure = Tenure::new(Identity::new(Some("hub-1"), "me"), is_one_writer);
                // Seen before it was taken, and restored with the backup of an etcd.
                assert_eq!(tenure.judge(Some(&lease("hub-2_x", 1)), now), wait("hub-2_x"));
                tenure.took();
                let later = now + Duration::from_hours(1);
                assert_eq!(tenure.judge(Some(&lease(holder, 1)), later), wait(holder));
            }
        }
    }

    #[test]
    fn what_was_held_and_is_nobodys_is_lost_to_one_writer_alone() {
        let now = Instant::now();
        for found in [Some(lease("", 1)), Some(LeaseSpec::default()), None] {
            for (is_one_writer, expected) in [(true, wait("nobody")), (false, Verdict::Take)] {
                let mut tenure = Tenure::new(Identity::new(Some("hub-1"), "me"), is_one_writer);
                tenure.took();
                assert_eq!(tenure.judge(found.as_ref(), now), expected, "{found:?}");
            }
        }
    }

    /// The write that took the lease was not answered, so that work has not begun.
    #[test]
    fn what_was_written_without_an_answer_and_then_taken_by_another_is_waited_for() {
        let (mut tenure, start) = (tenure(), Instant::now());
        assert_eq!(tenure.judge(Some(&lease("hub-1_me", 1)), start), Verdict::Renew);
        assert_eq!(tenure.judge(Some(&lease("hub-1_next", 2)), start), wait("hub-1_next"));
        let later = start + Duration::from_secs(10);
        assert_eq!(tenure.judge(Some(&lease("hub-1_next", 2)), later), Verdict::Take, "it has run out");
        assert_eq!(tenure.judge(Some(&lease("", 2)), later), Verdict::Take, "it was released");
    }
}
