//! Every property of every definition is read into the Rust types and written back as it was: nothing is lost,
//! nothing added, whether an object says all that it can or as little as it must.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::sync::LazyLock;

use crds::fleet::{GPUCluster, GPUQuota, NIMPlacement, NIMPlacementDecision};
use crds::nemo::{NemoCustomizer, NemoDatastore, NemoEntitystore, NemoEvaluator, NemoGuardrail};
use crds::nim::{NIMBuild, NIMCache, NIMPipeline, NIMService};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Resource;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

/// Made once: it takes a while.
static ALL: LazyLock<Vec<CustomResourceDefinition>> = LazyLock::new(|| crds::all().unwrap());

/// How much a made-up object says.
#[derive(Clone, Copy)]
enum Says {
    Everything,
    /// Every part is there, and says no more than it must.
    EmptyParts,
    OnlyWhatItMust,
}

/// A value that the schema takes.
fn example(schema: &Value, says: Says, depth: usize) -> Value {
    if let Some(word) = schema["enum"].get(0) {
        return word.clone();
    }
    if schema["x-kubernetes-int-or-string"] == json!(true) {
        return if schema["pattern"].is_string() { json!("7Gi") } else { json!(7) };
    }
    match (schema["type"].as_str(), schema["format"].as_str()) {
        (Some("object"), _) if schema["additionalProperties"].is_object() => {
            json!({ "key": example(&schema["additionalProperties"], says, depth + 1) })
        }
        (Some("object"), _) => members(schema, says, depth),
        (Some("array"), _) => json!([example(&schema["items"], says, depth + 1)]),
        (Some("boolean"), _) => json!(true),
        (Some("integer"), _) => json!(7),
        (Some("number"), _) => json!(0.5),
        (Some("string"), Some("date-time")) => json!("2026-11-23T22:05:00Z"),
        (Some("string"), Some("byte")) => json!("e30="),
        (Some("string"), _) => json!("word"),
        _ => json!({ "any": ["thing"] }),
    }
}

fn members(schema: &Value, says: Says, depth: usize) -> Value {
    let must =
        |name: &str| schema["required"].as_array().is_some_and(|all| all.iter().any(|one| one == name));
    let mut object = Map::new();
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        let is_part = matches!(property["type"].as_str(), Some("object"));
        let wanted = match says {
            Says::Everything => true,
            Says::EmptyParts => must(name) || (is_part && depth < 3),
            Says::OnlyWhatItMust => must(name),
        };
        if wanted {
            object.insert(name.clone(), example(property, says, depth + 1));
        }
    }
    Value::Object(object)
}

fn check<K>(says: Says, unspoken: &[&str]) -> usize
where
    K: Resource<DynamicType = ()> + Serialize + DeserializeOwned,
{
    let crd = ALL.iter().find(|crd| crd.spec.names.kind == K::kind(&())).unwrap();
    let schema = serde_json::to_value(&crd.spec.versions[0].schema).unwrap()["openAPIV3Schema"].clone();
    let mut object = example(&schema, says, 0);
    object["apiVersion"] = json!(K::api_version(&()));
    object["kind"] = json!(K::kind(&()));
    object["metadata"] = json!({ "name": "example", "namespace": "default" });
    if object["spec"].is_null() {
        object["spec"] = example(&schema["properties"]["spec"], says, 1);
    }
    let read: K = serde_json::from_value(object.clone()).unwrap();
    let mut written = serde_json::to_value(&read).unwrap();
    let spec = written["spec"].as_object_mut().unwrap();
    spec.retain(|name, _| !unspoken.contains(&name.as_str()) || !object["spec"][name].is_null());
    assert_eq!(written, object);
    leaves(&object)
}

fn leaves(value: &Value) -> usize {
    match value {
        Value::Object(members) => members.values().map(leaves).sum(),
        Value::Array(items) => items.iter().map(leaves).sum(),
        _ => 1,
    }
}

#[test]
fn objects_that_say_everything_come_back_whole() {
    assert!(check::<NIMService>(Says::Everything, &[]) > 500);
    assert!(check::<NIMCache>(Says::Everything, &[]) > 100);
    assert!(check::<NIMPipeline>(Says::Everything, &[]) > 400);
    assert!(check::<NIMBuild>(Says::Everything, &[]) > 25);
    assert!(check::<NemoCustomizer>(Says::Everything, &[]) > 250);
    assert!(check::<NemoDatastore>(Says::Everything, &[]) > 250);
    assert!(check::<NemoEntitystore>(Says::Everything, &[]) > 250);
    assert!(check::<NemoEvaluator>(Says::Everything, &[]) > 250);
    assert!(check::<NemoGuardrail>(Says::Everything, &[]) > 250);
    check::<GPUCluster>(Says::Everything, &[]);
    check::<NIMPlacement>(Says::Everything, &[]);
    check::<NIMPlacementDecision>(Says::Everything, &[]);
    check::<GPUQuota>(Says::Everything, &[]);
}

#[test]
fn objects_of_empty_parts_come_back_with_their_empty_parts() {
    check::<NIMService>(Says::EmptyParts, &[]);
    check::<NIMCache>(Says::EmptyParts, &[]);
    check::<NIMPipeline>(Says::EmptyParts, &[]);
    check::<NIMBuild>(Says::EmptyParts, &[]);
    check::<NemoCustomizer>(Says::EmptyParts, &[]);
    check::<NemoDatastore>(Says::EmptyParts, &[]);
    check::<NemoEntitystore>(Says::EmptyParts, &[]);
    check::<NemoEvaluator>(Says::EmptyParts, &[]);
    check::<NemoGuardrail>(Says::EmptyParts, &[]);
}

#[test]
fn objects_that_say_little_come_back_with_our_defaults_at_most() {
    check::<NIMService>(Says::OnlyWhatItMust, &[]);
    check::<NIMCache>(Says::OnlyWhatItMust, &[]);
    check::<NIMPipeline>(Says::OnlyWhatItMust, &[]);
    check::<NIMBuild>(Says::OnlyWhatItMust, &[]);
    check::<NemoCustomizer>(Says::OnlyWhatItMust, &[]);
    check::<NemoDatastore>(Says::OnlyWhatItMust, &[]);
    check::<NemoEntitystore>(Says::OnlyWhatItMust, &[]);
    check::<NemoEvaluator>(Says::OnlyWhatItMust, &[]);
    check::<NemoGuardrail>(Says::OnlyWhatItMust, &[]);
    check::<GPUCluster>(Says::OnlyWhatItMust, &["accepted"]);
    check::<NIMPlacement>(Says::OnlyWhatItMust, &["propagateDependencies"]);
    check::<NIMPlacementDecision>(Says::OnlyWhatItMust, &[]);
    check::<GPUQuota>(Says::OnlyWhatItMust, &[]);
}

#[test]
fn objects_of_a_newer_version_still_load() {
    let object = json!({
        "apiVersion": "apps.nvidia.com/v1alpha1", "kind": "NIMService", "metadata": { "name": "x" }, "newPart": {},
        "spec": {
            "image": { "repository": "r", "tag": "t", "digest": "sha256:0" },
            "inferencePlatform": "dynamo", "newField": [1], "multiNode": { "backendType": "grove", "parallelism": {} },
        },
        "status": { "state": "Rolling", "newField": 1 },
    });
    let service: NIMService = serde_json::from_value(object).unwrap();
    assert_eq!(service.spec.image.reference(), "r:t");
    let error = service.spec.platform().unwrap_err();
    assert_eq!(
        error.to_string(),
        "spec.inferencePlatform is \"dynamo\": this version knows standalone and kserve"
    );
}

#[test]
fn objects_without_a_spec_load() {
    let bare = |kind: &str, group: &str| json!({ "apiVersion": format!("{group}/v1alpha1"), "kind": kind, "metadata": { "name": "x" } });
    let service: NIMService = serde_json::from_value(bare("NIMService", "apps.nvidia.com")).unwrap();
    assert_eq!(service.spec, crds::nim::NIMServiceSpec::default());
    let cache: NIMCache = serde_json::from_value(bare("NIMCache", "apps.nvidia.com")).unwrap();
    assert_eq!(cache.spec, crds::nim::NIMCacheSpec::default());
    let pipeline: NIMPipeline = serde_json::from_value(bare("NIMPipeline", "apps.nvidia.com")).unwrap();
    assert_eq!(pipeline.spec, crds::nim::NIMPipelineSpec::default());
    let build: NIMBuild = serde_json::from_value(bare("NIMBuild", "apps.nvidia.com")).unwrap();
    assert_eq!(build.spec, crds::nim::NIMBuildSpec::default());
    let store: NemoEntitystore = serde_json::from_value(bare("NemoEntitystore", "apps.nvidia.com")).unwrap();
    assert_eq!(store.spec, crds::nemo::NemoEntitystoreSpec::default());
    let mut cluster = bare("GPUCluster", "nimfleet.io");
    cluster["spec"] = Value::Null;
    let cluster: GPUCluster = serde_json::from_value(cluster).unwrap();
    assert!(!cluster.spec.accepted);
}

#[test]
fn what_is_missing_or_of_the_wrong_type_is_named() {
    let read = |spec: Value| {
        let object = json!({ "apiVersion": "apps.nvidia.com/v1alpha1", "kind": "NIMService", "metadata": {}, "spec": spec });
        serde_json::from_value::<NIMService>(object).unwrap_err().to_string()
    };
    assert_eq!(read(json!({})), "missing field `image`");
    assert_eq!(
        read(json!({ "image": { "repository": 5, "tag": "t" } })),
        "invalid type: integer `5`, expected a string"
    );
}
