//! NIMPlacement's status: counts, the most telling rows, and why other clusters were refused.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How a placement fares, over all clusters. The whole truth is in its NIMPlacementDecisions.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NIMPlacementStatus {
    /// The generation of the placement that this status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The value of annotation `nimfleet.io/rebalance` that has been followed. Another value rebalances once more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_rebalance: Option<String>,
    /// The placement's state in one word: `Pending` (something of it has no cluster yet), `Progressing` (it is being brought
    /// up), `Available` (all of it is ready), `Degraded` (something has failed, was refused, or a cluster is silent) or
    /// `Terminating` (it is being deleted).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<String>,
    /// Why, in one CamelCase word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// `Ready` (`Available`, and not `Degraded`), `Scheduled`, `Synchronized`, `Applied`, `Available`, `Progressing` and
    /// `Degraded`. Partial is not True. While it is not Ready also `Reconciling` (it waits for something) or `Stalled` (somebody
    /// has to change something). Once there was something to tell also `FailoverHeld`, and `DeletionHeld`: deletions that wait to be confirmed, and the command for it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// The clusters where it is placed, by name; of more than five the first, and how many more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub where_summary: Option<String>,
    /// Clusters where all NIM objects are ready, and how many are wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clusters: Option<Tally>,
    /// Ready replicas over all clusters, and how many are wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<Tally>,
    /// `clusters` as `ready/wanted`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clusters_summary: Option<String>,
    /// `replicas` as `ready/wanted`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas_summary: Option<String>,
    /// The most telling rows, at most ten.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10))]
    pub decisions: Vec<DecisionSummary>,
    /// Why clusters were refused, by reason, at most ten.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10))]
    pub refusals: Vec<Refusal>,
}

/// How many there are of how many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Tally {
    /// How many are ready.
    #[serde(default)]
    pub ready: i32,
    /// How many shall be.
    #[serde(default)]
    pub wanted: i32,
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.ready, self.wanted)
    }
}

/// One chosen cluster and how it fares.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DecisionSummary {
    /// Name of the GPUCluster.
    pub cluster_name: String,
    /// The state there in one word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// Why the cluster was chosen, or why its state is what it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// How the cluster scored when it was chosen; higher is better.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score: Option<i64>,
    /// Replicas wanted there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<i32>,
    /// Replicas ready there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready_replicas: Option<i32>,
    /// One sentence for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// Clusters that were not chosen for one reason.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Refusal {
    /// What they failed, in one CamelCase word.
    pub reason: String,
    /// How many clusters failed it.
    pub count: i32,
    /// Their names, at most ten.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10))]
    pub clusters: Vec<String>,
    /// What was wanted and what the first clusters have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}
