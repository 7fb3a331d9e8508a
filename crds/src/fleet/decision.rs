//! NIMPlacementDecision: the hub's own record of which clusters run what, in slices far below what etcd takes.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One slice of a placement's decisions. Written by the hub alone; a hub that restarts goes on from it.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "nimfleet.io",
    version = "v1alpha1",
    kind = "NIMPlacementDecision",
    plural = "nimplacementdecisions",
    singular = "nimplacementdecision",
    category = "nimfleet",
    namespaced,
    doc = "A slice of what the hub decided for one NIMPlacement: which clusters, since when and why. Owned by the placement.",
    derive = "PartialEq",
    printcolumn = r#"{"name":"Placement","type":"string","jsonPath":".spec.placementRef.name"}"#,
    printcolumn = r#"{"name":"Clusters","type":"string","jsonPath":".spec.decisions[*].clusters[*].name"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
pub struct NIMPlacementDecisionSpec {
    /// The placement this slice belongs to, in the same namespace.
    pub placement_ref: PlacementRef,
    /// One row for all clusters that do the same with the same objects. A cluster can be in several: it can run some
    /// objects and be emptied of others, and a long list of objects goes on in a further row.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100))]
    #[schemars(extend("x-kubernetes-list-type" = "atomic"))]
    pub decisions: Vec<Decision>,
}

/// Names a NIMPlacement of the same namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlacementRef {
    /// Name of the NIMPlacement.
    pub name: String,
}

/// What was decided for some clusters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Decision {
    /// The clusters, by name.
    #[schemars(length(min = 1, max = 100))]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub clusters: Vec<DecidedCluster>,
    /// Whether the clusters run the objects or are being emptied.
    pub state: DecisionState,
    /// Why, in one CamelCase word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The objects that the row is about.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 2000))]
    #[schemars(extend("x-kubernetes-list-type" = "atomic"))]
    pub objects: Vec<PlacedObject>,
}

/// A cluster that a decision is about.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DecidedCluster {
    /// Name of the GPUCluster.
    pub name: String,
    /// How the cluster scored when it was chosen; higher is better.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score: Option<i64>,
    /// When the cluster was chosen, or began to be emptied.
    pub since: Time,
}

/// What shall become of a placement's objects in one cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum DecisionState {
    /// They shall run there.
    Placed,
    /// The cluster was lost and others have taken its place. What it runs is left as it is until it is back for good and
    /// the others are available.
    Replaced,
    /// They shall go; the row stays until the cluster says that they are gone.
    Removing,
}

/// One object that a decision is about.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlacedObject {
    /// Its kind, group `apps.nvidia.com`; or `Secret`.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// The uid of the hub's object.
    pub uid: String,
    /// How many replicas this cluster runs. Absent: as many as the object itself says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<i32>,
    /// How it goes; only in a row that is `Removing`. Absent: `Delete`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<RemovalPolicy>,
}

/// How an object leaves a cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum RemovalPolicy {
    /// It is deleted.
    #[default]
    Delete,
    /// It stays and runs on, but is no longer the fleet's.
    Retain,
}
