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
            "capacity": {
                "cpu": "8", "nvidia.com/gpu": "8", "nvidia.com/mig-1g.10gb": "0", "nvidia.com/pgpu": "2",
            },
            "allocatable": {"cpu": "7500m", "memory": "1024000000Ki", "nvidia.com/gpu": "7"},
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
    assert_eq!((gpus.capacity["nvidia.com/gpu"], gpus.allocatable.gpus["nvidia.com/gpu"]), (8, 7));
    assert_eq!((gpus.allocatable.millicores, gpus.allocatable.memory_mib), (7500, 1_000_000));
    assert_eq!(gpus.memory_mib["nvidia.com/gpu"], 81559);
    let resources: Vec<_> = gpus.capacity.keys().map(String::as_str).collect();
    assert_eq!(resources, ["nvidia.com/gpu", "nvidia.com/mig-1g.10gb", "nvidia.com/pgpu"]);
    let place = node.whereabouts();
    assert_eq!(
        (place.region.as_str(), place.zone.as_str(), place.provider.as_str()),
        ("eu-west-1", "", "aws")
    );
}

#[test]
fn only_a_node_that_takes_pods_is_usable_and_lasting_taints_are_told() {
    let taint = |key: &str, effect: &str| json!({"taints": [{"key": key, "effect": effect, "value": "x"}]});
    let table = [
        ("plain", json!({}), "True", true, None),
        ("not ready", json!({}), "False", false, None),
        ("unknown", json!({}), "Unknown", false, None),
        ("cordoned", json!({"unschedulable": true}), "True", false, None),
        (
            "of the node's state",
            taint("node.kubernetes.io/memory-pressure", "NoSchedule"),
            "True",
            false,
            None,
        ),
        ("about to go", taint("karpenter.sh/disrupted", "NoSchedule"), "True", false, None),
        ("foreign NoSchedule", taint("team", "NoSchedule"), "True", true, Some("team=x:NoSchedule")),
        ("foreign NoExecute", taint("team", "NoExecute"), "True", true, Some("team=x:NoExecute")),
        ("preference", taint("team", "PreferNoSchedule"), "True", true, None),
        (
            "the GPU taint",
            taint("nvidia.com/gpu", "NoSchedule"),
            "True",
            true,
            Some("nvidia.com/gpu=x:NoSchedule"),
        ),
    ];
    for (case, spec, ready, usable, told) in table {
        let node = node(&spec, ready);
        assert_eq!(node.gpus().usable, usable, "{case}");
        let taints: Vec<_> = node.ground().taints.iter().map(ToString::to_string).collect();
        assert_eq!(taints, told.into_iter().collect::<Vec<_>>(), "{case}");
    }
}

#[test]
fn a_cloud_says_the_product_where_gpu_feature_discovery_does_not() {
    let gke =
        labelled(&json!({"cloud.google.com/gke-accelerator": "nvidia-l4"}), &json!({"nvidia.com/gpu": "1"}));
    assert_eq!(gke.product.as_deref(), Some("NVIDIA-L4"));
    assert_eq!(gke.memory_mib["nvidia.com/gpu"], 22_731);
    let silent =
        labelled(&json!({"kubernetes.azure.com/accelerator": "nvidia"}), &json!({"nvidia.com/gpu": "1"}));
    assert_eq!((silent.product, silent.memory_mib.len()), (None, 0));
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
    let held = |pod: SlimPod| pod.bound().map(|held| held.requests.gpus["nvidia.com/gpu"]);
    assert_eq!(held(pod(Some("n1"), "Running", "2")), Some(3));
    assert_eq!(held(pod(Some("n1"), "Pending", "2")), Some(3));
    assert_eq!(held(pod(Some("n1"), "Succeeded", "2")), None);
    assert_eq!(held(pod(Some("n1"), "Failed", "2")), None);
    assert_eq!(held(pod(Some(""), "Pending", "2")), None);
}

#[test]
fn a_pod_that_asks_for_nothing_is_not_kept() {
    let pod = |requests: Value| -> SlimPod {
        serde_json::from_value(json!({
            "metadata": {"name": "p", "namespace": "models"},
            "spec": {"nodeName": "n1", "overhead": {"cpu": "250m"}, "containers": [{"name": "c", "resources": {"requests": requests}}]},
            "status": {"phase": "Running"},
        }))
        .unwrap()
    };
    let held = pod(json!({"cpu": "1500m", "memory": "1Gi"})).bound().unwrap();
    assert_eq!((held.requests.millicores, held.requests.memory_mib), (1750, 1024));
    let idle: SlimPod = serde_json::from_value(json!({
        "metadata": {"name": "p"},
        "spec": {"nodeName": "n1", "containers": [{"name": "c"}]},
        "status": {"phase": "Running"},
    }))
    .unwrap();
    assert_eq!(idle.bound(), None);
}

#[test]
fn a_pod_of_a_nim_object_says_whose_it_is() {
    let labelled = |labels: Value| -> SlimPod {
        serde_json::from_value(json!({
            "metadata": {"name": "llm-0", "namespace": "models", "labels": labels},
            "spec": {"nodeName": "n1", "containers": [{"name": "c", "resources": {"requests": {"nvidia.com/gpu": "1"}}}]},
        }))
        .unwrap()
    };
    let made_by =
        |manager: &str| json!({"app.kubernetes.io/managed-by": manager, "app.kubernetes.io/instance": "llm"});
    // A worker that NVIDIA's operator made, as LeaderWorkerSet labels it.
    let worker = json!({
        "leaderworkerset.sigs.k8s.io/name": "llm-lws", "leaderworkerset.sigs.k8s.io/group-index": "0",
        "leaderworkerset.sigs.k8s.io/worker-index": "1",
    });
    for labels in [made_by("k8s-nim-operator"), worker] {
        let of = labelled(labels.clone()).bound().unwrap().of;
        assert_eq!(of, Some(("models".to_owned(), "llm".to_owned())), "{labels}");
    }
    for labels in [made_by("somebody"), json!({"leaderworkerset.sigs.k8s.io/name": "batch"})] {
        assert_eq!(labelled(labels.clone()).bound().unwrap().of, None, "{labels}");
    }
}

/// A node with these labels and this capacity, all of it allocatable.
fn labelled(labels: &Value, capacity: &Value) -> GpuNode {
    let node: SlimNode = serde_json::from_value(json!({
        "metadata": {"name": "n1", "labels": labels},
        "status": {"capacity": capacity, "allocatable": capacity, "conditions": [{"type": "Ready", "status": "True"}]},
    }))
    .unwrap();
    node.gpus()
}

#[test]
fn counts_are_quantities() {
    for (count, expected) in [("8", 8), ("20k", 20_000), ("1e3", 1000), ("16000m", 16)] {
        assert_eq!(
            labelled(&json!({}), &json!({"nvidia.com/gpu": count})).capacity["nvidia.com/gpu"],
            expected
        );
    }
}

#[test]
fn mig_of_both_strategies_comes_out_right() {
    let single = json!({
        "nvidia.com/mig.strategy": "single", "nvidia.com/gpu.product": "NVIDIA-A100-SXM4-40GB-MIG-1g.5gb",
        "nvidia.com/gpu.memory": "4864", "nvidia.com/gpu.replicas": "1",
    });
    let node = labelled(&single, &json!({"nvidia.com/gpu": "56"}));
    assert_eq!(node.sharing["nvidia.com/gpu"], Sharing::Mig);
    assert_eq!((node.capacity["nvidia.com/gpu"], node.memory_mib["nvidia.com/gpu"]), (56, 4864));
    let mixed = json!({
        "nvidia.com/mig.strategy": "mixed", "nvidia.com/gpu.product": "NVIDIA-A100-SXM4-40GB",
        "nvidia.com/gpu.memory": "40536", "nvidia.com/mig-1g.5gb.memory": "4864", "nvidia.com/mig-3g.20gb.memory": "19968",
    });
    let node = labelled(
        &mixed,
        &json!({"nvidia.com/gpu": "7", "nvidia.com/mig-1g.5gb": "2", "nvidia.com/mig-3g.20gb": "1"}),
    );
    assert!(node.sharing.is_empty(), "{:?}", node.sharing);
    assert_eq!(node.memory_mib["nvidia.com/gpu"], 40_536);
    assert_eq!((node.capacity["nvidia.com/mig-1g.5gb"], node.memory_mib["nvidia.com/mig-1g.5gb"]), (2, 4864));
    assert_eq!(
        (node.capacity["nvidia.com/mig-3g.20gb"], node.memory_mib["nvidia.com/mig-3g.20gb"]),
        (1, 19_968)
    );
}

#[test]
fn shared_gpus_are_told_from_whole_ones() {
    for (labels, resource, expected) in [
        (json!({}), "nvidia.com/gpu", None),
        (json!({"nvidia.com/gpu.replicas": "1"}), "nvidia.com/gpu", None),
        (json!({"nvidia.com/gpu.sharing-strategy": "none"}), "nvidia.com/gpu", None),
        (json!({"nvidia.com/gpu.replicas": "4"}), "nvidia.com/gpu", Some(Sharing::TimeSlicing)),
        (
            json!({"nvidia.com/gpu.replicas": "4", "nvidia.com/gpu.sharing-strategy": "time-slicing"}),
            "nvidia.com/gpu.shared",
            Some(Sharing::TimeSlicing),
        ),
        (json!({}), "nvidia.com/gpu.shared", Some(Sharing::TimeSlicing)),
        (
            json!({"nvidia.com/gpu.replicas": "4", "nvidia.com/gpu.sharing-strategy": "mps"}),
            "nvidia.com/gpu",
            Some(Sharing::Mps),
        ),
        (
            json!({"nvidia.com/mig-1g.5gb.replicas": "2", "nvidia.com/gpu.sharing-strategy": "time-slicing"}),
            "nvidia.com/mig-1g.5gb",
            Some(Sharing::TimeSlicing),
        ),
    ] {
        let node = labelled(&labels, &json!({resource: "8"}));
        assert_eq!(node.sharing.get(resource).copied(), expected, "{labels} {resource}");
    }
}

#[test]
fn the_driver_is_read_from_new_and_old_labels() {
    for (labels, expected) in [
        (json!({"nvidia.com/cuda.driver-version.full": "570.86.15"}), Some(vec![570, 86, 15])),
        (
            json!({"nvidia.com/cuda.driver-version.major": "570", "nvidia.com/cuda.driver-version.minor": "86"}),
            Some(vec![570, 86]),
        ),
        (
            json!({"nvidia.com/cuda.driver.major": "535", "nvidia.com/cuda.driver.minor": "104", "nvidia.com/cuda.driver.rev": "05"}),
            Some(vec![535, 104, 5]),
        ),
        (json!({}), None),
    ] {
        assert_eq!(labelled(&labels, &json!({"nvidia.com/gpu": "1"})).driver, expected, "{labels}");
    }
}
