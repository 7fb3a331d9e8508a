//! What all spokes have been sent, counted by object, so that a moment is noted when it comes.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use e2e::failure::Failure;
use tokio::sync::Notify;

/// Nothing takes longer, however many there are.
const PATIENCE: Duration = Duration::from_mins(10);

/// Deliveries, by name of the object.
#[derive(Default)]
pub(super) struct Board {
    delivered: Mutex<HashMap<String, Tally>>,
    changed: Notify,
}

#[derive(Clone, Copy)]
struct Tally {
    clusters: u32,
    last: Instant,
}

impl Board {
    /// A spoke has taken an object it did not hold in this form.
    pub(super) fn delivered(&self, name: &str) {
        let now = Instant::now();
        let mut delivered = self.lock();
        match delivered.get_mut(name) {
            Some(tally) => *tally = Tally { clusters: tally.clusters + 1, last: now },
            None => drop(delivered.insert(name.to_owned(), Tally { clusters: 1, last: now })),
        }
        drop(delivered);
        self.changed.notify_one();
    }

    /// How many deliveries there have been in all.
    pub(super) fn total(&self) -> u64 {
        self.lock().values().map(|tally| u64::from(tally.clusters)).sum()
    }

    /// Forgets what was counted of an object.
    pub(super) fn forget(&self, name: &str) {
        self.lock().remove(name);
    }

    /// When the last of so many deliveries of an object came.
    pub(super) async fn until(&self, name: &str, clusters: u32) -> Result<Instant, Failure> {
        let found = async {
            loop {
                let tally = self.lock().get(name).copied();
                if let Some(tally) = tally.filter(|tally| tally.clusters >= clusters) {
                    return tally.last;
                }
                self.changed.notified().await;
            }
        };
        tokio::time::timeout(PATIENCE, found).await.map_err(|_| {
            let so_far = self.lock().get(name).map_or(0, |tally| tally.clusters);
            Failure::new(format!("{name} came to {so_far} of {clusters} clusters within {PATIENCE:?}"))
        })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Tally>> {
        self.delivered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
