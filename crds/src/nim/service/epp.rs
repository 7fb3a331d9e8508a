//! The endpoint picker in front of a NIMService's replicas.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::nim::shared::any_width;
use crate::nim::shared::container::NIMContainerSpec;

/// The picker that chooses the replica for each request.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = ("!(has(self.configMapRef) && has(self.config))", "specify either configMapRef or config, not both"))]
#[serde(rename_all = "camelCase")]
pub struct EppConfig {
    /// Its container.
    pub container_spec: NIMContainerSpec,
    /// Is it alive? Default a probe of its health port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub liveness_probe: Option<v1::Probe>,
    /// Does it serve? Default a probe of its health port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub readiness_probe: Option<v1::Probe>,
    /// Has it started? Default none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub startup_probe: Option<v1::Probe>,
    /// Its ports. Default those of the picker.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ports: Option<Vec<v1::ContainerPort>>,
    /// Its configuration, from a ConfigMap.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config_map_ref: Option<v1::ConfigMapKeySelector>,
    /// Its configuration.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config: Option<EndpointPickerConfig>,
}

/// The picker's configuration. Parts that are not named here are kept and passed on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-preserve-unknown-fields" = true))]
pub struct EndpointPickerConfig {
    /// Version of the configuration's format.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_version: Option<String>,
    /// Kind of the configuration's format.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Features to turn on. Default none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub feature_gates: Option<Vec<String>>,
    /// The plugins that may be used.
    pub plugins: Vec<EndpointPickerPlugin>,
    /// Which plugins decide.
    pub scheduling_profiles: Vec<SchedulingProfile>,
    /// When a replica counts as saturated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub saturation_detector: Option<SaturationDetector>,
    /// Where facts about replicas come from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<DataLayerConfig>,
    /// All else, as given.
    #[serde(flatten)]
    #[schemars(skip)]
    pub other: BTreeMap<String, serde_json::Value>,
}

/// A plugin of the picker.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EndpointPickerPlugin {
    /// Its name. Default its type.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its type.
    pub r#type: String,
    /// Its parameters: JSON, in base64.
    #[schemars(extend("format" = "byte"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parameters: Option<String>,
}

/// Plugins that decide together.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SchedulingProfile {
    /// Its name.
    pub name: String,
    /// Its plugins.
    pub plugins: Vec<SchedulingPlugin>,
}

/// A plugin in a profile.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SchedulingPlugin {
    /// Name of the plugin.
    pub plugin_ref: String,
    /// How much its score counts.
    #[schemars(transform = any_width)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<i64>,
}

/// When a replica counts as saturated.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SaturationDetector {
    /// Requests that wait.
    #[schemars(transform = any_width)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue_depth_threshold: Option<i64>,
    /// Share of the key-value cache in use, 0 to 1.
    #[schemars(transform = any_width)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kv_cache_util_threshold: Option<f64>,
    /// Age from which a figure is not trusted, a duration.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metrics_staleness_threshold: Option<String>,
}

/// Where facts about replicas come from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DataLayerConfig {
    /// The sources.
    pub sources: Vec<DataLayerSource>,
}

/// A source of facts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DataLayerSource {
    /// Name of the plugin that reads them.
    pub plugin_ref: String,
    /// What is taken from them.
    pub extractors: Vec<DataLayerExtractor>,
}

/// Takes a fact from a source.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DataLayerExtractor {
    /// Name of the plugin.
    pub plugin_ref: String,
}
