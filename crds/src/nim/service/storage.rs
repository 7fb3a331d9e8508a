//! Where a NIMService's model lies.

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::nim::shared::volume::PersistentVolumeClaim;

/// Where the model lies: the first of `nimCache`, `pvc`, `emptyDir` and `hostPath` that is set.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NIMServiceStorage {
    /// A NIMCache of the namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nim_cache: Option<NIMCacheReference>,
    /// A claim.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pvc: Option<PersistentVolumeClaim>,
    /// A folder of the node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_path: Option<String>,
    /// A volume that goes with the pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub empty_dir: Option<EmptyDir>,
    /// Size of the memory that the processes share. Default the node's memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shared_memory_size_limit: Option<Quantity>,
    /// Whether the model's volume is mounted read-only. Default false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub read_only: Option<bool>,
}

/// Names a NIMCache of the same namespace.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NIMCacheReference {
    /// Its name. Empty means none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The cached profile to serve. Default: the NIM chooses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
}

/// A volume that goes with the pod.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EmptyDir {
    /// How much it may hold. Default the node's disk.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size_limit: Option<Quantity>,
}
