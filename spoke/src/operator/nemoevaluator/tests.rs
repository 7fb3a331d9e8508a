//! What NemoEvaluators become.

use serde_json::json;

use super::*;
use crate::operator::nemo::need::Found;
use crate::operator::nemo::tests::{bodies, failure, found, rendered, sample, subject, variable};

const LATEST: &str =
    include_str!("../../../../e2e/fixtures/nvidia/nemo/latest/apps_v1alpha1_nemoevaluator.yaml");

fn with_password() -> Found {
    found(&[(Thing::Secret, "evaluator-pg-existing-secret", &[("password", "word")])])
}

#[test]
fn nemo_accept_samples_of_the_evaluator_become_these_objects() {
    for (release, yaml) in [
        (
            "25.04",
            include_str!("../../../../e2e/fixtures/nvidia/nemo/25.04/apps_v1alpha1_nemoevaluator.yaml"),
        ),
        (
            "25.06",
            include_str!("../../../../e2e/fixtures/nvidia/nemo/25.06/apps_v1alpha1_nemoevaluator.yaml"),
        ),
        ("latest", LATEST),
    ] {
        let rendered = rendered::<Evaluators>(&sample::<Evaluators>(yaml), &with_password());
        assert!(rendered.complete, "{release}");
        insta::assert_json_snapshot!(format!("evaluator_{release}"), bodies(&rendered));
    }
}

#[test]
fn without_the_password_the_evaluator_waits_and_says_so() {
    let rendered = rendered::<Evaluators>(&sample::<Evaluators>(LATEST), &Found::default());
    assert_eq!(failure(&rendered).reason, "SecretNotFound");
}

#[test]
fn validation_is_on_unless_it_is_switched_off() {
    let mut object = sample::<Evaluators>(LATEST);
    let value = |object: &NemoEvaluator| {
        variable(&rendered::<Evaluators>(object, &with_password()), "EVAL_ENABLE_VALIDATION").cloned()
    };
    let on = json!({"name": "EVAL_ENABLE_VALIDATION", "value": "True"});
    for (said, expected) in [(None, Some(on.clone())), (Some(true), Some(on)), (Some(false), None)] {
        object.spec.enable_validation = said;
        assert_eq!(value(&object), expected, "{said:?}");
    }
}

#[test]
fn nemo_accept_an_evaluators_dependencies_are_named_when_they_are_missing() {
    let object = sample::<Evaluators>(LATEST);
    let missing = with_password().missing(&Evaluators::needs(&object, &subject::<Evaluators>("sample")));
    let expected = [
        "Service evaluator-pg-postgresql (spec.databaseConfig.host)",
        "Service argo-workflows-server (spec.argoWorkflows.endpoint)",
        "Service milvus (spec.vectorDB.endpoint)",
        "Service nemodatastore-sample (spec.datastore.endpoint)",
        "Service nemoentitystore-sample (spec.entitystore.endpoint)",
        "ServiceAccount argo-workflows-executor (spec.argoWorkflows.serviceAccount)",
        "Service evaluator-otel-opentelemetry-collector (spec.otel.exporterOtlpEndpoint)",
    ];
    assert_eq!(missing, expected);
}
