//! Carries out what the hub wants: many objects at once, each until it has an outcome.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedMutexGuard, Semaphore, mpsc, watch};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::Counters;
use super::machine::Happening;
use super::message::Work;
use super::state::ByClass;
use crate::deliver::{Deliver, DeliverError, Epoch, Outcome};

/// Calls to the API server at once: enough to fill a local link, few enough to leave it to others.
const AT_ONCE: u32 = 16;
/// Ceilings of the waits between two tries of one object.
const BASE: Duration = Duration::from_millis(200);
const CAP: Duration = Duration::from_secs(30);
/// The longest wait while the API server does not answer at all, as long as it may be away.
const AWAY: Duration = Duration::from_millis(800);

/// The work of one session.
pub(super) struct Workers<D> {
    deliver: Arc<D>,
    done: mpsc::UnboundedSender<Happening>,
    slots: Arc<Semaphore>,
    /// Nothing begins before the session has the right to deliver.
    turn: watch::Receiver<Option<OwnedMutexGuard<()>>>,
    stop: CancellationToken,
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
        let slots = Arc::new(Semaphore::new(AT_ONCE as usize));
        Self { deliver, done, slots, turn, stop: CancellationToken::new(), counters }
    }

    /// Begins one piece of work.
    pub(super) fn start(&self, work: Work, epoch: Epoch) {
        let (deliver, slots, done) = (self.deliver.clone(), self.slots.clone(), self.done.clone());
        let (stop, counters, mut turn) = (self.stop.clone(), self.counters.clone(), self.turn.clone());
        tokio::spawn(async move {
            let ours = async { turn.wait_for(Option::is_some).await.is_ok() };
            if stop.run_until_cancelled(ours).await != Some(true) {
                return;
            }
            let mut ceiling = BASE;
            loop {
                // A slot is held during a call only: an object that cannot be delivered holds up no other.
                let slot = tokio::select! {
                    biased;
                    () = stop.cancelled() => return,
                    slot = slots.acquire() => slot,
                };
                // A call is never dropped midway: it might still arrive, after a newer one of the next session.
                let error = match attempt(&*deliver, &work, &epoch).await {
                    Ok(outcome) => {
                        count(&counters, &outcome);
                        // Fails only when the session has ended.
                        drop(done.send(Happening::Delivered { uid: work.uid().to_owned(), outcome }));
                        return;
                    }
                    Err(error) => error,
                };
                counters.delivery_retries.inc();
                tracing::warn!(
                    uid = work.uid(),
                    %error,
                    source = ?std::error::Error::source(&error),
                    "delivery failed, trying again"
                );
                let (held, longest) = if error.is_away() {
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
                    () = stop.cancelled() => return,
                    () = sleep(longest.mul_f64(rand::random_range(0.5..1.0))) => {}
                }
                drop(held);
            }
        });
    }

    /// Lets calls under way end, and no other begin.
    pub(super) async fn end(self) {
        self.stop.cancel();
        // Whoever has all slots knows that no call is under way. The semaphore is never closed.
        drop(self.slots.acquire_many(AT_ONCE).await);
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
    };
}
