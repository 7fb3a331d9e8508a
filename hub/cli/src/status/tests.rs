//! The fleet at a glance, from recorded objects.

use super::*;
use crate::recorded::{DRAINING, HELD, Moment, PLACED, now, plain, seen};

fn none<T>() -> Seen<T> {
    Seen { items: Vec::new(), hidden: None }
}

fn status(moment: &Moment) -> FleetStatus {
    FleetStatus::of(
        &seen::<GPUCluster>(moment.clusters),
        &seen::<NIMPlacement>(moment.placements),
        &none::<GPUQuota>(),
    )
}

#[test]
fn a_fleet_without_problems_says_so() {
    insta::assert_snapshot!(plain(&render(&status(&PLACED), now())));
}

#[test]
fn a_fleet_with_problems_names_them_with_their_remedies() {
    insta::assert_snapshot!("draining", plain(&render(&status(&DRAINING), now())));
    insta::assert_snapshot!("held", plain(&render(&status(&HELD), now())));
}

#[test]
fn the_json_of_a_fleet_is_as_the_documentation_says() {
    insta::assert_json_snapshot!(serde_json::to_value(status(&HELD)).unwrap());
}

#[test]
fn what_is_hidden_is_told_and_no_cluster_is_counted() {
    let hidden =
        Seen { hidden: Some("gpuclusters.nimfleet.io is forbidden".to_owned()), ..none::<GPUCluster>() };
    let status = FleetStatus::of(&hidden, &seen::<NIMPlacement>(PLACED.placements), &none::<GPUQuota>());
    let text = plain(&render(&status, now()));
    assert!(text.starts_with("1 placement, 1 ready"), "{text}");
    assert!(text.contains("nothing is wrong with what you may see"), "{text}");
    assert!(text.ends_with("not shown, GPUCluster: gpuclusters.nimfleet.io is forbidden\n"), "{text}");
}

#[test]
fn a_cluster_that_waits_an_old_agent_and_a_quota_are_problems() {
    let cluster: GPUCluster = serde_json::from_value(serde_json::json!({
        "apiVersion": "nimfleet.io/v1alpha1", "kind": "GPUCluster", "metadata": {"name": "new"}, "spec": {},
        "status": {"conditions": [{
            "type": "AgentUpToDate", "status": "False", "reason": "OtherVersion",
            "message": "the agent is 0.0.9", "lastTransitionTime": "2026-11-30T10:00:00Z",
        }]},
    }))
    .unwrap();
    let quota: GPUQuota = serde_json::from_value(serde_json::json!({
        "apiVersion": "nimfleet.io/v1alpha1", "kind": "GPUQuota", "metadata": {"name": "all", "namespace": "nim"},
        "spec": {"limits": [{"product": "*", "gpus": 1}]},
        "status": {"conditions": [{
            "type": "Exceeded", "status": "True", "reason": "Exceeded", "message": "2 of 1 GPUs are taken",
            "lastTransitionTime": "2026-11-30T10:00:00Z",
        }]},
    }))
    .unwrap();
    let clusters = Seen { items: vec![cluster], hidden: None };
    let quotas = Seen { items: vec![quota], hidden: None };
    let status = FleetStatus::of(&clusters, &none::<NIMPlacement>(), &quotas);
    let told: Vec<_> = status.problems.iter().map(|one| (one.severity, one.reason.as_str())).collect();
    assert_eq!(
        told,
        [
            (Severity::Error, "NotAccepted"),
            (Severity::Warning, "OtherVersion"),
            (Severity::Warning, "Exceeded")
        ]
    );
    assert_eq!(status.problems[0].remedy.as_deref(), Some("kubectl nimfleet accept new"));
}
