//! NemoGuardrail: rails around what models are asked and answer.

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::database::DatabaseConfig;
use super::microservice::Microservice;
use super::otel::OTel;
use super::reference::ConfigMapRef;
use super::said;
use super::status::NemoStatus;
use crate::absent_spec::may_be_absent;
use crate::nim::PersistentVolumeClaim;

/// Key of the API key where none is given.
const API_KEY_KEY: &str = "NIM_ENDPOINT_API_KEY";

/// The guardrails to run.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "apps.nvidia.com",
    version = "v1alpha1",
    kind = "NemoGuardrail",
    plural = "nemoguardrails",
    singular = "nemoguardrail",
    namespaced,
    doc = "NeMo Guardrails.",
    status = "NemoStatus",
    derive = "PartialEq",
    derive = "Default",
    printcolumn = r#"{"name":"Status","type":"string","jsonPath":".status.state"}"#,
    printcolumn = r#"{"name":"Age","type":"date","format":"date-time","jsonPath":".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase", remote = "Self")]
#[schemars(!remote)]
pub struct NemoGuardrailSpec {
    /// What all NeMo microservices say.
    #[serde(flatten)]
    pub service: Microservice,
    /// The models that are guarded. Default: each configuration names its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nim_endpoint: Option<NIMEndpoint>,
    /// Where configurations of guardrails lie. Default an empty volume that goes with the pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config_store: Option<ConfigStore>,
    /// The database. Default none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub database_config: Option<DatabaseConfig>,
    /// Traces, metrics and logs. Default none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub otel: Option<OTel>,
}

may_be_absent!(NemoGuardrailSpec);

/// Models that are served already.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NIMEndpoint {
    /// URL of the API, with `/v1`.
    #[schemars(length(min = 1), regex(pattern = r"^https?:\/\/[^\s]+\/v1\/?$"), extend("format" = "uri"))]
    #[serde(rename = "baseURL")]
    pub base_url: String,
    /// Secret of the namespace with the key that requests are signed by. Default none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_key_secret: Option<String>,
    /// Key in the Secret. Default `NIM_ENDPOINT_API_KEY`.
    #[schemars(extend("default" = "NIM_ENDPOINT_API_KEY"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_key_key: Option<String>,
}

impl NIMEndpoint {
    /// Secret and key in it, where a Secret is named.
    #[must_use]
    pub fn api_key(&self) -> Option<(&str, &str)> {
        let secret = self.api_key_secret.as_deref().filter(|name| !name.is_empty())?;
        Some((secret, said(self.api_key_key.as_deref(), API_KEY_KEY)))
    }
}

/// Where configurations of guardrails lie: one of the two, or none.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = ("!(has(self.configMap) && has(self.pvc))", "Cannot set both ConfigMap and PVC in ConfigStore"))]
#[serde(rename_all = "camelCase")]
pub struct ConfigStore {
    /// In a ConfigMap.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config_map: Option<ConfigMapRef>,
    /// On a volume.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pvc: Option<PersistentVolumeClaim>,
}
