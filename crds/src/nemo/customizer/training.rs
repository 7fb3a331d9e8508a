//! The training jobs of a NemoCustomizer.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::nemo::reference::ConfigMapRef;
use crate::nemo::said;
use crate::nim::{Image, PersistentVolumeClaim, any_width};

/// Where the workspace is mounted where nothing is said.
const MOUNT_PATH: &str = "/pvc/workspace";

/// The training jobs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TrainingConfig {
    /// ConfigMap whose key `training` holds the settings that are not below. Default none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config_map: Option<ConfigMapRef>,
    /// The volume that models lie on.
    #[serde(rename = "modelPVC")]
    pub model_pvc: PersistentVolumeClaim,
    /// The volume that a job works on; each job has one of its own.
    #[serde(rename = "workspacePVC")]
    pub workspace_pvc: WorkspacePVC,
    /// The image of a job.
    pub image: Image,
    /// Environment of a job. Default none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub env: Option<Vec<v1::EnvVar>>,
    /// Environment of a job over several nodes. Default none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network_config: Option<Vec<v1::EnvVar>>,
    /// Seconds that a job stays after it has ended. Default for ever.
    #[schemars(transform = any_width)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl_seconds_after_finished: Option<i64>,
    /// Seconds that a job may take. Default any number.
    #[schemars(transform = any_width)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<i64>,
    /// Queue of Run:ai. Default `default`.
    #[schemars(extend("default" = "default"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runai_queue: Option<String>,
    /// Labels of the nodes to run on. Default any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_selector: Option<BTreeMap<String, String>>,
    /// Taints of nodes that do not keep a job away. Default none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tolerations: Option<Vec<v1::Toleration>>,
    /// Where a job prefers or has to run. Default none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub affinity: Option<v1::Affinity>,
    /// Deprecated: use `affinity`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod_affinity: Option<v1::PodAffinity>,
    /// What a job asks for. Default nothing but GPUs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resources: Option<v1::ResourceRequirements>,
    /// Size of the memory that a job's processes share. Default the node's memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shared_memory_size_limit: Option<Quantity>,
}

/// The volume that a job works on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WorkspacePVC {
    /// Storage class. Default the cluster's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub storage_class: Option<String>,
    /// How much, for example `10Gi`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<String>,
    /// Access mode, for example `ReadWriteOnce`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub volume_access_mode: Option<String>,
    /// Where it is mounted. Default `/pvc/workspace`.
    #[schemars(extend("default" = "/pvc/workspace"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mount_path: Option<String>,
}

impl WorkspacePVC {
    /// Where it is mounted, `/pvc/workspace` where nothing is said.
    #[must_use]
    pub fn mount_path(&self) -> &str {
        said(self.mount_path.as_deref(), MOUNT_PATH)
    }
}
