//! Whose turn it is: while objects of a kind are being started, what those need that have started already waits.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::retry::Key;

/// How soon one that waits asks again.
const AGAIN: Duration = Duration::from_millis(100);
/// Longest wait, however many others are started meanwhile: an image takes longer to be pulled.
const LONGEST: Duration = Duration::from_secs(5);

/// The turns of one kind's objects.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    starting: AtomicUsize,
    /// Objects that were started and are not finished, and since when.
    started: Mutex<HashMap<Key, Instant>>,
}

/// What is to be done for an object now.
#[derive(Debug)]
pub(crate) enum Turn<'a> {
    /// It is started; the others know for as long as this lives.
    Start(&'a AtomicUsize),
    /// It was started: the rest.
    Finish,
    /// It was started, and others come first: ask again after so long.
    Wait(Duration),
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if let Self::Start(starting) = self {
            starting.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Turns {
    /// What is to be done for an object; one that has a status already is not new and disturbs nobody.
    pub(crate) fn of(&self, key: &Key, is_new: bool) -> Turn<'_> {
        let mut started = self.lock();
        match started.get(key) {
            Some(since) if self.starting.load(Ordering::Relaxed) > 0 && since.elapsed() < LONGEST => {
                Turn::Wait(AGAIN)
            }
            Some(_) => {
                started.remove(key);
                Turn::Finish
            }
            None if is_new => {
                self.starting.fetch_add(1, Ordering::Relaxed);
                Turn::Start(&self.starting)
            }
            None => Turn::Finish,
        }
    }

    /// Its workload is there, and not everything else.
    pub(crate) fn started(&self, key: &Key) {
        self.lock().insert(key.clone(), Instant::now());
    }

    /// The object is no more.
    pub(crate) fn forget(&self, key: &Key) {
        self.lock().remove(key);
    }

    /// A panic elsewhere does not make the map wrong.
    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Instant>> {
        self.started.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_rest_waits_while_others_are_started_and_never_for_ever() {
        let (turns, key): (Turns, Key) = (Turns::default(), ("ns".into(), "llm".into()));
        let other: Key = ("ns".into(), "other".into());
        assert!(matches!(turns.of(&key, false), Turn::Finish), "one that is not new");
        drop(turns.of(&key, true));
        turns.started(&key);
        assert!(matches!(turns.of(&key, true), Turn::Finish), "nobody else is started");
        turns.started(&key);
        let starting = turns.of(&other, true);
        assert!(matches!(turns.of(&key, true), Turn::Wait(AGAIN)));
        tokio::time::advance(LONGEST).await;
        assert!(matches!(turns.of(&key, true), Turn::Finish));
        turns.started(&key);
        drop(starting);
        let finishing = turns.of(&key, true);
        turns.started(&other);
        assert!(matches!(turns.of(&other, true), Turn::Finish), "what is finished holds nobody up");
        drop(finishing);
    }
}
