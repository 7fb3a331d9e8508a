//! How a NIMService is reached.

use std::collections::BTreeMap;

use k8s_openapi::api::networking::v1::IngressSpec;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::epp::EppConfig;

/// How a NIMService is reached.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Expose {
    /// Inside the cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<Service>,
    /// Deprecated: use `router.ingress`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ingress: Option<Ingress>,
    /// From outside of the cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub router: Option<Router>,
}

/// The Service in front of the pods.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Service {
    /// Type of the Service. Default `ClusterIP`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub r#type: Option<String>,
    /// Without effect: the Service is named as the NIMService.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Port of the HTTP API. Default 8000.
    #[schemars(range(min = 1, max = 65535), extend("default" = 8000))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<i32>,
    /// Port of the gRPC API. Default none.
    #[schemars(range(min = 1, max = 65535))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grpc_port: Option<i32>,
    /// Port of the metrics, where the NIM has one of their own. Default none.
    #[schemars(range(min = 1, max = 65535))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metrics_port: Option<i32>,
    /// Annotations of the Service. Default none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub annotations: Option<BTreeMap<String, String>>,
    /// Labels of the Service. Default none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub labels: Option<BTreeMap<String, String>>,
}

/// An Ingress in full. Deprecated.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Ingress {
    /// Whether there is one. Default false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// Annotations of the Ingress. Default none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub annotations: Option<BTreeMap<String, String>>,
    /// The Ingress as it shall be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spec: Option<IngressSpec>,
}

/// The way in from outside of the cluster.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = ("!(has(self.gateway) && has(self.ingress))", "ingress and gateway cannot be specified together"))]
#[serde(rename_all = "camelCase")]
pub struct Router {
    /// Domain below which the service gets the name `<service>.<namespace>.<domain>`.
    #[schemars(
        length(min = 1, max = 63),
        regex(pattern = r"^(([a-z0-9][a-z0-9\-]*[a-z0-9])|[a-z0-9]+\.)*([a-z]+|xn\-\-[a-z0-9]+)\.?$")
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_domain_name: Option<String>,
    /// Annotations of what is made. Default none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub annotations: Option<BTreeMap<String, String>>,
    /// By an Ingress.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ingress: Option<RouterIngress>,
    /// By a gateway of the Gateway API.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateway: Option<Gateway>,
    /// A picker that chooses the replica for each request. Default none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epp_config: Option<EppConfig>,
}

/// An Ingress of the router.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RouterIngress {
    /// The ingress class.
    #[schemars(length(min = 1))]
    pub ingress_class: String,
    /// Secret with the certificate; without one there is no TLS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_secret_name: Option<String>,
}

/// Routes at a gateway.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Gateway {
    /// The gateway's name.
    #[schemars(length(min = 1))]
    pub name: String,
    /// The gateway's namespace.
    #[schemars(length(min = 1))]
    pub namespace: String,
    /// Whether there is an HTTPRoute. Default true.
    #[schemars(extend("default" = true))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http_routes_enabled: Option<bool>,
    /// Whether there is a GRPCRoute. Default false.
    #[schemars(extend("default" = false))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grpc_routes_enabled: Option<bool>,
    /// Where requests go instead of the Service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backend_ref: Option<BackendRef>,
}

/// Where a route sends requests, in the words of the Gateway API.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = ("(size(self.group) == 0 && self.kind == 'Service') ? has(self.port) : true", "Must have port for Service reference"))]
#[serde(rename_all = "camelCase")]
pub struct BackendRef {
    /// API group. Default the core group.
    #[schemars(length(max = 253), regex(pattern = r"^$|^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"), extend("default" = ""))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Kind. Default `Service`.
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-zA-Z]([-a-zA-Z0-9]*[a-zA-Z0-9])?$"), extend("default" = "Service"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Namespace. Default the service's own.
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Port; a Service needs one.
    #[schemars(range(min = 1, max = 65535))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<i32>,
    /// Share of the requests, among the backends of one rule. Default 1.
    #[schemars(range(min = 0, max = 1_000_000), extend("default" = 1))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<i32>,
}
