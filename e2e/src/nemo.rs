//! NVIDIA's NeMo stack of five objects, unchanged, and what its users bring to the cluster it runs in.

use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::failure::Failure;
use crate::objects;

/// Namespace of the stack.
pub const NAMESPACE: &str = "nemo";

/// Kind and name of each object, and its manifest as NVIDIA publishes it.
pub const STACK: [(&str, &str, &str); 5] = [
    (
        "NemoCustomizer",
        "nemocustomizer-sample",
        include_str!("../fixtures/nvidia/nemo/latest/apps_v1alpha1_nemocustomizer.yaml"),
    ),
    (
        "NemoDatastore",
        "nemodatastore-sample",
        include_str!("../fixtures/nvidia/nemo/latest/apps_v1alpha1_nemodatastore.yaml"),
    ),
    (
        "NemoEntitystore",
        "nemoentitystore-sample",
        include_str!("../fixtures/nvidia/nemo/latest/apps_v1alpha1_nemoentitystore.yaml"),
    ),
    (
        "NemoEvaluator",
        "nemoevaluator-sample",
        include_str!("../fixtures/nvidia/nemo/latest/apps_v1alpha1_nemoevaluator.yaml"),
    ),
    (
        "NemoGuardrail",
        "nemoguardrails-sample",
        include_str!("../fixtures/nvidia/nemo/latest/apps_v1alpha1_nemoguardrails.yaml"),
    ),
];

/// The ConfigMap with the models that can be fine-tuned.
pub const MODELS: &str = "nemo-model-config";

/// Secrets that the stack names, with their keys.
const SECRETS: [(&str, &[&str]); 12] = [
    ("customizer-pg-existing-secret", &["password"]),
    ("datastore-pg-existing-secret", &["password"]),
    ("entity-store-pg-existing-secret", &["password"]),
    ("evaluator-pg-existing-secret", &["password"]),
    ("guardrail-pg-existing-secret", &["password"]),
    ("wandb-secret", &["apiKey", "encryptionKey"]),
    ("ngc-api-secret", &["NGC_API_KEY"]),
    ("gitea-admin-credentials", &["GITEA_ADMIN_USERNAME", "GITEA_ADMIN_PASSWORD"]),
    ("nemo-ms-nemo-datastore--lfs-jwt", &["jwtSecret"]),
    ("nemo-ms-nemo-datastore", &["config_environment.sh"]),
    ("nemo-ms-nemo-datastore-init", &["init_directory_structure.sh", "configure_gitea.sh"]),
    ("nemo-ms-nemo-datastore-inline-config", &["server"]),
];

/// Puts what the stack refers to into a cluster: Secrets, and the two ConfigMaps of the customizer.
pub async fn bring(cluster: &Cluster) -> Result<(), Failure> {
    let made = |kind: &str, name: &str, data: Value| {
        let field = if kind == "Secret" { "stringData" } else { "data" };
        json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": name, "namespace": NAMESPACE}, field: data})
    };
    for (name, keys) in SECRETS {
        let data: serde_json::Map<_, _> = keys.iter().map(|key| ((*key).to_owned(), json!("word"))).collect();
        objects::apply(cluster, &made("Secret", name, data.into()).to_string()).await?;
    }
    let training = made("ConfigMap", "nemo-training-config", json!({"training": "queue: \"default\"\n"}));
    objects::apply(cluster, &training.to_string()).await?;
    objects::apply(cluster, &models(8).to_string()).await
}

/// The models that can be fine-tuned: one, with so many GPUs for a job.
#[must_use]
pub fn models(gpus: u32) -> Value {
    let targets =
        "overrideExistingTargets: true\ntargets:\n- {name: llama, namespace: meta, enabled: true}\n";
    let templates =
        format!("templates:\n- {{name: llama, target: llama, training_options: [{{num_gpus: {gpus}}}]}}\n");
    json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": MODELS, "namespace": NAMESPACE},
        "data": {"customizationTargets": targets, "customizationConfigTemplates": templates},
    })
}

/// Kinds and names of all objects in the namespace that a NeMo microservice could have made or that its users bring.
pub async fn inventory(cluster: &Cluster) -> Result<Vec<(String, String)>, Failure> {
    let mut all = Vec::new();
    for kind in [
        "ConfigMap",
        "Deployment",
        "HorizontalPodAutoscaler",
        "Ingress",
        "PersistentVolumeClaim",
        "Pod",
        "Role",
        "RoleBinding",
        "Secret",
        "Service",
        "ServiceAccount",
    ] {
        for object in objects::list(cluster, kind, NAMESPACE).await? {
            let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
            all.push((kind.to_owned(), name));
        }
    }
    all.sort();
    Ok(all)
}
