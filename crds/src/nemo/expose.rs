//! How a NeMo microservice is reached: as a NIMService is, but over one port, and with a simpler old Ingress.

use std::collections::BTreeMap;

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::nim::{Router, Service};

/// How a NeMo microservice is reached.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = ("!(has(self.service) && has(self.service.grpcPort))", "unsupported field: spec.expose.service.grpcPort"))]
#[x_kube(validation = ("!(has(self.service) && has(self.service.metricsPort))", "unsupported field: spec.expose.service.metricsPort"))]
#[serde(rename_all = "camelCase")]
pub struct Expose {
    /// Inside the cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<Service>,
    /// Deprecated: use `router.ingress`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ingress: Option<Ingress>,
    /// From outside of the cluster.
    #[x_kube(validation = ("!(has(self.gateway) && self.gateway.grpcRoutesEnabled)", "unsupported field: spec.expose.router.gateway.grpcRoutesEnabled"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub router: Option<Router>,
}

/// An Ingress. Deprecated.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = ("(has(self.spec) && has(self.enabled) && self.enabled) || !has(self.enabled) || !self.enabled", "spec cannot be nil when ingress is enabled"))]
#[serde(rename_all = "camelCase")]
pub struct Ingress {
    /// Whether there is one. Default false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// Annotations of the Ingress. Default none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub annotations: Option<BTreeMap<String, String>>,
    /// What the Ingress says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spec: Option<IngressSpec>,
}

/// What an Ingress says.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct IngressSpec {
    /// The ingress class.
    #[schemars(regex(pattern = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*"))]
    pub ingress_class_name: String,
    /// The host. Default any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// The paths that lead to the microservice. Default all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub paths: Option<Vec<IngressPath>>,
}

/// A path of an Ingress.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct IngressPath {
    /// The path. Default `/`.
    #[schemars(extend("default" = "/"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// `Prefix`, `Exact` or `ImplementationSpecific`. Default `Prefix`.
    #[schemars(extend("default" = "Prefix"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path_type: Option<String>,
}
