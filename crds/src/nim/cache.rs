//! NIMCache: a model that is stored.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::shared::container::NIMContainerSpec;
use super::shared::proxy::ProxySpec;
use super::shared::volume::PersistentVolumeClaim;
use crate::absent_spec::may_be_absent;

pub(super) mod source;
#[cfg(test)]
mod tests;

use source::NIMSource;

/// User and group of the containers where none is given.
const USER: i64 = 1000;
const GROUP: i64 = 2000;

/// The model to store and where.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "apps.nvidia.com",
    version = "v1alpha1",
    kind = "NIMCache",
    plural = "nimcaches",
    singular = "nimcache",
    namespaced,
    doc = "A model stored in a cluster, ready to be served from there.",
    status = "NIMCacheStatus",
    derive = "PartialEq",
    derive = "Default",
    printcolumn = r#"{"name":"Status","type":"string","jsonPath":".status.state"}"#,
    printcolumn = r#"{"name":"PVC","type":"string","jsonPath":".status.pvc"}"#,
    printcolumn = r#"{"name":"Age","type":"date","format":"date-time","jsonPath":".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase", remote = "Self")]
#[schemars(!remote)]
pub struct NIMCacheSpec {
    /// Where the model comes from.
    pub source: NIMSource,
    /// Where the model is stored.
    pub storage: NIMCacheStorage,
    /// What the containers that fetch it ask for. Default nothing.
    #[schemars(extend("default" = {}))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,
    /// Taints of nodes that do not keep the pods away. Default none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tolerations: Option<Vec<v1::Toleration>>,
    /// Labels of the nodes to run on; an empty map means any. Default: nodes with an NVIDIA GPU.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_selector: Option<BTreeMap<String, String>>,
    /// User the containers run as. Default 1000.
    #[serde(rename = "userID", skip_serializing_if = "Option::is_none")]
    pub user_id: Option<i64>,
    /// Group of the containers and their files. Default 2000.
    #[serde(rename = "groupID", skip_serializing_if = "Option::is_none")]
    pub group_id: Option<i64>,
    /// Deprecated and refused: use `proxy.certConfigMap`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cert_config: Option<CertConfig>,
    /// Environment of the containers; wins over what is set for them. Default none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub env: Option<Vec<v1::EnvVar>>,
    /// Runtime class of the pods. Default the cluster's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runtime_class_name: Option<String>,
    /// The way out of a closed network. Default none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxy: Option<ProxySpec>,
    /// Containers that run before the one that fetches, in order. Default none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub init_containers: Option<Vec<NIMContainerSpec>>,
}

may_be_absent!(NIMCacheSpec);

impl NIMCacheSpec {
    /// User the containers run as, 1000 where none is given.
    #[must_use]
    pub fn user(&self) -> i64 {
        self.user_id.unwrap_or(USER)
    }

    /// Group of the containers and their files, 2000 where none is given.
    #[must_use]
    pub fn group(&self) -> i64 {
        self.group_id.unwrap_or(GROUP)
    }

    /// Name of the claim of a cache of this name.
    #[must_use]
    pub fn claim_name(&self, cache: &str) -> String {
        self.storage.pvc.as_ref().map_or_else(|| format!("{cache}-pvc"), |pvc| pvc.name_for(cache))
    }
}

/// Where the model is stored.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NIMCacheStorage {
    /// A claim.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pvc: Option<PersistentVolumeClaim>,
    /// Deprecated and without effect: use `pvc`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_path: Option<String>,
}

/// What a container asks for; requests and limits are the same.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Resources {
    /// Processors, for example `4`. Default `0`: none asked for.
    #[schemars(extend("default" = "0"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu: Option<Quantity>,
    /// Memory, for example `16Gi`. Default `0`: none asked for.
    #[schemars(extend("default" = "0"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<Quantity>,
}

/// Certificates to trust. Deprecated.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CertConfig {
    /// ConfigMap of the namespace.
    pub name: String,
    /// Folder to mount it at.
    pub mount_path: String,
}

/// How a NIMCache fares.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NIMCacheStatus {
    /// `NotReady`, `PVC-Created`, `Started`, `Pending`, `InProgress`, `Ready` or `Failed`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// `native`, `model-free`, or nothing for a NIM with a manifest of profiles.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub r#type: Option<String>,
    /// The claim that the model lies on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pvc: Option<String>,
    /// The profiles that are stored, where they are few and known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profiles: Option<Vec<NIMProfile>>,
    /// What has been done, step by step.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conditions: Option<Vec<Condition>>,
}

impl NIMCacheStatus {
    /// The conditions, none where there is no list.
    #[must_use]
    pub fn conditions(&self) -> &[Condition] {
        self.conditions.as_deref().unwrap_or_default()
    }
}

/// A profile: one build of a model for one kind of GPU.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NIMProfile {
    /// Its id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The model's release.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub release: Option<String>,
    /// Its tags.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config: Option<BTreeMap<String, String>>,
}
