//! What was settled with the API server, how often a change was undone, and the keys of objects.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crds::compare::Difference;
use kube::core::DynamicObject;

/// Namespace and name.
pub(crate) type Key = (String, String);

/// The key of an object.
pub(crate) fn key(object: &DynamicObject) -> Key {
    (object.metadata.namespace.clone().unwrap_or_default(), object.metadata.name.clone().unwrap_or_default())
}

/// What a write was answered with, by uid of the child: the hash that was applied, and the fields that the API server
/// stored otherwise. Where admission or another number format changes what is sent, sending it again changes nothing.
#[derive(Debug, Default)]
pub(crate) struct Settled {
    rows: Mutex<HashMap<String, Answered>>,
}

/// The answer to one write.
#[derive(Clone, Debug, Default)]
pub(crate) struct Answered {
    pub(crate) hash: String,
    pub(crate) differences: Vec<Difference>,
    pub(crate) undone: Undone,
}

/// How soon after a write another controller sets a field again, if it fights for it. People take longer.
const AT_ONCE: Duration = Duration::from_secs(5);
/// How often the same change is undone, each time set again at once, before it is left.
const TRIES: u32 = 3;

/// What was undone last, and how often in a row it came back at once.
#[derive(Clone, Debug, Default)]
pub(crate) struct Undone {
    differences: Vec<Difference>,
    times: u32,
    at: Option<Instant>,
}

impl Undone {
    /// Takes note of what was just undone.
    pub(crate) fn note(&mut self, differences: Vec<Difference>, now: Instant) {
        let times = if self.is_back(&differences, now) { self.times + 1 } else { 1 };
        *self = Self { differences, times, at: Some(now) };
    }

    /// Whether it was undone often enough: whoever sets it does so as soon as it is taken back.
    pub(crate) fn is_fought_over(&self, differences: &[Difference], now: Instant) -> bool {
        self.times >= TRIES && self.is_back(differences, now)
    }

    fn is_back(&self, differences: &[Difference], now: Instant) -> bool {
        self.differences == differences
            && self.at.is_some_and(|at| now.saturating_duration_since(at) < AT_ONCE)
    }
}

impl Settled {
    /// Takes note of the answer to a write of this hash, which has undone some differences if any.
    pub(crate) fn remember(
        &self,
        uid: &str,
        hash: &str,
        differences: Vec<Difference>,
        undone: Vec<Difference>,
    ) {
        let mut rows = lock(&self.rows);
        let row = rows.entry(uid.to_owned()).or_default();
        let mut before = if row.hash == hash { std::mem::take(&mut row.undone) } else { Undone::default() };
        if row.hash == hash {
            before.note(undone, Instant::now());
        }
        *row = Answered { hash: hash.to_owned(), differences, undone: before };
    }

    /// Whether another controller sets these fields of a child that was applied with this hash as often as they are undone.
    /// They are taken as settled then.
    pub(crate) fn is_fought_over(&self, uid: &str, hash: &str, differences: Vec<Difference>) -> bool {
        let mut rows = lock(&self.rows);
        let Some(row) = rows.get_mut(uid).filter(|row| row.hash == hash) else { return false };
        let fought = row.undone.is_fought_over(&differences, Instant::now());
        if fought {
            row.differences = differences;
        }
        fought
    }

    pub(crate) fn of(&self, uid: &str) -> Option<Answered> {
        lock(&self.rows).get(uid).cloned()
    }

    pub(crate) fn forget(&self, uid: &str) {
        lock(&self.rows).remove(uid);
    }
}

/// A panic elsewhere does not make the map wrong.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn difference(found: &str) -> Vec<Difference> {
        vec![Difference { path: "spec.type".into(), wanted: json!("ClusterIP"), found: json!(found) }]
    }

    #[test]
    fn what_is_set_again_at_once_is_undone_three_times() {
        let (mut undone, start) = (Undone::default(), Instant::now());
        let mut again = |value: &str, at: Instant| {
            let fought = undone.is_fought_over(&difference(value), at);
            if !fought {
                undone.note(difference(value), at);
            }
            fought
        };
        let second = Duration::from_secs(1);
        for time in 0..3 {
            assert!(!again("NodePort", start + second * time), "{time}");
        }
        assert!(again("NodePort", start + second * 3));
        assert!(!again("LoadBalancer", start + second * 4), "another value");
        let person = start + second * 4 + AT_ONCE;
        for time in 0..9 {
            assert!(!again("LoadBalancer", person + AT_ONCE * time), "{time}");
        }
    }

    #[test]
    fn what_was_undone_is_of_one_hash_and_counts_once_it_was_written() {
        let settled = Settled::default();
        settled.remember("u", "h", Vec::new(), Vec::new());
        for _ in 0..9 {
            assert!(!settled.is_fought_over("u", "h", difference("NodePort")), "nothing was written");
        }
        for _ in 0..3 {
            assert!(!settled.is_fought_over("u", "h", difference("NodePort")));
            settled.remember("u", "h", Vec::new(), difference("NodePort"));
        }
        assert!(settled.is_fought_over("u", "h", difference("NodePort")));
        assert_eq!(settled.of("u").unwrap().differences, difference("NodePort"));
        settled.remember("u", "i", Vec::new(), difference("NodePort"));
        assert!(!settled.is_fought_over("u", "i", difference("NodePort")), "a change of ours begins anew");
        settled.forget("u");
        assert!(settled.of("u").is_none());
    }
}
