//! NIMPlacement: which objects, in which clusters, how many, and what to do when a cluster is lost.

use std::time::Duration;

use jiff::SignedDuration;
use k8s_openapi::api::core::v1::Toleration;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::NIMPlacementStatus;

/// What shall run where. All selected objects go together to the same clusters.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
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
    printcolumn = r#"{"name":"Clusters","type":"string","description":"ready/wanted","jsonPath":".status.clustersSummary"}"#,
    printcolumn = r#"{"name":"Replicas","type":"string","description":"ready/wanted","jsonPath":".status.replicasSummary"}"#,
    printcolumn = r#"{"name":"Phase","type":"string","jsonPath":".status.phase"}"#,
    printcolumn = r#"{"name":"Reason","type":"string","jsonPath":".status.reason"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
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
    /// none: objects name Secrets that their clusters have by themselves. A cluster takes only what its owner accepts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(min = 1, max = 253)), extend("x-kubernetes-list-type" = "set"))]
    pub secrets: Vec<String>,
    /// Which clusters may be chosen. Default all accepted ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster_affinity: Option<ClusterAffinity>,
    /// Taints of clusters that do not keep this placement away, in the words of pods. Default none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tolerations: Vec<Toleration>,
    /// What a GPU must be. Default: what the objects themselves ask for, on any product.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu: Option<GPURequirement>,
    /// How many clusters. Default: one when `Duplicated`, as many as the replicas need when `Divided`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub number_of_clusters: Option<i32>,
    /// How replicas spread over the chosen clusters. Default `Duplicated`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replica_scheduling: Option<ReplicaScheduling>,
    /// Changes to the objects for some clusters, in order. Default none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub overrides: Vec<ClusterOverride>,
    /// What happens when a chosen cluster is lost. Default: nothing, its replicas are waited for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failover: Option<Failover>,
}

fn yes() -> bool {
    true
}

/// Selects objects of one kind by name or by labels.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = (
    "has(self.name) != has(self.labelSelector)",
    "a resource selector names one object (name) or selects by labels (labelSelector): set exactly one of the two"
))]
#[serde(rename_all = "camelCase")]
pub struct ResourceSelector {
    /// The kind, group `apps.nvidia.com`.
    pub kind: SelectedKind,
    /// The name of one object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub name: Option<String>,
    /// The labels of the objects; an empty selector takes all of the kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label_selector: Option<LabelSelector>,
}

/// The kinds that a placement can take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum SelectedKind {
    /// A served model.
    NIMService,
    /// A stored model.
    NIMCache,
    /// A microservice that fine-tunes models.
    NemoCustomizer,
    /// A microservice that keeps models and datasets.
    NemoDatastore,
    /// A microservice that keeps what other microservices know of each other.
    NemoEntitystore,
    /// A microservice that judges models.
    NemoEvaluator,
    /// A microservice that puts rails around models.
    NemoGuardrail,
}

impl SelectedKind {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::NIMService,
        Self::NIMCache,
        Self::NemoCustomizer,
        Self::NemoDatastore,
        Self::NemoEntitystore,
        Self::NemoEvaluator,
        Self::NemoGuardrail,
    ];

    /// The kind as manifests spell it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NIMService => "NIMService",
            Self::NIMCache => "NIMCache",
            Self::NemoCustomizer => "NemoCustomizer",
            Self::NemoDatastore => "NemoDatastore",
            Self::NemoEntitystore => "NemoEntitystore",
            Self::NemoEvaluator => "NemoEvaluator",
            Self::NemoGuardrail => "NemoGuardrail",
        }
    }

    /// Whether objects of the kind call others of their namespace by URL, and bring them along.
    #[must_use]
    pub const fn calls_others(self) -> bool {
        matches!(
            self,
            Self::NemoCustomizer | Self::NemoEntitystore | Self::NemoEvaluator | Self::NemoGuardrail
        )
    }
}

/// Which clusters may be chosen: every part that is set must hold.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClusterAffinity {
    /// Selectors over the labels of GPUClusters; one of them must match. Default none: all match.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub required: Vec<LabelSelector>,
    /// Only these clusters. Default all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cluster_names: Vec<String>,
    /// Never these clusters. Default none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exclude: Vec<String>,
}

/// What a GPU must be.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GPURequirement {
    /// Products, as the clusters report them; any of them will do. Default all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub products: Vec<String>,
    /// Least memory of one GPU, for example `80Gi`. Default none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_memory: Option<Quantity>,
}

/// How replicas spread over clusters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReplicaScheduling {
    /// `Duplicated` or `Divided`. Default `Duplicated`.
    #[serde(default, rename = "type")]
    pub type_: ReplicaSchedulingType,
}

/// The ways to spread replicas.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ReplicaSchedulingType {
    /// Every chosen cluster runs all replicas.
    #[default]
    Duplicated,
    /// The chosen clusters share the replicas, each by its free capacity.
    Divided,
}

/// Changes to the objects for some clusters.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = (
    "has(self.clusterNames) || has(self.clusterSelector)",
    "an override says for which clusters it is: set clusterNames, clusterSelector or both"
))]
#[serde(rename_all = "camelCase")]
pub struct ClusterOverride {
    /// These clusters. With `clusterSelector`, a cluster that either names is meant.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cluster_names: Vec<String>,
    /// Clusters with these labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster_selector: Option<LabelSelector>,
    /// The changes, RFC 6902, in order, on the object as stored on the hub.
    #[schemars(length(min = 1, max = 64))]
    pub json_patch: Vec<JsonPatchOp>,
}

/// One change of a JSON patch (RFC 6902).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = (
    "!(self.op in ['move', 'copy']) || has(self.from)",
    "move and copy need `from`: the path that the value comes from"
))]
#[serde(rename_all = "camelCase")]
pub struct JsonPatchOp {
    /// What to do.
    pub op: JsonPatchVerb,
    /// Where, as a JSON pointer, for example `/spec/image/tag`.
    #[schemars(regex(pattern = r"^/"), length(max = 1024))]
    pub path: String,
    /// Where the value comes from; only `move` and `copy`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^/"), length(max = 1024))]
    pub from: Option<String>,
    /// The value, any JSON; only `add`, `replace` and `test`. Absent means null there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-kubernetes-preserve-unknown-fields" = true))]
    pub value: Option<serde_json::Value>,
}

/// What a JSON patch can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum JsonPatchVerb {
    /// Adds a member or an item.
    Add,
    /// Takes a value out.
    Remove,
    /// Replaces a value that is there.
    Replace,
    /// Moves a value.
    Move,
    /// Copies a value.
    Copy,
    /// Goes on only if the value is this.
    Test,
}

/// What happens when a chosen cluster is lost.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Failover {
    /// Whether a lost cluster is replaced. Default `Keep`.
    #[serde(default)]
    pub on_unreachable: OnUnreachable,
    /// How long a cluster is unreachable before it counts as lost, from the end of its session: hours, minutes and
    /// seconds, for example `90s` or `1h30m`. Default `5m`.
    #[serde(default = "five_minutes")]
    #[schemars(regex(pattern = r"^([0-9]{1,6}h)?([0-9]{1,6}m)?([0-9]{1,6}s)?$"), length(min = 2))]
    pub lost_after: String,
}

fn five_minutes() -> String {
    "5m".to_owned()
}

impl Default for Failover {
    fn default() -> Self {
        Self { on_unreachable: OnUnreachable::default(), lost_after: five_minutes() }
    }
}

/// A duration that cannot be read.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field} is {value:?}: write hours, minutes and seconds, for example 90s or 1h30m")]
pub struct InvalidDuration {
    /// The field that holds it.
    pub field: &'static str,
    /// What it says.
    pub value: String,
}

impl Failover {
    /// `lostAfter` as a duration.
    ///
    /// # Errors
    /// When it is not a duration; an API server with our schema stores none such.
    pub fn lost_after(&self) -> Result<Duration, InvalidDuration> {
        self.lost_after.parse::<SignedDuration>().ok().and_then(|d| Duration::try_from(d).ok()).ok_or_else(
            || InvalidDuration { field: "spec.failover.lostAfter", value: self.lost_after.clone() },
        )
    }
}

/// What happens to the replicas of an unreachable cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OnUnreachable {
    /// They are waited for: they most likely still run.
    #[default]
    Keep,
    /// Once the cluster counts as lost, another one takes its place, if one can.
    Replace,
}
