//! How often a download is tried. A job tries several pods; when it has given up and was cleared away, another job
//! follows, later and later, and at last none.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::progress::UNTOLD;
use crate::operator::engine::kind::Failure;

/// On the NIMCache: the failed jobs so far. Removing it lets the download begin anew.
pub(super) const ANNOTATION: &str = "nimfleet.io/download-attempts";

/// Jobs that may fail before it is given up.
pub(super) const MOST: u32 = 5;

/// Pause after the first failed job; doubles with each.
const FIRST_PAUSE: SignedDuration = SignedDuration::from_mins(10);

/// The failed jobs of one generation of a NIMCache.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Attempts {
    /// How many jobs have failed.
    pub(super) failed: u32,
    /// The generation that they tried; another begins anew.
    generation: i64,
    /// Uid of the last one, so that none is counted twice.
    job: String,
    /// When it was seen to have failed.
    since: Option<Timestamp>,
    /// Why it failed.
    #[serde(default)]
    why: Option<Why>,
}

/// A failure as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Why {
    reason: String,
    message: String,
}

/// What may be done next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    Try,
    WaitFor(Duration),
    GiveUp,
}

impl Attempts {
    /// From the annotation. What cannot be read, or is of another generation, is none.
    pub(super) fn read(annotation: Option<&String>, generation: i64) -> Self {
        let stored: Option<Self> = annotation.and_then(|text| serde_json::from_str(text).ok());
        stored
            .filter(|stored| stored.generation == generation)
            .unwrap_or(Self { generation, ..Self::default() })
    }

    /// With one more failed job, unless it is counted already.
    pub(super) fn with_failed(mut self, job: &str, why: &Failure, now: Timestamp) -> Self {
        if self.job != job {
            self.failed += 1;
            job.clone_into(&mut self.job);
            self.since = Some(now);
            self.why = None;
        }
        // The pods, which tell most, are known a moment later than the job, and may go before it.
        if self.why.is_none() || why.reason != UNTOLD {
            self.why = Some(Why { reason: why.reason.clone(), message: why.message.clone() });
        }
        self
    }

    /// Why the last job failed.
    pub(super) fn why(&self) -> Failure {
        let why = self.why.as_ref().map(|why| Failure::new(&why.reason, &why.message));
        why.unwrap_or_else(|| Failure::new(UNTOLD, "the job has failed"))
    }

    /// As an annotation; none when nothing has failed.
    pub(super) fn to_annotation(&self) -> Option<String> {
        (self.failed > 0).then(|| serde_json::to_string(self).ok()).flatten()
    }

    /// May another job be made?
    pub(super) fn next(&self, now: Timestamp) -> Next {
        let Some(since) = self.since.filter(|_| self.failed > 0) else { return Next::Try };
        if self.failed >= MOST {
            return Next::GiveUp;
        }
        let pause = FIRST_PAUSE * (1 << (self.failed - 1).min(MOST));
        let passed = now.duration_since(since);
        match Duration::try_from(pause - passed) {
            Ok(left) if !left.is_zero() => Next::WaitFor(left),
            _ => Next::Try,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn told() -> Failure {
        Failure::new("DiskFull", "no space left")
    }

    #[test]
    fn what_the_pods_told_is_kept_when_they_are_gone() {
        let untold = Failure::new(UNTOLD, "limit");
        let attempts = Attempts::read(None, 1).with_failed("a", &untold, at(0));
        assert_eq!(attempts.why(), untold);
        let attempts = attempts.with_failed("a", &told(), at(1)).with_failed("a", &untold, at(2));
        assert_eq!(attempts.why(), told());
        assert_eq!(Attempts::read(attempts.to_annotation().as_ref(), 1).why(), told());
    }

    #[test]
    fn retries_are_bounded_and_ever_rarer() {
        let mut attempts = Attempts::read(None, 1);
        assert_eq!(attempts.next(at(0)), Next::Try);
        for (n, minutes) in [(1, 10), (2, 20), (3, 40), (4, 80)] {
            attempts = attempts.with_failed(&format!("job-{n}"), &told(), at(0));
            assert_eq!(attempts.next(at(0)), Next::WaitFor(Duration::from_mins(minutes)), "after {n}");
            assert_eq!(attempts.next(at(60 * 80)), Next::Try, "after {n}");
        }
        attempts = attempts.with_failed("job-5", &told(), at(0));
        assert_eq!(attempts.next(at(1_000_000)), Next::GiveUp);
    }

    #[test]
    fn a_job_is_counted_once_and_the_count_survives_being_stored() {
        let attempts =
            Attempts::read(None, 3).with_failed("a", &told(), at(5)).with_failed("a", &told(), at(9));
        assert_eq!(attempts.failed, 1);
        let stored = attempts.to_annotation();
        assert_eq!(Attempts::read(stored.as_ref(), 3), attempts);
        assert_eq!(Attempts::read(stored.as_ref(), 4).failed, 0, "a changed spec begins anew");
        assert_eq!(Attempts::read(Some(&"broken".to_owned()), 3).failed, 0);
        assert_eq!(Attempts::default().to_annotation(), None);
    }
}
