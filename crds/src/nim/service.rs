//! NIMService: a model that is served.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1;
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use super::shared::container::{Image, NIMContainerSpec, Probe};
use super::shared::is_default;
use super::shared::proxy::ProxySpec;
use crate::absent_spec::may_be_absent;

mod defaults;
pub(super) mod dra;
pub(super) mod epp;
pub(super) mod expose;
pub(super) mod multi_node;
pub(super) mod platform;
pub(super) mod scale;
pub(super) mod status;
pub(super) mod storage;
#[cfg(test)]
mod tests;

use dra::DRAResource;
use expose::Expose;
use multi_node::MultiNode;
use scale::{Autoscaling, Metrics};
use status::NIMServiceStatus;
use storage::NIMServiceStorage;

/// The model to serve and how.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "apps.nvidia.com",
    version = "v1alpha1",
    kind = "NIMService",
    plural = "nimservices",
    singular = "nimservice",
    namespaced,
    doc = "A model served by an NVIDIA NIM.",
    status = "NIMServiceStatus",
    derive = "PartialEq",
    derive = "Default",
    printcolumn = r#"{"name":"Status","type":"string","jsonPath":".status.state"}"#,
    printcolumn = r#"{"name":"Age","type":"date","format":"date-time","jsonPath":".metadata.creationTimestamp"}"#
)]
#[x_kube(validation = (
    "(has(self.draResources) && has(oldSelf.draResources) && self.draResources == oldSelf.draResources) || (!has(self.draResources) && !has(oldSelf.draResources))",
    "spec.draResources is immutable"
))]
#[x_kube(validation = (
    "!(has(self.multiNode) && has(self.scale) && has(self.scale.enabled) && self.scale.enabled)",
    "autoScaling must be nil or disabled when multiNode is set"
))]
#[x_kube(validation = (
    "!(has(self.scale) && has(self.scale.enabled) && self.scale.enabled && has(self.replicas))",
    "spec.replicas cannot be set when spec.scale.enabled is true"
))]
#[x_kube(validation = (
    "!(has(self.expose) && has(self.expose.ingress) && has(self.expose.ingress.enabled) && self.expose.ingress.enabled && has(self.expose.router) && has(self.expose.router.ingress))",
    ".spec.expose.ingress is deprecated, and will be removed in a future release. If .spec.expose.ingress is set, please do not set .spec.expose.router.ingress."
))]
#[serde(rename_all = "camelCase", remote = "Self")]
#[schemars(!remote)]
pub struct NIMServiceSpec {
    /// The NIM's image.
    pub image: Image,
    /// Replaces the image's entry point. Default the image's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<Vec<String>>,
    /// Arguments of the command. Default the image's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub args: Option<Vec<String>>,
    /// Environment of the model's container; wins over what is set for it. Default none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub env: Option<Vec<v1::EnvVar>>,
    /// Secret with `NGC_API_KEY` or `HF_TOKEN`. Default none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth_secret: Option<String>,
    /// Where the model lies.
    #[serde(default, skip_serializing_if = "is_default")]
    pub storage: NIMServiceStorage,
    /// Labels of all that is made for the service. Default none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub labels: Option<BTreeMap<String, String>>,
    /// Annotations of what is made for the service. Default none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub annotations: Option<BTreeMap<String, String>>,
    /// Labels of the nodes to run on. Default any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_selector: Option<BTreeMap<String, String>>,
    /// Taints of nodes that do not keep the pods away. Default none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tolerations: Option<Vec<v1::Toleration>>,
    /// Where pods prefer or have to run. Default none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub affinity: Option<v1::Affinity>,
    /// Deprecated and without effect: use `affinity`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod_affinity: Option<v1::PodAffinity>,
    /// What the model's container asks for, GPUs among it. Default: GPUs as the cached profile needs them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resources: Option<v1::ResourceRequirements>,
    /// Devices claimed by dynamic resource allocation. Default none. Cannot be changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dra_resources: Option<Vec<DRAResource>>,
    /// How the service is reached. Default: inside the cluster, port 8000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expose: Option<Expose>,
    /// Is the container alive? Default a probe of NIM's health endpoint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub liveness_probe: Option<Probe>,
    /// Does the container serve? Default a probe of NIM's health endpoint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub readiness_probe: Option<Probe>,
    /// Has the model been loaded? Default a probe of NIM's health endpoint, for twenty minutes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub startup_probe: Option<Probe>,
    /// Scaling by load. Default none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scale: Option<Autoscaling>,
    /// The scheduler that places the pods. Default the cluster's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scheduler_name: Option<String>,
    /// Scraping by the Prometheus operator. Default none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metrics: Option<Metrics>,
    /// How many replicas. Default one.
    #[schemars(range(min = 0))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replicas: Option<i32>,
    /// User the containers run as. Default 1000.
    #[serde(rename = "userID", skip_serializing_if = "Option::is_none")]
    pub user_id: Option<i64>,
    /// Group of the containers and their files. Default 2000.
    #[serde(rename = "groupID", skip_serializing_if = "Option::is_none")]
    pub group_id: Option<i64>,
    /// Runtime class of the pods. Default the cluster's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runtime_class_name: Option<String>,
    /// Priority class of the pods. Default the cluster's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority_class_name: Option<String>,
    /// The way out of a closed network. Default none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxy: Option<ProxySpec>,
    /// One replica over several nodes. Default one node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub multi_node: Option<MultiNode>,
    /// What renders the service: `standalone` or `kserve`. Default `standalone`.
    #[schemars(extend("default" = "standalone", "enum" = ["standalone", "kserve"]))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inference_platform: Option<String>,
    /// Containers that run before the model's own, in order. Default none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub init_containers: Option<Vec<NIMContainerSpec>>,
    /// Containers that run beside the model's own. Default none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sidecar_containers: Option<Vec<NIMContainerSpec>>,
}

may_be_absent!(NIMServiceSpec);
