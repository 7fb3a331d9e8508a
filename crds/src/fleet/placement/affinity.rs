//! Which clusters a placement may choose, and which it would rather have.

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Which clusters may be chosen: every part that is set must hold. Selectors read the labels of the GPUCluster and, under
/// these keys, what its spoke observes, unless the GPUCluster has a label of that key: `topology.kubernetes.io/region`,
/// `topology.kubernetes.io/zone`, `nimfleet.io/provider`, `nimfleet.io/kubernetes-version` (`v1.34.2`),
/// `nimfleet.io/kubernetes-minor` (`1.34`), `nimfleet.io/agent-version`, `nimfleet.io/cluster` (its name), and with one value
/// for each found there `nimfleet.io/gpu-product`, `nimfleet.io/platform`. Of several values, `In` needs one that is listed,
/// `NotIn` none.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClusterAffinity {
    /// Selectors; one of them must match. They hold for every move as well: nothing spills or fails over to a cluster that
    /// none matches. Default none: all match.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub required: Vec<LabelSelector>,
    /// Selectors that make a cluster better by the weight of each that matches; `scoreWeights.preferredAffinity` says how
    /// much better. Default none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub preferred: Vec<PreferredClusters>,
    /// CEL expressions over `cluster`; all must be true. It has `name`, `labels` (map), `properties` (map of the keys above
    /// to text, or to lists of text where there can be several), `connected` (bool), and `capacity` with `freeGPUs`, `allocatableGPUs`, `nodes` and `pools`, a list
    /// of `product`, `resource`, `memoryMiB`, `nodes`, `capacity`, `allocatable`, `free` and `largestFree` (on one node).
    /// For example `cluster.capacity.freeGPUs >= 16`. At most 6 brackets lie within each other, and a
    /// macro such as `exists` holds no other macro. They count when a cluster is chosen; one that speaks of `name` and
    /// `labels` alone counts for staying as well. Of a cluster for which an
    /// expression has no value, for example for want of a label, it is false. Default none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(min = 1, max = 1024)))]
    pub expressions: Vec<String>,
    /// Only these clusters, at most 1000 names: more of them have a label. Default all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1000), inner(length(min = 1, max = 63)))]
    pub cluster_names: Vec<String>,
    /// Never these clusters, at most 1000 names. Default none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1000), inner(length(min = 1, max = 63)))]
    pub exclude: Vec<String>,
}

/// Clusters that are better than others.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PreferredClusters {
    /// How much it weighs beside the others, 1 to 100.
    #[schemars(range(min = 1, max = 100))]
    pub weight: i32,
    /// Which clusters.
    pub preference: LabelSelector,
}

/// How clusters are spread over a property, in the words of pods.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TopologySpreadConstraint {
    /// A label of GPUClusters, or a key that `clusterAffinity` knows, for example `topology.kubernetes.io/region`. Clusters
    /// that have the same value are one domain.
    #[schemars(length(min = 1, max = 317))]
    pub topology_key: String,
    /// By how many chosen clusters one domain may exceed the one with the fewest, of all that hold a cluster which fits.
    #[schemars(range(min = 1))]
    pub max_skew: i32,
    /// Whether a cluster that breaks it, or has no such property, is refused. Default `DoNotSchedule`.
    #[serde(default)]
    pub when_unsatisfiable: WhenUnsatisfiable,
}

/// What a constraint that cannot be kept means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum WhenUnsatisfiable {
    /// The cluster is not chosen.
    #[default]
    DoNotSchedule,
    /// It scores less.
    ScheduleAnyway,
}

/// What a GPU must be.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = (
    "!has(self.minMemory) || (type(self.minMemory) == string ? (isQuantity(string(self.minMemory)) && quantity(string(self.minMemory)).isGreaterThan(quantity('0'))) : int(self.minMemory) > 0)",
    "minMemory is to be more than 0: write it like 80Gi"
))]
#[serde(rename_all = "camelCase")]
pub struct GPURequirement {
    /// Products, as the clusters report them, at most 64; any of them will do. Default all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 63)))]
    pub products: Vec<String>,
    /// Least memory of one GPU, for example `80Gi`. Default none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_memory: Option<Quantity>,
    /// Whether a cluster may serve a cached profile of another precision or engine than the others, where the service
    /// names no profile and its GPUs run none that agrees. Default `Never`.
    #[serde(default)]
    pub profile_change: ProfileChange,
}

/// Whether precision or engine of the served profile may differ between clusters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ProfileChange {
    /// All clusters serve one precision with one engine; the profile may be another one.
    #[default]
    Never,
    /// Any cached profile that the cluster's GPUs run will do.
    Allow,
}

/// One of several groups of clusters, of which the earlier is filled first.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = (
    "has(self.clusterNames) || has(self.clusterSelector)",
    "a tier says which clusters are in it: set clusterNames, clusterSelector or both"
))]
#[serde(rename_all = "camelCase")]
pub struct Tier {
    /// A name for messages. Default its place in the list, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub name: Option<String>,
    /// These clusters. With `clusterSelector`, a cluster that either names is meant. A cluster is in the first tier that has it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1000), inner(length(min = 1, max = 63)))]
    pub cluster_names: Vec<String>,
    /// Clusters with these labels or properties.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster_selector: Option<LabelSelector>,
    /// What this tier gets before an earlier one is filled: replicas when `Divided`, clusters when `Duplicated`. Default 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100_000))]
    pub min_replicas: Option<i32>,
}
