//! What is served at an endpoint, asked in the background: no reconcile waits for a model, and none fails by it.
//!
//! An endpoint is asked when its NIMService has become ready, again and again until it answers, and then no more until
//! the service has been not ready in between. Answers wake the NIMService.

mod answer;
mod fetch;
mod token;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use runtime::panics::caught;
use tokio::sync::Semaphore;

pub(super) use fetch::root;
pub(super) use token::Tokens;

use super::engine::child::Owner;
use super::engine::kind::Subject;
use super::engine::wake::Waker;

/// Endpoints asked at the same time.
const AT_A_TIME: usize = 8;
/// Pause after an endpoint that did not answer; doubles up to the longest.
const FIRST_PAUSE: Duration = Duration::from_secs(5);
const LONGEST_PAUSE: Duration = Duration::from_mins(2);

/// What is known of an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// It is being asked for the first time.
    Asking,
    /// Its model; empty when it names none.
    Served(String),
    /// It did not answer, and how.
    Unreachable(String),
}

/// The endpoints of all NIMServices. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Models {
    rows: Arc<Mutex<HashMap<String, Row>>>,
    slots: Slots,
    count: Arc<AtomicU64>,
    waker: Waker,
    /// File with the CAs that https endpoints are known by; the public ones where there is none.
    authority: Option<PathBuf>,
    tokens: Tokens,
}

#[derive(Clone)]
struct Slots(Arc<Semaphore>);

impl Default for Slots {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(AT_A_TIME)))
    }
}

/// One endpoint, by the uid of its NIMService.
struct Row {
    url: String,
    answer: Answer,
    /// Tells this asking from an earlier one of the same endpoint, whose task may still sleep.
    asking: u64,
}

impl Models {
    /// Endpoints whose answers wake by `waker`; those of https are known by the CAs of the file `authority`.
    pub(crate) fn new(waker: Waker, tokens: Tokens, authority: Option<PathBuf>) -> Self {
        Self { waker, authority, tokens, ..Self::default() }
    }

    /// What is known of the NIMService's endpoint; asks it where nothing is. `endpoint` is `host:port` or a URL.
    pub(crate) fn ask(&self, subject: &Subject, endpoint: &str) -> Answer {
        let url = if endpoint.contains("://") { endpoint.to_owned() } else { format!("http://{endpoint}") };
        let uid = &subject.owner.uid;
        if let Some(row) = self.rows().get(uid).filter(|row| row.url == url) {
            return row.answer.clone();
        }
        let asking = self.count.fetch_add(1, Ordering::Relaxed);
        self.rows().insert(uid.clone(), Row { url: url.clone(), answer: Answer::Asking, asking });
        let owner = subject.owner.clone();
        let models = self.clone();
        tokio::spawn(async move {
            let mut pause = FIRST_PAUSE;
            while let Some(changed) = models.ask_once(&owner, asking, &url).await {
                if changed {
                    models.waker.wake(&owner.kind, &owner.namespace, &owner.name);
                }
                if !models.is_unanswered(&owner.uid, asking) {
                    return;
                }
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        });
        Answer::Asking
    }

    /// Forgets the endpoint of a NIMService that is not ready, or has gone: what it serves next may be another model.
    pub(crate) fn forget(&self, uid: &str) {
        self.rows().remove(uid);
    }

    /// Asks and keeps the answer. True when it is another than before; none when nobody waits for it any more.
    async fn ask_once(&self, owner: &Owner, asking: u64, url: &str) -> Option<bool> {
        let answer = {
            let _slot = self.slots.0.acquire().await.ok()?;
            let uid = &owner.uid;
            self.rows().get(uid).filter(|row| row.asking == asking)?;
            // Whatever the endpoint answers is its own failure.
            match caught(fetch::name(url, self.authority.as_deref(), || self.tokens.of(owner, url))).await {
                Ok(Ok(name)) => Answer::Served(name),
                Ok(Err(problem)) => Answer::Unreachable(problem.to_string()),
                Err(panic) => Answer::Unreachable(panic.to_string()),
            }
        };
        let mut rows = self.rows();
        let row = rows.get_mut(&owner.uid).filter(|row| row.asking == asking)?;
        // One failure is like another: words that vary would be written again and again.
        let same = match (&row.answer, &answer) {
            (Answer::Unreachable(_), Answer::Unreachable(_)) => true,
            (before, now) => before == now,
        };
        if !same {
            row.answer = answer;
        }
        Some(!same)
    }

    fn is_unanswered(&self, uid: &str, asking: u64) -> bool {
        let rows = self.rows();
        rows.get(uid).is_some_and(|row| row.asking == asking && matches!(row.answer, Answer::Unreachable(_)))
    }

    /// A panic elsewhere does not make the map wrong.
    fn rows(&self) -> MutexGuard<'_, HashMap<String, Row>> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
