//! NIMPipeline: several services that belong together.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::service::NIMServiceSpec;
use crate::absent_spec::may_be_absent;

/// The services of the pipeline.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "apps.nvidia.com",
    version = "v1alpha1",
    kind = "NIMPipeline",
    plural = "nimpipelines",
    singular = "nimpipeline",
    namespaced,
    doc = "Several models that are served together, each by a NIMService of its own.",
    status = "NIMPipelineStatus",
    derive = "PartialEq",
    derive = "Default",
    printcolumn = r#"{"name":"Status","type":"string","jsonPath":".status.state"}"#,
    printcolumn = r#"{"name":"Age","type":"date","format":"date-time","jsonPath":".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase", remote = "Self")]
#[schemars(!remote)]
pub struct NIMPipelineSpec {
    /// The services. Default none, which is a pipeline that is ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub services: Option<Vec<NIMPipelineService>>,
}

may_be_absent!(NIMPipelineSpec);

/// One service of a pipeline.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NIMPipelineService {
    /// Name of the NIMService that is made; unique among those that are enabled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Whether there is such a NIMService. Default false; one that was made before is removed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// The NIMService's spec.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spec: Option<NIMServiceSpec>,
    /// Services that this one is told of by its environment. Default none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dependencies: Option<Vec<ServiceDependency>>,
}

/// A service that another one uses.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServiceDependency {
    /// Its name. For readers: nothing waits for it.
    pub name: String,
    /// Its port. For readers too.
    pub port: i32,
    /// The variable that is set. Default none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub env_name: Option<String>,
    /// Its value, such as the dependency's address. Default none, and then no variable is set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub env_value: Option<String>,
}

impl ServiceDependency {
    /// The variable to set and its value, where both are given.
    #[must_use]
    pub fn variable(&self) -> Option<(&str, &str)> {
        let given = |text: &'_ Option<String>| text.as_deref().is_some_and(|text| !text.is_empty());
        (given(&self.env_name) && given(&self.env_value)).then(|| {
            (self.env_name.as_deref().unwrap_or_default(), self.env_value.as_deref().unwrap_or_default())
        })
    }
}

/// How a NIMPipeline fares.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NIMPipelineStatus {
    /// `Ready`, `NotReady` or `Failed`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// State of each service that is enabled, by name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub states: Option<BTreeMap<String, String>>,
    /// Why it is in that state.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conditions: Option<Vec<Condition>>,
}
