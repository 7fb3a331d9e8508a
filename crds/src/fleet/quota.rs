//! GPUQuota: how many GPUs of the fleet the placements of a namespace may take.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Limits for the placements of its namespace, over all clusters. Several quotas of one namespace must all be kept.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "nimfleet.io",
    version = "v1alpha1",
    kind = "GPUQuota",
    plural = "gpuquotas",
    singular = "gpuquota",
    shortname = "gq",
    category = "nimfleet",
    namespaced,
    doc = "Limits the GPUs of the fleet that placements of its namespace take. What runs is never removed for it.",
    status = "GPUQuotaStatus",
    derive = "PartialEq",
    printcolumn = r#"{"name":"Used","type":"string","description":"used/limit","jsonPath":".status.summary"}"#,
    printcolumn = r#"{"name":"Enforced","type":"string","jsonPath":".status.conditions[?(@.type==\"Enforced\")].status"}"#,
    printcolumn = r#"{"name":"Exceeded","type":"string","jsonPath":".status.conditions[?(@.type==\"Exceeded\")].status"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
pub struct GPUQuotaSpec {
    /// The limits; a placement must keep all that its GPUs count for. At least one.
    #[schemars(length(min = 1, max = 32))]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["product"]))]
    pub limits: Vec<QuotaLimit>,
}

/// The most GPUs of some products.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct QuotaLimit {
    /// Products: a part of their name (`H100`), a pattern with `*` (`NVIDIA-H100*`), or `*` for all.
    #[schemars(length(min = 1, max = 63))]
    pub product: String,
    /// The most GPUs that placements take, all clusters together. A service with an autoscaler is charged the most replicas
    /// it may come to; a MIG device or a share of a GPU counts as one.
    #[schemars(range(min = 0))]
    pub gpus: i32,
}

/// How a quota stands.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GPUQuotaStatus {
    /// The generation of the quota that this status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// `Ready` and `Enforced`: the hub refuses what would exceed it. `Exceeded`: more is taken than it allows, since it was lowered or
    /// came later.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// One row per limit, in the same order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub limits: Vec<QuotaUse>,
    /// The rows as `product: used/limit`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary: Option<String>,
}

/// How a limit stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct QuotaUse {
    /// The limit's `product`.
    pub product: String,
    /// GPUs that placements are charged.
    pub used: i32,
    /// The limit's `gpus`.
    pub limit: i32,
}
