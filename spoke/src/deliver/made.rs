//! Looks for who made what delivered objects name: claims and ConfigMaps of their namespace.

use crds::marks;
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolumeClaim};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Api;
use kube::core::{DynamicObject, PartialObjectMeta};
use serde_json::Value;

use super::call::carried_out;
use super::kinds::KINDS;
use super::limits::{Made, Named};
use super::{DeliverError, Limits};

/// Looks for what an object names and no limit allows. A claim that is not there yet passes here: its cache may be on its
/// way. The operator asks again before it makes a pod.
pub(super) async fn look(
    client: &kube::Client,
    limits: &Limits,
    object: &Value,
) -> Result<Made, DeliverError> {
    let namespace = object.pointer("/metadata/namespace").and_then(Value::as_str).unwrap_or_default();
    let claims: Api<PartialObjectMeta<PersistentVolumeClaim>> = Api::namespaced(client.clone(), namespace);
    let maps: Api<PartialObjectMeta<ConfigMap>> = Api::namespaced(client.clone(), namespace);
    let mut made = Made::default();
    for named in limits.named(object) {
        let (found, is_claim) = match &named {
            Named::Claim(name) => {
                let what = format!("read the claim {namespace}/{name}");
                (carried_out(&what, claims.get_metadata_opt(name)).await?.map(|found| found.metadata), true)
            }
            Named::ConfigMap(name) => {
                let what = format!("read the ConfigMap {namespace}/{name}");
                (carried_out(&what, maps.get_metadata_opt(name)).await?.map(|found| found.metadata), false)
            }
        };
        let allowed = match &found {
            Some(found) => is_made(client, namespace, found).await?,
            None => is_claim,
        };
        if allowed {
            made.add(named);
        }
    }
    Ok(made)
}

/// Whether the controller of an object was delivered by a hub, or left here by one.
pub(super) async fn is_made(
    client: &kube::Client,
    namespace: &str,
    meta: &ObjectMeta,
) -> Result<bool, DeliverError> {
    let Some(owner) = meta.owner_references.iter().flatten().find(|owner| owner.controller == Some(true))
    else {
        return Ok(false);
    };
    let known = KINDS.iter().find(|kind| kind.kind == owner.kind && kind.api_version() == owner.api_version);
    let Some(kind) = known else { return Ok(false) };
    let objects: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &kind.resource());
    let what = format!("read {} {namespace}/{}", owner.kind, owner.name);
    let found = carried_out(&what, objects.get_metadata_opt(&owner.name)).await?;
    Ok(found
        .is_some_and(|found| found.metadata.uid.as_ref() == Some(&owner.uid) && is_a_hubs(&found.metadata)))
}

/// Whether a hub delivered an object, or left it here.
pub(super) fn is_a_hubs(meta: &ObjectMeta) -> bool {
    let delivered = meta.labels.as_ref().and_then(|labels| labels.get(marks::DELIVERED_LABEL));
    let left = meta.annotations.as_ref().and_then(|all| all.get(marks::RETAINED_BY_ANNOTATION));
    delivered.is_some_and(|value| value == marks::DELIVERED) || left.is_some()
}
