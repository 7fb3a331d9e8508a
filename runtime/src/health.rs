//! How a process is: alive while what runs in it turns, ready while nothing that it needs is missing.
//!
//! A restart mends what is stuck and nothing else, so `/livez` follows progress alone: an API server that does not answer
//! makes no call last longer than its timeout, and leaves the process alive.

use std::collections::BTreeMap;
use std::fmt;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::time::{MissedTickBehavior, interval};

/// What has not turned for so long is stuck: three times the longest timeout of a call to an API server.
pub const STUCK_AFTER: Duration = Duration::from_secs(30);

/// How often what waits for events shows that it turns.
pub const TURN: Duration = Duration::from_secs(5);

/// Something that may get stuck.
pub trait Progress: Send + Sync {
    /// What is stuck, and since when, as one line each.
    fn stuck(&self, now: Instant) -> Vec<String>;
}

/// The health of a process. Cheap to clone; all clones are one.
#[derive(Clone, Default)]
pub struct Health {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Default)]
struct Inner {
    progress: Vec<Weak<dyn Progress>>,
    missing: BTreeMap<String, String>,
}

impl fmt::Debug for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Health").field("missing", &self.missing()).finish_non_exhaustive()
    }
}

impl Health {
    /// Looks at something for as long as it lives.
    pub fn follow(&self, progress: &Arc<impl Progress + 'static>) {
        let weak: Weak<dyn Progress> = Arc::downgrade(progress) as Weak<dyn Progress>;
        let mut inner = self.lock();
        inner.progress.retain(|one| one.strong_count() > 0);
        inner.progress.push(weak);
    }

    /// A loop that shows by [`Beat::turned`] that it turns; it is looked at until it is dropped.
    #[must_use]
    pub fn beat(&self, name: impl Into<String>) -> Beat {
        let beat = Beat { turns: Arc::new(Turns { name: name.into(), clock: Clock::new() }) };
        beat.turned();
        self.follow(&beat.turns);
        beat
    }

    /// `work`, whose every step has to return in time: one that blocks its thread is stuck.
    #[must_use]
    pub fn watched<F: Future>(&self, name: impl Into<String>, work: F) -> Watched<F> {
        let steps = Arc::new(Steps { name: name.into(), clock: Clock::new() });
        self.follow(&steps);
        Watched::by(steps, work)
    }

    /// Shows for ever that this runtime lets its tasks have their turns.
    pub async fn turn(self, name: &'static str) {
        let beat = self.beat(name);
        let mut ticks = interval(TURN);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            beat.turned();
        }
    }

    /// The process is not ready, since `what` is missing; `why` says more, or is empty.
    pub fn lacks(&self, what: impl Into<String>, why: impl Into<String>) {
        self.lock().missing.insert(what.into(), why.into());
    }

    /// `what` is not missing (any more).
    pub fn has(&self, what: &str) {
        self.lock().missing.remove(what);
    }

    /// What is stuck, one line each; empty when the process is alive.
    #[must_use]
    pub fn stuck(&self) -> Vec<String> {
        let progress: Vec<_> = self.lock().progress.iter().filter_map(Weak::upgrade).collect();
        let now = Instant::now();
        progress.iter().flat_map(|one| one.stuck(now)).collect()
    }

    /// What is missing, one line each; empty when the process is ready.
    #[must_use]
    pub fn missing(&self) -> Vec<String> {
        let line = |(what, why): (&String, &String)| {
            if why.is_empty() { what.clone() } else { format!("{what}: {why}") }
        };
        self.lock().missing.iter().map(line).collect()
    }

    /// Both maps are whole between any two calls.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A moment that is written and read without a lock: milliseconds since a fixed one, 0 for none.
#[derive(Debug)]
pub(crate) struct Clock {
    base: Instant,
    at: AtomicU64,
}

impl Default for Clock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock {
    pub(crate) fn new() -> Self {
        Self { base: Instant::now(), at: AtomicU64::new(0) }
    }

    pub(crate) fn set(&self) {
        let passed = u64::try_from(self.base.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.at.store(passed.saturating_add(1), Ordering::Relaxed);
    }

    pub(crate) fn clear(&self) {
        self.at.store(0, Ordering::Relaxed);
    }

    /// How long ago it was set, if it is.
    pub(crate) fn age(&self, now: Instant) -> Option<Duration> {
        let at = self.at.load(Ordering::Relaxed).checked_sub(1)?;
        Some(now.saturating_duration_since(self.base + Duration::from_millis(at)))
    }
}

/// A loop that shows that it turns.
#[derive(Debug)]
pub struct Beat {
    turns: Arc<Turns>,
}

impl Beat {
    /// The loop has turned.
    pub fn turned(&self) {
        self.turns.clock.set();
    }
}

#[derive(Debug)]
struct Turns {
    name: String,
    clock: Clock,
}

impl Progress for Turns {
    fn stuck(&self, now: Instant) -> Vec<String> {
        let age = self.clock.age(now).filter(|age| *age > STUCK_AFTER);
        age.map(|age| format!("{} has not turned for {} s", self.name, age.as_secs())).into_iter().collect()
    }
}

/// Work whose every step has to return in time.
#[derive(Debug)]
pub struct Watched<F> {
    work: Pin<Box<F>>,
    steps: Arc<Steps>,
}

impl<F> Watched<F> {
    /// Work whose steps somebody looks at.
    pub(crate) fn by(steps: Arc<Steps>, work: F) -> Self {
        Self { work: Box::pin(work), steps }
    }
}

/// One piece of work; its clock is set while a step runs.
#[derive(Debug, Default)]
pub(crate) struct Steps {
    name: String,
    pub(crate) clock: Clock,
}

impl Progress for Steps {
    fn stuck(&self, now: Instant) -> Vec<String> {
        let age = self.clock.age(now).filter(|age| *age > STUCK_AFTER);
        age.map(|age| format!("{} has blocked its thread for {} s", self.name, age.as_secs()))
            .into_iter()
            .collect()
    }
}

/// Clears the clock when a step ends, by a panic too.
struct Step<'a>(&'a Clock);

impl Drop for Step<'_> {
    fn drop(&mut self) {
        self.0.clear();
    }
}

impl<F: Future> Future for Watched<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.get_mut();
        this.steps.clock.set();
        let _step = Step(&this.steps.clock);
        this.work.as_mut().poll(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn later(seconds: u64) -> Instant {
        Instant::now() + Duration::from_secs(seconds)
    }

    #[test]
    fn a_loop_that_does_not_turn_is_stuck_by_its_name_until_it_turns_or_ends() {
        let health = Health::default();
        let beat = health.beat("the loop of events");
        assert!(health.stuck().is_empty());
        let turns = beat.turns.clone();
        assert_eq!(turns.stuck(later(31)), ["the loop of events has not turned for 31 s"]);
        assert!(turns.stuck(later(29)).is_empty());
        drop((turns, beat));
        assert!(
            health.lock().progress.iter().all(|one| one.strong_count() == 0),
            "it is not looked at any more"
        );
    }

    #[tokio::test]
    async fn work_that_waits_is_not_stuck_and_work_that_blocks_is() {
        let health = Health::default();
        let mut waiting = health.watched("a watch", std::future::pending::<()>());
        assert!(futures::poll!(&mut waiting).is_pending());
        let steps = waiting.steps.clone();
        assert!(steps.stuck(later(3600)).is_empty(), "it only waits");
        let mut blocking = Watched::by(steps.clone(), async { steps.stuck(later(31)) });
        let Poll::Ready(stuck) = futures::poll!(&mut blocking) else { panic!("it does not wait") };
        assert_eq!(stuck, ["a watch has blocked its thread for 31 s"]);
        let failing = health.watched("a panic", async { panic!("no") });
        let steps = failing.steps.clone();
        assert!(crate::panics::caught(failing).await.is_err());
        assert!(steps.stuck(later(31)).is_empty(), "what has panicked blocks nobody");
    }

    #[test]
    fn what_is_missing_is_named_until_it_is_there() {
        let health = Health::default();
        assert!(health.missing().is_empty());
        health.lacks("cache of NIMService", "");
        health.lacks("lease", "held by pod b");
        assert_eq!(health.missing(), ["cache of NIMService", "lease: held by pod b"]);
        health.has("lease");
        health.has("cache of NIMService");
        assert!(health.missing().is_empty());
    }
}
