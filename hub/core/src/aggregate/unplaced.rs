//! Status of a hub's NIM object that no placement selects: it is not Ready, wherever it ran before.

use crds::condition::{self, Finding};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use serde_json::{Map, Value, json};

use super::{Reason, object, placement::first_of};

/// `status.state` of such an object.
pub const NOT_PLACED: &str = "NotPlaced";
/// What `Ready` says of an object that is in no cluster any more.
const NOWHERE: &str = "no NIMPlacement selects it";
/// Most clusters that a message names.
const NAMED: usize = 5;

/// `status` of the NIM object, complete, for one server-side apply. `leaves` are the clusters where it still is; `stored` are its
/// conditions, for their times.
#[must_use]
pub fn unplaced_status(
    kind: &str,
    generation: i64,
    stored: &[Condition],
    leaves: &[&str],
    now: Timestamp,
) -> Value {
    let message = if leaves.is_empty() {
        NOWHERE.to_owned()
    } else {
        let places = first_of(leaves, NAMED, ", ");
        format!("no NIMPlacement selects it any more; it has yet to leave {places}")
    };
    let kept = |condition: &&Condition| ["Ready", "Failed"].contains(&condition.type_.as_str());
    let mut conditions: Vec<Condition> = stored.iter().filter(kept).cloned().collect();
    let failed = Finding::new("Failed", false, Reason::AsExpected.as_str(), "failed in no cluster");
    for finding in [Finding::new("Ready", false, Reason::NotPlaced.as_str(), message), failed] {
        condition::set(&mut conditions, finding, Some(generation), now);
    }
    let mut status = Map::new();
    status.insert("state".to_owned(), json!(NOT_PLACED));
    status.insert("conditions".to_owned(), json!(conditions));
    if object::has_replicas(kind) {
        status.insert("availableReplicas".to_owned(), json!(0));
    }
    Value::Object(status)
}

/// Whether a condition `Ready` says that the object is placed nowhere, and in no cluster any more.
#[must_use]
pub fn is_nowhere(ready: &Condition) -> bool {
    ready.status == "False" && ready.reason == Reason::NotPlaced.as_str() && ready.message == NOWHERE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_placed_nowhere_is_not_ready_and_counts_no_replica() {
        let ready = Finding::new("Ready", true, "Ready", "ready in 1 cluster: east");
        let other = Finding::new("Other", true, "X", "somebody else's");
        let mut stored = Vec::new();
        for finding in [ready, other] {
            condition::set(&mut stored, finding, Some(1), Timestamp::UNIX_EPOCH);
        }
        let at = |second| Timestamp::from_second(second).unwrap();
        let status = unplaced_status("NIMService", 2, &stored, &[], at(60));
        assert_eq!((&status["state"], &status["availableReplicas"]), (&json!("NotPlaced"), &json!(0)));
        let conditions: Vec<Condition> = serde_json::from_value(status["conditions"].clone()).unwrap();
        assert_eq!(conditions.len(), 2, "of the others nothing is said: {conditions:?}");
        let told = condition::find(&conditions, "Ready").unwrap();
        assert_eq!((told.status.as_str(), told.reason.as_str()), ("False", "NotPlaced"));
        assert_eq!(
            (told.message.as_str(), told.observed_generation),
            ("no NIMPlacement selects it", Some(2))
        );
        assert_eq!(unplaced_status("NIMService", 2, &conditions, &[], at(999)), status, "it stays the same");

        let leaves = unplaced_status("NIMCache", 2, &stored, &["east", "west"], at(60));
        assert!(leaves.get("availableReplicas").is_none(), "a cache has no replicas");
        let message = leaves["conditions"][0]["message"].as_str().unwrap();
        assert_eq!(message, "no NIMPlacement selects it any more; it has yet to leave east, west");
    }
}
