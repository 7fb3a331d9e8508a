//! Containers beside the model's own, images and probes.

use k8s_openapi::api::core::v1;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A container image.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Image {
    /// Registry and path, without tag.
    pub repository: String,
    /// The tag. Digests have no place of their own.
    pub tag: String,
    /// When the kubelet pulls it: `Always`, `IfNotPresent` or `Never`. Default: the cluster's rule for the tag.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pull_policy: Option<String>,
    /// Secrets of the namespace to pull with. Default none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pull_secrets: Option<Vec<String>>,
}

impl Image {
    /// `repository:tag`.
    #[must_use]
    pub fn reference(&self) -> String {
        format!("{}:{}", self.repository, self.tag)
    }
}

/// A container that runs before or beside the model's own.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NIMContainerSpec {
    /// The container's name, unique in the pod.
    pub name: String,
    /// What it runs.
    pub image: Image,
    /// Replaces the image's entry point. Default the image's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<Vec<String>>,
    /// Arguments of the command. Default the image's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub args: Option<Vec<String>>,
    /// Environment, before what the model's own container has. Default none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub env: Option<Vec<v1::EnvVar>>,
    /// Working folder. Default the image's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub working_dir: Option<String>,
}

/// A probe of the model's container.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Probe {
    /// Whether there is one at all. Default true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// The probe. Default the one that NIM needs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub probe: Option<v1::Probe>,
}

impl Probe {
    /// Whether the probe is wanted: unless it says no, it is.
    #[must_use]
    pub fn is_enabled(&self) -> bool {
        self.enabled != Some(false)
    }
}
