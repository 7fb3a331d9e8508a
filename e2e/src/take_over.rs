//! Clusters as NVIDIA's operator leaves them: its objects, recorded, under its field manager.

use std::collections::BTreeMap;

use kube::Api;
use kube::api::{DynamicObject, Patch, PatchParams, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::failure::Failure;

/// What controller-runtime programs call themselves when nobody gives them another name.
const THEIRS: &str = "manager";

/// Puts objects where they would be, each owned by what made it.
pub async fn leave(cluster: &Cluster, all: Vec<Value>) -> Result<(), Failure> {
    let mut uids: BTreeMap<(String, String), Value> = BTreeMap::new();
    for mut object in all {
        for owner in object["metadata"]["ownerReferences"].as_array_mut().into_iter().flatten() {
            let text = |field: &str| owner[field].as_str().unwrap_or_default().to_owned();
            owner["uid"] = uids.get(&(text("kind"), text("name"))).cloned().unwrap_or_default();
        }
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (kind, name) = (text(&object["kind"]), text(&object["metadata"]["name"]));
        let (version, namespace) = (text(&object["apiVersion"]), text(&object["metadata"]["namespace"]));
        let (group, version) = version.split_once('/').unwrap_or(("", &version));
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, &kind));
        let api: Api<DynamicObject> = Api::namespaced_with(cluster.client(), &namespace, &resource);
        let status = object["status"].take();
        let params = PostParams { field_manager: Some(THEIRS.to_owned()), ..PostParams::default() };
        let made = api.create(&params, &serde_json::from_value(object)?).await?;
        if status.is_object() {
            let patch = Patch::Merge(json!({ "status": status }));
            let params = PatchParams { field_manager: Some(THEIRS.to_owned()), ..PatchParams::default() };
            api.patch_status(&name, &params, &patch).await?;
        }
        uids.insert((kind, name), json!(made.metadata.uid));
    }
    Ok(())
}
