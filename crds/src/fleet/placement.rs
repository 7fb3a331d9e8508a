//! NIMPlacement: which objects, in which clusters, how many, and what to do when a cluster is lost.

mod affinity;
mod division;
mod failover;
mod overrides;
mod score;
mod selected;

use k8s_openapi::api::core::v1::Toleration;
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use super::NIMPlacementStatus;
pub use affinity::{
    ClusterAffinity, GPURequirement, PreferredClusters, ProfileChange, Tier, TopologySpreadConstraint,
    WhenUnsatisfiable,
};
pub use division::{ClusterWeight, ReplicaDivision, ReplicaScheduling, ReplicaSchedulingType};
pub use failover::{Failover, InvalidDuration, OnUnreachable};
pub use overrides::{ClusterOverride, JsonPatchOp, JsonPatchVerb};
pub use score::{CacheLocality, CapacityStrategy, ScoreWeights};
pub use selected::{ResourceSelector, SelectedKind};

/// What shall run where. All selected objects go together to the same clusters.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "nimfleet.io",
    version = "v1alpha1",
    kind = "NIMPlacement",
    plural = "nimplacements",
    singular = "nimplacement",
    shortname = "nimp",
    category = "nimfleet",
    namespaced,
    doc = "Says which NIM objects of its namespace run in which clusters of the fleet.",
    status = "NIMPlacementStatus",
    derive = "PartialEq",
    printcolumn = r#"{"name":"Where","type":"string","description":"clusters where it is placed","jsonPath":".status.whereSummary"}"#,
    printcolumn = r#"{"name":"Clusters","type":"string","description":"ready/wanted","jsonPath":".status.clustersSummary"}"#,
    printcolumn = r#"{"name":"Replicas","type":"string","description":"ready/wanted","jsonPath":".status.replicasSummary"}"#,
    printcolumn = r#"{"name":"Phase","type":"string","jsonPath":".status.phase"}"#,
    printcolumn = r#"{"name":"Reason","type":"string","jsonPath":".status.reason"}"#,
    printcolumn = r#"{"name":"Message","type":"string","description":"what the condition Ready says","priority":1,"jsonPath":".status.conditions[?(@.type==\"Ready\")].message"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[x_kube(validation = (
    "!has(self.overrides) || self.overrides.map(o, size(o.jsonPatch)).sum() <= 64",
    "spec.overrides: at most 64 operations in all of them together: change what all clusters need in the object itself, or split \
     the placement"
))]
#[serde(rename_all = "camelCase")]
pub struct NIMPlacementSpec {
    /// The objects, by name or by labels, in the placement's namespace. At least one selector.
    #[schemars(length(min = 1, max = 64))]
    pub resource_selectors: Vec<ResourceSelector>,
    /// Whether an object brings what it cannot run without: a NIMService the NIMCache it names, a NeMo microservice the
    /// NeMo stores and NIMServices of its namespace that it calls by URL, unless another placement has them. Default true.
    #[serde(default = "yes")]
    pub propagate_dependencies: bool,
    /// Secrets of the placement's namespace, by name, that travel to the chosen clusters and leave with the objects. Default
    /// none: objects name Secrets that their clusters have by themselves. A cluster takes only what its owner accepts. Who adds
    /// a name must be allowed to `get` that Secret. None of the hub's own namespace travels.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(min = 1, max = 253)), extend("x-kubernetes-list-type" = "set"))]
    pub secrets: Vec<String>,
    /// Which clusters may be chosen. Default all accepted ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster_affinity: Option<ClusterAffinity>,
    /// Taints of clusters that do not keep this placement away, in the words of pods; at most 64. Default none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub tolerations: Vec<Toleration>,
    /// What a GPU must be. Default: what the objects themselves ask for, on any product.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu: Option<GPURequirement>,
    /// Over which regions, zones or the like the chosen clusters spread. Default none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub topology_spread_constraints: Vec<TopologySpreadConstraint>,
    /// Groups of clusters in order: the first is filled before the next is begun, and what spilled comes back only when told
    /// (annotation `nimfleet.io/rebalance`). A cluster in none of them is not chosen. Default one group of all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub tiers: Vec<Tier>,
    /// Whether clusters that hold the models already are preferred or required. Default `Prefer`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_locality: Option<CacheLocality>,
    /// Where free GPUs shall remain: everywhere (`Spread`) or in whole clusters (`Pack`). Default `Spread`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capacity_strategy: Option<CapacityStrategy>,
    /// What makes a cluster better than another. Default as each weight says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score_weights: Option<ScoreWeights>,
    /// Who gets scarce GPUs: of placements that wait, the higher one is served first, and it may take what a lower one was
    /// promised and does not run yet. What runs is never taken from another placement. Who raises it above 0 needs the verb
    /// `use` on `nimplacements/priority` (group `nimfleet.io`). Default 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = -1_000_000, max = 1_000_000))]
    pub priority: Option<i32>,
    /// How many clusters. Default: one when `Duplicated`, as many as the replicas need when `Divided`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub number_of_clusters: Option<i32>,
    /// How replicas spread over the chosen clusters. Default `Duplicated`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replica_scheduling: Option<ReplicaScheduling>,
    /// Changes to the objects for some clusters, in order, of at most 64 operations together. Default none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub overrides: Vec<ClusterOverride>,
    /// What happens when a chosen cluster is lost, or cannot run what was placed there. Default: a lost one is waited for, and
    /// what finds no node for two minutes goes elsewhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failover: Option<Failover>,
    /// How many clusters at once are left for others though they run: because they drain, can no longer run it, or it was told
    /// to rebalance. Lost clusters do not count. Default 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub eviction_budget: Option<i32>,
}

fn yes() -> bool {
    true
}
