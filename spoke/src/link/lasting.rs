//! What outlives a session: what was deleted lately, and how long the hub lets its spokes wait.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::deletion_guard::DeletionGuard;

/// One for all sessions of a process.
#[derive(Debug, Default)]
pub(super) struct Lasting {
    guard: Mutex<DeletionGuard>,
    longest_wait: Mutex<Option<Duration>>,
}

impl Lasting {
    /// What holds deletions back. Not to be held over an await.
    pub(super) fn guard(&self) -> MutexGuard<'_, DeletionGuard> {
        self.guard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The ceiling of waits between attempts to connect, once a hub has said one.
    pub(super) fn longest_wait(&self) -> Option<Duration> {
        *self.longest_wait.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A hub has welcomed us; what it does not say stays.
    pub(super) fn welcomed(&self, longest_wait: Option<Duration>) {
        if longest_wait.is_some() {
            *self.longest_wait.lock().unwrap_or_else(PoisonError::into_inner) = longest_wait;
        }
    }
}
