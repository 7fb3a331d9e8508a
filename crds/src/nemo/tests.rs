//! What NeMo objects mean where they say little.

use serde_json::{Value, json};

use super::{
    ConfigStore, Microservice, NIMEndpoint, NemoCustomizerSpec, NemoEvaluatorSpec, NemoGuardrail, OTel,
    ObjectStoreConfig, WandB, WorkspacePVC,
};

fn read<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

/// What an API server holds once NVIDIA's operator has written a finalizer: its empty structs, defaulted.
#[test]
fn empty_stanzas_that_the_go_operator_stored_in_a_nemo_object_ask_for_nothing() {
    let stored = json!({
        "apiVersion": "apps.nvidia.com/v1alpha1", "kind": "NemoGuardrail",
        "metadata": { "name": "rails", "namespace": "nemo", "finalizers": ["finalizer.NemoGuardrail.apps.nvidia.com"] },
        "spec": {
            "image": { "repository": "nvcr.io/nvidia/nemo-microservices/guardrails", "tag": "25.10" },
            "expose": { "ingress": {}, "router": {}, "service": { "port": 8000 } },
            "metrics": { "serviceMonitor": {} },
            "scale": { "hpa": { "maxReplicas": 0, "minReplicas": 1 } },
            "configStore": {},
        },
    });
    let rails: NemoGuardrail = read(stored.clone());
    let spec = &rails.spec.service;
    assert_eq!(spec.image.reference(), "nvcr.io/nvidia/nemo-microservices/guardrails:25.10");
    assert_eq!((spec.api_port(), spec.user(), spec.group()), (8000, 1000, 2000));
    assert!(!spec.is_autoscaled() && spec.autoscaler().is_none());
    assert_eq!(rails.spec.config_store, Some(ConfigStore::default()));
    assert_eq!(serde_json::to_value(&rails).unwrap(), stored);
}

#[test]
fn a_microservice_that_says_nothing_has_the_defaults() {
    let spec: Microservice = read(json!({ "image": { "repository": "r", "tag": "t" } }));
    assert_eq!((spec.api_port(), spec.user(), spec.group()), (8000, 1000, 2000));
    let spec: Microservice = read(json!({
        "image": { "repository": "r", "tag": "t" }, "userID": 0, "groupID": 5,
        "expose": { "service": { "port": 9000 } }, "scale": { "enabled": true, "hpa": { "maxReplicas": 3 } },
    }));
    assert_eq!((spec.api_port(), spec.user(), spec.group()), (9000, 0, 5));
    assert_eq!(spec.autoscaler().map(|hpa| hpa.max_replicas), Some(3));
}

#[test]
fn telemetry_that_says_nothing_goes_to_the_collector_but_for_health() {
    for said in [json!({}), json!({ "exporterConfig": {}, "logLevel": "" })] {
        let otel: OTel = read(said);
        let exporters = [otel.traces_exporter(), otel.metrics_exporter(), otel.logs_exporter()];
        assert_eq!(exporters, ["otlp"; 3]);
        assert_eq!((otel.log_level(), otel.excluded_urls()), ("INFO", vec!["health"]));
        assert!(!otel.is_enabled() && otel.is_logging());
    }
    let otel: OTel = read(json!({
        "enabled": true, "disableLogging": true, "excludedUrls": [], "logLevel": "DEBUG",
        "exporterConfig": { "logsExporter": "none" },
    }));
    assert_eq!((otel.traces_exporter(), otel.logs_exporter(), otel.log_level()), ("otlp", "none", "DEBUG"));
    assert!(otel.excluded_urls().is_empty() && otel.is_enabled() && !otel.is_logging());
}

#[test]
fn words_that_are_absent_or_empty_are_upstreams_defaults() {
    let evaluator = NemoEvaluatorSpec { eval_log_level: Some(String::new()), ..NemoEvaluatorSpec::default() };
    let words = (evaluator.eval_log_level(), evaluator.console_log_level(), evaluator.log_handlers());
    assert_eq!(words, ("INFO", "INFO", "console"));
    assert!(evaluator.is_validating());
    assert!(!NemoCustomizerSpec::default().is_placed_by_runai());
    let wandb = WandB::default();
    let words = (wandb.encryption_key(), wandb.entity(), wandb.project_name());
    assert_eq!(words, ("encryptionKey", "null", "nvidia-nemo-customizer"));
    assert_eq!(WorkspacePVC::default().mount_path(), "/pvc/workspace");
    assert!(ObjectStoreConfig::default().serve_direct());
    let endpoint = NIMEndpoint { api_key_secret: Some(String::new()), ..NIMEndpoint::default() };
    assert_eq!(endpoint.api_key(), None);
    let endpoint = NIMEndpoint { api_key_secret: Some("ngc".to_owned()), ..NIMEndpoint::default() };
    assert_eq!(endpoint.api_key(), Some(("ngc", "NIM_ENDPOINT_API_KEY")));
}
