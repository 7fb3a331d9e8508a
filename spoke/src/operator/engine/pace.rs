//! A status that changes only in its words is not written at once: while a rollout advances, they change many times a
//! second, and nobody reads that fast. So is the first status of an object whose workload has just been made: what the
//! workload's own controller says follows within moments.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use super::retry::Key;
use crate::operator::diagnosis;

/// Shortest time from one write of a status to one that changes only the messages of its conditions, and from the
/// first look at an object to a first status that says no more than that it is not ready.
const BETWEEN_WORDS: Duration = Duration::from_secs(1);
/// The same where the words are about pods that cannot start: the kubelet and the scheduler say it in ever other words.
const BETWEEN_COMPLAINTS: Duration = Duration::from_mins(1);
/// The word for a workload that is on its way.
const UNDER_WAY: &str = "NotReady";

/// When the statuses of one kind's objects were last written.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    written: Mutex<HashMap<Key, Instant>>,
}

impl Pace {
    /// How long the new status has to wait; `None` when it is to be written now.
    pub(crate) fn wait(&self, key: &Key, old: &Value, new: &Value) -> Option<Duration> {
        let begins = old["state"].is_null() && new["state"] == UNDER_WAY;
        if begins {
            self.lock().entry(key.clone()).or_insert_with(Instant::now);
        }
        let since = self.lock().get(key)?.elapsed();
        let pause = if complains(old, new) { BETWEEN_COMPLAINTS } else { BETWEEN_WORDS };
        let left = pause.checked_sub(since).filter(|left| !left.is_zero())?;
        (begins || without_words(old) == without_words(new)).then_some(left)
    }

    pub(crate) fn written(&self, key: &Key) {
        self.lock().insert(key.clone(), Instant::now());
    }

    pub(crate) fn forget(&self, key: &Key) {
        self.lock().remove(key);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Key, Instant>> {
        // A panic elsewhere does not make the map wrong.
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether words have changed of what keeps pods from starting, for the same reason as before.
fn complains(old: &Value, new: &Value) -> bool {
    let list = |status: &Value| status["conditions"].as_array().cloned().unwrap_or_default();
    let before = list(old);
    list(new).iter().any(|now| {
        let known = before.iter().find(|known| known["type"] == now["type"]);
        let is_reworded = known.is_some_and(|known| known["message"] != now["message"]);
        is_reworded && now["reason"].as_str().is_some_and(diagnosis::is_repeated)
    })
}

fn without_words(status: &Value) -> Value {
    let mut bare = status.clone();
    for condition in bare["conditions"].as_array_mut().into_iter().flatten() {
        if let Some(fields) = condition.as_object_mut() {
            fields.remove("message");
        }
    }
    bare
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn status(state: &str, message: &str) -> Value {
        json!({"state": state, "conditions": [{"type": "Ready", "message": message}]})
    }

    #[tokio::test(start_paused = true)]
    async fn only_words_wait_and_only_after_a_write() {
        let (pace, key) = (Pace::default(), ("ns".to_owned(), "a".to_owned()));
        let (old, new) = (status("NotReady", "0 of 1"), status("NotReady", "1 of 2"));
        assert_eq!(pace.wait(&key, &old, &new), None, "nothing was written yet");
        pace.written(&key);
        assert_eq!(pace.wait(&key, &old, &new), Some(BETWEEN_WORDS));
        assert_eq!(pace.wait(&key, &old, &status("Ready", "1 of 2")), None, "the state is news");
        assert_eq!(pace.wait(&("ns".to_owned(), "b".to_owned()), &old, &new), None, "another object");
        tokio::time::advance(Duration::from_millis(400)).await;
        assert_eq!(pace.wait(&key, &old, &new), Some(Duration::from_millis(600)));
        tokio::time::advance(Duration::from_millis(600)).await;
        assert_eq!(pace.wait(&key, &old, &new), None);
        pace.written(&key);
        pace.forget(&key);
        assert_eq!(pace.wait(&key, &old, &new), None);
    }

    #[tokio::test(start_paused = true)]
    async fn what_keeps_pods_from_starting_is_reworded_once_a_minute() {
        let (pace, key) = (Pace::default(), ("ns".to_owned(), "a".to_owned()));
        let told = |reason: &str, message: &str| json!({"state": "NotReady", "conditions": [{"type": "Ready", "reason": reason, "message": message}]});
        let (pulls, waits) =
            (told("ImagePullBackOff", "ErrImagePull: a"), told("ImagePullBackOff", "back-off"));
        pace.written(&key);
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(pace.wait(&key, &pulls, &waits), Some(Duration::from_secs(58)));
        assert_eq!(
            pace.wait(&key, &pulls, &told("Unschedulable", "0/3 nodes")),
            None,
            "another reason is news"
        );
        assert_eq!(pace.wait(&key, &told("NotReady", "0 of 1"), &told("NotReady", "1 of 2")), None);
        tokio::time::advance(Duration::from_secs(58)).await;
        assert_eq!(pace.wait(&key, &pulls, &waits), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_workload_that_has_just_been_made_is_given_a_moment() {
        let (pace, key) = (Pace::default(), ("ns".to_owned(), "a".to_owned()));
        let begun = status("NotReady", "spec update to be observed");
        assert_eq!(pace.wait(&key, &Value::Null, &status("Failed", "no such cache")), None, "news");
        assert_eq!(pace.wait(&key, &Value::Null, &begun), Some(BETWEEN_WORDS));
        tokio::time::advance(Duration::from_millis(400)).await;
        assert_eq!(pace.wait(&key, &Value::Null, &status("Ready", "")), None, "it was quick");
        assert_eq!(
            pace.wait(&key, &Value::Null, &begun),
            Some(Duration::from_millis(600)),
            "no second moment"
        );
        tokio::time::advance(Duration::from_millis(600)).await;
        assert_eq!(pace.wait(&key, &Value::Null, &begun), None);
    }

    #[test]
    fn a_status_without_conditions_has_no_words() {
        assert_eq!(without_words(&json!({"state": "Ready"})), without_words(&json!({"state": "Ready"})));
        assert_ne!(without_words(&Value::Null), without_words(&json!({"state": "Ready"})));
    }
}
