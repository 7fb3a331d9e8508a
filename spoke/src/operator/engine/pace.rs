//! A status that changes only in its words is not written at once: while a rollout advances, they change many times a
//! second, and nobody reads that fast. Nor is the status of an object whose workload has just been made or changed and that
//! does not serve: what the workload's own controller and the scheduler say of it follows within moments.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use super::retry::Key;
use crate::operator::diagnosis;
use crate::operator::microservice::status::DEPENDENCY_MISSING;

/// Shortest time from one write of a status to one that changes only the messages of its conditions, and from the
/// first look at a workload that is on its way to a status that says no more than that.
const BETWEEN_WORDS: Duration = Duration::from_secs(1);
/// The same where the words are about pods that cannot start: the kubelet and the scheduler say it in ever other words.
const BETWEEN_COMPLAINTS: Duration = Duration::from_mins(1);
/// The state of an object that does not serve, and the reason of one whose workload is on its way.
const UNDER_WAY: &str = "NotReady";
/// What a condition says in words.
const MESSAGE: &str = "message";
/// Of which generation a condition speaks.
const GENERATION: &str = "observedGeneration";

/// When the statuses of one kind's objects were last written, and since when others are held back.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    rows: Mutex<HashMap<Key, Row>>,
}

/// Of one object.
#[derive(Clone, Copy, Debug, Default)]
struct Row {
    written: Option<Instant>,
    /// Since when a status that says no more than that the workload is on its way has not been written.
    held: Option<Instant>,
}

impl Pace {
    /// How long the new status has to wait; `None` when it is to be written now.
    pub(crate) fn wait(&self, key: &Key, old: &Value, new: &Value) -> Option<Duration> {
        let mut rows = self.lock();
        let row = rows.entry(key.clone()).or_default();
        let (pause, since) = if is_on_its_way(old, new) {
            (BETWEEN_WORDS, *row.held.get_or_insert_with(Instant::now))
        } else if without(old, &[MESSAGE]) != without(new, &[MESSAGE]) {
            return None;
        } else {
            (if complains(old, new) { BETWEEN_COMPLAINTS } else { BETWEEN_WORDS }, row.written?)
        };
        pause.checked_sub(since.elapsed()).filter(|left| !left.is_zero())
    }

    /// A status was written.
    pub(crate) fn written(&self, key: &Key) {
        self.lock().insert(key.clone(), Row { written: Some(Instant::now()), held: None });
    }

    /// The status is as it is stored: what was held back has passed.
    pub(crate) fn unchanged(&self, key: &Key) {
        if let Some(row) = self.lock().get_mut(key) {
            row.held = None;
        }
    }

    pub(crate) fn forget(&self, key: &Key) {
        self.lock().remove(key);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Key, Row>> {
        // A panic elsewhere does not make the map wrong.
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether an object that did not serve goes on not to, and the news is no more than that its workload is on its way, or
/// that it says the same of another generation.
fn is_on_its_way(old: &Value, new: &Value) -> bool {
    if new["state"] != UNDER_WAY {
        return false;
    }
    if old["state"].is_null() {
        return true;
    }
    let ready = new["conditions"].as_array().into_iter().flatten().find(|one| one["type"] == "Ready");
    let is_under_way = ready
        .is_some_and(|ready| [UNDER_WAY, DEPENDENCY_MISSING].iter().any(|reason| ready["reason"] == *reason));
    let same = |fields: &[&str]| without(old, fields) == without(new, fields);
    old["state"] == UNDER_WAY && !same(&[MESSAGE]) && (is_under_way || same(&[MESSAGE, GENERATION]))
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

/// A status without these fields of its conditions.
fn without(status: &Value, fields: &[&str]) -> Value {
    let mut bare = status.clone();
    for condition in bare["conditions"].as_array_mut().into_iter().flatten() {
        if let Some(all) = condition.as_object_mut() {
            all.retain(|field, _| !fields.contains(&field.as_str()));
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

    #[tokio::test(start_paused = true)]
    async fn a_change_of_what_does_not_serve_is_told_once_it_is_known_what_becomes_of_it() {
        let (pace, key) = (Pace::default(), ("ns".to_owned(), "a".to_owned()));
        let told = |reason: &str, generation: i64| {
            let ready = json!({"type": "Ready", "reason": reason, "message": reason, "observedGeneration": generation});
            json!({"state": "NotReady", "conditions": [ready]})
        };
        let old = told("Unschedulable", 1);
        pace.written(&key);
        tokio::time::advance(Duration::from_mins(2)).await;
        assert_eq!(pace.wait(&key, &old, &told("Unschedulable", 2)), Some(BETWEEN_WORDS), "of the old pod");
        tokio::time::advance(Duration::from_millis(300)).await;
        let left = Some(Duration::from_millis(700));
        assert_eq!(pace.wait(&key, &old, &told("NotReady", 2)), left, "the new one is being made");
        assert_eq!(pace.wait(&key, &old, &told("DependencyMissing", 2)), left, "without its Secret");
        assert_eq!(pace.wait(&key, &old, &told("ImagePullBackOff", 2)), None, "another reason is news");
        assert_eq!(pace.wait(&key, &old, &status("Ready", "")), None, "so is another state");
        tokio::time::advance(Duration::from_millis(700)).await;
        assert_eq!(pace.wait(&key, &old, &told("NotReady", 2)), None, "it lasts");
        pace.unchanged(&key);
        assert_eq!(pace.wait(&key, &old, &told("NotReady", 1)), Some(BETWEEN_WORDS), "another time");
        let ready = json!({"state": "Ready", "conditions": []});
        assert_eq!(pace.wait(&key, &ready, &told("NotReady", 2)), None, "it served");
    }

    #[test]
    fn a_status_without_conditions_has_no_words() {
        let bare = |status: Value| without(&status, &[MESSAGE]);
        assert_eq!(bare(json!({"state": "Ready"})), bare(json!({"state": "Ready"})));
        assert_ne!(bare(Value::Null), bare(json!({"state": "Ready"})));
    }
}
