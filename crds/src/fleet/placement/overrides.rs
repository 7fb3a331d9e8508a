//! Changes to the objects for some clusters.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Changes to the objects for some clusters. A changed object counts for what it has become: filters, reservations, quotas and
/// status of a cluster come from the object as that cluster is sent it.
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
    /// The changes, RFC 6902 without `move` and `copy`, in order, on the object as stored on the hub. At most 64 in all overrides
    /// of a placement together, and after each of them an object has at most 1572864 bytes. Number of replicas and autoscaler
    /// (`/spec/replicas`, `/spec/scale`) are the scheduler's and are not changed here.
    #[schemars(length(min = 1, max = 64))]
    pub json_patch: Vec<JsonPatchOp>,
}

/// One change of a JSON patch (RFC 6902).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = Rule::new("!(self.op in ['move', 'copy'])")
    .message(Message::Expression("self.op + ' is refused, since it multiplies what an override writes: write the value itself with add'".into())))]
#[x_kube(validation = Rule::new(
    "self.op == 'test' || !(self.path in ['/spec/replicas', '/spec/scale'] || self.path.startsWith('/spec/replicas/') || self.path.startsWith('/spec/scale/'))"
).message(Message::Expression("self.path + \" is the scheduler's: use replicaScheduling, or change the object itself\"".into())))]
#[serde(rename_all = "camelCase")]
pub struct JsonPatchOp {
    /// What to do: `add`, `remove`, `replace` or `test`. `move` and `copy` are refused: write the value itself with `add`.
    pub op: JsonPatchVerb,
    /// Where, as a JSON pointer, for example `/spec/image/tag`.
    #[schemars(regex(pattern = r"^/"), length(max = 1024))]
    pub path: String,
    /// Without effect: only `move` and `copy`, which are refused, take a value from elsewhere.
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
    /// Refused. It is still read, so that a placement of an earlier version can be answered.
    Move,
    /// Refused. It is still read, so that a placement of an earlier version can be answered.
    Copy,
    /// Goes on only if the value is this.
    Test,
}

impl JsonPatchVerb {
    /// The word of RFC 6902.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Add => "add",
            Self::Remove => "remove",
            Self::Replace => "replace",
            Self::Move => "move",
            Self::Copy => "copy",
            Self::Test => "test",
        }
    }
}
