//! What the fleet's kinds mean where they say little, and how they print.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Failover, NIMPlacement, OnUnreachable, ReplicaSchedulingType, Tally};

fn placement(more: &Value) -> NIMPlacement {
    let mut spec = json!({ "resourceSelectors": [{ "kind": "NIMService", "name": "llama" }] });
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let object = json!({
        "apiVersion": "nimfleet.io/v1alpha1", "kind": "NIMPlacement", "metadata": { "name": "llama" }, "spec": spec,
    });
    serde_json::from_value(object).unwrap()
}

#[test]
fn durations_are_hours_minutes_and_seconds() {
    for (word, seconds) in [("5m", 300), ("90s", 90), ("1h30m", 5400), ("0s", 0), ("2h0m1s", 7201)] {
        let failover = Failover { lost_after: word.to_owned(), ..Failover::default() };
        assert_eq!(failover.lost_after(), Ok(Duration::from_secs(seconds)), "{word}");
    }
    for word in ["", "5", "five", "-5m"] {
        let failover = Failover { lost_after: word.to_owned(), ..Failover::default() };
        let error = failover.lost_after().unwrap_err().to_string();
        assert!(error.contains("lostAfter") && error.contains("90s"), "{error}");
    }
}

#[test]
fn a_placement_that_says_little_keeps_what_runs_on_one_cluster() {
    let spec = placement(&json!({ "failover": {}, "replicaScheduling": {} })).spec;
    assert!(spec.propagate_dependencies);
    assert_eq!(spec.number_of_clusters, None);
    let failover = spec.failover.unwrap();
    assert_eq!((failover.on_unreachable, failover.lost_after.as_str()), (OnUnreachable::Keep, "5m"));
    assert_eq!(spec.replica_scheduling.unwrap().type_, ReplicaSchedulingType::Duplicated);
}

#[test]
fn a_tally_prints_as_ready_of_wanted() {
    assert_eq!(Tally { ready: 1, wanted: 3 }.to_string(), "1/3");
}
