//! The configuration of a NeMo Customizer: what users wrote into ConfigMaps, and over it what the spec says.

use crds::nemo::{ModelDownloadJobs, NemoCustomizer, TrainingConfig};
use crds::nim::Image;
use serde_json::{Map, Value, json};

use super::Customizers;
use crate::operator::engine::kind::{Failure, Subject};
use crate::operator::nemo::Scene;
use crate::operator::nemo::need::{Need, Part};
use crate::operator::references::Thing;

/// Keys of the ConfigMap of models that are taken over: of releases up to 25.04 the first, of later ones the others.
const MODELS: &[&str] = &["models", "customizationTargets", "customizationConfigTemplates"];
/// Key of the ConfigMap of training.
const TRAINING: &str = "training";

/// The ConfigMaps that are read.
pub(super) fn needs(object: &NemoCustomizer, subject: &Subject) -> Vec<Need> {
    let mut needs = vec![models(object, subject)];
    needs.extend(training(object, subject));
    needs
}

fn models(object: &NemoCustomizer, subject: &Subject) -> Need {
    let name = &object.spec.model_config.name;
    Need::new(subject, Thing::ConfigMap, name, "spec.modelConfig.name", Part::Content)
}

fn training(object: &NemoCustomizer, subject: &Subject) -> Option<Need> {
    let map = object.spec.training_config.config_map.as_ref()?;
    let field = "spec.trainingConfig.configMap.name";
    Some(Need::new(subject, Thing::ConfigMap, &map.name, field, Part::Content))
}

/// The file, as YAML with its keys in order.
pub(super) fn text(scene: &Scene<'_, Customizers>) -> Result<String, Failure> {
    let options = serde_saphyr::ser_options! { prefer_block_scalars: false };
    serde_saphyr::to_string_with_options(&document(scene)?, options)
        .map_err(|why| Failure::new("ConfigMapFailed", format!("the configuration cannot be written: {why}")))
}

fn document(scene: &Scene<'_, Customizers>) -> Result<Value, Failure> {
    let spec = &scene.object.spec;
    let pull = Pull::of(&scene.spec().image);
    let mut tools = json!({"image": spec.nemo_datastore_tools.image});
    if let Some(secret) = pull.secrets.first() {
        tools["imagePullSecret"] = json!(secret);
    }
    let mut all = json!({
        "namespace": scene.namespace(),
        "entity_store_url": spec.entitystore.endpoint,
        "nemo_data_store_url": spec.datastore.endpoint,
        "mlflow_tracking_url": spec.mlflow.endpoint,
        "wandb": {"project": spec.wandb.project_name(), "entity": spec.wandb.entity()},
        "model_download_jobs": downloads(&spec.model_download_jobs, &pull),
        "nemo_data_store_tools": tools,
        "training": jobs(scene, &pull)?,
    });
    let need = models(scene.object, scene.subject);
    let given = scene.found.content(&need)?;
    for key in MODELS.iter().filter(|key| given.data.contains_key(**key)) {
        all[*key] = read(scene, &need, key)?;
    }
    Ok(all)
}

/// How the images of jobs are pulled.
struct Pull {
    policy: String,
    secrets: Vec<String>,
}

impl Pull {
    fn of(image: &Image) -> Self {
        Self {
            policy: image.pull_policy.clone().unwrap_or_default(),
            secrets: image.pull_secrets.clone().unwrap_or_default(),
        }
    }

    /// As an image says, and where it says nothing as this says.
    fn over(&self, image: &Image) -> Self {
        let own = Self::of(image);
        Self {
            policy: Some(own.policy)
                .filter(|policy| !policy.is_empty())
                .unwrap_or_else(|| self.policy.clone()),
            secrets: Some(own.secrets)
                .filter(|list| !list.is_empty())
                .unwrap_or_else(|| self.secrets.clone()),
        }
    }

    fn references(&self) -> Vec<Value> {
        self.secrets.iter().map(|name| json!({"name": name})).collect()
    }
}

/// The jobs that fetch models. Releases differ in how they spell the keys of NGC: both are written.
fn downloads(wanted: &ModelDownloadJobs, pull: &Pull) -> Value {
    let mut all = json!({
        "image": wanted.image,
        "imagePullPolicy": wanted.image_pull_policy(),
        "imagePullSecrets": pull.references(),
        "securityContext": wanted.security_context,
        "ttlSecondsAfterFinished": wanted.ttl_seconds_after_finished,
        "pollIntervalSeconds": wanted.poll_interval_seconds,
    });
    if let Some(secret) = &wanted.ngc_api_secret {
        for (name, key) in [("ngcAPISecret", "ngcAPISecretKey"), ("ngcSecretName", "ngcSecretKey")] {
            all[name] = json!(secret.name);
            all[key] = json!(secret.key);
        }
    }
    if let Some(secret) = &wanted.hf_secret {
        all["hfSecretName"] = json!(secret.name);
        all["hfSecretKey"] = json!(secret.key);
    }
    all
}

/// The training jobs: what the user's ConfigMap says, and over it what the spec says.
fn jobs(scene: &Scene<'_, Customizers>, pull: &Pull) -> Result<Value, Failure> {
    let spec = &scene.object.spec;
    let wanted = &spec.training_config;
    let mut all = match training(scene.object, scene.subject) {
        Some(need) => read(scene, &need, TRAINING)?,
        None => Value::Null,
    };
    if all.is_null() {
        all = json!({});
    }
    let pull = pull.over(&wanted.image);
    let workspace = &wanted.workspace_pvc;
    let word = |word: &Option<String>| word.clone().unwrap_or_default();
    let over = json!({
        "image": wanted.image.reference(),
        "imagePullPolicy": pull.policy,
        "imagePullSecrets": pull.references(),
        "env": wanted.env,
        "training_networking": wanted.network_config,
        "workspace_dir": workspace.mount_path(),
        "use_run_ai_executor": spec.is_placed_by_runai(),
        "pvc": {
            "storageClass": word(&workspace.storage_class),
            "volumeAccessMode": word(&workspace.volume_access_mode),
            "size": word(&workspace.size),
        },
        "volumes": volumes(scene.name(), wanted),
        "volumeMounts": [
            {"name": "models", "mountPath": "/mount/models", "readOnly": true},
            {"name": "dshm", "mountPath": "/dev/shm"},
        ],
    });
    for (key, value) in fields(over).into_iter().chain(optional(wanted)) {
        all[key] = value;
    }
    Ok(all)
}

fn volumes(name: &str, wanted: &TrainingConfig) -> Value {
    let mut memory = json!({"medium": "Memory"});
    if let Some(limit) = &wanted.shared_memory_size_limit {
        memory["sizeLimit"] = json!(limit);
    }
    json!([
        {
            "name": "models",
            "persistentVolumeClaim": {"claimName": wanted.model_pvc.name_for(name), "readOnly": true},
        },
        {"name": "dshm", "emptyDir": memory},
    ])
}

/// What is written only where the spec says it.
fn optional(wanted: &TrainingConfig) -> Map<String, Value> {
    let all = fields(json!({
        "ttl_seconds_after_finished": wanted.ttl_seconds_after_finished,
        "training_timeout": wanted.timeout,
        "tolerations": wanted.tolerations.as_ref().filter(|list| !list.is_empty()),
        "nodeSelector": wanted.node_selector.as_ref().filter(|map| !map.is_empty()),
        "affinity": wanted.affinity,
        "resources": wanted.resources,
    }));
    all.into_iter().filter(|(_, value)| !value.is_null()).collect()
}

fn fields(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(fields) => fields,
        _ => Map::new(),
    }
}

/// What a user wrote into a key: a map, a list of models, or nothing.
fn read(scene: &Scene<'_, Customizers>, need: &Need, key: &str) -> Result<Value, Failure> {
    let text = scene.found.text(need, key)?;
    if text.trim().is_empty() {
        return Ok(Value::Null);
    }
    let options = serde_saphyr::options! { with_snippet: false };
    let invalid = |why: &dyn std::fmt::Display| {
        let name = &need.reference.name;
        let message = format!("key {key} of ConfigMap {name} of {}: {why}", need.field);
        Failure::new("ConfigMapInvalid", message)
    };
    let value: Value = serde_saphyr::from_str_with_options(text, options).map_err(|why| invalid(&why))?;
    if value.is_object() || value.is_null() {
        return Ok(value);
    }
    Err(invalid(&"it is no map: write fields with their values"))
}
