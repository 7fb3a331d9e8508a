//! The objects that admins and model teams touch, reached as they do: by kind, namespace and name.

use kube::api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Api, Client, ResourceExt};
use serde::Deserialize;
use serde_json::Value;

use crate::cluster::Cluster;
use crate::failure::Failure;

/// Field manager of what `apply` writes: an admin's kubectl.
const MANAGER: &str = "kubectl";

/// A kind, by what its objects say of themselves.
fn resource(api_version: &str, kind: &str) -> ApiResource {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind))
}

/// The API version of the kinds that tests speak of by kind alone.
fn api_version(kind: &str) -> &'static str {
    match kind {
        "NIMService" | "NIMCache" | "NIMPipeline" | "NIMBuild" | "NemoCustomizer" | "NemoDatastore"
        | "NemoEntitystore" | "NemoEvaluator" | "NemoGuardrail" => "apps.nvidia.com/v1alpha1",
        "NIMPlacement" | "NIMPlacementDecision" | "GPUCluster" | "GPUQuota" => "nimfleet.io/v1alpha1",
        "Deployment" => "apps/v1",
        "Job" => "batch/v1",
        "Role" | "RoleBinding" => "rbac.authorization.k8s.io/v1",
        "Ingress" => "networking.k8s.io/v1",
        "HorizontalPodAutoscaler" => "autoscaling/v2",
        "ResourceClaimTemplate" | "ResourceClaim" => "resource.k8s.io/v1",
        "HTTPRoute" | "GRPCRoute" => "gateway.networking.k8s.io/v1",
        "InferencePool" => "inference.networking.k8s.io/v1",
        "ServiceMonitor" => "monitoring.coreos.com/v1",
        "LeaderWorkerSet" => "leaderworkerset.x-k8s.io/v1",
        "InferenceService" => "serving.kserve.io/v1beta1",
        "ClusterProfile" | "PlacementDecision" => "multicluster.x-k8s.io/v1alpha1",
        "ComputeDomain" => "resource.nvidia.com/v1beta1",
        "MutatingWebhookConfiguration" | "ValidatingWebhookConfiguration" => {
            "admissionregistration.k8s.io/v1"
        }
        "APIService" => "apiregistration.k8s.io/v1",
        "CustomResourceDefinition" => "apiextensions.k8s.io/v1",
        _ => "v1",
    }
}

/// Objects of `kind` in `namespace`; an empty namespace is the whole cluster's.
fn api(cluster: &Cluster, kind: &str, namespace: &str) -> Api<DynamicObject> {
    let resource = resource(api_version(kind), kind);
    if namespace.is_empty() {
        Api::all_with(cluster.client(), &resource)
    } else {
        Api::namespaced_with(cluster.client(), namespace, &resource)
    }
}

/// Applies every document of a manifest, as `kubectl apply --server-side --validate=strict` does, and makes its namespaces.
pub async fn apply(cluster: &Cluster, manifest: &str) -> Result<(), Failure> {
    for document in serde_saphyr::from_multiple::<Value>(manifest)? {
        let object = DynamicObject::deserialize(&document)?;
        let types = object.types.clone().ok_or_else(|| Failure::new("a document without kind"))?;
        let resource = resource(&types.api_version, &types.kind);
        let api: Api<DynamicObject> = match object.namespace() {
            Some(namespace) => {
                let named = serde_json::json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}});
                self::api(cluster, "Namespace", "")
                    .patch(&namespace, &PatchParams::apply(MANAGER), &Patch::Apply(&named))
                    .await?;
                Api::namespaced_with(cluster.client(), &namespace, &resource)
            }
            None => Api::all_with(cluster.client(), &resource),
        };
        let strict = PatchParams {
            force: true,
            field_validation: Some(kube::api::ValidationDirective::Strict),
            ..PatchParams::apply(MANAGER)
        };
        api.patch(&object.name_any(), &strict, &Patch::Apply(&document)).await?;
    }
    Ok(())
}

/// NIMServices of one namespace.
#[must_use]
pub fn services(client: Client, namespace: &str) -> Api<DynamicObject> {
    let kind = "NIMService";
    Api::namespaced_with(client, namespace, &resource(api_version(kind), kind))
}

/// Reads one object.
pub async fn get(cluster: &Cluster, kind: &str, namespace: &str, name: &str) -> Result<Value, Failure> {
    let found = api(cluster, kind, namespace)
        .get(name)
        .await
        .map_err(|error| Failure::new(format!("{kind} {namespace}/{name} in {}: {error}", cluster.name())))?;
    Ok(serde_json::to_value(found)?)
}

/// Succeeds when there is no such object.
pub async fn absent(cluster: &Cluster, kind: &str, namespace: &str, name: &str) -> Result<(), Failure> {
    match api(cluster, kind, namespace).get_opt(name).await? {
        None => Ok(()),
        Some(object) => Err(Failure::new(format!(
            "{kind} {namespace}/{name} is there in {}: finalizers {:?}",
            cluster.name(),
            object.finalizers()
        ))),
    }
}

/// Changes an object by a merge patch.
pub async fn patch(
    cluster: &Cluster,
    kind: &str,
    namespace: &str,
    name: &str,
    change: Value,
) -> Result<(), Failure> {
    api(cluster, kind, namespace).patch(name, &PatchParams::default(), &Patch::Merge(&change)).await?;
    Ok(())
}

/// Writes the status of an object, as the controller of its kind does: by a merge patch.
pub async fn play_status(
    cluster: &Cluster,
    kind: &str,
    namespace: &str,
    name: &str,
    status: Value,
) -> Result<(), Failure> {
    let change = serde_json::json!({ "status": status });
    api(cluster, kind, namespace).patch_status(name, &PatchParams::default(), &Patch::Merge(&change)).await?;
    Ok(())
}

/// All objects of a kind in a namespace.
pub async fn list(cluster: &Cluster, kind: &str, namespace: &str) -> Result<Vec<Value>, Failure> {
    let found = api(cluster, kind, namespace).list(&ListParams::default()).await?;
    Ok(found.items.into_iter().map(serde_json::to_value).collect::<Result<_, _>>()?)
}

/// The pods of the service of that name.
pub async fn pods(cluster: &Cluster, namespace: &str, service: &str) -> Result<Vec<Value>, Failure> {
    let all = list(cluster, "Pod", namespace).await?;
    Ok(all.into_iter().filter(|pod| pod["metadata"]["labels"]["app"] == service).collect())
}

/// Their uids.
pub async fn pod_uids(cluster: &Cluster, namespace: &str, service: &str) -> Result<Vec<Value>, Failure> {
    let own = pods(cluster, namespace, service).await?;
    Ok(own.into_iter().map(|mut pod| pod["metadata"]["uid"].take()).collect())
}

/// Asks for an object to be deleted, and does not wait for it.
pub async fn delete(cluster: &Cluster, kind: &str, namespace: &str, name: &str) -> Result<(), Failure> {
    api(cluster, kind, namespace).delete(name, &DeleteParams::default()).await?;
    Ok(())
}

/// The condition of a type: its status, reason and message.
#[must_use]
pub fn condition(object: &Value, kind: &str) -> Option<(String, String, String)> {
    let conditions = object["status"]["conditions"].as_array()?;
    let found = conditions.iter().find(|condition| condition["type"] == kind)?;
    let text = |field: &str| found[field].as_str().unwrap_or_default().to_owned();
    Some((text("status"), text("reason"), text("message")))
}

/// Succeeds when the condition has that status; its failure shows what it is.
pub fn expect(object: &Value, kind: &str, status: &str) -> Result<(), Failure> {
    match condition(object, kind) {
        Some((is, ..)) if is == status => Ok(()),
        other => Err(Failure::new(format!("{kind} is to be {status} and is {other:?}"))),
    }
}

/// Succeeds when the object is Ready in the generation that it has.
pub fn expect_ready(object: &Value) -> Result<(), Failure> {
    expect(object, "Ready", "True")?;
    let conditions = object["status"]["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
    let ready = conditions.iter().find(|condition| condition["type"] == "Ready");
    if ready.is_some_and(|ready| ready["observedGeneration"] == object["metadata"]["generation"]) {
        return Ok(());
    }
    Err(Failure::new("Ready is of an older generation"))
}

/// Succeeds when a ResourceQuota is in force as its spec says. Until its controller has counted, pods are refused in other words, or by
/// what the quota was before.
pub fn expect_in_force(quota: &Value) -> Result<(), Failure> {
    let (hard, status) = (&quota["spec"]["hard"], &quota["status"]);
    let is_counted =
        hard.as_object().is_some_and(|hard| hard.keys().all(|name| status["used"][name].is_string()));
    if status["hard"] == *hard && is_counted { Ok(()) } else { Err(Failure::new(status.to_string())) }
}

/// The message of an object that is not Ready for this reason.
pub fn expect_not_ready(object: &Value, reason: &str) -> Result<String, Failure> {
    match condition(object, "Ready") {
        Some((status, is, message)) if status == "False" && is == reason => Ok(message),
        other => Err(Failure::new(format!("Ready is {other:?}"))),
    }
}
