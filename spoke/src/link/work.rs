//! Carries out what the hub wants: many objects at once, each until it has an outcome.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use runtime::panics::caught;
use tokio::sync::{OwnedMutexGuard, Semaphore, mpsc, watch};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::Counters;
use super::machine::Happening;
use super::message::Work;
use super::state::ByClass;
use crate::deliver::{Deliver, DeliverError, Epoch, Outcome};

/// Calls to the API server at once: enough to fill a local link, few enough to leave it to others.
const AT_ONCE: u32 = 16;
/// Ceilings of the waits between two tries of one object; a wait is at least half of its ceiling.
const BASE: Duration = Duration::from_secs(2);
const CAP: Duration = Duration::from_mins(5);
/// The longest wait while the API server does not answer at all, as long as it may be away.
const AWAY: Duration = Duration::from_secs(2);
/// An object that has not come to an outcome by then is told of, even if it has been tried once only.
const LONG: Duration = Duration::from_secs(5);

/// The work of one session.
pub(super) struct Workers<D> {
    shared: Arc<Shared<D>>,
    /// Nothing begins before the session has the right to deliver.
    turn: watch::Receiver<Option<OwnedMutexGuard<()>>>,
    stop: CancellationToken,
}

struct Shared<D> {
    deliver: Arc<D>,
    done: mpsc::UnboundedSender<Happening>,
    slots: Semaphore,
    /// Calls that were answered, whatever the answer.
    answered: AtomicU64,
    /// Ends the tries of an object, by uid; of what is under way.
    tries: Mutex<HashMap<String, CancellationToken>>,
    counters: Counters,
}

impl<D: Deliver> Workers<D> {
    /// Outcomes go to `done`, whose length the hub bounds: it sends no more than it has answers for.
    pub(super) fn new(
        deliver: Arc<D>,
        done: mpsc::UnboundedSender<Happening>,
        turn: watch::Receiver<Option<OwnedMutexGuard<()>>>,
        counters: Counters,
    ) -> Self {
        let slots = Semaphore::new(AT_ONCE as usize);
        let (answered, tries) = (AtomicU64::default(), Mutex::default());
        let shared = Arc::new(Shared { deliver, done, slots, answered, tries, counters });
        Self { shared, turn, stop: CancellationToken::new() }
    }

    /// Begins one piece of work.
    pub(super) fn start(&self, work: Work, epoch: Epoch) {
        let (shared, stop, mut turn) = (self.shared.clone(), self.stop.clone(), self.turn.clone());
        let given_up = stop.child_token();
        shared.tries().insert(work.uid().to_owned(), given_up.clone());
        tokio::spawn(async move {
            let ours = async { turn.wait_for(Option::is_some).await.is_ok() };
            if stop.run_until_cancelled(ours).await != Some(true) {
                return;
            }
            let outcome = shared.carry_out(&work, &epoch, &given_up).await;
            if stop.is_cancelled() && outcome.is_none() {
                return;
            }
            let uid = work.uid().to_owned();
            shared.tries().remove(&uid);
            // Fails only when the session has ended.
            drop(shared.done.send(match outcome {
                Some(outcome) => Happening::Delivered { uid, outcome },
                None => Happening::GivenUp { uid },
            }));
        });
    }

    /// Tries no longer what is under way for an object. A call that has begun is waited for.
    pub(super) fn give_up(&self, uid: &str) {
        if let Some(tries) = self.shared.tries().get(uid) {
            tries.cancel();
        }
    }

    /// Lets calls under way end, and no other begin.
    pub(super) async fn end(self) {
        self.stop.cancel();
        // Whoever has all slots knows that no call is under way. The semaphore is never closed.
        drop(self.shared.slots.acquire_many(AT_ONCE).await);
    }
}

impl<D: Deliver> Shared<D> {
    /// Tries until there is an outcome; none once it is given up.
    async fn carry_out(&self, work: &Work, epoch: &Epoch, given_up: &CancellationToken) -> Option<Outcome> {
        let (begun, mut ceiling, mut tries) = (Instant::now(), BASE, 0_u32);
        loop {
            // A slot is held during a call only: an object that cannot be delivered holds up no other.
            let slot = tokio::select! {
                biased;
                () = given_up.cancelled() => return None,
                slot = self.slots.acquire() => slot,
            };
            let answered = self.answered.load(Ordering::Relaxed);
            // A call is never dropped midway: it might still arrive, after a newer one of the next session.
            let outcome = caught(attempt(&*self.deliver, work, epoch)).await;
            let error = match outcome.unwrap_or_else(|panic| Err(DeliverError::Panic(panic))) {
                Ok(outcome) => {
                    self.answered.fetch_add(1, Ordering::Relaxed);
                    count(&self.counters, &outcome);
                    return Some(outcome);
                }
                Err(error) => error,
            };
            tries = tries.saturating_add(1);
            self.failed(work.uid(), &error, tries, begun);
            let is_away = error.is_away();
            if !is_away {
                self.answered.fetch_add(1, Ordering::Relaxed);
            }
            let (held, longest) = if is_away && self.answered.load(Ordering::Relaxed) == answered {
                // Nobody else gets an answer either: the slot is kept, so that few ask and everybody soon hears.
                ceiling = BASE;
                (Some(slot), AWAY)
            } else {
                drop(slot);
                let longest = ceiling;
                ceiling = (ceiling * 2).min(CAP);
                (None, longest)
            };
            tokio::select! {
                () = given_up.cancelled() => return None,
                () = sleep(longest.mul_f64(rand::random_range(0.5..1.0))) => {}
            }
            drop(held);
        }
    }

    /// Takes note of a try that failed. The hub is told, less and less often: it may want something else by now.
    fn failed(&self, uid: &str, error: &DeliverError, tries: u32, begun: Instant) {
        self.counters.delivery_retries.inc();
        let source = std::error::Error::source(error);
        tracing::warn!(uid, %error, ?source, "delivery failed, trying again");
        let is_late = tries == 1 && begun.elapsed() >= LONG;
        if is_late || (tries > 1 && tries.is_power_of_two()) {
            let message = source.map_or_else(|| error.to_string(), |source| format!("{error}: {source}"));
            // Fails only when the session has ended.
            drop(self.done.send(Happening::Retrying { uid: uid.to_owned(), message }));
        }
    }

    fn tries(&self) -> MutexGuard<'_, HashMap<String, CancellationToken>> {
        self.tries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn attempt(deliver: &impl Deliver, work: &Work, epoch: &Epoch) -> Result<Outcome, DeliverError> {
    match work {
        Work::Upsert(upsert) => deliver.upsert(upsert, epoch).await,
        Work::Remove(tombstone) => deliver.remove(tombstone, epoch).await,
    }
}

fn count(counters: &Counters, outcome: &Outcome) {
    match outcome {
        Outcome::Accepted | Outcome::Gone => counters.objects_delivered.inc(),
        Outcome::Rejected { class, .. } => {
            counters.objects_rejected.get_or_create(&ByClass { class: class.as_str() }).inc()
        }
        Outcome::Held { reason, .. } => {
            counters.objects_rejected.get_or_create(&ByClass { class: reason.as_str() }).inc()
        }
        Outcome::Retrying { .. } => return,
    };
}

#[cfg(test)]
mod tests;
