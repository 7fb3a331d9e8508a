//! NemoCustomizer: models fine-tuned by training jobs.

use k8s_openapi::api::core::v1;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::database::DatabaseConfig;
use super::microservice::Microservice;
use super::otel::OTel;
use super::reference::{ConfigMapRef, Endpoint};
use super::said;
use super::status::NemoStatus;
use crate::absent_spec::may_be_absent;
use crate::nim::any_width;

pub(super) mod training;

use training::TrainingConfig;

/// What a key is called where nothing is said.
const ENCRYPTION_KEY: &str = "encryptionKey";
/// The team at Weights & Biases where none is given: the user's own.
const ENTITY: &str = "null";
/// The project at Weights & Biases where none is given.
const PROJECT: &str = "nvidia-nemo-customizer";
/// When a download's image is pulled where nothing is said.
const PULL_POLICY: &str = "IfNotPresent";

/// The customizer to run.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "apps.nvidia.com",
    version = "v1alpha1",
    kind = "NemoCustomizer",
    plural = "nemocustomizers",
    singular = "nemocustomizer",
    namespaced,
    doc = "A NeMo Customizer.",
    status = "NemoStatus",
    derive = "PartialEq",
    derive = "Default",
    printcolumn = r#"{"name":"Status","type":"string","jsonPath":".status.state"}"#,
    printcolumn = r#"{"name":"Age","type":"date","format":"date-time","jsonPath":".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase", remote = "Self")]
#[schemars(!remote)]
pub struct NemoCustomizerSpec {
    /// What all NeMo microservices say.
    #[serde(flatten)]
    pub service: Microservice,
    /// What places training jobs. Default Volcano.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scheduler: Option<Scheduler>,
    /// The NeMo Data Store.
    pub datastore: Endpoint,
    /// The NeMo Entity Store.
    pub entitystore: Endpoint,
    /// The MLflow server.
    pub mlflow: Endpoint,
    /// The database.
    pub database_config: DatabaseConfig,
    /// Weights & Biases.
    pub wandb: WandB,
    /// Traces, metrics and logs. Default none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub otel: Option<OTel>,
    /// The models that can be fine-tuned.
    pub model_config: ConfigMapRef,
    /// The tools that training jobs reach the data store by.
    pub nemo_datastore_tools: NemoDatastoreTools,
    /// The jobs that fetch models.
    pub model_download_jobs: ModelDownloadJobs,
    /// The training jobs.
    pub training_config: TrainingConfig,
}

may_be_absent!(NemoCustomizerSpec);

impl NemoCustomizerSpec {
    /// Whether Run:ai places training jobs, rather than Volcano.
    #[must_use]
    pub fn is_placed_by_runai(&self) -> bool {
        self.scheduler.as_ref().and_then(|scheduler| scheduler.r#type.as_deref()) == Some("runai")
    }
}

/// What places training jobs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Scheduler {
    /// `volcano` or `runai`. Default `volcano`.
    #[schemars(extend("default" = "volcano", "enum" = ["volcano", "runai"]))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub r#type: Option<String>,
}

/// Weights & Biases, where training is followed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WandB {
    /// Secret of the namespace.
    #[schemars(length(min = 1))]
    pub secret_name: String,
    /// Key of the API key in the Secret. Default `apiKey`.
    #[schemars(length(min = 1), extend("default" = "apiKey"))]
    pub api_key_key: String,
    /// Key in the Secret of what credentials are encrypted by. Default `encryptionKey`.
    #[schemars(extend("default" = "encryptionKey"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encryption_key: Option<String>,
    /// User or team that runs are logged for. Default the API key's own.
    #[schemars(extend("default" = "null"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entity: Option<String>,
    /// Project that runs are logged in. Default `nvidia-nemo-customizer`.
    #[schemars(extend("default" = "nvidia-nemo-customizer"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub project_name: Option<String>,
}

impl WandB {
    /// Key in the Secret of what credentials are encrypted by, `encryptionKey` where none is given.
    #[must_use]
    pub fn encryption_key(&self) -> &str {
        said(self.encryption_key.as_deref(), ENCRYPTION_KEY)
    }

    /// User or team that runs are logged for, the word `null` where none is given.
    #[must_use]
    pub fn entity(&self) -> &str {
        said(self.entity.as_deref(), ENTITY)
    }

    /// Project that runs are logged in, `nvidia-nemo-customizer` where none is given.
    #[must_use]
    pub fn project_name(&self) -> &str {
        said(self.project_name.as_deref(), PROJECT)
    }
}

/// The tools that training jobs reach the data store by.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NemoDatastoreTools {
    /// Their image.
    #[schemars(length(min = 1))]
    pub image: String,
}

/// The jobs that fetch models.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ModelDownloadJobs {
    /// Their image.
    #[schemars(length(min = 1))]
    pub image: String,
    /// When the kubelet pulls it: `Always`, `IfNotPresent` or `Never`. Default `IfNotPresent`.
    #[schemars(extend("default" = "IfNotPresent", "enum" = ["Always", "IfNotPresent", "Never"]))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_pull_policy: Option<String>,
    /// Key of NGC. Default none.
    #[serde(rename = "ngcAPISecret", skip_serializing_if = "Option::is_none")]
    pub ngc_api_secret: Option<NGCSecret>,
    /// Token of Hugging Face. Default none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hf_secret: Option<HFSecret>,
    /// Security context of the pods. Default none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub security_context: Option<v1::PodSecurityContext>,
    /// Seconds that a job stays after it has ended.
    #[schemars(range(min = 60), transform = any_width)]
    pub ttl_seconds_after_finished: i64,
    /// Seconds between two looks at a job.
    #[schemars(range(min = 15), transform = any_width)]
    pub poll_interval_seconds: i64,
}

impl ModelDownloadJobs {
    /// When the kubelet pulls the image, `IfNotPresent` where nothing is said.
    #[must_use]
    pub fn image_pull_policy(&self) -> &str {
        said(self.image_pull_policy.as_deref(), PULL_POLICY)
    }
}

/// A key of NGC.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NGCSecret {
    /// Secret of the namespace.
    #[schemars(length(min = 1))]
    pub name: String,
    /// Key in the Secret. Default `NGC_API_KEY`.
    #[schemars(extend("default" = "NGC_API_KEY"))]
    pub key: String,
}

/// A token of Hugging Face.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HFSecret {
    /// Secret of the namespace.
    #[schemars(length(min = 1))]
    pub name: String,
    /// Key in the Secret. Default `HF_TOKEN`.
    #[schemars(extend("default" = "HF_TOKEN"))]
    pub key: String,
}
