//! What a NIMService means where it says little.

use serde_json::{Value, json};

use super::platform::InferencePlatform;
use super::{NIMService, NIMServiceSpec};

fn spec(more: &Value) -> NIMServiceSpec {
    let mut spec = json!({ "image": { "repository": "nvcr.io/nim/meta/llama", "tag": "1.8.3" } });
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    serde_json::from_value(spec).unwrap()
}

/// What an API server holds once NVIDIA's operator has written a finalizer: its empty structs, defaulted.
#[test]
fn what_nvidias_operator_stores_means_the_same_as_nothing() {
    let stored = json!({
        "apiVersion": "apps.nvidia.com/v1alpha1", "kind": "NIMService",
        "metadata": { "name": "llama", "namespace": "nim", "finalizers": ["finalizer.nimservice.apps.nvidia.com"] },
        "spec": {
            "image": { "repository": "nvcr.io/nim/meta/llama", "tag": "1.8.3" },
            "expose": { "ingress": { "spec": {} }, "router": {}, "service": { "port": 8000 } },
            "inferencePlatform": "standalone",
            "livenessProbe": {}, "readinessProbe": {}, "startupProbe": {},
            "metrics": { "serviceMonitor": {} },
            "scale": { "hpa": { "maxReplicas": 0, "minReplicas": 1 } },
            "storage": { "nimCache": {}, "pvc": {} },
        },
    });
    let service: NIMService = serde_json::from_value(stored.clone()).unwrap();
    let plain = spec(&json!({}));
    let meaning = |spec: &NIMServiceSpec| {
        (
            spec.platform(),
            (spec.api_port(), spec.grpc_port(), spec.metrics_port()),
            (spec.cache_name().map(str::to_owned), spec.cache_profile().map(str::to_owned)),
            (spec.is_autoscaled(), spec.autoscaler().cloned(), spec.over_nodes().cloned()),
        )
    };
    assert_eq!(meaning(&service.spec), meaning(&plain));
    let probe = service.spec.liveness_probe.as_ref().unwrap();
    assert!(probe.is_enabled() && probe.probe.is_none());
    assert_eq!(serde_json::to_value(&service).unwrap(), stored);
}

#[test]
fn a_service_that_says_nothing_has_the_defaults() {
    let spec = spec(&json!({}));
    assert_eq!(spec.image.reference(), "nvcr.io/nim/meta/llama:1.8.3");
    assert_eq!(spec.platform(), Ok(InferencePlatform::Standalone));
    assert_eq!((spec.api_port(), spec.grpc_port(), spec.metrics_port()), (8000, None, None));
    assert_eq!((spec.user(), spec.group()), (1000, 2000));
    assert_eq!((spec.auth_secret(), spec.cache_name(), spec.cache_profile()), (None, None, None));
    assert!(!spec.is_autoscaled());
}

#[test]
fn what_a_service_says_wins() {
    let spec = spec(&json!({
        "inferencePlatform": "kserve",
        "authSecret": "ngc",
        "expose": { "service": { "port": 9000, "grpcPort": 9001, "metricsPort": 9002 } },
        "storage": { "nimCache": { "name": "llama", "profile": "p" } },
        "scale": { "enabled": true, "hpa": { "maxReplicas": 3 } },
        "userID": 0, "groupID": 5,
    }));
    assert_eq!(spec.platform(), Ok(InferencePlatform::KServe));
    assert_eq!((spec.api_port(), spec.grpc_port(), spec.metrics_port()), (9000, Some(9001), Some(9002)));
    assert_eq!((spec.user(), spec.group()), (0, 5));
    let words = (spec.auth_secret(), spec.cache_name(), spec.cache_profile());
    assert_eq!(words, (Some("ngc"), Some("llama"), Some("p")));
    assert_eq!(spec.autoscaler().map(|hpa| hpa.max_replicas), Some(3));
}

#[test]
fn a_replica_spans_nodes_only_when_it_is_cut_into_a_pipeline() {
    for (parallelism, nodes, gpus) in [
        (json!({}), None, None),
        (json!({ "tensor": 8 }), None, None),
        (json!({ "pipeline": 1, "tensor": 8 }), None, None),
        (json!({ "pipeline": 2 }), Some(2), None),
        (json!({ "pipeline": 2, "tensor": 8 }), Some(2), Some(8)),
    ] {
        let spec = spec(&json!({ "multiNode": { "parallelism": parallelism } }));
        let shape = spec.over_nodes();
        assert_eq!(shape.map(super::MultiNode::nodes), nodes, "{parallelism}");
        assert_eq!(shape.and_then(super::MultiNode::gpus_per_node), gpus, "{parallelism}");
    }
    let spec = spec(&json!({ "multiNode": { "parallelism": {}, "mpi": { "mpiStartTimeout": 30 } } }));
    assert_eq!(spec.multi_node.unwrap().mpi_start_timeout(), 30);
    assert_eq!(super::MultiNode::default().mpi_start_timeout(), 300);
}
