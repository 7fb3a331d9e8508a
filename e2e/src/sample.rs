//! NVIDIA's own sample, unchanged, and placements for it; and a small NIMService.

use std::time::Duration;

use crds::fleet::{Decision, NIMPlacementDecisionSpec};
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::fleet::Fleet;
use crate::objects;

/// A NIMCache and a NIMService of one manifest, as NVIDIA publishes them.
pub const MANIFEST: &str = include_str!("../fixtures/nvidia/llm.yaml");
/// Namespace of the sample's objects.
pub const NAMESPACE: &str = "nim-service";
/// Name of both of its objects.
pub const NAME: &str = "meta-llama-3-2-1b-instruct";
/// Caching with kwok takes seconds; the time is for a busy machine.
const READY_WITHIN: Duration = Duration::from_mins(2);

/// The sample under another name, so that several stand side by side.
#[must_use]
pub fn named(name: &str) -> String {
    MANIFEST.replace(NAME, name)
}

/// A small NIMService of one GPU on an emptyDir, with more of its spec; null takes a field away.
#[must_use]
pub fn service(namespace: &str, name: &str, more: Value) -> Value {
    let mut spec = json!({
        "image": {"repository": "nvcr.io/nim/meta/llama", "tag": "1.12.0"},
        "authSecret": "ngc-api-secret",
        "storage": {"emptyDir": {}},
        "replicas": 1,
        "resources": {"limits": {"nvidia.com/gpu": 1}},
        "expose": {"service": {"port": 8000}},
    });
    if let (Some(spec), Value::Object(more)) = (spec.as_object_mut(), more) {
        spec.extend(more);
        spec.retain(|_, value| !value.is_null());
    }
    json!({
        "apiVersion": "apps.nvidia.com/v1alpha1", "kind": "NIMService",
        "metadata": {"name": name, "namespace": namespace}, "spec": spec,
    })
}

/// A NIMPlacement of one NIMService, with more of its spec.
#[must_use]
pub fn placement(name: &str, more: &Value) -> String {
    let mut object = json!({
        "apiVersion": "nimfleet.io/v1alpha1", "kind": "NIMPlacement",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {"resourceSelectors": [{"kind": "NIMService", "name": name}]},
    });
    for (field, value) in more.as_object().into_iter().flatten() {
        object["spec"][field] = value.clone();
    }
    object.to_string()
}

/// Applies the sample under `name` with a placement, as one admin would.
pub async fn place(fleet: &Fleet, name: &str, more: &Value) -> Result<(), Failure> {
    objects::apply(fleet.hub().cluster(), &named(name)).await?;
    objects::apply(fleet.hub().cluster(), &placement(name, more)).await
}

/// The placement as it is.
pub async fn placed(fleet: &Fleet, name: &str) -> Result<Value, Failure> {
    objects::get(fleet.hub().cluster(), "NIMPlacement", NAMESPACE, name).await
}

/// What is written of a placement in its slices.
pub async fn decisions(fleet: &Fleet, name: &str) -> Result<Vec<Decision>, Failure> {
    let mut decisions = Vec::new();
    for slice in objects::list(fleet.hub().cluster(), "NIMPlacementDecision", NAMESPACE).await? {
        let slice: NIMPlacementDecisionSpec = serde_json::from_value(slice["spec"].clone())?;
        if slice.placement_ref.name == name {
            decisions.extend(slice.decisions);
        }
    }
    Ok(decisions)
}

/// Names of the clusters that a placement counts on, in order.
#[must_use]
pub fn clusters_of(placement: &Value) -> Vec<String> {
    let rows = placement["status"]["decisions"].as_array();
    let mut names: Vec<String> = rows
        .into_iter()
        .flatten()
        .filter(|row| !["Removing", "Replaced"].contains(&row["state"].as_str().unwrap_or_default()))
        .filter_map(|row| row["clusterName"].as_str().map(str::to_owned))
        .collect();
    names.sort();
    names
}

/// Waits until the hub says that the service is Ready, and gives back the names of its clusters.
pub async fn ready(fleet: &Fleet, name: &str) -> Result<Vec<String>, Failure> {
    fleet
        .eventually(&format!("{name} is Ready on the hub"), READY_WITHIN, || async {
            let service = objects::get(fleet.hub().cluster(), "NIMService", NAMESPACE, name).await?;
            objects::expect(&service, "Ready", "True")?;
            let placement = placed(fleet, name).await?;
            objects::expect(&placement, "Available", "True")?;
            Ok(clusters_of(&placement))
        })
        .await
}

/// Waits until the hub's word about the placement is `reason`, in the condition `kind`.
pub async fn says(fleet: &Fleet, name: &str, kind: &str, reason: &str) -> Result<String, Failure> {
    fleet
        .eventually(&format!("{name}: {kind} for {reason}"), READY_WITHIN, || async {
            match objects::condition(&placed(fleet, name).await?, kind) {
                Some((_, is, message)) if is == reason => Ok(message),
                other => Err(Failure::new(format!("{kind} is {other:?}"))),
            }
        })
        .await
}
