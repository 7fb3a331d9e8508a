//! A cluster whose admission takes images from a mirror: a policy that replaces the registry of what is written.

use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::failure::Failure;
use crate::objects;

/// The registry that is replaced.
pub const REGISTRY: &str = "nvcr.io";
/// What it is replaced by.
pub const MIRROR: &str = "mirror.example.com";
/// JSON pointer to the image of a Deployment's first container.
const FIRST_IMAGE: &str = "/spec/template/spec/containers/0/image";

/// Has the API server replace the registry of every Deployment in `namespace`, which is made; see [`has_effect`].
pub async fn of_deployments(cluster: &Cluster, namespace: &str) -> Result<(), Failure> {
    let field = "object.spec.template.spec.containers[0].image";
    install(cluster, namespace, ("apps", "deployments"), (FIRST_IMAGE, field)).await
}

/// The same of every NIMService.
pub async fn of_services(cluster: &Cluster, namespace: &str) -> Result<(), Failure> {
    let field = ("/spec/image/repository", "object.spec.image.repository");
    install(cluster, namespace, ("apps.nvidia.com", "nimservices"), field).await
}

/// Replaces the registry of one field, which is given as a JSON pointer and in CEL.
async fn install(
    cluster: &Cluster,
    namespace: &str,
    (group, resource): (&str, &str),
    (pointer, field): (&str, &str),
) -> Result<(), Failure> {
    let expression = format!(
        "[JSONPatch{{op: \"replace\", path: \"{pointer}\", value: {field}.replace(\"{REGISTRY}\", \"{MIRROR}\")}}]"
    );
    let version = "admissionregistration.k8s.io/v1";
    let named = json!({"name": format!("mirror-{resource}")});
    let policy = json!({
        "apiVersion": version, "kind": "MutatingAdmissionPolicy", "metadata": named,
        "spec": {
            "matchConstraints": {
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
                "resourceRules": [{"apiGroups": [group], "apiVersions": ["*"], "operations": ["CREATE", "UPDATE"],
                    "resources": [resource]}],
            },
            "failurePolicy": "Fail", "reinvocationPolicy": "Never",
            "mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": expression}}],
        },
    });
    let binding = json!({
        "apiVersion": version, "kind": "MutatingAdmissionPolicyBinding", "metadata": named,
        "spec": {"policyName": named["name"]},
    });
    let space = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}});
    for object in [space, policy, binding] {
        objects::apply(cluster, &object.to_string()).await?;
    }
    Ok(())
}

/// A Deployment to try the policy with.
#[must_use]
pub fn probe(namespace: &str) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "probe", "namespace": namespace},
        "spec": {
            "selector": {"matchLabels": {"app": "probe"}},
            "template": {"metadata": {"labels": {"app": "probe"}},
                "spec": {"containers": [{"name": "c", "image": format!("{REGISTRY}/nim/meta/llama")}]}},
        },
    })
}

/// Succeeds once the registry of `probe` is replaced in a dry run: a policy has effect a moment after it is made.
pub async fn has_effect(cluster: &Cluster, probe: &Value) -> Result<(), Failure> {
    let arguments = ["create", "--dry-run=server", "-o", "json", "-f", "-"];
    let answer = cluster.kubectl(&arguments, Some(&probe.to_string())).await?;
    if answer.contains(MIRROR) { Ok(()) } else { Err(Failure::new(answer)) }
}
