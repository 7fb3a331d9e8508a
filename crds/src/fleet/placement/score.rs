//! What makes one cluster better than another.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What each score weighs, 0 to 100; 0 leaves it out. A cluster gets 0 to 100 points for each, and its score is their mean by
/// weight. What is not set weighs what its description says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ScoreWeights {
    /// The models that the objects serve are in its caches already. Nothing with `cacheLocality: Ignore`. Default 40.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100))]
    pub cache_locality: Option<i32>,
    /// Many GPUs would remain free (`capacityStrategy: Spread`), or few (`Pack`). Default 20.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100))]
    pub free_capacity: Option<i32>,
    /// Its GPUs are cheap (`costPerGPUHour` of the GPUCluster) beside those of the cheapest cluster that fits. Default 20.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100))]
    pub cost: Option<i32>,
    /// Terms of `clusterAffinity.preferred` match. Default 40.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100))]
    pub preferred_affinity: Option<i32>,
    /// Few chosen clusters share its domains of `topologySpreadConstraints`. Default 30.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100))]
    pub topology_spread: Option<i32>,
    /// The placement runs there already. It never moves for a score alone; this counts where it has to leave one of several
    /// clusters, and when it is told to rebalance. Default 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100))]
    pub stickiness: Option<i32>,
    /// What its spoke reported is new. Default 5.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100))]
    pub freshness: Option<i32>,
}

/// Where free GPUs shall remain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum CapacityStrategy {
    /// Everywhere: the cluster with the largest free share is best.
    #[default]
    Spread,
    /// In whole clusters: the fullest cluster that fits is best.
    Pack,
}

/// What a model that is in a cluster's caches already is worth.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum CacheLocality {
    /// Nothing.
    Ignore,
    /// The cluster scores more.
    #[default]
    Prefer,
    /// Only such clusters may be chosen: nothing is downloaded for this placement. It counts when a cluster is chosen, not
    /// where the placement is.
    Require,
}
