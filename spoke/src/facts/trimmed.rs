//! Nodes and pods with only the fields that capacity needs; everything else is dropped while it is read.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Deserialize;

use super::gpus::{Amounts, ContainerRequest, GpuNode, GpuPod, pod_requests};
use super::locality::{Whereabouts, provider};

/// How the extended resources of GPUs begin: whole ones, shared ones (`nvidia.com/gpu.shared`) and MIG instances.
const GPU_RESOURCES: [&str; 2] = ["nvidia.com/gpu", "nvidia.com/mig-"];

/// The taint of GPU nodes that every GPU pod tolerates, by hand or by admission.
const GPU_TAINT: &str = "nvidia.com/gpu";

/// A node, trimmed.
#[derive(Debug, Clone, Deserialize, kube::Resource)]
#[resource(inherit = Node)]
pub(super) struct SlimNode {
    pub(super) metadata: ObjectMeta,
    #[serde(default)]
    spec: NodeSpec,
    #[serde(default)]
    status: NodeStatus,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct NodeSpec {
    unschedulable: bool,
    taints: Vec<Taint>,
    #[serde(rename = "providerID")]
    provider_id: String,
}

#[derive(Debug, Clone, Deserialize)]
struct Taint {
    key: String,
    effect: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct NodeStatus {
    capacity: BTreeMap<String, Quantity>,
    allocatable: BTreeMap<String, Quantity>,
    conditions: Vec<NodeCondition>,
}

#[derive(Debug, Clone, Deserialize)]
struct NodeCondition {
    #[serde(rename = "type")]
    kind: String,
    status: String,
}

impl SlimNode {
    /// What its GPUs are; empty amounts when it has none.
    pub(super) fn gpus(&self) -> GpuNode {
        let capacity = gpu_amounts(&self.status.capacity);
        let memory = |resource: &String| {
            // A shared GPU shows each of its users all of its memory.
            let label = format!("{}.memory", resource.trim_end_matches(".shared"));
            Some((resource.clone(), self.label(&label)?.parse().ok()?))
        };
        let memory_mib = capacity.keys().filter_map(memory).collect();
        GpuNode {
            product: self.label("nvidia.com/gpu.product").map(str::to_owned),
            memory_mib,
            usable: self.is_usable(),
            capacity,
            allocatable: gpu_amounts(&self.status.allocatable),
        }
    }

    /// Where it is.
    pub(super) fn whereabouts(&self) -> Whereabouts {
        let label = |key| self.label(key).unwrap_or_default().to_owned();
        Whereabouts {
            region: label("topology.kubernetes.io/region"),
            zone: label("topology.kubernetes.io/zone"),
            provider: provider(&self.spec.provider_id),
        }
    }

    fn is_usable(&self) -> bool {
        let ready = self.status.conditions.iter().any(|c| c.kind == "Ready" && c.status == "True");
        let repelled = self.spec.taints.iter().any(|taint| {
            taint.key != GPU_TAINT && matches!(taint.effect.as_str(), "NoSchedule" | "NoExecute")
        });
        ready && !self.spec.unschedulable && !repelled
    }

    fn label(&self, key: &str) -> Option<&str> {
        self.metadata.labels.as_ref()?.get(key).map(String::as_str)
    }
}

/// A pod, trimmed.
#[derive(Debug, Clone, Deserialize, kube::Resource)]
#[resource(inherit = Pod)]
pub(super) struct SlimPod {
    pub(super) metadata: ObjectMeta,
    #[serde(default)]
    spec: PodSpec,
    #[serde(default)]
    status: PodStatus,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct PodSpec {
    node_name: String,
    containers: Vec<Container>,
    init_containers: Vec<Container>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Container {
    resources: Resources,
    restart_policy: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Resources {
    requests: BTreeMap<String, Quantity>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct PodStatus {
    phase: String,
}

impl SlimPod {
    /// The GPUs it holds; `None` when it holds none, is bound nowhere or has finished.
    pub(super) fn gpus(&self) -> Option<GpuPod> {
        if self.spec.node_name.is_empty() || matches!(self.status.phase.as_str(), "Succeeded" | "Failed") {
            return None;
        }
        let asked = |containers: &[Container]| -> Vec<ContainerRequest> {
            containers
                .iter()
                .map(|container| ContainerRequest {
                    requests: gpu_amounts(&container.resources.requests),
                    sidecar: container.restart_policy == "Always",
                })
                .collect()
        };
        let requests = pod_requests(&asked(&self.spec.init_containers), &asked(&self.spec.containers));
        (!requests.is_empty()).then(|| GpuPod { node: self.spec.node_name.clone(), requests })
    }
}

/// GPUs are whole: the API server refuses fractions of extended resources and writes them without a suffix up to
/// 1000. What is not a plain number is left out.
fn gpu_amounts(all: &BTreeMap<String, Quantity>) -> Amounts {
    all.iter()
        .filter(|(resource, _)| GPU_RESOURCES.iter().any(|known| resource.starts_with(known)))
        .filter_map(|(resource, amount)| Some((resource.clone(), amount.0.parse().ok()?)))
        .collect()
}

#[cfg(test)]
#[path = "trimmed/tests.rs"]
mod tests;
