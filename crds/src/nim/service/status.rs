//! How a NIMService fares.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How a NIMService fares.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NIMServiceStatus {
    /// `NotReady`, `Ready`, `Failed` or `PVC-Created`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// `Ready` and `Failed`, and others that explain them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conditions: Option<Vec<Condition>>,
    /// Replicas that serve.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub available_replicas: Option<i32>,
    /// The model that is served.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<ModelStatus>,
    /// Claims of dynamic resource allocation.
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dra_resource_statuses: Option<Vec<DRAResourceStatus>>,
    /// The domain of GPUs over nodes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compute_domain_status: Option<ComputeDomainStatus>,
}

impl NIMServiceStatus {
    /// The conditions, none where there is no list.
    #[must_use]
    pub fn conditions(&self) -> &[Condition] {
        self.conditions.as_deref().unwrap_or_default()
    }
}

/// The model that is served.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ModelStatus {
    /// The name that requests call it by.
    pub name: String,
    /// Where it is reached inside the cluster.
    pub cluster_endpoint: String,
    /// Where it is reached from outside; empty where it is not.
    pub external_endpoint: String,
}

/// The claims of one entry of `spec.draResources`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = ("has(self.resourceClaimStatus) != has(self.resourceClaimTemplateStatus)", "exactly one of resourceClaimStatus and resourceClaimTemplateStatus must be set."))]
#[serde(rename_all = "camelCase")]
pub struct DRAResourceStatus {
    /// Name of the entry in the pod.
    pub name: String,
    /// Where the entry names a claim.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource_claim_status: Option<DRAResourceClaimStatus>,
    /// Where the entry is a template.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource_claim_template_status: Option<DRAResourceClaimTemplateStatus>,
}

/// A ResourceClaim.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DRAResourceClaimStatus {
    /// Its name.
    pub name: String,
    /// Its state in one word.
    pub state: String,
}

/// A ResourceClaimTemplate and the claims made from it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DRAResourceClaimTemplateStatus {
    /// Its name.
    pub name: String,
    /// The claims.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource_claim_statuses: Option<Vec<DRAResourceClaimStatus>>,
}

/// The domain of GPUs over nodes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ComputeDomainStatus {
    /// Its name.
    pub name: String,
    /// Its state in one word.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// Its nodes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nodes: Option<Vec<ComputeDomainNode>>,
}

/// A node of the domain.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ComputeDomainNode {
    /// Its name.
    pub name: String,
    /// The clique of GPUs it belongs to.
    #[serde(rename = "cliqueID")]
    pub clique_id: String,
    /// `Ready` or `NotReady`. Default `NotReady`.
    #[schemars(extend("default" = "NotReady", "enum" = ["Ready", "NotReady"]))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
}
