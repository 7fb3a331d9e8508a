//! NIMBuild: an engine built from a stored model, for the GPUs of this cluster.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::cache::NIMProfile;
use super::shared::container::Image;
use crate::absent_spec::may_be_absent;

/// What to build and with what.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "apps.nvidia.com",
    version = "v1alpha1",
    kind = "NIMBuild",
    plural = "nimbuilds",
    singular = "nimbuild",
    namespaced,
    doc = "An engine built from a profile of a NIMCache and stored beside it.",
    status = "NIMBuildStatus",
    derive = "PartialEq",
    derive = "Default",
    printcolumn = r#"{"name":"Status","type":"string","jsonPath":".status.state"}"#,
    printcolumn = r#"{"name":"Age","type":"date","format":"date-time","jsonPath":".metadata.creationTimestamp"}"#
)]
#[x_kube(validation = ("self == oldSelf", "spec is immutable"))]
#[serde(rename_all = "camelCase", remote = "Self")]
#[schemars(!remote)]
pub struct NIMBuildSpec {
    /// The stored model.
    pub nim_cache: NIMBuildCache,
    /// The NIM's image, which builds.
    pub image: Image,
    /// Name of the engine that is built. Default the NIMBuild's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model_name: Option<String>,
    /// What the container asks for. Default: GPUs as the profile needs them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resources: Option<NIMBuildResources>,
    /// Taints of nodes that do not keep the pods away. Default none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tolerations: Option<Vec<v1::Toleration>>,
    /// Labels of the nodes to run on. Default any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_selector: Option<BTreeMap<String, String>>,
    /// Environment of the container; wins over what is set for it. Default none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub env: Option<Vec<v1::EnvVar>>,
    /// Labels of the pods. Default none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub labels: Option<BTreeMap<String, String>>,
    /// Annotations of the pods. Default none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub annotations: Option<BTreeMap<String, String>>,
}

may_be_absent!(NIMBuildSpec);

/// A profile of a NIMCache of the same namespace.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NIMBuildCache {
    /// Name of the NIMCache.
    pub name: String,
    /// Id of the profile. Default the only one that can be built from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
}

/// What the container asks for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NIMBuildResources {
    /// The most that it gets. Default no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limits: Option<BTreeMap<String, Quantity>>,
    /// What is set aside for it. Default its limits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests: Option<BTreeMap<String, Quantity>>,
}

/// How a NIMBuild fares.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NIMBuildStatus {
    /// `NotReady`, `Started`, `Pending`, `InProgress`, `Ready` or `Failed`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// The profile that is built from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input_profile: Option<NIMProfile>,
    /// The profile that was built.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_profile: Option<NIMProfile>,
    /// What has been done, step by step.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conditions: Option<Vec<Condition>>,
}
