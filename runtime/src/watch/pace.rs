//! How soon a watch that failed is begun anew: what is away is asked often, what says no is left alone.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff};
use futures::{Stream, TryStreamExt};
use kube::runtime::WatchStreamExt;
use kube::runtime::utils::Backoff;
use kube::runtime::watcher::{Error, Event};
use tokio::time::Instant;

use crate::backoff::jittered;

/// Longest wait for an API server that does not answer, and the share of it that chance takes away: once it is back,
/// whatever was changed meanwhile is seen within a second, however long it was away.
const AWAY: Duration = Duration::from_millis(800);
/// First and longest wait after an answer that is no: a kind that is not served, a role that is missing.
const REFUSED: (Duration, Duration) = (Duration::from_millis(300), Duration::from_secs(30));

/// A watch that lived this long was well: a failure is a new one. Longer than the longest wait.
const HEALTHY: Duration = Duration::from_mins(2);

/// The events of a watch that never ends.
pub(super) fn paced<K: Send>(
    events: impl Stream<Item = Result<Event<K>, Error>> + Send,
) -> impl Stream<Item = Result<Event<K>, Error>> + Send {
    let away = Arc::new(AtomicBool::new(false));
    let pace = Pace { away: away.clone(), refused: refused(), failed: Instant::now() };
    events.inspect_err(move |error| away.store(is_away(error), Ordering::Relaxed)).backoff(pace)
}

struct Pace {
    /// Whether the last failure was the lack of an answer.
    away: Arc<AtomicBool>,
    refused: ExponentialBackoff,
    /// When it failed last.
    failed: Instant,
}

impl Iterator for Pace {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let lived = std::mem::replace(&mut self.failed, Instant::now()).elapsed();
        let away = self.away.load(Ordering::Relaxed);
        if away || lived > HEALTHY {
            self.refused = refused();
        }
        if away {
            return Some(AWAY.mul_f64(rand::random_range(0.25..1.0)));
        }
        self.refused.next()
    }
}

impl Backoff for Pace {
    /// A watch says that it begins to list before it knows whether it may: time alone tells that it is well.
    fn reset(&mut self) {}
}

fn refused() -> ExponentialBackoff {
    jittered(REFUSED.0, REFUSED.1).build()
}

/// Whether nobody answered, or a server that has yet to start, as opposed to an answer that is no.
fn is_away(error: &Error) -> bool {
    match error {
        Error::InitialListFailed(source) | Error::WatchStartFailed(source) | Error::WatchFailed(source) => {
            !matches!(source, kube::Error::Api(status) if status.code < 500)
        }
        Error::WatchError(_) | Error::NoResourceVersion => false,
    }
}

#[cfg(test)]
mod tests {
    use kube::core::Status;

    use super::*;

    fn waits(pace: &mut Pace, away: bool) -> Vec<Duration> {
        pace.away.store(away, Ordering::Relaxed);
        pace.take(12).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_away_is_asked_within_a_second_for_ever_and_a_no_less_and_less_often() {
        let mut pace = Pace { away: Arc::default(), refused: refused(), failed: Instant::now() };
        let refused = waits(&mut pace, false);
        assert!(refused[0] < REFUSED.0 * 3 && refused[11] >= REFUSED.1, "{refused:?}");
        let away = waits(&mut pace, true);
        assert!(away.iter().all(|wait| (AWAY / 5..AWAY).contains(wait)), "{away:?}");
        assert!(waits(&mut pace, false)[0] < REFUSED.0 * 3, "a server that came back is asked soon");
        pace.reset();
        assert!(pace.next() >= Some(REFUSED.1), "that it begins to list is no news");
        tokio::time::advance(HEALTHY * 2).await;
        assert!(pace.next() < Some(REFUSED.0 * 3), "a watch that was well is begun anew soon");
    }

    #[test]
    fn an_answer_is_an_answer_whatever_it_says() {
        let starting = || {
            kube::Error::Api(Box::new(Status { code: 503, ..Status::failure("wait", "ServiceUnavailable") }))
        };
        let no = || kube::Error::Api(Box::new(Status { code: 403, ..Status::failure("no", "Forbidden") }));
        let silence = || kube::Error::Service("connection refused".into());
        for (error, away) in [
            (Error::InitialListFailed(no()), false),
            (Error::InitialListFailed(starting()), true),
            (Error::WatchStartFailed(silence()), true),
            (Error::WatchFailed(silence()), true),
            (Error::NoResourceVersion, false),
        ] {
            assert_eq!(is_away(&error), away, "{error}");
        }
    }
}
