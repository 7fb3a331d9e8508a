//! What an image is, asked of its registry in the background: no reconcile waits for a registry, and none fails by it.
//!
//! Answers are kept per namespace, whose Secrets say what may be pulled, and image. A registry that does not answer is
//! asked again by waking the objects that wait, so that they bring the Secrets as they are then. An answer once given
//! holds while a registry is away.

mod answer;
mod credentials;
mod inspect;
mod pull;
mod reference;

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use runtime::backoff::doubled;
use runtime::panics::caught;
use tokio::sync::Semaphore;
use tokio::time::Instant;

pub(crate) use credentials::Credential;
pub(crate) use pull::layout;
pub(crate) use reference::major_version;

use super::engine::kind::Subject;
use super::engine::wake::Waker;

/// Images asked for at the same time.
const AT_A_TIME: usize = 4;
/// How long one image may take, with all of its platforms.
const LIMIT: Duration = Duration::from_secs(10);
/// How long an answer holds: a tag may be moved to another image.
const KEPT: Duration = Duration::from_hours(6);
/// Pause after a registry that did not answer; doubles up to the longest.
const FIRST_PAUSE: Duration = Duration::from_secs(30);
const LONGEST_PAUSE: Duration = Duration::from_mins(30);

/// Which layout an image expects its model in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    /// It is being asked for the first time.
    Asking,
    Native,
    Legacy,
    /// The registry did not say, and why.
    Unknown(String),
}

impl Layout {
    fn is_known(&self) -> bool {
        matches!(self, Self::Native | Self::Legacy)
    }
}

/// Namespace and image.
type Key = (String, String);
/// Kind, namespace and name of a NIM object.
type Waiting = (String, String, String);

/// The images of all NIM objects. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Images {
    rows: Arc<Mutex<HashMap<Key, Row>>>,
    slots: Slots,
    waker: Waker,
}

#[derive(Clone)]
struct Slots(Arc<Semaphore>);

impl Default for Slots {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(AT_A_TIME)))
    }
}

/// One image.
struct Row {
    answer: Layout,
    asking: bool,
    /// Until then the registry is left alone.
    until: Instant,
    failures: u32,
    /// Objects that want to know more than is known.
    waiting: BTreeSet<Waiting>,
}

impl Images {
    /// Images whose answers wake by `waker`.
    pub(crate) fn new(waker: Waker) -> Self {
        Self { waker, ..Self::default() }
    }

    /// What is known of an image; none when its registry is to be asked, for which credentials are wanted.
    pub(crate) fn known(&self, subject: &Subject, image: &str) -> Option<Layout> {
        let mut rows = self.rows();
        let row = rows.get_mut(&key(subject, image))?;
        if !row.asking && row.until <= Instant::now() {
            return None;
        }
        if !row.answer.is_known() {
            row.waiting.insert(waiting(subject));
        }
        Some(row.answer.clone())
    }

    /// What is known of an image; asks its registry where nothing is, or where it was long ago.
    pub(crate) fn layout(&self, subject: &Subject, image: &str, credentials: &[Credential]) -> Layout {
        if let Some(known) = self.known(subject, image) {
            return known;
        }
        let (key, now) = (key(subject, image), Instant::now());
        let answer = {
            let mut rows = self.rows();
            // Images that nobody uses any more are not kept for ever.
            rows.retain(|other, row| *other == key || row.asking || now < row.until + KEPT);
            let fresh = Row {
                answer: Layout::Asking,
                asking: true,
                until: now,
                failures: 0,
                waiting: BTreeSet::new(),
            };
            let row = rows.entry(key.clone()).or_insert(fresh);
            row.asking = true;
            row.waiting.insert(waiting(subject));
            row.answer.clone()
        };
        let (images, credentials) = (self.clone(), credentials.to_vec());
        tokio::spawn(async move { images.ask(key, credentials).await });
        answer
    }

    async fn ask(self, key: Key, credentials: Vec<Credential>) {
        let answer = {
            // Slots are never closed.
            let _slot = self.slots.0.acquire().await;
            // Whatever the registry answers is its own failure.
            match tokio::time::timeout(LIMIT, caught(inspect::is_native(&key.1, &credentials))).await {
                Ok(Ok(Ok(true))) => Layout::Native,
                Ok(Ok(Ok(false))) => Layout::Legacy,
                Ok(Ok(Err(problem))) => Layout::Unknown(problem.to_string()),
                Ok(Err(panic)) => Layout::Unknown(panic.to_string()),
                Err(_) => Layout::Unknown(format!("no answer within {} s", LIMIT.as_secs())),
            }
        };
        drop(credentials);
        let (changed, pause) = self.keep(&key, answer);
        if changed {
            self.wake(&key);
        }
        if let Some(until) = pause {
            tokio::time::sleep_until(until).await;
            self.wake(&key);
        }
    }

    /// Keeps an answer. True when it is another than before; and when to ask again, if the registry did not say.
    fn keep(&self, key: &Key, answer: Layout) -> (bool, Option<Instant>) {
        let mut rows = self.rows();
        let Some(row) = rows.get_mut(key) else { return (false, None) };
        row.asking = false;
        if let Layout::Unknown(problem) = &answer {
            let pause = doubled(FIRST_PAUSE, LONGEST_PAUSE, row.failures);
            row.failures = row.failures.saturating_add(1);
            row.until = Instant::now() + pause;
            // One failure is like another, and what was known stays so.
            let first = row.answer == Layout::Asking;
            if first {
                tracing::info!(
                    namespace = key.0,
                    image = key.1,
                    problem,
                    "the registry does not tell what the image is"
                );
            }
            if !row.answer.is_known() {
                row.answer = answer;
            }
            return (first, Some(row.until));
        }
        let changed = row.answer != answer;
        row.answer = answer;
        row.failures = 0;
        row.until = Instant::now() + KEPT;
        (changed, None)
    }

    fn wake(&self, key: &Key) {
        let waiting = self.rows().get_mut(key).map(|row| std::mem::take(&mut row.waiting));
        for (kind, namespace, name) in waiting.into_iter().flatten() {
            self.waker.wake(&kind, &namespace, &name);
        }
    }

    /// A panic elsewhere does not make the map wrong.
    fn rows(&self) -> MutexGuard<'_, HashMap<Key, Row>> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn key(subject: &Subject, image: &str) -> Key {
    (subject.owner.namespace.clone(), image.to_owned())
}

fn waiting(subject: &Subject) -> Waiting {
    let owner = &subject.owner;
    (owner.kind.clone(), owner.namespace.clone(), owner.name.clone())
}

#[cfg(test)]
mod tests;
