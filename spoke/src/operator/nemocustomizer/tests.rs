//! What NemoCustomizers become.

use serde_json::{Value, json};

use super::*;
use crate::operator::engine::kind::Rendered;
use crate::operator::nemo::Verdict;
use crate::operator::nemo::need::Found;
use crate::operator::nemo::tests::{bodies, child, failure, found, rendered, sample, subject, template};

const LATEST: &str =
    include_str!("../../../../e2e/fixtures/nvidia/nemo/latest/apps_v1alpha1_nemocustomizer.yaml");

const TRAINING: &str = "\
# Settings that are not in the spec.
container_defaults:
  imagePullPolicy: IfNotPresent
image: replaced
careful: yes
";
const TARGETS: &str = "\
overrideExistingTargets: true
targets:
  meta/llama-3.1-8b-instruct@2.0:
    name: llama-3.1-8b-instruct@2.0
    num_parameters: 8000000000
    version: \"2.0\"
";
const TEMPLATES: &str = "templates: {}\n";

fn here(training: &str, models: &[(&str, &str)]) -> Found {
    found(&[
        (Thing::ConfigMap, "nemo-training-config", &[("training", training)]),
        (Thing::ConfigMap, "nemo-model-config", models),
        (Thing::Secret, "customizer-pg-existing-secret", &[("password", "word")]),
        (Thing::Secret, "wandb-secret", &[("apiKey", "k"), ("encryptionKey", "e")]),
        (Thing::Secret, "ngc-api-secret", &[]),
        (Thing::Definition, "jobs.batch.volcano.sh", &[]),
    ])
}

fn complete() -> Found {
    here(TRAINING, &[("customizationTargets", TARGETS), ("customizationConfigTemplates", TEMPLATES)])
}

/// The latest sample, changed at this place of its spec.
fn changed(pointer: &str, field: &str, value: Value) -> NemoCustomizer {
    let mut object: Value = serde_saphyr::from_str(LATEST).unwrap();
    object["spec"].pointer_mut(pointer).unwrap()[field] = value;
    serde_json::from_value(object).unwrap()
}

fn config(rendered: &Rendered<Verdict>) -> Value {
    let text = child(rendered, ChildKind::ConfigMap)["data"]["config.yaml"].as_str().unwrap();
    assert!(text.ends_with('\n') && !text.ends_with("\n\n"), "it ends with one newline");
    serde_saphyr::from_str(text).unwrap()
}

fn config_of(object: &NemoCustomizer) -> Value {
    config(&rendered::<Customizers>(object, &complete()))
}

#[test]
fn nemo_accept_samples_of_the_customizer_become_these_objects() {
    for (release, yaml) in [
        (
            "25.04",
            include_str!("../../../../e2e/fixtures/nvidia/nemo/25.04/apps_v1alpha1_nemocustomizer.yaml"),
        ),
        (
            "25.06",
            include_str!("../../../../e2e/fixtures/nvidia/nemo/25.06/apps_v1alpha1_nemocustomizer.yaml"),
        ),
        ("latest", LATEST),
    ] {
        let rendered = rendered::<Customizers>(&sample::<Customizers>(yaml), &complete());
        assert!(rendered.complete, "{release}");
        insta::assert_json_snapshot!(format!("customizer_{release}"), bodies(&rendered));
    }
}

#[test]
fn nemo_accept_the_configuration_says_what_upstreams_says_in_both_forms() {
    let object = sample::<Customizers>(LATEST);
    let newer = config_of(&object);
    insta::assert_json_snapshot!("configuration", newer);
    assert!(newer.get("models").is_none());
    assert_eq!(newer["customizationTargets"]["targets"]["meta/llama-3.1-8b-instruct@2.0"]["version"], "2.0");
    let older =
        config(&rendered::<Customizers>(&object, &here(TRAINING, &[("models", "a: {enabled: true}\n")])));
    assert_eq!(older["models"], json!({"a": {"enabled": true}}));
    assert!(older.get("customizationTargets").is_none());
    let empty = config(&rendered::<Customizers>(&object, &here(TRAINING, &[("models", "")])));
    assert_eq!(empty.get("models"), Some(&Value::Null));
}

#[test]
fn nemo_b04_training_without_a_config_map_is_what_the_spec_says() {
    let object = changed("/trainingConfig", "configMap", Value::Null);
    let training = &config_of(&object)["training"];
    assert_eq!(training["image"], "nvcr.io/nvidia/nemo-microservices/customizer:25.08");
    assert!(training.get("container_defaults").is_none());
}

#[test]
fn nemo_b07_changed_models_and_passwords_replace_the_pods() {
    let object = sample::<Customizers>(LATEST);
    let annotations =
        |here: &Found| template(&rendered::<Customizers>(&object, here))["metadata"]["annotations"].clone();
    let base = annotations(&complete());
    let models = annotations(&here(TRAINING, &[("models", "a: {}\n")]));
    assert_ne!(models[CONFIG_HASH], base[CONFIG_HASH]);
    let training = annotations(&here(
        "other: 1\n",
        &[("customizationTargets", TARGETS), ("customizationConfigTemplates", TEMPLATES)],
    ));
    assert_ne!(training[CONFIG_HASH], base[CONFIG_HASH]);
    let mut rotated = complete();
    for (reference, content) in &mut rotated.contents {
        if reference.name == "customizer-pg-existing-secret" {
            content.data.insert("password".into(), b"other".to_vec());
        }
    }
    assert_ne!(annotations(&rotated), base);
    assert_eq!(annotations(&complete()), base);
}

#[test]
fn nemo_b08_the_team_at_weights_and_biases_reaches_the_configuration() {
    assert_eq!(config_of(&sample::<Customizers>(LATEST))["wandb"]["entity"], "null");
    assert_eq!(config_of(&changed("/wandb", "entity", json!("our-team")))["wandb"]["entity"], "our-team");
}

#[test]
fn nemo_b09_jobs_are_pulled_as_their_own_images_say() {
    let of = |object: &NemoCustomizer| {
        let config = config_of(object);
        let pulled = |job: &Value| (job["imagePullPolicy"].clone(), job["imagePullSecrets"].clone());
        (pulled(&config["model_download_jobs"]), pulled(&config["training"]))
    };
    let (downloads, training) = of(&sample::<Customizers>(LATEST));
    let usual = (json!("IfNotPresent"), json!([{"name": "ngc-secret"}]));
    assert_eq!((&downloads, &training), (&usual, &usual));
    let (downloads, _) = of(&changed("/modelDownloadJobs", "imagePullPolicy", json!("Always")));
    assert_eq!(downloads.0, "Always");
    let object = changed("/trainingConfig/image", "pullPolicy", json!("Never"));
    assert_eq!(of(&object).1.0, "Never");
    let object = changed("/trainingConfig/image", "pullSecrets", json!(["own"]));
    assert_eq!(of(&object).1.1, json!([{"name": "own"}]));
}

#[test]
fn nemo_accept_the_scheduler_decides_what_the_customizer_may_do_and_needs() {
    let groups = |object: &NemoCustomizer| -> Vec<String> {
        Customizers::rules(object, &Settings::default())
            .into_iter()
            .flat_map(|rule| rule.api_groups.unwrap_or_default())
            .collect()
    };
    let volcano = sample::<Customizers>(LATEST);
    let runai = changed("/scheduler", "type", json!("runai"));
    assert!(groups(&volcano).contains(&"batch.volcano.sh".to_owned()));
    assert!(!groups(&volcano).contains(&"run.ai".to_owned()));
    assert!(groups(&runai).contains(&"run.ai".to_owned()));
    assert!(!groups(&runai).contains(&"batch.volcano.sh".to_owned()));
    assert_eq!(config_of(&runai)["training"]["use_run_ai_executor"], true);
    let missing = complete().missing(&Customizers::needs(&runai, &subject::<Customizers>("sample")));
    let scheduler = "CustomResourceDefinition trainingworkloads.run.ai (spec.scheduler.type)".to_owned();
    assert!(missing.contains(&scheduler), "{missing:?}");
}

#[test]
fn nemo_accept_a_customizers_configuration_that_cannot_be_made_says_why() {
    let object = sample::<Customizers>(LATEST);
    for (here, reason, words) in [
        (Found::default(), "ConfigMapNotFound", "nemo-training-config"),
        (
            here(TRAINING, &[("models", "- a\n")]),
            "ConfigMapInvalid",
            "key models of ConfigMap nemo-model-config",
        ),
        (here("a: [", &[]), "ConfigMapInvalid", "key training of ConfigMap nemo-training-config"),
        (
            found(&[
                (Thing::ConfigMap, "nemo-training-config", &[("other", "")]),
                (Thing::ConfigMap, "nemo-model-config", &[]),
            ]),
            "ConfigMapKeyNotFound",
            "has no key training",
        ),
    ] {
        let rendered = rendered::<Customizers>(&object, &here);
        let why = failure(&rendered);
        assert_eq!(why.reason, reason, "{}", why.message);
        assert!(why.message.contains(words), "{}", why.message);
    }
}

#[test]
fn the_memory_that_processes_share_has_the_size_that_is_asked_for() {
    let object = changed("/trainingConfig", "sharedMemorySizeLimit", json!("8Gi"));
    let volumes = &config_of(&object)["training"]["volumes"];
    assert_eq!(volumes[1], json!({"name": "dshm", "emptyDir": {"medium": "Memory", "sizeLimit": "8Gi"}}));
}
