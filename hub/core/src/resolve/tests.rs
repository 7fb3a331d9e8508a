//! What clusters are sent.

use crds::fleet::ClusterOverride;
use serde_json::{Value, json};

use super::*;

fn placement() -> PlacementKey {
    PlacementKey { namespace: "nim".into(), name: "chat".into() }
}

fn cluster(name: &str, labels: Value) -> Cluster {
    let mut cluster = Cluster::new(name.parse().unwrap());
    cluster.labels = serde_json::from_value(labels).unwrap();
    cluster
}

fn stored() -> Value {
    json!({
        "apiVersion": "apps.nvidia.com/v1alpha1", "kind": "NIMService",
        "metadata": {
            "name": "llm", "namespace": "nim", "uid": "u1", "resourceVersion": "7", "generation": 3,
            "labels": {"team": "chat", "nimfleet.io/placement": "chat"},
            "annotations": {
                "kubectl.kubernetes.io/last-applied-configuration": "{}", "note": "keep",
                "nimfleet.io/retry": "now", "nimfleet.io/rebalance": "now"
            },
            "finalizers": ["nimfleet.io/fleet"], "managedFields": [{}]
        },
        "spec": {"image": {"tag": "1.0", "repository": "nim"}, "unknownField": {"b": 1, "a": null}, "replicas": 4},
        "status": {"state": "Ready"}
    })
}

fn overrides(all: Value) -> Vec<Override> {
    read(&placement(), &serde_json::from_value::<Vec<ClusterOverride>>(all).unwrap()).unwrap()
}

fn resolved(replicas: Option<u32>, all: Value) -> Result<Value, ResolveError> {
    let east = cluster("east", json!({"tier": "gold"}));
    let payload = resolve(&placement(), &stored(), &east, replicas, &overrides(all))?;
    Ok(serde_json::from_slice(&payload.bytes).unwrap())
}

#[test]
fn only_what_is_the_users_travels() {
    assert_eq!(
        resolved(None, json!([])).unwrap(),
        json!({
            "apiVersion": "apps.nvidia.com/v1alpha1", "kind": "NIMService",
            "metadata": {"name": "llm", "namespace": "nim", "labels": {"team": "chat"},
                "annotations": {"note": "keep", "nimfleet.io/retry": "now"}},
            "spec": stored()["spec"]
        })
    );
}

#[test]
fn marks_of_gitops_tools_stay_on_the_hub_and_change_no_hash() {
    let east = cluster("east", json!({}));
    let payload = |labels: Value, annotations: Value| {
        let mut object = stored();
        object["metadata"]["labels"] = labels;
        object["metadata"]["annotations"] = annotations;
        resolve(&placement(), &object, &east, None, &[]).unwrap()
    };
    let plain = payload(json!({"team": "search"}), json!({"cost-center": "7"}));
    let labels = json!({
        "team": "search", "app.kubernetes.io/managed-by": "Helm", "app.kubernetes.io/instance": "nim-apps",
        "argocd.argoproj.io/instance": "nim-apps", "kustomize.toolkit.fluxcd.io/name": "nim",
        "helm.toolkit.fluxcd.io/name": "nim", "applyset.kubernetes.io/part-of": "x",
    });
    let annotations = json!({
        "cost-center": "7", "argocd.argoproj.io/tracking-id": "nim-apps:apps.nvidia.com/NIMService:nim/chat",
        "argocd.argoproj.io/sync-wave": "2", "meta.helm.sh/release-name": "nim", "helm.sh/resource-policy": "keep",
        "kubectl.kubernetes.io/foo": "bar", "config.kubernetes.io/x": "y", "config.k8s.io/owning-inventory": "i",
        "fleet.cattle.io/z": "1", "objectset.rio.cattle.io/id": "1", "kapp.k14s.io/identity": "v1",
    });
    let marked = payload(labels, annotations);
    assert_eq!(String::from_utf8_lossy(&marked.bytes), String::from_utf8_lossy(&plain.bytes));
    assert_eq!(marked.hash, plain.hash);
    let sent: Value = serde_json::from_slice(&plain.bytes).unwrap();
    assert_eq!(sent["metadata"]["labels"], json!({"team": "search"}));
    assert_eq!(sent["metadata"]["annotations"], json!({"cost-center": "7"}));
}

#[test]
fn same_content_same_hash_whatever_the_server_added() {
    let east = cluster("east", json!({}));
    let mut later = stored();
    later["metadata"]["resourceVersion"] = json!("8");
    later["status"] = json!({});
    let hash = |object: &Value| resolve(&placement(), object, &east, None, &[]).unwrap().hash;
    assert_eq!(hash(&stored()), hash(&later));
    later["spec"]["image"]["tag"] = json!("1.1");
    assert_ne!(hash(&stored()), hash(&later));
    assert_eq!(hash(&stored()).len(), 64);
}

#[test]
fn divided_replicas_are_set_and_what_the_scheduler_decides_is_no_overrides() {
    assert_eq!(resolved(Some(2), json!([])).unwrap()["spec"]["replicas"], 2);
    assert_eq!(resolved(None, json!([])).unwrap()["spec"]["replicas"], 4);
    let one = |operation: Value| json!([{"clusterNames": ["east"], "jsonPatch": [operation]}]);
    for path in ["/spec/replicas", "/spec/scale", "/spec/scale/enabled", "/spec/scale/hpa/maxReplicas"] {
        let all = one(json!({"op": "add", "path": path, "value": 9}));
        let error =
            read(&placement(), &serde_json::from_value::<Vec<ClusterOverride>>(all).unwrap()).unwrap_err();
        let words =
            format!("spec.overrides[0].jsonPatch[0]: {path} is the scheduler's: use replicaScheduling");
        assert!(error.to_string().contains(&words), "{error}");
    }
    // Neither does a field that holds them change them.
    for value in [json!({"replicas": 9}), json!({}), json!({"replicas": 4, "scale": {"enabled": true}})] {
        let error =
            resolved(None, one(json!({"op": "replace", "path": "/spec", "value": value}))).unwrap_err();
        assert!(matches!(error, ResolveError::Scheduled { .. }), "{error}");
        assert!(error.to_string().contains("is the scheduler's: use replicaScheduling"), "{error}");
    }
    // To look at them is no change, and what only begins like them is something else.
    let looks = json!([{"clusterNames": ["east"], "jsonPatch": [
        {"op": "test", "path": "/spec/replicas", "value": 4}, {"op": "add", "path": "/spec/replicasets", "value": 1}]}]);
    assert_eq!(resolved(None, looks).unwrap()["spec"]["replicasets"], 1);
}

#[test]
fn what_multiplies_is_refused_before_it_is_done() {
    let values = json!([{"op": "add", "path": "/spec/annotations", "value": {"k": "x".repeat(1000)}}]);
    for (op, index) in [("copy", 1), ("move", 3)] {
        let mut operations = values.as_array().unwrap().clone();
        operations.resize(index, values[0].clone());
        operations.extend((0..30).map(
            |i| json!({"op": op, "from": "/spec/annotations", "path": format!("/spec/annotations/a{i}")}),
        ));
        let all = json!([{"clusterNames": ["east"], "jsonPatch": operations}]);
        let error =
            read(&placement(), &serde_json::from_value::<Vec<ClusterOverride>>(all).unwrap()).unwrap_err();
        let words = format!("nim/chat: spec.overrides[0].jsonPatch[{index}]: {op} is refused");
        assert!(error.to_string().contains(&words) && error.to_string().contains("with add"), "{error}");
    }
}

#[test]
fn operations_are_counted_over_all_overrides() {
    let of = |overrides: usize, operations: usize| {
        let operation = json!({"op": "add", "path": "/spec/a", "value": 1});
        let one = json!({"clusterNames": ["east"], "jsonPatch": vec![operation; operations]});
        read(
            &placement(),
            &serde_json::from_value::<Vec<ClusterOverride>>(json!(vec![one; overrides])).unwrap(),
        )
    };
    assert!(of(2, 32).is_ok() && of(64, 1).is_ok());
    for (overrides, operations, count) in [(2, 33, "66"), (65, 1, "65"), (65, 0, "65")] {
        let error = of(overrides, operations).unwrap_err().to_string();
        assert!(error.contains(&format!("{count} operations")) && error.contains("at most 64"), "{error}");
    }
}

#[test]
fn a_patch_ends_at_the_operation_that_makes_too_much() {
    let add = |name: &str, bytes: usize| json!({"op": "add", "path": format!("/spec/{name}"), "value": "x".repeat(bytes)});
    let all = |operations: Vec<Value>| json!([{"clusterNames": ["east"], "jsonPatch": operations}]);
    let error = resolved(None, all(vec![add("a", 1_000_000), add("b", 1_000_000), add("c", 1)])).unwrap_err();
    for word in [
        "nim/chat: spec.overrides[0].jsonPatch[1]: NIMService llm for cluster east: as it would be sent it has 2000",
        "bytes, more than the 1572864 that a cluster's API server takes: make NIMService smaller",
    ] {
        assert!(error.to_string().contains(word), "{error}");
    }
    // What makes way for something else is not counted twice.
    let replaced = (0..20).map(|_| add("a", 1_000_000)).collect();
    assert_eq!(resolved(None, all(replaced)).unwrap()["spec"]["a"].as_str().map(str::len), Some(1_000_000));
    let exact = |bytes: usize| resolved(None, all(vec![add("a", bytes)]));
    let small = size(
        &serde_json::from_slice(
            &resolve(&placement(), &stored(), &cluster("east", json!({})), None, &[]).unwrap().bytes,
        )
        .unwrap(),
    );
    let room = MOST_BYTES - small - r#","a":"""#.len();
    assert!(exact(room).is_ok());
    assert!(matches!(exact(room + 1), Err(ResolveError::TooLarge { bytes, .. }) if bytes == MOST_BYTES + 1));
}

#[test]
fn an_override_concerns_the_clusters_it_names_or_selects() {
    let patch = json!([{"op": "add", "path": "/spec/runtimeClassName", "value": "nvidia"}]);
    for (selection, concerned) in [
        (json!({"clusterNames": ["east"]}), true),
        (json!({"clusterNames": ["west"]}), false),
        (json!({"clusterSelector": {"matchLabels": {"tier": "gold"}}}), true),
        (json!({"clusterSelector": {"matchLabels": {"tier": "iron"}}}), false),
        (json!({"clusterNames": ["west"], "clusterSelector": {"matchLabels": {"tier": "gold"}}}), true),
    ] {
        let mut one = selection.clone();
        one["jsonPatch"] = patch.clone();
        let got = resolved(None, json!([one])).unwrap();
        assert_eq!(got["spec"].get("runtimeClassName").is_some(), concerned, "{selection}");
    }
}

#[test]
fn a_leading_test_chooses_the_object() {
    let all = |kind: &str| {
        json!([{"clusterNames": ["east"], "jsonPatch": [
            {"op": "test", "path": "/kind", "value": kind},
            {"op": "remove", "path": "/spec/unknownField"}]}])
    };
    assert!(resolved(None, all("NIMService")).unwrap()["spec"].get("unknownField").is_none());
    assert!(resolved(None, all("NIMCache")).unwrap()["spec"].get("unknownField").is_some());
}

#[test]
fn a_failing_operation_is_named() {
    let all = json!([
        {"clusterNames": ["west"], "jsonPatch": [{"op": "remove", "path": "/spec/nope"}]},
        {"clusterNames": ["east"], "jsonPatch": [
            {"op": "add", "path": "/spec/a", "value": 1}, {"op": "replace", "path": "/spec/nope/x", "value": 1}]}
    ]);
    let message = resolved(None, all).unwrap_err().to_string();
    for word in ["nim/chat", "spec.overrides[1].jsonPatch[1]", "/spec/nope/x", "NIMService llm", "east"] {
        assert!(message.contains(word), "{message}");
    }
}

#[test]
fn an_override_cannot_make_another_object_of_it_or_forge_marks() {
    for path in ["/metadata/name", "/metadata/namespace", "/kind", "/apiVersion"] {
        let all =
            json!([{"clusterNames": ["east"], "jsonPatch": [{"op": "replace", "path": path, "value": "x"}]}]);
        assert!(matches!(resolved(None, all), Err(ResolveError::Identity { .. })), "{path}");
    }
    let all = json!([{"clusterNames": ["east"], "jsonPatch": [
        {"op": "add", "path": "/metadata/labels/nimfleet.io~1delivered", "value": "true"},
        {"op": "add", "path": "/status", "value": {}}]}]);
    let got = resolved(None, all).unwrap();
    assert!(got["metadata"]["labels"].get("nimfleet.io/delivered").is_none() && got.get("status").is_none());
}

#[test]
fn a_selector_that_means_nothing_is_named() {
    let all: Vec<ClusterOverride> = serde_json::from_value(json!([{
        "clusterSelector": {"matchExpressions": [{"key": "a", "operator": "Gt", "values": ["1"]}]},
        "jsonPatch": [{"op": "remove", "path": "/spec/a"}]}]))
    .unwrap();
    let message = read(&placement(), &all).unwrap_err().to_string();
    assert!(message.contains("spec.overrides[0].clusterSelector") && message.contains("Gt"), "{message}");
}
