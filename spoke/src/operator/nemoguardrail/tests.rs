//! What NemoGuardrails become.

use serde_json::{Value, json};

use super::*;
use crate::operator::cluster::ClusterFacts;
use crate::operator::engine::child::ChildKind;
use crate::operator::engine::kind::Rendered;
use crate::operator::nemo::Verdict;
use crate::operator::nemo::need::Found;
use crate::operator::nemo::tests::{bodies, child, found, rendered, sample, template, variable};
use crate::operator::{Settings, WAIT_FOR_POSTGRES_IMAGE};

fn guardrail(spec: &Value) -> NemoGuardrail {
    let mut whole = json!({"image": {"repository": "guardrails", "tag": "25.10"}});
    for (key, value) in spec.as_object().cloned().unwrap_or_default() {
        whole[key] = value;
    }
    serde_json::from_value(json!({
        "apiVersion": "apps.nvidia.com/v1alpha1", "kind": "NemoGuardrail", "metadata": {"name": "sample"}, "spec": whole,
    }))
    .unwrap()
}

fn of(spec: &Value, here: &Found) -> Rendered<Verdict> {
    rendered::<Guardrails>(&guardrail(spec), here)
}

#[test]
fn nemo_accept_samples_of_guardrails_become_these_objects() {
    for (release, yaml) in [
        (
            "25.04",
            include_str!("../../../../e2e/fixtures/nvidia/nemo/25.04/apps_v1alpha1_nemoguardrails.yaml"),
        ),
        (
            "25.06",
            include_str!("../../../../e2e/fixtures/nvidia/nemo/25.06/apps_v1alpha1_nemoguardrails.yaml"),
        ),
        (
            "latest",
            include_str!("../../../../e2e/fixtures/nvidia/nemo/latest/apps_v1alpha1_nemoguardrails.yaml"),
        ),
    ] {
        let here = found(&[(Thing::Secret, "guardrail-pg-existing-secret", &[("password", "word")])]);
        let rendered = rendered::<Guardrails>(&sample::<Guardrails>(yaml), &here);
        assert!(rendered.complete, "{release}");
        insta::assert_json_snapshot!(format!("guardrails_{release}"), bodies(&rendered));
    }
}

#[test]
fn nemo_b04_rails_without_a_store_are_served_from_an_empty_one() {
    let rendered = of(&json!({}), &Found::default());
    let pod = &template(&rendered)["spec"];
    assert_eq!(pod["volumes"], json!([{"name": "config-store", "emptyDir": {}}]));
    assert_eq!(
        pod["containers"][0]["volumeMounts"][0],
        json!({"name": "config-store", "mountPath": "/config-store"})
    );
}

#[test]
fn nemo_b07_changed_rails_replace_the_pods() {
    let spec = json!({"configStore": {"configMap": {"name": "rails"}}});
    let checksum = |text: &str| {
        let here = found(&[(Thing::ConfigMap, "rails", &[("config.yml", text)])]);
        template(&of(&spec, &here))["metadata"]["annotations"]["nimfleet.io/config-checksum"].clone()
    };
    assert!(checksum("one").is_string());
    assert_ne!(checksum("one"), checksum("other"));
}

#[test]
fn nemo_b10_a_claim_without_a_name_is_the_one_that_is_made() {
    let claim = json!({"create": true, "size": "1Gi", "volumeAccessMode": "ReadWriteOnce"});
    let rendered = of(&json!({"configStore": {"pvc": claim}}), &Found::default());
    assert_eq!(child(&rendered, ChildKind::PersistentVolumeClaim)["metadata"]["name"], "sample-pvc");
    let pod = &template(&rendered)["spec"];
    assert_eq!(pod["volumes"][0]["persistentVolumeClaim"]["claimName"], "sample-pvc");
    assert_eq!(pod["containers"][0]["volumeMounts"][0]["subPath"], "guardrails-config-store");
}

#[test]
fn nemo_b22_the_image_that_waits_for_the_database_can_be_another() {
    let database =
        json!({"host": "pg", "databaseName": "d", "credentials": {"user": "u", "secretName": "pg"}});
    let object = guardrail(&json!({"databaseConfig": database}));
    let here = found(&[(Thing::Secret, "pg", &[("password", "word")])]);
    let mut subject = crate::operator::nemo::tests::subject::<Guardrails>("sample");
    let image = |subject: &Subject, facts: &ClusterFacts| {
        let scene = Scene::<Guardrails> { subject, object: &object, found: &here, facts };
        Guardrails::plan(&scene).unwrap().init[0].image.clone().unwrap()
    };
    let pinned = ClusterFacts::default();
    assert_eq!(image(&subject, &pinned), WAIT_FOR_POSTGRES_IMAGE);
    assert!(
        WAIT_FOR_POSTGRES_IMAGE.rsplit_once(':').is_some_and(|(_, tag)| tag != "latest"),
        "no tag that moves"
    );
    let mirror = "registry.example/busybox:1.37".to_owned();
    let facts = ClusterFacts {
        settings: Settings { wait_for_postgres_image: mirror.clone(), ..Settings::default() },
        ..ClusterFacts::default()
    };
    assert_eq!(image(&subject, &facts), mirror);
    // Whoever writes the object does not choose the image.
    subject.annotations.insert("nimfleet.io/wait-for-postgres-image".into(), "evil.example/miner:1".into());
    assert_eq!(image(&subject, &facts), mirror);
}

#[test]
fn nemo_b23_what_a_variable_refers_to_is_there_before_it() {
    let rendered = of(&json!({"otel": {"enabled": true}}), &Found::default());
    let env = template(&rendered)["spec"]["containers"][0]["env"].as_array().unwrap();
    let at = |name: &str| env.iter().position(|var| var["name"] == name).unwrap();
    assert!(at("NAMESPACE") < at("OTEL_RESOURCE_ATTRIBUTES"));
    assert_eq!(env[at("OTEL_RESOURCE_ATTRIBUTES")]["value"], "deployment.environment=$(NAMESPACE)");
}

#[test]
fn nemo_b27_exporters_that_are_not_named_are_the_collectors_from_the_first_pod_on() {
    let rendered = of(&json!({"otel": {"enabled": true}}), &Found::default());
    for (name, value) in [
        ("OTEL_TRACES_EXPORTER", "otlp"),
        ("OTEL_METRICS_EXPORTER", "otlp"),
        ("OTEL_LOGS_EXPORTER", "otlp"),
        ("OTEL_LOG_LEVEL", "INFO"),
        ("OTEL_PYTHON_EXCLUDED_URLS", "health"),
        ("OTEL_PYTHON_LOGGING_AUTO_INSTRUMENTATION_ENABLED", "true"),
    ] {
        assert_eq!(variable(&rendered, name).unwrap()["value"], value, "{name}");
    }
    let off = of(&json!({"otel": {"enabled": false}}), &Found::default());
    assert_eq!(variable(&off, "OTEL_SDK_DISABLED").unwrap()["value"], "true");
    assert!(variable(&off, "OTEL_TRACES_EXPORTER").is_none());
}

#[test]
fn what_the_user_sets_is_set_and_comes_first() {
    let env = json!([{"name": "DEMO", "value": "True"}]);
    let rendered = of(&json!({"env": env}), &Found::default());
    let all = template(&rendered)["spec"]["containers"][0]["env"].as_array().unwrap();
    assert_eq!(all[0], json!({"name": "DEMO", "value": "True"}));
    assert_eq!(all.iter().filter(|var| var["name"] == "DEMO").count(), 1);
}
