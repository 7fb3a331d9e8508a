//! What was made in a namespace for delivered objects, and may be named by others of them.

use std::collections::BTreeSet;

use crds::marks;
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolumeClaim};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Api;
use kube::core::{DynamicObject, PartialObjectMeta};
use serde_json::Value;

use super::Limits;
use super::ask::{self, Ask};
use crate::deliver::DeliverError;
use crate::deliver::call::carried_out;
use crate::deliver::kinds::KINDS;

/// Names in one namespace that need no limit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in super::super) struct Made {
    /// Claims.
    pub(in super::super) claims: BTreeSet<String>,
    /// ConfigMaps.
    pub(in super::super) config_maps: BTreeSet<String>,
}

impl Made {
    /// Looks for what an object names and no limit allows. A claim that is not there yet passes here: its cache may be on
    /// its way. The operator asks again before it makes a pod.
    pub(in super::super) async fn look(
        client: &kube::Client,
        limits: &Limits,
        object: &Value,
    ) -> Result<Self, DeliverError> {
        let namespace = object.pointer("/metadata/namespace").and_then(Value::as_str).unwrap_or_default();
        let claims: Api<PartialObjectMeta<PersistentVolumeClaim>> =
            Api::namespaced(client.clone(), namespace);
        let maps: Api<PartialObjectMeta<ConfigMap>> = Api::namespaced(client.clone(), namespace);
        let mut made = Self::default();
        let asked = ask::asks(object);
        for asked in asked.iter().filter(|asked| limits.fault(asked, &Self::default()).is_some()) {
            match &asked.ask {
                Ask::Claim(name) => {
                    let what = format!("read the claim {namespace}/{name}");
                    let found = carried_out(&what, claims.get_metadata_opt(name)).await?;
                    let is_made = match &found {
                        Some(found) => is_made(client, namespace, &found.metadata).await?,
                        None => true,
                    };
                    made.claims.extend(is_made.then(|| name.clone()));
                }
                Ask::ConfigMap(name) => {
                    let what = format!("read the ConfigMap {namespace}/{name}");
                    let found = carried_out(&what, maps.get_metadata_opt(name)).await?;
                    if let Some(found) = found
                        && is_made(client, namespace, &found.metadata).await?
                    {
                        made.config_maps.insert(name.clone());
                    }
                }
                _ => {}
            }
        }
        Ok(made)
    }
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
