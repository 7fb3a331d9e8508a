//! What every NeMo microservice says, whichever it is.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1;
use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::expose::Expose;
use crate::nim::{Autoscaling, HorizontalPodAutoscaler, Image, Metrics};

/// Port of the Service where none is given.
const API_PORT: i32 = 8000;
/// User and group of the containers where none is given.
const USER: i64 = 1000;
const GROUP: i64 = 2000;

/// The part of a spec that all NeMo kinds have. It lies flat in the spec of each.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = (
    "!(has(self.expose) && has(self.expose.ingress) && has(self.expose.ingress.enabled) && self.expose.ingress.enabled && has(self.expose.router) && has(self.expose.router.ingress))",
    ".spec.expose.ingress is deprecated, and will be removed in a future release. If .spec.expose.ingress is set, please do not set .spec.expose.router.ingress."
))]
#[x_kube(validation = (
    "!(has(self.scale) && has(self.scale.enabled) && self.scale.enabled && has(self.replicas))",
    "spec.replicas cannot be set when spec.scale.enabled is true"
))]
#[serde(rename_all = "camelCase")]
pub struct Microservice {
    /// The microservice's image.
    pub image: Image,
    /// Replaces the image's entry point. Default the image's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<Vec<String>>,
    /// Arguments of the command. Default the image's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub args: Option<Vec<String>>,
    /// Environment of the container; wins over what is set for it. Default none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub env: Option<Vec<v1::EnvVar>>,
    /// Labels of all that is made for the microservice. Default none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub labels: Option<BTreeMap<String, String>>,
    /// Annotations of what is made for the microservice. Default none.
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
    /// Deprecated: use `affinity`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod_affinity: Option<v1::PodAffinity>,
    /// What the container asks for. Default nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resources: Option<v1::ResourceRequirements>,
    /// How the microservice is reached. Default: inside the cluster, port 8000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expose: Option<Expose>,
    /// Scaling by load. Default none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scale: Option<Autoscaling>,
    /// Scraping by the Prometheus operator. Default none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metrics: Option<Metrics>,
    /// How many replicas. Default one.
    #[schemars(range(min = 1))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replicas: Option<i32>,
    /// User the containers run as. Default 1000. Without effect on a NemoDatastore.
    #[serde(rename = "userID", skip_serializing_if = "Option::is_none")]
    pub user_id: Option<i64>,
    /// Group of the containers and their files. Default 2000; 1000 for the files of a NemoDatastore.
    #[serde(rename = "groupID", skip_serializing_if = "Option::is_none")]
    pub group_id: Option<i64>,
    /// Runtime class of the pods. Default the cluster's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runtime_class: Option<String>,
}

impl Microservice {
    /// Port of the Service, 8000 where none is given.
    #[must_use]
    pub fn api_port(&self) -> i32 {
        let service = self.expose.as_ref().and_then(|expose| expose.service.as_ref());
        service.and_then(|service| service.port).unwrap_or(API_PORT)
    }

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

    /// Whether an autoscaler owns the number of replicas.
    #[must_use]
    pub fn is_autoscaled(&self) -> bool {
        self.scale.as_ref().is_some_and(|scale| scale.enabled == Some(true))
    }

    /// The autoscaler's limits, where an autoscaler is wanted.
    #[must_use]
    pub fn autoscaler(&self) -> Option<&HorizontalPodAutoscaler> {
        self.scale.as_ref().filter(|_| self.is_autoscaled())?.hpa.as_ref()
    }
}
