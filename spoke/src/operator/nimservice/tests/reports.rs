//! What is reported of a NIMService.

use std::sync::Arc;

use super::*;

fn outcome(available: i64) -> Outcome {
    let mut outcome = Outcome::default();
    let deployment = json!({
        "metadata": {"name": "llama", "generation": 1}, "spec": {"replicas": 1},
        "status": {"observedGeneration": 1, "updatedReplicas": 1, "availableReplicas": available},
    });
    let service = json!({"metadata": {"name": "llama"}, "spec": {"clusterIP": "10.0.0.9"}});
    for (kind, object) in [(ChildKind::Deployment, deployment), (ChildKind::Service, service)] {
        outcome.live.insert((kind, "llama".into()), Arc::new(serde_json::from_value(object).unwrap()));
    }
    outcome
}

fn report(subject: &Subject, outcome: &Outcome) -> Report {
    let service = service(json!({}));
    let rendered = NimServices::render(&service, subject, &Refs::default(), &ClusterFacts::default());
    NimServices::report(&service, subject, &Refs::default(), &rendered, outcome)
}

fn condition<'a>(report: &'a Report, kind: &str) -> &'a Value {
    report.status["conditions"].as_array().unwrap().iter().find(|one| one["type"] == kind).unwrap()
}

#[test]
fn ready_follows_the_workload_and_tells_where_the_model_is() {
    let report = report(&subject(), &outcome(1));
    assert_eq!(report.status["state"], "Ready");
    assert_eq!(report.status["availableReplicas"], 1);
    assert_eq!(report.status["model"]["clusterEndpoint"], "10.0.0.9:8000");
    assert_eq!(
        (&condition(&report, "Ready")["status"], &condition(&report, "Failed")["status"]),
        (&json!("True"), &json!("False"))
    );
    assert_eq!(condition(&report, "Ready")["observedGeneration"], 3);
    assert_eq!(report.again, Again::No, "watches tell, nothing polls");
}

#[test]
fn the_model_is_forgotten_when_it_is_no_longer_served() {
    let mut subject = subject();
    subject.status = report(&subject, &outcome(1)).status;
    let report = report(&subject, &outcome(0));
    assert_eq!(report.status["state"], "NotReady");
    assert_eq!((report.status.get("model"), report.status.get("availableReplicas")), (None, None));
}

#[test]
fn events_are_told_on_transitions_only() {
    let mut subject = subject();
    let first = report(&subject, &outcome(1));
    assert_eq!(first.notices.len(), 1);
    subject.status = first.status.clone();
    subject.now = jiff::Timestamp::from_second(500).unwrap();
    let second = report(&subject, &outcome(1));
    assert_eq!((second.notices.len(), &second.status), (0, &first.status), "nothing is written either");
}

#[test]
fn a_rollout_that_has_just_begun_is_no_event() {
    let mut subject = subject();
    let begun = report(&subject, &outcome(0));
    assert_eq!((begun.status["state"].as_str(), begun.notices.len()), (Some("NotReady"), 0));
    subject.status = report(&subject, &outcome(1)).status;
    let lost = report(&subject, &outcome(0));
    assert_eq!(lost.notices.len(), 1, "replicas that are lost are one");
}

#[test]
fn b24_the_reason_of_a_failure_is_kept() {
    let failure = Some(Failure::new("DeploymentFailed", "quota"));
    let report = report(&subject(), &Outcome { failure, ..Outcome::default() });
    assert_eq!(report.status["state"], "Failed");
    for kind in ["Ready", "Failed"] {
        assert_eq!(condition(&report, kind)["reason"], "DeploymentFailed");
    }
    assert_eq!((report.notices[0].warning, report.again), (true, Again::Backoff));
}

#[test]
fn b24_not_ready_does_not_call_the_failed_condition_ready() {
    let report = report(&subject(), &outcome(0));
    assert_eq!(condition(&report, "Failed")["reason"], "NotReady");
}

#[test]
fn a_secret_that_pods_start_without_is_named_while_it_is_missing() {
    let refs = Refs { missing: vec!["Secret ngc-api-secret (spec.authSecret)".into()], ..Refs::default() };
    let told = |available: i64| {
        let service = service(json!({}));
        let rendered = NimServices::render(&service, &subject(), &refs, &ClusterFacts::default());
        NimServices::report(&service, &subject(), &refs, &rendered, &outcome(available))
    };
    let (waits, serves) = (told(0), told(1));
    let [waits, serves] = [&waits, &serves].map(|report| condition(report, "Ready"));
    assert_eq!((&waits["status"], &waits["reason"]), (&json!("False"), &json!("DependencyMissing")));
    assert_eq!((&serves["status"], &serves["reason"]), (&json!("True"), &json!("Ready")));
    let message = waits["message"].as_str().unwrap();
    assert!(message.ends_with("; missing: Secret ngc-api-secret (spec.authSecret)"), "{message}");
    assert!(!serves["message"].to_string().contains("missing"), "what serves needs no key: {serves}");
}

#[test]
fn a_service_that_its_autoscaler_has_stopped_is_not_ready_and_says_why() {
    let metric = json!({"type": "External", "external": {"metric": {"name": "queue"}, "target": {"type": "AverageValue", "averageValue": "5"}}});
    let scale = |least: i32| json!({"replicas": null, "scale": {"enabled": true, "hpa": {"minReplicas": least, "maxReplicas": 4, "metrics": [metric]}}});
    let told = |patch: Value, replicas: i64, before: Value| {
        let subject = Subject { status: before, ..subject() };
        let service = service(patch);
        let rendered = NimServices::render(&service, &subject, &Refs::default(), &ClusterFacts::default());
        let mut outcome = outcome(replicas);
        let deployment = json!({
            "metadata": {"name": "llama", "generation": 1}, "spec": {"replicas": replicas},
            "status": {"observedGeneration": 1, "updatedReplicas": replicas, "availableReplicas": replicas},
        });
        let deployment = Arc::new(serde_json::from_value(deployment).unwrap());
        outcome.live.insert((ChildKind::Deployment, "llama".into()), deployment);
        NimServices::report(&service, &subject, &Refs::default(), &rendered, &outcome)
    };
    let stopped = told(scale(0), 0, Value::Null);
    assert_eq!(stopped.status["state"], "NotReady");
    let scaled = condition(&stopped, "ScaledToZero");
    assert_eq!((&scaled["status"], &scaled["reason"]), (&json!("True"), &json!("ScaledToZero")));
    let runs = told(scale(0), 2, stopped.status.clone());
    assert_eq!(
        (&runs.status["state"], &condition(&runs, "ScaledToZero")["status"]),
        (&json!("Ready"), &json!("False"))
    );
    // One that may not be stopped has nothing to say of it.
    for patch in [scale(1), json!({"replicas": 0})] {
        let other = told(patch, 0, stopped.status.clone());
        let conditions = other.status["conditions"].as_array().unwrap();
        assert!(!conditions.iter().any(|one| one["type"] == "ScaledToZero"), "{}", other.status);
    }
    let rendered =
        NimServices::render(&service(scale(0)), &subject(), &Refs::default(), &ClusterFacts::default());
    assert_eq!(child(&rendered.children, ChildKind::HorizontalPodAutoscaler)["spec"]["minReplicas"], 0);
}

#[test]
fn an_unreadable_object_says_so() {
    let report = NimServices::unreadable(&subject(), "InvalidSpec", "spec.replicas: not a number");
    assert_eq!(condition(&report, "Ready")["reason"], "InvalidSpec");
    assert_eq!(report.status["state"], "Failed");
}

/// A service of two replicas of which so many serve, and a Deployment that could not have another pod made.
fn refused(available: i64) -> Outcome {
    let mut outcome = outcome(available);
    let why = json!([{"type": "ReplicaFailure", "status": "True", "message": "pods is forbidden: exceeded quota: q"}]);
    let deployment = json!({
        "metadata": {"name": "llama", "generation": 1}, "spec": {"replicas": 2},
        "status": {"observedGeneration": 1, "updatedReplicas": available, "availableReplicas": available, "conditions": why},
    });
    let deployment = Arc::new(serde_json::from_value(deployment).unwrap());
    outcome.live.insert((ChildKind::Deployment, "llama".into()), deployment);
    outcome
}

#[test]
fn what_cannot_start_is_told_once_and_hides_no_replica_that_serves() {
    let mut subject = subject();
    let first = report(&subject, &refused(0));
    assert_eq!((&first.status["state"], first.notices.len()), (&json!("NotReady"), 1));
    assert_eq!((first.notices[0].warning, first.notices[0].reason.as_str()), (true, "PodsNotCreated"));
    let ready = condition(&first, "Ready");
    assert_eq!((&ready["status"], &ready["reason"]), (&json!("False"), &json!("PodsNotCreated")));
    subject.status = first.status;
    let partly = report(&subject, &refused(1));
    assert_eq!((&partly.status["state"], &partly.status["availableReplicas"]), (&json!("Ready"), &json!(1)));
    let message = condition(&partly, "Ready")["message"].as_str().unwrap();
    assert!(
        message.starts_with("1 replica serves; Waiting for deployment") && message.contains("exceeded quota")
    );
    assert_eq!(condition(&partly, "ReplicaFailure")["reason"], "PodsNotCreated");
    assert_eq!(partly.notices[0].reason, "Ready", "what is known is no news");
    subject.status = partly.status;
    let over = report(&subject, &outcome(1));
    let conditions = over.status["conditions"].as_array().unwrap();
    assert!(conditions.iter().all(|one| one["type"] != "ReplicaFailure"), "{conditions:?}");
}

#[test]
fn what_serves_is_told_while_a_change_cannot_be_applied() {
    let mut subject = subject();
    subject.status = report(&subject, &outcome(1)).status;
    let why = Failure::new("NotApplied", "not applied yet: failed calling webhook");
    let away = report(&subject, &Outcome { waits: Some(why.clone()), ..outcome(1) });
    assert_eq!(away.status["state"], "NotReady");
    assert_eq!(condition(&away, "Failed")["status"], "False");
    assert_eq!(condition(&away, "Ready")["message"], why.message.as_str());
    assert_eq!((&away.status["availableReplicas"], away.again), (&json!(1), Again::Backoff));
    assert_eq!(away.status["model"]["clusterEndpoint"], "10.0.0.9:8000");

    let refused = Some(Failure::new("DeploymentFailed", "admission webhook denied the request: no"));
    let refused = report(&subject, &Outcome { failure: refused, ..outcome(1) });
    assert_eq!(
        (&refused.status["state"], &refused.status["availableReplicas"]),
        (&json!("Failed"), &json!(1))
    );
    assert!(condition(&refused, "Failed")["message"].as_str().unwrap().contains("denied the request: no"));
    assert_eq!(refused.status["model"]["clusterEndpoint"], "10.0.0.9:8000");
}

#[test]
fn what_serves_is_told_whatever_becomes_of_the_spec_and_on_whatever_platform_it_was() {
    let mut subject = subject();
    subject.status = report(&subject, &outcome(1)).status;
    for patch in [
        json!({"expose": {"router": {"gateway": {"name": "g", "namespace": "n"}}}}),
        json!({"inferencePlatform": "kserve"}),
        json!({"multiNode": {"parallelism": {"pipeline": 2}}}),
    ] {
        let service = service(patch.clone());
        let rendered = NimServices::render(&service, &subject, &Refs::default(), &ClusterFacts::default());
        let failure = Some(Failure::new("ServiceFailed", "no"));
        let outcome = Outcome { failure, ..outcome(1) };
        let report = NimServices::report(&service, &subject, &Refs::default(), &rendered, &outcome);
        let told = (&report.status["state"], &report.status["availableReplicas"]);
        assert_eq!(told, (&json!("Failed"), &json!(1)), "{patch}");
        assert_eq!(report.status["model"]["clusterEndpoint"], "10.0.0.9:8000", "{patch}");
    }
}
