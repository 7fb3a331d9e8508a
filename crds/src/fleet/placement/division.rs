//! How replicas spread over the chosen clusters.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How replicas spread over clusters.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = (
    "!has(self.weights) || (has(self.division) && self.division == 'Weighted')",
    "weights are for division Weighted: set replicaScheduling.division to Weighted, or leave weights out"
))]
#[x_kube(validation = (
    "!(has(self.division) || has(self.minPerCluster) || has(self.maxPerCluster)) || (has(self.type) && self.type == 'Divided')",
    "division, minPerCluster and maxPerCluster are for divided replicas: set replicaScheduling.type to Divided"
))]
#[x_kube(validation = (
    "!has(self.minPerCluster) || !has(self.maxPerCluster) || self.minPerCluster <= self.maxPerCluster",
    "minPerCluster is more than maxPerCluster"
))]
#[serde(rename_all = "camelCase")]
pub struct ReplicaScheduling {
    /// `Duplicated` or `Divided`. Default `Duplicated`.
    #[serde(default, rename = "type")]
    pub type_: ReplicaSchedulingType,
    /// By what replicas are divided. Default `FreeCapacity`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub division: Option<ReplicaDivision>,
    /// Only with `Weighted`: what clusters weigh. The first that names a cluster counts; what none names gets no replica. Default
    /// all weigh the same.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub weights: Vec<ClusterWeight>,
    /// Fewest replicas of an object that a chosen cluster runs; one that cannot is not chosen. Default 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100_000))]
    pub min_per_cluster: Option<i32>,
    /// Most replicas of an object that one cluster runs. Default no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100_000))]
    pub max_per_cluster: Option<i32>,
}

/// The ways to spread replicas.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ReplicaSchedulingType {
    /// Every chosen cluster runs all replicas.
    #[default]
    Duplicated,
    /// The chosen clusters share the replicas. A service that an autoscaler scales is not shared: each of them runs it
    /// within the autoscaler's own bounds.
    Divided,
}

/// By what replicas are divided. What runs already stays where it is; only what is new is divided.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ReplicaDivision {
    /// By `weights`, over all clusters that fit (or the best `numberOfClusters`). Largest remainder; of equal ones the first by
    /// name.
    Weighted,
    /// By free GPUs, over as few clusters as it takes unless `numberOfClusters` is set.
    #[default]
    FreeCapacity,
    /// Into as few clusters as possible, each filled before the next is begun.
    Aggregated,
}

/// What some clusters weigh.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = (
    "has(self.clusterNames) || has(self.clusterSelector)",
    "a weight says for which clusters it is: set clusterNames, clusterSelector or both"
))]
#[serde(rename_all = "camelCase")]
pub struct ClusterWeight {
    /// These clusters. With `clusterSelector`, a cluster that either names is meant.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1000), inner(length(min = 1, max = 63)))]
    pub cluster_names: Vec<String>,
    /// Clusters with these labels or properties.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster_selector: Option<LabelSelector>,
    /// What each of them weighs beside the others.
    #[schemars(range(min = 0, max = 1000))]
    pub weight: i32,
}
