//! Nodes and pods as the API server writes them.

use serde_json::{Value, json};

use super::*;

fn node(spec: &Value, ready: &str) -> SlimNode {
    serde_json::from_value(json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": "n1",
            "labels": {
                "nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3",
                "nvidia.com/gpu.memory": "81559",
                "topology.kubernetes.io/region": "eu-west-1",
            },
        },
        "spec": spec,
        "status": {
            "capacity": {"cpu": "8", "nvidia.com/gpu": "8", "nvidia.com/mig-1g.10gb": "0"},
            "allocatable": {"cpu": "8", "nvidia.com/gpu": "7"},
            "conditions": [{"type": "MemoryPressure", "status": "False"}, {"type": "Ready", "status": ready}],
            "images": [{"names": ["x"], "sizeBytes": 5}],
        },
    }))
    .unwrap()
}

#[test]
fn a_node_tells_its_gpus_and_place() {
    let node = node(&json!({"providerID": "aws:///eu-west-1a/i-0"}), "True");
    let gpus = node.gpus();
    assert_eq!(gpus.product.as_deref(), Some("NVIDIA-H100-80GB-HBM3"));
    assert_eq!((gpus.capacity["nvidia.com/gpu"], gpus.allocatable["nvidia.com/gpu"]), (8, 7));
    assert_eq!(gpus.memory_mib["nvidia.com/gpu"], 81559);
    assert!(!gpus.capacity.contains_key("cpu"));
    let place = node.whereabouts();
    assert_eq!(
        (place.region.as_str(), place.zone.as_str(), place.provider.as_str()),
        ("eu-west-1", "", "aws")
    );
}

#[test]
fn only_a_node_that_takes_gpu_pods_is_usable() {
    let taint = |key: &str, effect: &str| json!({"taints": [{"key": key, "effect": effect, "value": "x"}]});
    let table = [
        ("plain", json!({}), "True", true),
        ("not ready", json!({}), "False", false),
        ("unknown", json!({}), "Unknown", false),
        ("cordoned", json!({"unschedulable": true}), "True", false),
        ("foreign NoSchedule", taint("team", "NoSchedule"), "True", false),
        ("foreign NoExecute", taint("team", "NoExecute"), "True", false),
        ("preference", taint("team", "PreferNoSchedule"), "True", true),
        ("the GPU taint", taint("nvidia.com/gpu", "NoSchedule"), "True", true),
    ];
    for (case, spec, ready, usable) in table {
        assert_eq!(node(&spec, ready).gpus().usable, usable, "{case}");
    }
}

fn pod(node: Option<&str>, phase: &str, gpus: &str) -> SlimPod {
    serde_json::from_value(json!({
        "metadata": {"name": "p", "namespace": "models"},
        "spec": {
            "nodeName": node,
            "containers": [{"name": "c", "resources": {"requests": {"cpu": "2", "nvidia.com/gpu": gpus}}}],
            "initContainers": [{"name": "i"}, {
                "name": "s", "restartPolicy": "Always", "resources": {"requests": {"nvidia.com/gpu": "1"}},
            }],
        },
        "status": {"phase": phase},
    }))
    .unwrap()
}

#[test]
fn a_bound_pod_holds_gpus_until_it_has_finished() {
    let held = |pod: SlimPod| pod.gpus().map(|held| held.requests["nvidia.com/gpu"]);
    assert_eq!(held(pod(Some("n1"), "Running", "2")), Some(3));
    assert_eq!(held(pod(Some("n1"), "Pending", "2")), Some(3));
    assert_eq!(held(pod(Some("n1"), "Succeeded", "2")), None);
    assert_eq!(held(pod(Some("n1"), "Failed", "2")), None);
    assert_eq!(held(pod(Some(""), "Pending", "2")), None);
}

#[test]
fn a_pod_without_gpus_is_not_kept() {
    let pod: SlimPod = serde_json::from_value(json!({
        "metadata": {"name": "p"},
        "spec": {"nodeName": "n1", "containers": [{"name": "c", "resources": {"requests": {"cpu": "2"}}}]},
        "status": {"phase": "Running"},
    }))
    .unwrap();
    assert_eq!(pod.gpus(), None);
}
