//! Work by key: each key is worked on by one worker at a time and has one deadline, the earliest that was asked for.
//!
//! A key that fails comes back with jitter: after one second, then after twice as long each time, up to five minutes; what
//! it waits for may bring that forward, never below one second and never below an eighth of the delay, so that no storm of
//! events makes a failing key hot. While nobody answers, a key comes back every one to two seconds: an outage is over when
//! the server says so, not when the delays of ten thousand keys are. A success forgets the failures, and so does a change
//! of the key's own object ([`Queue::add_anew`]).
//!
//! Since a later wish for a key that has an earlier one is dropped, work that depends on the time asks again for its next
//! moment whenever it runs.
//!
//! Why not tokio-util's `DelayQueue`: it forgets the order of keys that are due in the same millisecond, and keys of a
//! higher priority are asked for first.

use std::collections::{BTreeMap, HashMap};
use std::fmt::{self, Display};
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use crate::backoff::doubled;
use crate::health::{Clock, Health, Progress, STUCK_AFTER, Steps, TURN, Watched};
use crate::panics::{Panic, caught};

/// No key that failed runs again sooner.
pub const FASTEST: Duration = Duration::from_secs(1);
/// Longest delay after a failure, before jitter: how long something that was put right elsewhere, and wakes nobody, may
/// go unnoticed.
pub const LONGEST: Duration = Duration::from_mins(5);
/// An event brings a key that failed forward to this part of its delay.
const FORWARD: u32 = 8;
/// Changes come in showers; one look after them is enough.
const DEBOUNCE: Duration = Duration::from_millis(200);
/// Work on one key that takes longer is dropped, and fails: a turn is some calls to an API server, of ten seconds at most.
const LONGEST_WORK: Duration = Duration::from_mins(5);
/// No wish lies further ahead: the work that it wakes finds that it is too early, and asks again.
const FURTHEST: Duration = Duration::from_hours(24 * 30);

/// What a key has to be.
pub trait Key: Clone + Display + Eq + Hash + Ord + Send + Sync + 'static {}
impl<K: Clone + Display + Eq + Hash + Ord + Send + Sync + 'static> Key for K {}

/// How work on a key ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Nothing is left to do.
    Done,
    /// Nothing is left to do, and what is asked for within that time is served once, after it.
    Rest(Duration),
    /// It is done as far as it can be, and something has to change before it gets further. A wish runs at once, but for one
    /// second after this; without one it comes back like a failure, since not every change is told.
    Waiting,
    /// It failed, and something has to change before it can go better.
    Refused,
    /// It failed because nobody answered.
    Away,
}

/// Why work came to no end of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Broken {
    /// It panicked.
    Panic(Panic),
    /// It took longer than this and was dropped.
    Overdue(Duration),
}

impl Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Panic(panic) => panic.fmt(f),
            Self::Overdue(limit) => write!(f, "not finished within {} s", limit.as_secs()),
        }
    }
}

impl std::error::Error for Broken {}

/// Keys that wait for a worker. Cheap to clone; all clones are one.
#[derive(Debug)]
pub struct Queue<K> {
    inner: Arc<Inner<K>>,
}

#[derive(Debug)]
struct Inner<K> {
    name: &'static str,
    state: Mutex<State<K>>,
    wake: Notify,
    closed: CancellationToken,
}

/// When a key's turn is: time, then the order in which it was asked for.
type Place = (Instant, u64);

#[derive(Debug)]
struct State<K> {
    /// Every key that is due some time, rests, has failed or is worked on; no other.
    keys: HashMap<K, Entry>,
    /// The same keys, but for those that are worked on.
    line: BTreeMap<Place, K>,
    /// The steps of the work on each key that is worked on.
    working: HashMap<K, Arc<Steps>>,
    /// Counts wishes.
    asked: u64,
    /// When [`Queue::run`] last turned, while it runs.
    turned: Clock,
}

#[derive(Debug, Default)]
struct Entry {
    /// The earliest time that was asked for, and its number among the wishes.
    deadline: Option<Place>,
    /// It rests until then.
    not_before: Option<Instant>,
    /// Its place in the line, while it is not worked on.
    place: Option<Place>,
    is_working: bool,
    /// Its object has changed since the work on it began.
    is_new: bool,
    /// Failures in a row.
    failures: u32,
    failed_at: Option<Instant>,
}

impl<K> Clone for Queue<K> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone() }
    }
}

impl<K: Key> Queue<K> {
    /// An empty queue; the name is for people.
    #[must_use]
    pub fn new(name: &'static str) -> Self {
        let state = State {
            keys: HashMap::new(),
            line: BTreeMap::new(),
            working: HashMap::new(),
            asked: 0,
            turned: Clock::new(),
        };
        let (wake, closed) = (Notify::new(), CancellationToken::new());
        Self { inner: Arc::new(Inner { name, state: Mutex::new(state), wake, closed }) }
    }

    /// Has `health` look at it.
    #[must_use]
    pub fn followed(self, health: &Health) -> Self {
        health.follow(&self.inner);
        self
    }

    /// Asks for work on a key, as soon as a worker is free and the key does not rest.
    pub fn add(&self, key: K) {
        self.add_after(key, Duration::ZERO);
    }

    /// Asks for work on a key after a short while, once however often it is asked in that while.
    pub fn add_soon(&self, key: K) {
        self.add_after(key, DEBOUNCE);
    }

    /// Asks for work on a key after some time. Of several wishes the earliest counts.
    pub fn add_after(&self, key: K, delay: Duration) {
        self.lock().ask(key, delay);
        self.inner.wake.notify_one();
    }

    /// Asks for work on a key whose own object has changed: its failures are forgotten, and it runs at once, but for one
    /// second after its last failure.
    pub fn add_anew(&self, key: K) {
        self.forgive(&key);
        self.add(key);
    }

    /// Forgets that a key has failed: the next wish runs as after its first failure.
    pub fn forgive(&self, key: &K) {
        let mut state = self.lock();
        let Some(entry) = state.keys.get_mut(key) else { return };
        entry.is_new = entry.is_working;
        entry.failures = 0;
        if let Some(failed_at) = entry.failed_at.take() {
            entry.not_before = Some(failed_at + FASTEST);
            state.place(key.clone());
        }
    }

    /// The next key. It is the caller's until [`Queue::done`]. May be dropped at any wait. Called by one at a time.
    pub async fn take(&self) -> K {
        loop {
            let due = match self.lock().pop(Instant::now()) {
                Ok(key) => return key,
                Err(due) => due,
            };
            match due {
                Some(due) => tokio::select! {
                    () = sleep_until(due) => {}
                    () = self.inner.wake.notified() => {}
                },
                None => self.inner.wake.notified().await,
            }
        }
    }

    /// Gives a key back. After a failure it comes back by itself.
    pub fn done(&self, key: &K, ending: Ending) {
        self.lock().done(key, ending);
        self.inner.wake.notify_one();
    }

    /// Works keys off, so many at once, until the queue is closed and what was begun has ended. What work on a key comes to,
    /// or why it came to nothing, is judged by `judge`, which says how it ended. A panic of one key's work is that key's
    /// failure.
    pub async fn run<F, T>(
        &self,
        at_once: usize,
        work: impl Fn(K) -> F,
        judge: impl Fn(&K, Result<T, Broken>, Duration) -> Ending,
    ) where
        F: Future<Output = T> + Send + 'static,
        T: Send + 'static,
    {
        let _running = Running(self);
        let mut running = JoinSet::new();
        let mut ticks = tokio::time::interval(TURN);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            self.lock().turned.set();
            let is_closed = self.inner.closed.is_cancelled();
            if is_closed && running.is_empty() {
                return;
            }
            tokio::select! {
                biased;
                Some(ended) = running.join_next(), if !running.is_empty() => {
                    // Its panics are caught: a task that was not joined was dropped with the runtime.
                    if let Ok((key, outcome, took)) = ended {
                        let ending = judge(&key, outcome, took);
                        self.done(&key, ending);
                    }
                }
                key = self.take(), if !is_closed && running.len() < at_once => {
                    let begun = Instant::now();
                    let steps = self.lock().working.get(&key).cloned().unwrap_or_default();
                    let work = Watched::by(steps, work(key.clone()));
                    running.spawn(async move {
                        let outcome = match timeout(LONGEST_WORK, caught(work)).await {
                            Ok(Ok(outcome)) => Ok(outcome),
                            Ok(Err(panic)) => Err(Broken::Panic(panic)),
                            Err(_) => Err(Broken::Overdue(LONGEST_WORK)),
                        };
                        (key, outcome, begun.elapsed())
                    });
                }
                () = self.inner.closed.cancelled(), if !is_closed => {}
                _ = ticks.tick() => {}
            }
        }
    }

    /// Takes no key any more: [`Queue::run`] ends when what it has begun has ended.
    pub fn close(&self) {
        self.inner.closed.cancel();
    }

    /// Whether nothing is due or worked on now; what rests is done.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        let state = self.lock();
        let is_due = |((at, _), key): (&Place, &K)| {
            *at <= Instant::now() && state.keys.get(key).is_some_and(|entry| entry.deadline.is_some())
        };
        state.working.is_empty() && !state.line.first_key_value().is_some_and(is_due)
    }

    /// Keys that it remembers: those that are due some time, rest, have failed or are worked on.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lock().keys.len()
    }

    /// Whether it remembers no key.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Memory that its tables take, bytes; without what the keys themselves point to.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let state = self.lock();
        state.keys.capacity() * size_of::<(K, Entry)>()
            + state.line.len() * size_of::<(Place, K)>()
            + state.working.capacity() * size_of::<(K, Arc<Steps>)>()
    }

    /// Each call below leaves the tables whole.
    fn lock(&self) -> MutexGuard<'_, State<K>> {
        self.inner.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// While it lives, the queue has to turn.
struct Running<'a, K: Key>(&'a Queue<K>);

impl<K: Key> Drop for Running<'_, K> {
    fn drop(&mut self) {
        self.0.lock().turned.clear();
    }
}

impl<K: Key> Progress for Inner<K> {
    fn stuck(&self, now: std::time::Instant) -> Vec<String> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let is_late = |clock: &Clock| clock.age(now).filter(|age| *age > STUCK_AFTER);
        let own = is_late(&state.turned)
            .map(|age| format!("queue {} has not turned for {} s", self.name, age.as_secs()));
        let blocked = state.working.iter().filter_map(|(key, steps)| {
            let age = is_late(&steps.clock)?.as_secs();
            Some(format!("queue {}: work on {key} has blocked its thread for {age} s", self.name))
        });
        own.into_iter().chain(blocked).collect()
    }
}

impl<K: Key> State<K> {
    fn ask(&mut self, key: K, delay: Duration) {
        self.asked += 1;
        let wish = (Instant::now() + delay.min(FURTHEST), self.asked);
        let entry = self.keys.entry(key.clone()).or_default();
        if entry.deadline.is_none_or(|known| wish.0 < known.0) {
            entry.deadline = Some(wish);
            self.place(key);
        }
    }

    /// The key whose turn it is, or when the next turn is.
    fn pop(&mut self, now: Instant) -> Result<K, Option<Instant>> {
        loop {
            let Some(first) = self.line.first_entry() else { return Err(None) };
            let (at, _) = *first.key();
            if at > now {
                return Err(Some(at));
            }
            let key = first.remove();
            let Some(entry) = self.keys.get_mut(&key) else { continue };
            entry.place = None;
            if entry.deadline.take().is_none() {
                // It has rested, and nobody asked for it meanwhile.
                self.keys.remove(&key);
                continue;
            }
            entry.is_working = true;
            self.working.insert(key.clone(), Arc::default());
            return Ok(key);
        }
    }

    fn done(&mut self, key: &K, ending: Ending) {
        let now = Instant::now();
        self.working.remove(key);
        let Some(entry) = self.keys.get_mut(key) else { return };
        entry.is_working = false;
        if std::mem::take(&mut entry.is_new) {
            entry.failures = 0;
        }
        let retry = match ending {
            Ending::Done | Ending::Rest(_) => {
                (entry.failures, entry.failed_at) = (0, None);
                entry.not_before = match ending {
                    Ending::Rest(time) => Some(now + time.min(FURTHEST)),
                    _ => None,
                };
                None
            }
            Ending::Refused | Ending::Waiting => {
                let delay = doubled(FASTEST, LONGEST, entry.failures);
                entry.failures = entry.failures.saturating_add(1);
                entry.failed_at = Some(now);
                let forward = if ending == Ending::Refused { delay / FORWARD } else { FASTEST };
                entry.not_before = Some(now + forward.max(FASTEST));
                Some(delay.mul_f64(rand::random_range(1.0..1.25)))
            }
            Ending::Away => {
                entry.failed_at = Some(now);
                entry.not_before = Some(now + FASTEST);
                Some(FASTEST.mul_f64(rand::random_range(1.0..2.0)))
            }
        };
        if let Some(retry) = retry {
            self.ask(key.clone(), retry);
        }
        self.place(key.clone());
    }

    /// Puts a key where it belongs in the line, or forgets it.
    fn place(&mut self, key: K) {
        let Some(entry) = self.keys.get_mut(&key) else { return };
        if entry.is_working {
            return;
        }
        if let Some(place) = entry.place.take() {
            self.line.remove(&place);
        }
        let place = match (entry.deadline, entry.not_before) {
            (Some((at, number)), rest) => (rest.map_or(at, |rest| rest.max(at)), number),
            (None, Some(rest)) => {
                self.asked += 1;
                (rest, self.asked)
            }
            (None, None) => {
                self.keys.remove(&key);
                return;
            }
        };
        entry.place = Some(place);
        self.line.insert(place, key);
    }
}
#[cfg(test)]
mod tests;
