//! GPUCluster: one joined spoke, what it has and how it fares.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, LabelSelector, Time};
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::PotentialPool;
use super::capacity::{DeviceGroup, GPUPool, HeldCache, Platform, ReportCounts, StorageClass};
use crate::absent_spec::may_be_absent;

/// What the fleet's admin says about a cluster. Its labels are the object's own `metadata.labels`.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "nimfleet.io",
    version = "v1alpha1",
    kind = "GPUCluster",
    plural = "gpuclusters",
    singular = "gpucluster",
    shortname = "gc",
    category = "nimfleet",
    doc = "One cluster of the fleet: accepted by the hub's admin, observed by the agent that runs in it.",
    status = "GPUClusterStatus",
    derive = "PartialEq",
    derive = "Default",
    printcolumn = r#"{"name":"Ready","type":"string","jsonPath":".status.conditions[?(@.type==\"Ready\")].status"}"#,
    printcolumn = r#"{"name":"Accepted","type":"string","jsonPath":".status.conditions[?(@.type==\"Accepted\")].status"}"#,
    printcolumn = r#"{"name":"Connected","type":"string","jsonPath":".status.conditions[?(@.type==\"Connected\")].status"}"#,
    printcolumn = r#"{"name":"Free/Total","type":"string","description":"GPUs that are free, of all","jsonPath":".status.gpuSummary"}"#,
    printcolumn = r#"{"name":"Placed","type":"integer","description":"models that the fleet has placed here","jsonPath":".status.models"}"#,
    printcolumn = r#"{"name":"Agent","type":"string","jsonPath":".status.agentVersion"}"#,
    printcolumn = r#"{"name":"Last-Seen","type":"date","jsonPath":".status.lastSeen"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#,
    printcolumn = r#"{"name":"Products","type":"string","description":"GPUs by product, with their memory","priority":1,"jsonPath":".status.productsSummary"}"#,
    printcolumn = r#"{"name":"Taints","type":"string","description":"what keeps placements away: drain and taints","priority":1,"jsonPath":".status.taintsSummary"}"#,
    printcolumn = r#"{"name":"Held","type":"string","description":"what waits to be confirmed","priority":1,"jsonPath":".status.heldSummary"}"#,
    printcolumn = r#"{"name":"Message","type":"string","description":"what the condition Ready says","priority":1,"jsonPath":".status.conditions[?(@.type==\"Ready\")].message"}"#
)]
#[serde(rename_all = "camelCase", remote = "Self")]
#[schemars(!remote)]
pub struct GPUClusterSpec {
    /// Whether the cluster may take part: the admin's half of a double opt-in. Until it is true the agent gets no
    /// certificate, and taking it back ends a live connection. Default false.
    #[serde(default)]
    pub accepted: bool,
    /// What keeps placements away that do not tolerate it; at most 64. Default none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub taints: Vec<Taint>,
    /// Certificates of this cluster that are no longer taken: by serial number (`status.certificateSerial`), or by its
    /// first 16 digits, which all certificates share that were renewed from one another. A live connection ends at
    /// once; the cluster then joins with a new token. Default none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100), inner(length(max = 40), regex(pattern = r"^[0-9a-fA-F]{16,40}$")))]
    pub revoked_certificates: Vec<String>,
    /// Which namespaces of the hub may place here: those whose labels match. What a namespace has here already stays when
    /// it no longer matches. Default all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowed_namespaces: Option<LabelSelector>,
    /// Whether the cluster is to be emptied: nothing new comes, and what runs here leaves as soon as it is ready elsewhere.
    /// What no other cluster can take stays. Default false.
    #[serde(default, skip_serializing_if = "is_false")]
    pub drain: bool,
    /// What one GPU costs in an hour, by product, as the cluster reports it or a part of it (`H100`); `*` is any other.
    /// Amounts such as `"2.49"`, all clusters in one currency. Default unknown, which no cluster is refused for.
    #[serde(default, rename = "costPerGPUHour", skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32), schema_with = "amounts")]
    pub cost_per_gpu_hour: BTreeMap<String, String>,
    /// Pools of nodes that the cluster's autoscaler brings when pods wait for them. They count after what is free.
    /// Default none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub potential: Vec<PotentialPool>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_false(value: &bool) -> bool {
    !*value
}

/// Amounts by product: what is no decimal number is refused where it is written.
fn amounts(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({
        "type": "object",
        "additionalProperties": { "type": "string", "maxLength": 13, "pattern": r"^[0-9]{1,9}(\.[0-9]{1,3})?$" },
    })
}

may_be_absent!(GPUClusterSpec);

/// A mark on a cluster that keeps placements away unless they tolerate it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Taint {
    /// The taint's key.
    #[schemars(length(min = 1, max = 316))]
    pub key: String,
    /// The taint's value. Default empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub value: Option<String>,
    /// What the taint does to placements that do not tolerate it.
    pub effect: TaintEffect,
}

/// What a taint does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TaintEffect {
    /// Nothing new is placed here; what runs stays.
    NoSchedule,
    /// Nothing new is placed here, and what runs moves away.
    NoExecute,
}

/// What the hub knows about a cluster, from its agent and its connection.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GPUClusterStatus {
    /// The generation of the GPUCluster that this status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// `Ready` (accepted, connected, with a fresh report, and not the hub's own cluster), `Accepted`, `Connected`, `CapacityFresh`, `AgentUpToDate`, `CertificateValid`, `TrustUpToDate`; while it is not Ready `Reconciling` (it waits for the agent) or `Stalled` (somebody has to change something); and once there was
    /// something to tell `IsHub` (it is the hub's own cluster, and nothing is placed there), `DuplicateAgent`, `EpochProven`, `GPUsLabelled` (False while no label says what the GPUs of some nodes are), `Orphans`, `ReportTruncated` (the agent reports more than the hub keeps) and `DeletionHeld`: within ten minutes the agent deletes up to ten objects
    /// unasked, or 20 % of what the cluster holds if that is more; the others wait to be confirmed, by the command that it
    /// names. Of what was decided 15 minutes or more before the cluster came back, only ten go unasked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// The uid of the cluster's `kube-system` namespace: tells two clusters of one name apart.
    #[serde(default, rename = "clusterUID", skip_serializing_if = "Option::is_none")]
    pub cluster_uid: Option<String>,
    /// Version of the agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_version: Option<String>,
    /// What the agent can do, beyond the least that every agent can.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub capabilities: Vec<String>,
    /// Version of the cluster's API server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kubernetes_version: Option<String>,
    /// Region of the cluster's nodes, when they agree.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// Zone of the cluster's nodes, when they agree.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// Who runs the machines, as the nodes' provider IDs say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// The serving platforms found in the cluster.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub platforms: Vec<Platform>,
    /// The GPUs, one row per product and resource name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gpus: Vec<GPUPool>,
    /// Free and all GPUs of all rows, and whole GPUs among `devices` that no row counts: `free/total`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu_summary: Option<String>,
    /// The GPUs by product, with memory and number; of more than four products the first, and how many more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub products_summary: Option<String>,
    /// `drain` if the cluster is to be emptied, and its taints; of more than four the first, and how many more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub taints_summary: Option<String>,
    /// What waits to be confirmed: `2 deletions`, `failover`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_summary: Option<String>,
    /// The model caches the cluster holds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub caches: Vec<HeldCache>,
    /// Storage classes, where the agent may read them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub storage_classes: Vec<StorageClass>,
    /// Devices for dynamic resource allocation, one row per class and kind of device.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub devices: Vec<DeviceGroup>,
    /// Lists of what the agent observed that were too long and are cut, by field name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cut: Vec<String>,
    /// How many rows the lists of the agent's last report have. The lists of this status are the first of them, as far as 20 KiB
    /// of each (40 KiB of GPUs) go; `kubectl get clustercapacities NAME --output yaml` shows all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counts: Option<ReportCounts>,
    /// How many models the fleet has placed here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub models: Option<i32>,
    /// When the hub last heard of the agent; written every few minutes while all is well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_seen: Option<Time>,
    /// When the agent's certificate ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate_expiry: Option<Time>,
    /// Serial number of the agent's certificate, hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate_serial: Option<String>,
    /// The CA that signed the agent's certificate, by hash, as in the join command.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate_authority: Option<String>,
    /// The CAs by which the agent knows the hub, by hash.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub trusted_authorities: Vec<String>,
}
