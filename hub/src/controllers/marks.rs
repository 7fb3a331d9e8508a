//! The marks on hub objects: a placement's label and our finalizer, put on and taken off by server-side apply.

use crds::fleet::NIMPlacement;
use crds::marks::{FLEET_FINALIZER, PLACEMENT_LABEL};
use hub_core::objects::{NIM_API_VERSION, owner};
use kube::api::{DynamicObject, Patch, PatchParams};
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::fault::{Fault, call};
use super::stores::nim_resource;

const FIELD_MANAGER: &str = "nimfleet-hub-marks";

/// Whether an object carries our finalizer.
pub(crate) fn is_held(object: &impl ResourceExt) -> bool {
    object.finalizers().iter().any(|finalizer| finalizer == FLEET_FINALIZER)
}

/// Takes an object for a placement. `false` if it carries the marks already.
pub(crate) async fn take(
    client: &Client,
    kind: &str,
    object: &DynamicObject,
    placement: &str,
) -> Result<bool, Fault> {
    if is_held(object) && owner(object) == Some(placement) {
        return Ok(false);
    }
    let marks = json!({"labels": {PLACEMENT_LABEL: placement}, "finalizers": [FLEET_FINALIZER]});
    apply(&api(client, kind, object), NIM_API_VERSION, kind, object, marks).await?;
    Ok(true)
}

/// Gives an object free. `false` if it carries no marks.
pub(crate) async fn release(client: &Client, kind: &str, object: &DynamicObject) -> Result<bool, Fault> {
    if !is_held(object) && owner(object).is_none() {
        return Ok(false);
    }
    strip(&api(client, kind, object), NIM_API_VERSION, kind, object).await?;
    Ok(true)
}

/// Keeps a placement until nothing of it is in any cluster. `false` if it is kept already.
pub(crate) async fn hold_placement(api: &Api<NIMPlacement>, placement: &NIMPlacement) -> Result<bool, Fault> {
    if is_held(placement) {
        return Ok(false);
    }
    let (version, kind) = (NIMPlacement::api_version(&()), NIMPlacement::kind(&()));
    apply(api, &version, &kind, placement, json!({"finalizers": [FLEET_FINALIZER]})).await?;
    Ok(true)
}

/// Lets a placement go.
pub(crate) async fn release_placement(
    api: &Api<NIMPlacement>,
    placement: &NIMPlacement,
) -> Result<(), Fault> {
    if is_held(placement) {
        strip(api, &NIMPlacement::api_version(&()), &NIMPlacement::kind(&()), placement).await?;
    }
    Ok(())
}

fn api(client: &Client, kind: &str, object: &DynamicObject) -> Api<DynamicObject> {
    Api::namespaced_with(client.clone(), &object.namespace().unwrap_or_default(), &nim_resource(kind))
}

/// Applies metadata and nothing else. The uid makes the API server refuse it if the object was made anew meanwhile,
/// and keeps it from making the object if it is gone.
async fn apply<K>(api: &Api<K>, version: &str, kind: &str, object: &K, marks: Value) -> Result<K, Fault>
where
    K: ResourceExt + Clone + DeserializeOwned + std::fmt::Debug,
{
    let name = object.name_any();
    let mut metadata = json!({"name": name, "uid": object.uid(), "namespace": object.namespace()});
    if let (Value::Object(metadata), Value::Object(marks)) = (&mut metadata, marks) {
        metadata.extend(marks);
    }
    let patch = json!({"apiVersion": version, "kind": kind, "metadata": metadata});
    let params = PatchParams::apply(FIELD_MANAGER).force();
    call(|| format!("marking {kind} {name}"), api.patch(&name, &params, &Patch::Apply(&patch))).await
}

/// Takes our marks off. Where somebody has applied a copy of the object that carried them, he owns them as well and our
/// apply leaves them: then they are taken off by name, or the object could never be deleted.
async fn strip<K>(api: &Api<K>, version: &str, kind: &str, object: &K) -> Result<(), Fault>
where
    K: ResourceExt + Clone + DeserializeOwned + std::fmt::Debug,
{
    let stripped = match apply(api, version, kind, object, json!({})).await {
        Err(fault) if fault.is_gone() => return Ok(()),
        other => other?,
    };
    if !is_held(&stripped) && owner(&stripped).is_none() {
        return Ok(());
    }
    let finalizers: Vec<_> =
        stripped.finalizers().iter().filter(|f| *f != FLEET_FINALIZER).cloned().collect();
    let patch = json!({"metadata": {
        "uid": stripped.uid(), "resourceVersion": stripped.resource_version(),
        "labels": {PLACEMENT_LABEL: null}, "finalizers": finalizers,
    }});
    let name = object.name_any();
    match call(
        || format!("releasing {kind} {name}"),
        api.patch(&name, &PatchParams::default(), &Patch::Merge(&patch)),
    )
    .await
    {
        Err(fault) if !fault.is_gone() => Err(fault),
        _ => Ok(()),
    }
}
