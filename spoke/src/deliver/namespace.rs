//! Namespaces of delivered objects: made when missing, removed only when made here and certainly empty.

use k8s_openapi::api::core::v1::Namespace;
use kube::api::{
    Api, ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, Preconditions,
};
use kube::core::GroupVersionKind;
use serde_json::json;

use super::DeliverError;
use super::call::{carried_out, timed};
use super::cluster::FIELD_MANAGER;
use super::kinds::KINDS;

/// What the pods of a namespace may do at most.
const POD_SECURITY_LABEL: &str = "pod-security.kubernetes.io/enforce";

/// Set on a namespace that was made for a delivered object.
const CREATED_LABEL: &str = "nimfleet.io/created";

/// What people keep in a namespace: (group, version, kind, plural). One object of these keeps the namespace.
const CONTENT: [(&str, &str, &str, &str); 9] = [
    ("", "v1", "Pod", "pods"),
    ("", "v1", "PersistentVolumeClaim", "persistentvolumeclaims"),
    ("", "v1", "Secret", "secrets"),
    ("", "v1", "ConfigMap", "configmaps"),
    ("", "v1", "Service", "services"),
    ("apps", "v1", "Deployment", "deployments"),
    ("apps", "v1", "StatefulSet", "statefulsets"),
    ("batch", "v1", "Job", "jobs"),
    ("batch", "v1", "CronJob", "cronjobs"),
];

/// What Kubernetes itself puts into every namespace.
const DEFAULTS: [(&str, &str); 1] = [("ConfigMap", "kube-root-ca.crt")];

/// Makes the namespace unless it is there, with that level of Pod Security.
pub(super) async fn ensure(client: &kube::Client, name: &str, security: &str) -> Result<(), DeliverError> {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let what = format!("read namespace {name}");
    if carried_out(&what, namespaces.get_opt(name)).await?.is_some() {
        return Ok(());
    }
    let namespace = json!({
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": { "name": name, "labels": { CREATED_LABEL: "true", POD_SECURITY_LABEL: security } },
    });
    let params = PatchParams::apply(FIELD_MANAGER);
    let what = format!("create namespace {name}");
    carried_out(&what, namespaces.patch(name, &params, &Patch::Apply(namespace))).await?;
    tracing::info!(namespace = name, "namespace created for a delivered object");
    Ok(())
}

/// Removes the namespace if it was made here and nothing that anybody keeps is in it. Any doubt keeps it: where the
/// chart does not grant the lists this needs (`rbac.removeNamespaces`), every namespace stays.
pub(super) async fn remove_if_ours_and_empty(client: &kube::Client, name: &str) -> Result<(), DeliverError> {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let what = format!("read namespace {name}");
    let Some(namespace) = carried_out(&what, namespaces.get_opt(name)).await? else { return Ok(()) };
    let meta = namespace.metadata;
    let made_here = meta
        .labels
        .as_ref()
        .and_then(|labels| labels.get(CREATED_LABEL))
        .is_some_and(|value| value == "true");
    if !made_here || meta.deletion_timestamp.is_some() || !is_empty(client, name).await? {
        return Ok(());
    }
    let params = DeleteParams {
        preconditions: Some(Preconditions { uid: meta.uid, resource_version: meta.resource_version }),
        ..DeleteParams::default()
    };
    let what = format!("delete namespace {name}");
    carried_out(&what, namespaces.delete(name, &params)).await?;
    tracing::info!(namespace = name, "namespace removed: it was created for delivered objects and is empty");
    Ok(())
}

async fn is_empty(client: &kube::Client, namespace: &str) -> Result<bool, DeliverError> {
    let content = CONTENT.into_iter().map(|(group, version, kind, plural)| {
        ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), plural)
    });
    for resource in KINDS.into_iter().map(|kind| kind.resource()).chain(content) {
        let objects: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &resource);
        // One more than Kubernetes' own shows whether there is anybody else's.
        let params = ListParams::default().limit(2);
        let what = format!("list {} in {namespace}", resource.plural);
        let found = match timed(&what, objects.list_metadata(&params)).await? {
            Ok(list) => list.items,
            // Not allowed to look, or no such kind: in doubt somebody's things are there.
            Err(_) => return Ok(false),
        };
        let kept = found.iter().any(|object| {
            let name = object.metadata.name.as_deref().unwrap_or_default();
            !DEFAULTS.contains(&(resource.kind.as_str(), name))
        });
        if kept {
            return Ok(false);
        }
    }
    Ok(true)
}
