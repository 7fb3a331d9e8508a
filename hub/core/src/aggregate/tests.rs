//! Tables of folded status. One placement of a NIMService and a NIMCache in two clusters.

mod clusters;

use crds::condition::find;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use serde_json::Value;

use super::*;
use crate::{
    fleet::{Cluster, ObjectCondition, Pool, RejectionClass, Truth},
    scheduler::{Outcome, Reason as Scheduling, Refused},
};

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).unwrap()
}

fn object(kind: &str) -> ObjectRef {
    ObjectRef {
        uid: kind.to_ascii_lowercase(),
        api_version: "apps.nvidia.com/v1alpha1".into(),
        kind: kind.to_owned(),
        namespace: "nim".into(),
        name: "llm".into(),
    }
}

fn said(kind: &str, hash: &str, state: &str, ready: u32) -> ObjectStatus {
    ObjectStatus {
        object: object(kind),
        generation: 1,
        hash: hash.into(),
        state: state.into(),
        conditions: Vec::new(),
        ready_replicas: ready,
        wanted_replicas: 1,
        observed_at: at(1),
        profiles: Vec::new(),
        unschedulable: None,
        claim: String::new(),
    }
}

fn decision(complete: bool) -> Decision {
    let chosen = |name: &str| Chosen {
        cluster: name.parse().unwrap(),
        reason: Scheduling::Placed,
        score: 50,
        parts: Vec::new(),
        since: at(0),
        replicas: Vec::new(),
        message: "fits, score 50".into(),
    };
    let reason = if complete { Scheduling::Placed } else { Scheduling::PartiallyScheduled };
    Decision {
        chosen: vec![chosen("east"), chosen("west")],
        removed: Vec::new(),
        refused: vec![Refused {
            cluster: "north".into(),
            reason: Scheduling::NoGPU,
            message: "the cluster has no GPU".into(),
        }],
        counts: [(Scheduling::NoGPU, 1)].into(),
        spare: crate::scheduler::Spare::default(),
        outcome: Outcome {
            complete,
            reason,
            message: "2 clusters".into(),
            wanted_clusters: if complete { 2 } else { 3 },
            wanted_replicas: if complete { 2 } else { 3 },
            given_replicas: 2,
        },
        hold: None,
        moves: crate::failover::PerLane::default(),
        paced_until: crate::failover::PerLane::default(),
        rebalanced: None,
        retry_at: None,
    }
}

/// What one cluster says: link, answer and status of the service; its cache is ready unless the cluster says
/// nothing.
struct Said {
    link: Link,
    payload: Result<&'static str, String>,
    answer: Option<Answer>,
    service: Option<ObjectStatus>,
    elastic: bool,
}

fn ready() -> Said {
    let service = Some(said("NIMService", "h", "Ready", 1));
    Said { link: Link::Connected, payload: Ok("h"), answer: Some(Answer::Accepted), service, elastic: false }
}

fn place<'a>(
    row: &'a Chosen,
    said: &'a Said,
    [service, cache]: [&'a ObjectRef; 2],
    cached: &'a ObjectStatus,
) -> Place<'a> {
    let of_service = Delivery {
        object: service,
        replicas: Some(1),
        elastic: said.elastic,
        payload: said.payload.clone(),
        answer: said.answer.as_ref(),
        status: said.service.as_ref(),
    };
    let of_cache = Delivery {
        object: cache,
        replicas: None,
        elastic: false,
        payload: Ok("h"),
        answer: None,
        status: Some(cached),
    };
    Place { row, link: said.link, deliveries: vec![of_service, of_cache] }
}

/// Status of the placement, and `state` and conditions of the service, with `west` ready and `east` as given.
fn fold(east: &Said, complete: bool) -> (crds::fleet::NIMPlacementStatus, Value) {
    folded(&decision(complete), east)
}

/// The same by a decision.
fn folded(decision: &Decision, east: &Said) -> (crds::fleet::NIMPlacementStatus, Value) {
    let west = ready();
    let (service, cache) = (object("NIMService"), object("NIMCache"));
    let cached = said("NIMCache", "h", "Ready", 0);
    let place = |(row, said)| place(row, said, [&service, &cache], &cached);
    let places = decision.chosen.iter().zip([east, &west]).map(place).collect();
    let view = View { generation: 4, decision, places, now: at(100) };
    (placement_status(&view, None), object_status(&view, "NIMService", "nimservice", 7, &[]))
}

fn words(conditions: &[Condition]) -> String {
    let words: Vec<_> = conditions
        .iter()
        .map(|condition| format!("{}={}/{}", condition.type_, condition.status, condition.reason))
        .collect();
    words.join(" ")
}

fn conditions(status: &Value) -> Vec<Condition> {
    serde_json::from_value(status["conditions"].clone()).unwrap()
}

#[test]
fn a_copy_that_is_left_serves_until_the_new_one_does() {
    let mut decision = decision(true);
    decision.chosen[1].reason = Scheduling::Drained;
    let starting = Said { service: Some(said("NIMService", "h", "NotReady", 0)), ..ready() };
    let (_, service) = folded(&decision, &starting);
    let told = conditions(&service);
    let message = &find(&told, "Ready").unwrap().message;
    assert_eq!(message, "ready in 0 of 1 clusters; east: NotReady; until then west serves");
}

#[test]
fn ready_everywhere_is_ready() {
    let (placement, service) = fold(&ready(), true);
    assert_eq!(
        words(&placement.conditions),
        "Ready=True/Ready Scheduled=True/Placed Synchronized=True/Complete Applied=True/Complete Available=True/Complete \
         Progressing=False/Complete Degraded=False/AsExpected"
    );
    assert_eq!((placement.phase.as_deref(), placement.reason.as_deref()), (Some("Available"), Some("Ready")));
    assert_eq!(find(&placement.conditions, "Ready").unwrap().message, "ready in east,west");
    assert_eq!(placement.where_summary.as_deref(), Some("east,west"));
    let row = &placement.decisions[0];
    assert_eq!(
        (row.reason.as_deref(), row.message.as_deref()),
        (Some("Ready"), Some("1 of 1 replica ready"))
    );
    assert_eq!(placement.clusters_summary.as_deref(), Some("2/2"));
    assert_eq!(placement.replicas_summary.as_deref(), Some("2/2"));
    assert_eq!(service["state"], "Ready");
    assert_eq!(service["availableReplicas"], 2);
    let conditions = conditions(&service);
    assert_eq!(words(&conditions), "Ready=True/Ready Failed=False/AsExpected");
    assert!(conditions.iter().all(|condition| condition.observed_generation == Some(7)));
    assert_eq!(placement.refusals[0].reason, "NoGPU");
    assert_eq!(placement.refusals[0].message.as_deref(), Some("north: the cluster has no GPU"));
}

#[test]
fn one_cluster_behind_makes_the_whole_not_ready() {
    let silent = Link::Unreachable { since: at(60) };
    let not_ready = || Some(said("NIMService", "h", "NotReady", 0));
    let rejected =
        Answer::Rejected { class: RejectionClass::Conflict, message: "llm is not the fleet's".into() };
    let retrying = Answer::Retrying { message: "no answer within 10 s".into() };
    let denied = Answer::Rejected {
        class: RejectionClass::PolicyDenied { held: false },
        message: "limits.hostPaths has no /data".into(),
    };
    let cases: [(&str, Said, &str, &str); 11] = [
        (
            "sent",
            Said { answer: None, service: None, ..ready() },
            "Progressing/AwaitingCluster",
            "False/AwaitingCluster",
        ),
        (
            "persisted",
            Said { service: Some(said("NIMService", "h", "", 0)), ..ready() },
            "Progressing/AwaitingOperator",
            "False/AwaitingOperator",
        ),
        (
            "an older payload is ready",
            Said { answer: None, service: Some(said("NIMService", "older", "Ready", 1)), ..ready() },
            "Progressing/AwaitingCluster",
            "False/AwaitingCluster",
        ),
        ("starting", Said { service: not_ready(), ..ready() }, "Progressing/NotReady", "False/NotReady"),
        (
            "failed",
            Said { service: Some(said("NIMService", "h", "Failed", 0)), ..ready() },
            "Degraded/Failed",
            "False/Failed",
        ),
        (
            "rejected",
            Said { answer: Some(rejected), service: None, ..ready() },
            "Degraded/Rejected",
            "False/Rejected",
        ),
        (
            "denied",
            Said { answer: Some(denied), service: None, ..ready() },
            "Degraded/PolicyDenied",
            "False/PolicyDenied",
        ),
        (
            "retried",
            Said { answer: Some(retrying.clone()), service: None, ..ready() },
            "Progressing/AwaitingCluster",
            "False/AwaitingCluster",
        ),
        (
            "it was there, went, and cannot be made again",
            Said { answer: Some(retrying), service: Some(said("NIMService", "h", "", 0)), ..ready() },
            "Progressing/AwaitingCluster",
            "False/AwaitingCluster",
        ),
        (
            "no payload",
            Said { payload: Err("spec.overrides[0] does not fit".into()), ..ready() },
            "Degraded/OverrideFailed",
            "False/OverrideFailed",
        ),
        ("silent", Said { link: silent, ..ready() }, "Degraded/Unreachable", "Unknown/Unreachable"),
    ];
    for (what, said, phase, ready) in cases {
        let (placement, service) = fold(&said, true);
        let told = format!("{}/{}", placement.phase.unwrap(), placement.reason.unwrap());
        assert_eq!(told, phase, "{what}");
        let conditions = conditions(&service);
        let condition = find(&conditions, "Ready").unwrap();
        assert_eq!(format!("{}/{}", condition.status, condition.reason), ready, "{what}");
        assert!(condition.message.starts_with("ready in 1 of 2 clusters; east: "), "{}", condition.message);
        assert!(
            what != "retried" || condition.message.contains("tried again: no answer"),
            "{}",
            condition.message
        );
        assert_ne!(service["state"], "Ready", "{what}");
        let available = find(&placement.conditions, "Available").unwrap();
        assert_ne!(available.status, "True", "{what}");
        let of_placement = find(&placement.conditions, "Ready").unwrap();
        assert_eq!(format!("{}/{}", of_placement.status, of_placement.reason), ready, "{what}");
        // What failed or was refused for good stays so; all else is waited for, and what is denied may go elsewhere.
        let is_stalled = phase.starts_with("Degraded") && ready.starts_with("False") && what != "denied";
        let why: Vec<&str> = placement.conditions.iter().map(|one| one.type_.as_str()).collect();
        let why: Vec<&str> =
            why.into_iter().filter(|kind| ["Reconciling", "Stalled"].contains(kind)).collect();
        assert_eq!(why, [if is_stalled { "Stalled" } else { "Reconciling" }], "{what}");
        assert_eq!(placement.clusters_summary.as_deref(), Some("1/2"), "{what}");
        assert_eq!(placement.decisions[0].cluster_name, "east", "{what}: the worst comes first");
    }
}

#[test]
fn a_silent_cluster_tells_what_was_known_last_and_counts_no_replica() {
    let (placement, service) = fold(&Said { link: Link::Unreachable { since: at(60) }, ..ready() }, true);
    let message = find(&conditions(&service), "Ready").unwrap().message.clone();
    assert!(message.contains("east: silent since 1970-01-01T00:01:00Z, last known: Ready"), "{message}");
    assert_eq!(service["availableReplicas"], 1);
    assert_eq!(placement.replicas_summary.as_deref(), Some("1/2"));
    assert_eq!(find(&placement.conditions, "Available").unwrap().status, "Unknown");
    // It was delivered and taken in before: silence does not undo that.
    assert_eq!(find(&placement.conditions, "Applied").unwrap().status, "True");
}

#[test]
fn ready_where_it_is_placed_is_not_ready_while_more_is_wanted() {
    let (placement, service) = fold(&ready(), false);
    for kind in ["Scheduled", "Available", "Ready"] {
        let condition = find(&placement.conditions, kind).unwrap();
        assert_eq!((condition.status.as_str(), condition.reason.as_str()), ("False", "PartiallyScheduled"));
    }
    assert_eq!(placement.phase.as_deref(), Some("Pending"));
    assert_eq!(placement.clusters_summary.as_deref(), Some("2/3"));
    assert_eq!(words(&conditions(&service)), "Ready=False/PartiallyScheduled Failed=False/AsExpected");
    assert_eq!(service["state"], "NotReady");
}

#[test]
fn what_is_nowhere_is_not_ready_for_the_schedulers_reason() {
    let mut nowhere = decision(false);
    nowhere.chosen.clear();
    nowhere.outcome.reason = Scheduling::NoClusterFits;
    let view = View { generation: 1, decision: &nowhere, places: Vec::new(), now: at(1) };
    let placement = placement_status(&view, None);
    assert_eq!(
        (placement.phase.as_deref(), placement.reason.as_deref()),
        (Some("Pending"), Some("NoClusterFits"))
    );
    let service = object_status(&view, "NIMService", "nimservice", 1, &[]);
    assert_eq!(words(&conditions(&service)), "Ready=False/NoClusterFits Failed=False/AsExpected");
}

#[test]
fn a_refused_secret_degrades_and_takes_nothing_from_what_serves() {
    let decision = decision(true);
    let (service, secret) = (object("NIMService"), object("Secret"));
    let status = said("NIMService", "h", "Ready", 1);
    let refused =
        Answer::Rejected { class: RejectionClass::Conflict, message: "it is somebody else's".into() };
    let place = |row, answer| Place {
        row,
        link: Link::Connected,
        deliveries: vec![
            Delivery {
                object: &service,
                replicas: Some(1),
                elastic: false,
                payload: Ok("h"),
                answer: None,
                status: Some(&status),
            },
            Delivery {
                object: &secret,
                replicas: None,
                elastic: false,
                payload: Ok("s"),
                answer,
                status: None,
            },
        ],
    };
    let places =
        vec![place(&decision.chosen[0], Some(&refused)), place(&decision.chosen[1], Some(&Answer::Accepted))];
    let view = View { generation: 1, decision: &decision, places, now: at(1) };
    let placement = placement_status(&view, None);
    let row = (placement.clusters_summary.as_deref(), placement.replicas_summary.as_deref());
    assert_eq!(row, (Some("2/2"), Some("2/2")));
    assert_eq!(
        (placement.phase.as_deref(), placement.reason.as_deref()),
        (Some("Degraded"), Some("Rejected"))
    );
    let told = words(&placement.conditions);
    for expected in ["Ready=False/Rejected", "Available=True/Complete", "Degraded=True/Rejected"] {
        assert!(told.contains(expected), "{told}");
    }
}

#[test]
fn a_refused_version_leaves_the_one_before_serving_and_counted() {
    let refused = Answer::Rejected { class: RejectionClass::Invalid, message: "spec.image".into() };
    let before = said("NIMService", "older", "Ready", 1);
    let (placement, service) = fold(&Said { answer: Some(refused), service: Some(before), ..ready() }, true);
    assert_eq!(placement.replicas_summary.as_deref(), Some("2/2"));
    assert_eq!((placement.phase.as_deref(), &service["availableReplicas"]), (Some("Degraded"), &2.into()));
}

#[test]
fn the_operators_own_words_reach_the_user() {
    let mut service = said("NIMService", "h", "NotReady", 0);
    service.conditions.push(ObjectCondition {
        kind: "Ready".into(),
        status: Truth::False,
        reason: "NIMCacheNotReady".into(),
        message: "NIMCache weights not ready\n".into(),
        last_transition: at(1),
    });
    let (placement, _) = fold(&Said { service: Some(service), ..ready() }, true);
    let row = &placement.decisions[0];
    assert_eq!(row.message.as_deref(), Some("NIMService llm: NotReady: NIMCache weights not ready"));
}

#[test]
fn a_cache_has_a_ready_condition_the_least_advanced_state_and_the_profiles() {
    let decision = decision(true);
    let cache = object("NIMCache");
    let mut done = said("NIMCache", "h", "Ready", 0);
    let tags = [("tp".to_owned(), "2".to_owned())].into();
    done.profiles = vec![crate::fleet::CachedProfile { name: "p1".into(), tags }];
    let status = |state: &str| {
        let other = said("NIMCache", "h", state, 0);
        let place = |row, status| Place {
            row,
            link: Link::Connected,
            deliveries: vec![Delivery {
                object: &cache,
                replicas: None,
                elastic: false,
                payload: Ok("h"),
                answer: None,
                status: Some(status),
            }],
        };
        let places = vec![place(&decision.chosen[0], &other), place(&decision.chosen[1], &done)];
        let view = View { generation: 1, decision: &decision, places, now: at(1) };
        object_status(&view, "NIMCache", "nimcache", 1, &[])
    };
    for (state, expected, truth) in [
        ("Ready", "Ready", "True"),
        ("InProgress", "InProgress", "False"),
        ("PVC-Created", "PVC-Created", "False"),
        ("", "NotReady", "False"),
        ("Failed", "Failed", "False"),
    ] {
        let status = status(state);
        assert_eq!(status["state"], expected, "{state}");
        assert_eq!(find(&conditions(&status), "Ready").unwrap().status, truth, "{state}");
        assert_eq!(status["profiles"], serde_json::json!([{"name": "p1", "config": {"tp": "2"}}]));
    }
}

#[test]
fn nothing_changes_while_nothing_does() {
    let decision = decision(true);
    let service = object("NIMService");
    let status = said("NIMService", "h", "Ready", 1);
    let view = |now| View {
        generation: 4,
        decision: &decision,
        places: decision
            .chosen
            .iter()
            .map(|row| Place {
                row,
                link: Link::Unreachable { since: at(50) },
                deliveries: vec![Delivery {
                    object: &service,
                    replicas: Some(1),
                    elastic: false,
                    payload: Ok("h"),
                    answer: None,
                    status: Some(&status),
                }],
            })
            .collect(),
        now: at(now),
    };
    let first = placement_status(&view(100), None);
    assert_eq!(placement_status(&view(5000), Some(&first)), first);
    let object = object_status(&view(100), "NIMService", "nimservice", 1, &[]);
    assert_eq!(object_status(&view(5000), "NIMService", "nimservice", 1, &conditions(&object)), object);
}

fn condition_of(kind: &str, truth: Truth, reason: &str, message: &str, second: i64) -> ObjectCondition {
    ObjectCondition {
        kind: kind.into(),
        status: truth,
        reason: reason.into(),
        message: message.into(),
        last_transition: at(second),
    }
}

#[test]
fn a_cache_is_told_by_the_last_stage_that_it_has_come_to() {
    let mut cached = said("NIMCache", "h", "Pending", 0);
    cached.conditions = vec![
        condition_of("NIM_CACHE_JOB_PENDING", Truth::True, "Unschedulable", "0/2 nodes are available", 5),
        condition_of("NIM_CACHE_PVC_CREATED", Truth::True, "PVCCreated", "The PVC has been created", 9),
    ];
    let (decision, service, cache) = (decision(true), object("NIMService"), object("NIMCache"));
    let waits = Said { service: Some(said("NIMService", "h", "NotReady", 0)), ..ready() };
    let places = decision.chosen.iter().map(|row| place(row, &waits, [&service, &cache], &cached)).collect();
    let view = View { generation: 4, decision: &decision, places, now: at(100) };
    let told = object_status(&view, "NIMCache", "nimcache", 7, &[]);
    let conditions = conditions(&told);
    let found = find(&conditions, "Ready").unwrap();
    assert_eq!(found.reason, "Unschedulable");
    assert!(found.message.contains("east: Pending: 0/2 nodes are available"), "{}", found.message);
    assert_eq!(told["pvc"], Value::Null, "nothing is stored yet");
}

#[test]
fn the_claim_of_a_cache_is_told_by_cluster_where_it_has_several_names() {
    let (decision, service, cache) = (decision(true), object("NIMService"), object("NIMCache"));
    let held = |claim: &str| ObjectStatus { claim: claim.into(), ..said("NIMCache", "h", "Ready", 0) };
    let serves = ready();
    for (east, west, told) in [("a", "a", "a"), ("a", "b", "east: a, west: b"), ("", "b", "b")] {
        let held = [held(east), held(west)];
        let rows = decision.chosen.iter().zip(&held);
        let places = rows.map(|(row, held)| place(row, &serves, [&service, &cache], held)).collect();
        let view = View { generation: 4, decision: &decision, places, now: at(100) };
        assert_eq!(object_status(&view, "NIMCache", "nimcache", 7, &[])["pvc"], told);
    }
}

#[test]
fn why_pods_do_not_start_is_the_reason_and_the_text_of_all_that_wants_them() {
    let quota = "pods is forbidden: exceeded quota: q";
    for (reason, message, expected) in [
        ("PodsNotCreated", quota, "PodsNotCreated"),
        ("ImagePullBackOff", "ImagePullBackOff: Back-off pulling image", "ReplicaFailure"),
    ] {
        let mut east = said("NIMService", "h", "NotReady", 0);
        east.conditions = vec![
            condition_of("Ready", Truth::False, reason, message, 5),
            condition_of("ReplicaFailure", Truth::True, reason, message, 5),
        ];
        let (placement, service) = fold(&Said { service: Some(east), ..ready() }, true);
        let (conditions, of_placement) =
            (conditions(&service), find(&placement.conditions, "Available").unwrap());
        for found in [find(&conditions, "Ready").unwrap(), of_placement] {
            assert_eq!(found.reason, expected);
            assert!(found.message.contains("east: ") && found.message.contains(message), "{}", found.message);
        }
    }
}

#[test]
fn a_service_of_which_some_replicas_cannot_start_is_not_ready_for_the_fleet() {
    let words = "1 replica serves; Waiting for deployment; 0/2 nodes";
    let mut east = said("NIMService", "h", "Ready", 1);
    east.conditions = vec![
        condition_of("Ready", Truth::True, "Ready", words, 5),
        condition_of("ReplicaFailure", Truth::True, "Unschedulable", "0/2 nodes", 5),
    ];
    let told = |wanted| {
        let service = Some(ObjectStatus { wanted_replicas: wanted, ..east.clone() });
        let (placement, service) = fold(&Said { service, ..ready() }, true);
        (find(&placement.conditions, "Available").unwrap().clone(), service)
    };
    let (available, service) = told(2);
    assert_eq!((available.status.as_str(), available.reason.as_str()), ("False", "Unschedulable"));
    assert!(available.message.contains(words), "{}", available.message);
    assert_eq!(service["availableReplicas"], 2, "what serves counts");
    assert_eq!(told(1).0.status, "True", "what an autoscaler adds is not what was asked for");
}

#[test]
fn replicas_that_an_autoscaler_of_the_cluster_has_added_are_wanted_and_counted() {
    for (elastic, ready, all, there) in
        [(true, 3, "4/4", (3, 3)), (false, 3, "2/2", (1, 1)), (true, 0, "1/2", (1, 0))]
    {
        let state = if ready == 0 { "NotReady" } else { "Ready" };
        let service = Some(said("NIMService", "h", state, ready));
        let (placement, _) = fold(&Said { service, elastic, ..self::ready() }, true);
        assert_eq!(placement.replicas_summary.as_deref(), Some(all), "{elastic} {ready}");
        let mut rows = placement.decisions.iter();
        let east = rows.find(|row| row.cluster_name == "east").unwrap();
        assert_eq!((east.replicas, east.ready_replicas), (Some(there.0), Some(there.1)), "{elastic} {ready}");
    }
}

#[test]
fn what_a_clusters_admission_changes_is_told_where_all_serves() {
    let mut service = said("NIMService", "h", "Ready", 1);
    service.conditions.push(ObjectCondition {
        kind: "MutatedHere".into(),
        status: Truth::True,
        reason: "MutatedHere".into(),
        message: "spec.image.repository is changed by this cluster's admission to mirror/llm".into(),
        last_transition: at(1),
    });
    let (status, _) = fold(&Said { service: Some(service), ..ready() }, true);
    assert_eq!(status.phase.as_deref(), Some("Available"));
    let east = status.decisions.iter().find(|row| row.cluster_name == "east").unwrap();
    assert_eq!(east.reason.as_deref(), Some("MutatedHere"));
    let message =
        "NIMService llm: spec.image.repository is changed by this cluster's admission to mirror/llm";
    assert_eq!(east.message.as_deref(), Some(message));
    let west = status.decisions.iter().find(|row| row.cluster_name == "west").unwrap();
    assert_ne!(west.reason.as_deref(), Some("MutatedHere"));
}
