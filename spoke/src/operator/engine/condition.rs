//! Conditions of an object's status, read and set without disturbing what has not changed.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use serde_json::Value;

/// Longest message kept; the API allows 32 KiB, a reader less.
const LONGEST_MESSAGE: usize = 1024;

/// The conditions of one object, in stored order.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Conditions {
    list: Vec<Condition>,
}

impl Conditions {
    /// From a status as stored; what does not parse is forgotten.
    pub(crate) fn read(status: &Value) -> Self {
        let items = status["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
        Self { list: items.iter().filter_map(|item| serde_json::from_value(item.clone()).ok()).collect() }
    }

    pub(crate) fn get(&self, kind: &str) -> Option<&Condition> {
        self.list.iter().find(|condition| condition.type_ == kind)
    }

    pub(crate) fn is_true(&self, kind: &str) -> bool {
        self.get(kind).is_some_and(|condition| condition.status == "True")
    }

    pub(crate) fn remove(&mut self, kind: &str) {
        self.list.retain(|condition| condition.type_ != kind);
    }

    /// Sets one condition. The transition time changes only with the status.
    pub(crate) fn set(&mut self, kind: &str, holds: bool, reason: &str, message: &str, at: Moment) {
        let status = if holds { "True" } else { "False" };
        let since =
            self.get(kind).filter(|old| old.status == status).map(|old| old.last_transition_time.clone());
        let condition = Condition {
            type_: kind.to_owned(),
            status: status.to_owned(),
            reason: reason.to_owned(),
            message: message.chars().take(LONGEST_MESSAGE).collect(),
            last_transition_time: since.unwrap_or(Time(at.now)),
            observed_generation: Some(at.generation),
        };
        match self.list.iter_mut().find(|old| old.type_ == kind) {
            Some(old) => *old = condition,
            None => self.list.push(condition),
        }
    }

    /// Makes a condition one of something that has happened, whatever generation is asked for since.
    pub(crate) fn of_any_generation(&mut self, kind: &str) {
        if let Some(found) = self.list.iter_mut().find(|one| one.type_ == kind) {
            found.observed_generation = None;
        }
    }

    pub(crate) fn to_value(&self) -> Value {
        serde_json::to_value(&self.list).unwrap_or_default()
    }
}

/// When, and for which generation of the object, something was found so.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    pub(crate) now: Timestamp,
    pub(crate) generation: i64,
}

/// The merge patch that makes `new` of `old`, or `None` when nothing changes. It says the whole of `new`: `old` is what a watch
/// showed, which may be older than the last write, and a field that is as it was then may differ from what is stored.
pub(crate) fn status_patch(old: &Value, new: &Value) -> Option<Value> {
    if old == new {
        return None;
    }
    let mut patch = new.clone();
    if let (Some(old), Some(fields)) = (old.as_object(), patch.as_object_mut()) {
        for key in old.keys() {
            fields.entry(key.clone()).or_insert(Value::Null);
        }
        // A merge patch goes into maps, so what has left a map has to be named.
        for (key, value) in fields.iter_mut() {
            if let (Some(before), Some(after)) =
                (old.get(key).and_then(Value::as_object), value.as_object_mut())
            {
                for gone in before.keys() {
                    after.entry(gone.clone()).or_insert(Value::Null);
                }
            }
        }
    }
    Some(patch)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn at(second: i64, generation: i64) -> Moment {
        Moment { now: Timestamp::from_second(second).unwrap(), generation }
    }

    #[test]
    fn the_transition_time_moves_only_with_the_status() {
        let mut conditions = Conditions::default();
        conditions.set("Ready", false, "NotReady", "a", at(10, 1));
        conditions.set("Ready", false, "NotReady", "b", at(20, 2));
        let ready = conditions.get("Ready").unwrap();
        assert_eq!((ready.last_transition_time.0, ready.observed_generation), (at(10, 1).now, Some(2)));
        conditions.set("Ready", true, "Ready", "", at(30, 2));
        assert_eq!(conditions.get("Ready").unwrap().last_transition_time.0, at(30, 2).now);
    }

    #[test]
    fn conditions_survive_being_stored() {
        let mut conditions = Conditions::default();
        conditions.set("Failed", true, "PVCFailed", "m", at(10, 1));
        let stored = json!({"conditions": conditions.to_value()});
        assert_eq!(Conditions::read(&stored), conditions);
        assert_eq!(Conditions::read(&json!({"conditions": [{"type": 1}]})), Conditions::default());
    }

    #[test]
    fn b25_a_status_patch_says_the_whole_status_and_names_what_left() {
        let old = json!({"state": "Ready", "model": {"name": "m", "extra": 1}, "pvc": "p", "same": [1]});
        let new = json!({"state": "Failed", "model": {"name": "m"}, "same": [1]});
        let patch = status_patch(&old, &new).unwrap();
        assert_eq!(
            patch,
            json!({"state": "Failed", "model": {"name": "m", "extra": null}, "pvc": null, "same": [1]})
        );
        assert_eq!(status_patch(&old, &old), None);
        assert_eq!(status_patch(&Value::Null, &new), Some(new));
    }
}
