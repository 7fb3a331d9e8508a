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

/// What one instance has seen of the lease.
#[derive(Debug)]
pub(super) struct Tenure {
    identity: Identity,
    /// Whether we have held it: another process of our pod that takes it then is no earlier one.
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

    /// Judges the lease as read at `now`. A foreign lease has run out once it has been seen without any change for
    /// as long as it says it holds.
    pub(super) fn judge(&mut self, lease: Option<&LeaseSpec>, now: Instant) -> Verdict {
        let Some(lease) = lease else { return Verdict::Take };
        let holder = lease.holder_identity.as_deref().unwrap_or_default();
        if holder == self.identity.to_string() {
            self.held = true;
            self.seen = None;
            return Verdict::Renew;
        }
        if holder.is_empty() || (!self.held && self.identity.succeeds(holder)) {
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

    fn lease(holder: &str, renewed: i64) -> LeaseSpec {
        LeaseSpec {
            holder_identity: Some(holder.to_owned()),
            lease_duration_seconds: Some(6),
            renew_time: Some(MicroTime(jiff::Timestamp::from_second(renewed).unwrap())),
            ..LeaseSpec::default()
        }
    }

    fn tenure() -> Tenure {
        Tenure::new(Identity::new(Some("spoke-1"), "me"))
    }

    fn wait() -> Verdict {
        Verdict::Wait { holder: "other".to_owned() }
    }

    #[test]
    fn what_is_free_is_taken_and_what_is_ours_renewed() {
        let mut tenure = tenure();
        let now = Instant::now();
        assert_eq!(tenure.judge(None, now), Verdict::Take);
        assert_eq!(tenure.judge(Some(&LeaseSpec::default()), now), Verdict::Take);
        assert_eq!(tenure.judge(Some(&lease("", 1)), now), Verdict::Take);
        assert_eq!(
            tenure.judge(Some(&lease("spoke-1_before", 1)), now),
            Verdict::Take,
            "our pod's last process"
        );
        assert_eq!(tenure.judge(Some(&lease("spoke-1_me", 1)), now), Verdict::Renew);
        let mut held = Tenure::new(Identity::new(Some("spoke-1"), "me"));
        held.judge(Some(&lease("spoke-1_me", 1)), now);
        let second = Verdict::Wait { holder: "spoke-1_second".to_owned() };
        assert_eq!(
            held.judge(Some(&lease("spoke-1_second", 1)), now),
            second,
            "of this pod, and not before us"
        );
    }

    #[test]
    fn a_foreign_lease_runs_out_by_our_own_clock() {
        let mut tenure = tenure();
        let start = Instant::now();
        // A renewal "in 1970" is not old: it may be the other's clock.
        assert_eq!(tenure.judge(Some(&lease("other", 0)), start), wait());
        assert_eq!(tenure.judge(Some(&lease("other", 0)), start + Duration::from_millis(5999)), wait());
        assert_eq!(tenure.judge(Some(&lease("other", 0)), start + Duration::from_secs(6)), Verdict::Take);
    }

    #[test]
    fn every_renewal_starts_the_wait_anew() {
        let mut tenure = tenure();
        let start = Instant::now();
        assert_eq!(tenure.judge(Some(&lease("other", 0)), start), wait());
        assert_eq!(tenure.judge(Some(&lease("other", 5)), start + Duration::from_secs(5)), wait());
        assert_eq!(tenure.judge(Some(&lease("other", 5)), start + Duration::from_secs(10)), wait());
        assert_eq!(tenure.judge(Some(&lease("other", 5)), start + Duration::from_secs(11)), Verdict::Take);
    }

    #[test]
    fn another_holder_starts_the_wait_anew() {
        let mut tenure = tenure();
        let start = Instant::now();
        tenure.judge(Some(&lease("first", 0)), start);
        assert_eq!(tenure.judge(Some(&lease("other", 0)), start + Duration::from_secs(7)), wait());
    }
}
