//! What a cluster can run, as rows of a GPUCluster's status.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How many rows each list of an agent's last report has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReportCounts {
    /// Rows of `capabilities`.
    #[serde(default)]
    pub capabilities: i32,
    /// Rows of `platforms`.
    #[serde(default)]
    pub platforms: i32,
    /// Rows of `gpus`.
    #[serde(default)]
    pub gpus: i32,
    /// Rows of `caches`.
    #[serde(default)]
    pub caches: i32,
    /// Rows of `storageClasses`.
    #[serde(default)]
    pub storage_classes: i32,
    /// Rows of `devices`.
    #[serde(default)]
    pub devices: i32,
}

/// A serving platform found in a cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Platform {
    /// For example `kserve`, `lws`, `gateway-api`.
    pub name: String,
    /// Its version, where the cluster tells it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

/// The GPUs of one product that pods ask for under one resource name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GPUPool {
    /// The product as GPU feature discovery labels it, for example `NVIDIA-H100-80GB-HBM3`, or would label what a label of the
    /// cloud names; `unknown` where no label names it.
    pub product: String,
    /// The resource that pods request, for example `nvidia.com/gpu`.
    pub resource: String,
    /// Memory of one GPU, MiB. Absent when the nodes do not tell.
    #[serde(default, rename = "memoryMiB", skip_serializing_if = "Option::is_none")]
    pub memory_mib: Option<i64>,
    /// How many nodes have such GPUs.
    #[serde(default)]
    pub nodes: i32,
    /// GPUs in these nodes.
    #[serde(default)]
    pub capacity: i32,
    /// GPUs that the nodes offer to pods.
    #[serde(default)]
    pub allocatable: i32,
    /// GPUs that no bound pod has asked for, on nodes that take new pods.
    #[serde(default)]
    pub free: i32,
    /// How many nodes have so many free GPUs: `{"8": 2}` is two nodes with eight each.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub free_per_node: BTreeMap<String, i32>,
    /// Nodes that take new pods and are alike: GPUs, processor and memory that are free on each of them, rounded down.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub node_groups: Vec<NodeGroup>,
    /// How one GPU is cut into several that are counted here. Absent for whole ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sharing: Option<GPUSharing>,
    /// The oldest driver of the nodes, for example `570.86.15`. Absent when the nodes do not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub driver_version: Option<String>,
    /// GPUs that quotas of Kueue leave. Absent where none is over these GPUs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quota_left: Option<i32>,
    /// Of all these, nodes with taints: they take the pods of objects whose `tolerations` tolerate them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tainted: Vec<TaintedGPUs>,
}

/// GPUs on nodes with the same taints.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TaintedGPUs {
    /// The taints that repel pods, for example `sku=gpu:NoSchedule`.
    pub taints: Vec<String>,
    /// How many nodes.
    pub nodes: i32,
    /// GPUs that the nodes offer to pods.
    pub allocatable: i32,
    /// GPUs that no bound pod has asked for.
    pub free: i32,
}

/// Nodes with as many free GPUs and about as much free processor and memory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodeGroup {
    /// Free GPUs on each node.
    pub free: i32,
    /// How many nodes.
    pub nodes: i32,
    /// Processor that is free on each node, for example `95`.
    pub cpu: String,
    /// Memory that is free on each node, for example `976Gi`.
    pub memory: String,
}

/// How one GPU is cut into several.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum GPUSharing {
    /// Pods take turns, without walls between their memory.
    TimeSlicing,
    /// Pods run at once, by NVIDIA's Multi-Process Service.
    MPS,
    /// Instances with memory and processors of their own, all of one size, that pods ask for as `nvidia.com/gpu`.
    MIG,
}

/// A model cache that a cluster holds, ready to serve from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HeldCache {
    /// Namespace of the NIMCache.
    pub namespace: String,
    /// Name of the NIMCache.
    pub name: String,
    /// The model it holds, where its source tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The profiles it holds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub profiles: Vec<String>,
}

/// A storage class of a cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StorageClass {
    /// Its name.
    pub name: String,
    /// Whether claims that name no class get this one.
    #[serde(default, rename = "default", skip_serializing_if = "std::ops::Not::not")]
    pub is_default: bool,
    /// Whether pods of several nodes can write to one volume: by the class's annotation `nimfleet.io/access-modes`, or by
    /// what is known of its provisioner. Absent where neither tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access: Option<VolumeAccess>,
    /// The largest volume that its driver says it can make now, for example `750Gi`. Absent where the driver does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub largest_volume: Option<String>,
}

/// From where a volume can be written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum VolumeAccess {
    /// From one node at a time.
    OneNode,
    /// From many nodes at once.
    ManyNodes,
}

/// Devices of one class that are alike, for dynamic resource allocation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeviceGroup {
    /// The DeviceClass.
    pub class: String,
    /// Driver of the devices. Absent for a class that has none here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub driver: Option<String>,
    /// Attributes that tell kinds of devices apart, for example `productName`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<String, String>,
    /// Capacities, for example `memory: 80Gi`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub capacity: BTreeMap<String, String>,
    /// How many devices.
    #[serde(default)]
    pub devices: i32,
    /// How many of them no claim has.
    #[serde(default)]
    pub free: i32,
    /// How many nodes have so many free ones.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub free_per_node: BTreeMap<String, i32>,
    /// Taints of the nodes that have them, for example `sku=gpu:NoSchedule`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub taints: Vec<String>,
}
