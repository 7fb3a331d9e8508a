//! How often a download is tried. A job tries several pods; when it has given up and was cleared away, another job
//! follows, later and later, an hour at most after the last, for ever.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::progress::UNTOLD;
use crate::operator::engine::kind::Failure;

/// On the NIMCache: the failed jobs so far. Removing it lets the download begin anew.
pub(super) const ANNOTATION: &str = "nimfleet.io/download-attempts";

/// Pause after the first failed job; doubles with each.
const FIRST_PAUSE: SignedDuration = SignedDuration::from_mins(10);

/// The longest pause.
const LONGEST_PAUSE: SignedDuration = SignedDuration::from_hours(1);

/// Doublings after which the pause is the longest whatever it began with.
const DOUBLINGS: u32 = 8;

/// The failed jobs of one generation of a NIMCache, since somebody last asked for a retry.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Attempts {
    /// How many jobs have failed.
    pub(super) failed: u32,
    /// The generation that they tried; another begins anew.
    generation: i64,
    /// The value of the annotation by which a retry is asked for; another begins anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    retry: Option<String>,
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
}

impl Attempts {
    /// From the annotation. What cannot be read, is of another generation, or was before the last wish to retry, is none.
    pub(super) fn read(annotation: Option<&String>, generation: i64, retry: Option<&String>) -> Self {
        let stored: Option<Self> = annotation.and_then(|text| serde_json::from_str(text).ok());
        let retry = retry.cloned();
        stored.filter(|stored| stored.generation == generation && stored.retry == retry).unwrap_or(Self {
            generation,
            retry,
            ..Self::default()
        })
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

    /// When another job may be made; none while none has failed.
    pub(super) fn due(&self) -> Option<Timestamp> {
        let since = self.since.filter(|_| self.failed > 0)?;
        let pause = FIRST_PAUSE * (1 << (self.failed - 1).min(DOUBLINGS));
        since.checked_add(pause.min(LONGEST_PAUSE)).ok()
    }

    /// May another job be made?
    pub(super) fn next(&self, now: Timestamp) -> Next {
        let left = self.due().map(|due| Duration::try_from(due.duration_since(now)).unwrap_or_default());
        left.filter(|left| !left.is_zero()).map_or(Next::Try, Next::WaitFor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn read(annotation: Option<&String>, generation: i64) -> Attempts {
        Attempts::read(annotation, generation, None)
    }

    fn told() -> Failure {
        Failure::new("DiskFull", "no space left")
    }

    #[test]
    fn what_the_pods_told_is_kept_when_they_are_gone() {
        let untold = Failure::new(UNTOLD, "limit");
        let attempts = read(None, 1).with_failed("a", &untold, at(0));
        assert_eq!(attempts.why(), untold);
        let attempts = attempts.with_failed("a", &told(), at(1)).with_failed("a", &untold, at(2));
        assert_eq!(attempts.why(), told());
        assert_eq!(read(attempts.to_annotation().as_ref(), 1).why(), told());
    }

    #[test]
    fn retries_are_ever_rarer_and_never_end() {
        let mut attempts = read(None, 1);
        assert_eq!((attempts.next(at(0)), attempts.due()), (Next::Try, None));
        let pauses = [10, 20, 40].into_iter().chain(std::iter::repeat(60));
        for (n, minutes) in (1..1000).zip(pauses) {
            attempts = attempts.with_failed(&format!("job-{n}"), &told(), at(0));
            assert_eq!(attempts.next(at(0)), Next::WaitFor(Duration::from_mins(minutes)), "after {n}");
            assert_eq!(attempts.next(at(60 * 60)), Next::Try, "after {n}");
        }
    }

    #[test]
    fn whoever_asks_for_a_retry_begins_anew() {
        let failed = Attempts::read(None, 1, Some(&"a".into())).with_failed("job", &told(), at(0));
        let stored = failed.to_annotation();
        for (retry, begun) in [(Some("a"), 1), (Some("b"), 0), (None, 0)] {
            let retry = retry.map(str::to_owned);
            assert_eq!(Attempts::read(stored.as_ref(), 1, retry.as_ref()).failed, begun, "{retry:?}");
        }
    }

    #[test]
    fn a_job_is_counted_once_and_the_count_survives_being_stored() {
        let attempts = read(None, 3).with_failed("a", &told(), at(5)).with_failed("a", &told(), at(9));
        assert_eq!(attempts.failed, 1);
        let stored = attempts.to_annotation();
        assert_eq!(read(stored.as_ref(), 3), attempts);
        assert_eq!(read(stored.as_ref(), 4).failed, 0, "a changed spec begins anew");
        assert_eq!(read(Some(&"broken".to_owned()), 3).failed, 0);
        assert_eq!(Attempts::default().to_annotation(), None);
    }
}
