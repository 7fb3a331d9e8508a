//! What events do to the fleet.

use super::*;
use crate::need::{GpuNeed, Need};

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).unwrap()
}

fn name(name: &str) -> ClusterName {
    name.parse().unwrap()
}

fn status(ready: u32, observed: i64) -> ObjectStatus {
    ObjectStatus {
        object: ObjectRef {
            uid: "u1".into(),
            api_version: "apps.nvidia.com/v1alpha1".into(),
            kind: "NIMService".into(),
            namespace: "nim".into(),
            name: "llm".into(),
        },
        generation: 1,
        hash: String::new(),
        state: "Ready".into(),
        conditions: Vec::new(),
        ready_replicas: ready,
        wanted_replicas: 2,
        observed_at: at(observed),
        profiles: Vec::new(),
        unschedulable: None,
        claim: String::new(),
    }
}

fn joined() -> Fleet {
    let mut fleet = Fleet::default();
    fleet.apply(FleetEvent::Admin {
        cluster: name("east"),
        admin: Admin { accepted: true, ..Admin::default() },
    });
    fleet
}

#[test]
fn a_cluster_exists_only_by_its_custom_resource() {
    let mut fleet = Fleet::default();
    fleet.apply(FleetEvent::Connected { cluster: name("east"), agent: Agent::default(), at: at(0) });
    assert!(fleet.cluster("east").is_none());
    let mut fleet = joined();
    assert_eq!(fleet.cluster("east").unwrap().link, Link::Never);
    fleet.apply(FleetEvent::Left { cluster: name("east") });
    assert!(fleet.cluster("east").is_none());
}

#[test]
fn silence_counts_from_the_first_loss() {
    let mut fleet = joined();
    fleet.apply(FleetEvent::Connected { cluster: name("east"), agent: Agent::default(), at: at(0) });
    fleet.apply(FleetEvent::Disconnected { cluster: name("east"), at: at(100) });
    fleet.apply(FleetEvent::Disconnected { cluster: name("east"), at: at(200) });
    let link = fleet.cluster("east").unwrap().link;
    assert_eq!(link, Link::Unreachable { since: at(100) });
    assert_eq!(link.silent_for(at(160)).unwrap().as_secs(), 60);
}

#[test]
fn what_is_heard_last_counts_even_if_the_spokes_clock_was_set_back() {
    let mut fleet = joined();
    for (ready, observed, heard) in [(1, 500, 10), (0, 5, 11)] {
        let statuses = vec![status(ready, observed)];
        fleet.apply(FleetEvent::Status { cluster: name("east"), statuses, at: at(heard) });
    }
    assert_eq!(fleet.statuses().get(&name("east"), "u1").unwrap().status.ready_replicas, 0);
}

#[test]
fn pods_that_find_no_node_are_told_by_their_count_or_by_a_condition() {
    let plain = status(0, 50);
    assert!(!plain.is_unschedulable());
    let waits = Unschedulable { replicas: 1, message: "0/3 nodes are available".into(), since: at(40) };
    assert!(ObjectStatus { unschedulable: Some(waits), ..plain.clone() }.is_unschedulable());
    let condition = ObjectCondition {
        kind: "Ready".into(),
        status: Truth::False,
        reason: "Unschedulable".into(),
        message: String::new(),
        last_transition: at(40),
    };
    assert!(ObjectStatus { conditions: vec![condition], ..plain }.is_unschedulable());
}

#[test]
fn ready_replicas_are_seen_once_a_report_can_hold_them() {
    let granted = GrantedObject { uid: "u1".into(), need: crate::need::Need::default(), replicas: 2 };
    let heard = |ready| Heard { status: status(ready, 50), steady_since: at(50), unschedulable_since: None };
    let report = |observed, received| Capacity {
        observed_at: at(observed),
        received_at: at(received),
        ..Capacity::default()
    };
    for (ready, observed, received, seen) in [
        (0, 60, 60, 0),
        (1, 60, 60, 1),
        (2, 50, 50, 2),
        (3, 60, 60, 2),
        (2, 49, 51, 0),
        // The spoke's clock was set back after this report.
        (2, 500, 40, 0),
    ] {
        let got = granted.seen(Some(&heard(ready)), &report(observed, received));
        assert_eq!(got, seen, "ready {ready} observed at {observed} received at {received}");
    }
    assert_eq!(granted.seen(None, &report(99, 99)), 0);
}

#[test]
fn bound_pods_are_seen_in_the_report_that_tells_them() {
    let need = |pods| Need {
        gpu: Some(GpuNeed { resource: "nvidia.com/gpu".into(), per_pod: 8, pods }),
        ..Need::default()
    };
    let granted = |pods, replicas| GrantedObject { uid: "u1".into(), need: need(pods), replicas };
    let report = |bound: &[(&str, u32)]| Capacity {
        bound: Some(bound.iter().map(|(uid, pods)| ((*uid).to_owned(), *pods)).collect()),
        ..Capacity::default()
    };
    let ready = Heard { status: status(2, 50), steady_since: at(50), unschedulable_since: None };
    for (pods, replicas, bound, seen) in [
        (1, 2, &[("u1", 1)][..], 1),
        (1, 2, &[("u1", 3)], 2),
        (1, 2, &[("u2", 2)], 0),
        (1, 2, &[], 0),
        // Half a group is none.
        (2, 2, &[("u1", 3)], 1),
    ] {
        for heard in [None, Some(&ready)] {
            assert_eq!(granted(pods, replicas).seen(heard, &report(bound)), seen, "{pods} {bound:?}");
        }
    }
}

#[test]
fn a_steady_number_of_ready_replicas_keeps_its_start() {
    let mut fleet = joined();
    for (ready, observed) in [(1, 10), (1, 20), (2, 30), (2, 40)] {
        let statuses = vec![status(ready, observed)];
        fleet.apply(FleetEvent::Status { cluster: name("east"), statuses, at: at(observed) });
    }
    assert_eq!(fleet.statuses().get(&name("east"), "u1").unwrap().steady_since, at(30));
}

#[test]
fn grants_are_replaced_as_a_whole_and_listed_oldest_first() {
    let mut fleet = joined();
    let key = |name: &str| PlacementKey { namespace: "nim".into(), name: name.into() };
    let grant = |since| Grant { cluster: name("east"), since: at(since), priority: 0, objects: Vec::new() };
    fleet.apply(FleetEvent::Granted { placement: key("a"), grants: vec![grant(20)] });
    fleet.apply(FleetEvent::Granted { placement: key("b"), grants: vec![grant(10)] });
    let order: Vec<_> = fleet.grants(&name("east")).iter().map(|(key, _)| key.name.clone()).collect();
    assert_eq!(order, ["b", "a"]);
    fleet.apply(FleetEvent::Granted { placement: key("b"), grants: Vec::new() });
    assert_eq!(fleet.grants(&name("east")).len(), 1);
}

#[test]
fn promises_follow_every_event() {
    let cluster = name("east");
    let gpu = GpuNeed { resource: "nvidia.com/gpu".into(), per_pod: 1, pods: 1 };
    let need = Need { gpu: Some(gpu), replicas: 2, replicated: true, ..Need::default() };
    let placement = PlacementKey { namespace: "nim".into(), name: "p".into() };
    let granted = |replicas| {
        let object = GrantedObject { uid: "u1".into(), need: need.clone(), replicas };
        let grant = Grant { cluster: cluster.clone(), since: at(0), priority: 0, objects: vec![object] };
        FleetEvent::Granted { placement: placement.clone(), grants: vec![grant] }
    };
    let report = |at| Capacity { observed_at: at, received_at: at, ..Capacity::default() };
    let owed = |fleet: &Fleet| -> u32 {
        let capacity = fleet.cluster("east").unwrap().capacity.clone().unwrap();
        fleet.promises(&cluster, &capacity).owed.iter().map(|(_, replicas)| replicas).sum()
    };
    let mut fleet = joined();
    fleet.apply(FleetEvent::Capacity { cluster: cluster.clone(), capacity: report(at(0)) });
    assert_eq!(owed(&fleet), 0);
    fleet.apply(granted(2));
    assert_eq!(owed(&fleet), 2, "a grant");
    fleet.apply(FleetEvent::Status { cluster: cluster.clone(), statuses: vec![status(1, 3)], at: at(3) });
    assert_eq!(owed(&fleet), 2, "a replica that became ready after the report, however long ago");
    fleet.apply(FleetEvent::Capacity { cluster: cluster.clone(), capacity: report(at(4)) });
    assert_eq!(owed(&fleet), 1, "the next report counts it");
    fleet.apply(FleetEvent::Gone { cluster: cluster.clone(), uid: "u1".into() });
    assert_eq!(owed(&fleet), 2, "what is gone is not in the report");
    fleet.apply(FleetEvent::Granted { placement: placement.clone(), grants: vec![] });
    assert_eq!(owed(&fleet), 0, "nothing is granted any more");
}

#[test]
fn who_looks_at_shared_clusters_sees_them_as_they_were() {
    let mut fleet = joined();
    let before = fleet.shared();
    assert!(fleet.has_labels_of(&before));
    fleet.apply(FleetEvent::Connected { cluster: name("east"), agent: Agent::default(), at: at(0) });
    assert_eq!((before[0].link, fleet.cluster("east").unwrap().link), (Link::Never, Link::Connected));
    assert!(fleet.has_labels_of(&before), "a session changes no label");
    let labels = BTreeMap::from([("tier".to_owned(), "gold".to_owned())]);
    let admin = Admin { accepted: true, labels, ..Admin::default() };
    fleet.apply(FleetEvent::Admin { cluster: name("east"), admin });
    assert!(!fleet.has_labels_of(&before) && !fleet.has_labels_of(&[]));
}

#[test]
fn what_an_owner_denies_after_delivery_is_an_answer_and_what_runs_is_held() {
    let condition = |kind: &str, reason: &str| ObjectCondition {
        kind: kind.into(),
        status: Truth::True,
        reason: reason.into(),
        message: "limits.hosts is []".into(),
        last_transition: at(0),
    };
    let with = |conditions: Vec<ObjectCondition>| ObjectStatus { conditions, ..status(1, 0) }.denial();
    assert_eq!(with(vec![condition("Ready", "Ready")]), None);
    for (other, held) in
        [(condition("Failed", "PolicyDenied"), false), (condition("Failed", "CrashLoop"), true)]
    {
        let denial = with(vec![condition("PolicyDenied", "PolicyDenied"), other]);
        let class = RejectionClass::PolicyDenied { held };
        assert_eq!(denial, Some(Answer::Rejected { class, message: "limits.hosts is []".into() }));
    }
}
