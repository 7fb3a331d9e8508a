//! Changes to the objects for some clusters.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

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
    #[schemars(length(max = 1000), inner(length(min = 1, max = 63)))]
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
