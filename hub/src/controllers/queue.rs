//! Work keyed by name: each key is worked on by one worker at a time, and once more if it was asked for meanwhile.
//!
//! A key that failed comes back with jitter: soon and for ever while the API server does not answer, later and later when
//! it says no. A success forgets its failures.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

/// First delay after a failure.
const FIRST_RETRY: Duration = Duration::from_millis(200);
/// Longest delay after answers that are no: how long something that was put right elsewhere may go unnoticed.
const LAST_RETRY: Duration = Duration::from_secs(30);
/// Longest delay while the API server does not answer, and the share of it that chance takes away: how long one that is
/// back may go unnoticed.
const AWAY: Duration = Duration::from_millis(1500);

/// Changes of clusters and of capacity come in showers; one look after them is enough.
const DEBOUNCE: Duration = Duration::from_millis(200);

/// How work on a key ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// Nothing is left to do.
    Done,
    /// It failed, and something has to change before it can go better.
    Refused,
    /// It failed because nobody answered.
    Away,
}

/// Keys that wait for a worker.
#[derive(Debug)]
pub(crate) struct Queue<K> {
    state: Mutex<State<K>>,
    wake: Notify,
}

#[derive(Debug)]
struct State<K> {
    ready: VecDeque<K>,
    queued: HashSet<K>,
    working: HashSet<K>,
    /// Asked for while it was worked on.
    again: HashSet<K>,
    later: BTreeSet<(Instant, K)>,
    /// Worked on, and given back at that time.
    resting: BTreeSet<(Instant, K)>,
    /// Asked for soon, and not due yet.
    soon: HashSet<K>,
    failures: HashMap<K, ExponentialBackoff>,
}

impl<K> Default for Queue<K> {
    fn default() -> Self {
        let state = State {
            ready: VecDeque::new(),
            queued: HashSet::new(),
            working: HashSet::new(),
            again: HashSet::new(),
            later: BTreeSet::new(),
            resting: BTreeSet::new(),
            soon: HashSet::new(),
            failures: HashMap::new(),
        };
        Self { state: Mutex::new(state), wake: Notify::new() }
    }
}

impl<K: Clone + Eq + Hash + Ord> Queue<K> {
    /// Asks for work on a key, as soon as a worker is free.
    pub(crate) fn add(&self, key: K) {
        self.lock().add(key);
        self.wake.notify_one();
    }

    /// Asks for work on a key after some time. Several such wishes are served at their own times.
    pub(crate) fn add_after(&self, key: K, delay: Duration) {
        self.lock().later.insert((Instant::now() + delay, key));
        self.wake.notify_one();
    }

    /// Asks for work on a key after a short while, once however often it is asked in that while.
    pub(crate) fn add_soon(&self, key: K) {
        let mut state = self.lock();
        if state.soon.insert(key.clone()) {
            state.later.insert((Instant::now() + DEBOUNCE, key));
            self.wake.notify_one();
        }
    }

    /// The next key. It is the caller's until [`Queue::done`].
    pub(crate) async fn take(&self) -> K {
        loop {
            let next_due = {
                let mut state = self.lock();
                state.ripen(Instant::now());
                if let Some(key) = state.ready.pop_front() {
                    state.queued.remove(&key);
                    state.working.insert(key.clone());
                    if !state.ready.is_empty() {
                        self.wake.notify_one();
                    }
                    return key;
                }
                [state.later.first(), state.resting.first()].into_iter().flatten().map(|(due, _)| *due).min()
            };
            match next_due {
                Some(due) => tokio::select! {
                    () = sleep_until(due) => {}
                    () = self.wake.notified() => {}
                },
                None => self.wake.notified().await,
            }
        }
    }

    /// Gives a key back. After a failure it comes back by itself.
    pub(crate) fn done(&self, key: &K, ending: Ending) {
        let mut state = self.lock();
        state.working.remove(key);
        let delay = match ending {
            Ending::Done => None,
            Ending::Refused => state.failures.entry(key.clone()).or_insert_with(backoff).next(),
            Ending::Away => Some(AWAY.mul_f64(rand::random_range(0.25..1.0))),
        };
        if ending != Ending::Refused {
            state.failures.remove(key);
        }
        if let Some(delay) = delay {
            state.later.insert((Instant::now() + delay, key.clone()));
        }
        if state.again.remove(key) {
            state.add(key.clone());
        }
        drop(state);
        self.wake.notify_one();
    }

    /// Gives a key back after some time: what is asked of it meanwhile is served once, then.
    pub(crate) fn rest(&self, key: K, time: Duration) {
        let mut state = self.lock();
        state.failures.remove(&key);
        state.resting.insert((Instant::now() + time, key));
        drop(state);
        self.wake.notify_one();
    }

    /// Whether nothing is asked for or worked on now; what rests is done.
    pub(crate) fn is_idle(&self) -> bool {
        let state = self.lock();
        state.ready.is_empty() && state.working.len() == state.resting.len()
    }

    fn lock(&self) -> MutexGuard<'_, State<K>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Clone + Eq + Hash + Ord> State<K> {
    fn add(&mut self, key: K) {
        if self.working.contains(&key) {
            self.again.insert(key);
        } else if self.queued.insert(key.clone()) {
            self.ready.push_back(key);
        }
    }

    fn ripen(&mut self, now: Instant) {
        while let Some((due, _)) = self.resting.first()
            && *due <= now
        {
            if let Some((_, key)) = self.resting.pop_first() {
                self.working.remove(&key);
                if self.again.remove(&key) {
                    self.add(key);
                }
            }
        }
        while let Some((due, _)) = self.later.first()
            && *due <= now
        {
            if let Some((_, key)) = self.later.pop_first() {
                self.soon.remove(&key);
                self.add(key);
            }
        }
    }
}

fn backoff() -> ExponentialBackoff {
    ExponentialBuilder::default()
        .with_min_delay(FIRST_RETRY)
        .with_max_delay(LAST_RETRY)
        .with_jitter()
        .without_max_times()
        .build()
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_key_is_worked_on_by_one_and_again_if_asked_meanwhile() {
        let queue = Queue::default();
        queue.add("a");
        queue.add("a");
        assert_eq!(queue.take().await, "a");
        assert!(queue.take().now_or_never().is_none(), "asked for twice is once");
        queue.add("a");
        assert!(queue.take().now_or_never().is_none(), "two workers on one key");
        queue.done(&"a", Ending::Done);
        assert_eq!(queue.take().await, "a", "what was asked for meanwhile is lost");
        queue.done(&"a", Ending::Done);
        assert!(queue.is_idle());
    }

    #[tokio::test(start_paused = true)]
    async fn failures_come_back_later_and_later_and_success_forgets_them() {
        let queue = Queue::default();
        queue.add("a");
        let mut last = Duration::ZERO;
        for _ in 0..12 {
            let before = Instant::now();
            let key = queue.take().await;
            last = before.elapsed();
            queue.done(&key, Ending::Refused);
        }
        assert!(last >= LAST_RETRY && last <= LAST_RETRY * 2, "{last:?}");
        let key = queue.take().await;
        queue.done(&key, Ending::Done);
        queue.add("a");
        let key = queue.take().await;
        queue.done(&key, Ending::Refused);
        let before = Instant::now();
        queue.take().await;
        assert!(before.elapsed() <= FIRST_RETRY * 2 + Duration::from_millis(2), "{:?}", before.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn while_nobody_answers_a_key_comes_back_soon_however_long_that_is() {
        let queue = Queue::default();
        queue.add("a");
        for _ in 0..50 {
            let before = Instant::now();
            let key = queue.take().await;
            assert!(before.elapsed() <= AWAY + Duration::from_millis(2), "{:?}", before.elapsed());
            queue.done(&key, Ending::Away);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_later_wish_waits_its_time_and_others_pass() {
        let queue = Queue::default();
        let start = Instant::now();
        queue.add_after("slow", Duration::from_secs(5));
        queue.add("fast");
        assert_eq!(queue.take().await, "fast");
        assert_eq!(start.elapsed(), Duration::ZERO);
        assert_eq!(queue.take().await, "slow");
        assert!(start.elapsed() >= Duration::from_secs(5));
    }

    #[tokio::test(start_paused = true)]
    async fn a_shower_of_wishes_is_served_once_after_it() {
        let queue = Queue::default();
        let start = Instant::now();
        for _ in 0..100 {
            queue.add_soon("a");
        }
        assert_eq!(queue.take().await, "a");
        assert!(start.elapsed() >= DEBOUNCE);
        queue.done(&"a", Ending::Done);
        assert!(queue.lock().later.is_empty(), "each wish was kept");
        queue.add_soon("a");
        assert_eq!(queue.take().await, "a", "a wish after the shower is lost");
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_that_rests_is_served_once_after_it_and_at_once_when_rested() {
        let queue = Queue::default();
        let rest = Duration::from_millis(200);
        let start = Instant::now();
        queue.add("a");
        queue.rest(queue.take().await, rest);
        assert!(queue.is_idle(), "what rests is worked on by nobody");
        for _ in 0..10 {
            queue.add("a");
        }
        assert_eq!(queue.take().await, "a");
        assert!(start.elapsed() >= rest, "it was not left to rest");
        queue.rest("a", rest);
        assert!(tokio::time::timeout(rest * 10, queue.take()).await.is_err(), "each wish was served");
        let rested = Instant::now();
        queue.add("a");
        assert_eq!(queue.take().await, "a");
        assert_eq!(rested.elapsed(), Duration::ZERO);
    }
}
