//! Nodes and pods with only the fields that capacity needs; everything else is dropped while it is read.

use std::collections::BTreeMap;

use crds::quantity;
use crds::taints::NodeTaint;
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Deserialize;

use super::Sharing;
use super::gpus::{Amounts, BoundPod, ContainerRequest, GpuNode, pod_requests};
use super::locality::{Whereabouts, provider};
use super::node_sets::Ground;
use super::products;
use crate::operator::{SET_NAME, service_of};

/// How the extended resources of GPUs begin: whole ones, shared ones (`nvidia.com/gpu.shared`), MIG instances, and those that
/// are passed through to virtual machines.
const GPU_RESOURCES: [&str; 3] = ["nvidia.com/gpu", "nvidia.com/mig-", "nvidia.com/pgpu"];

/// Whole GPUs, unless the node's labels say otherwise.
const WHOLE: &str = "nvidia.com/gpu";

/// How the resources of time-sliced GPUs end where they are renamed.
const SHARED: &str = ".shared";

/// Beginnings of the keys of taints that tell that a node is not ready, is full or is going: of Kubernetes, of cluster-autoscaler
/// and of Karpenter. Such a node takes no pods for now, whatever they tolerate.
const PASSING: [&str; 5] = [
    "node.kubernetes.io/",
    "node.cloudprovider.kubernetes.io/",
    "node.cluster.x-k8s.io/",
    "ToBeDeletedByClusterAutoscaler",
    "karpenter.sh/",
];

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
    #[serde(default)]
    value: String,
    effect: String,
}

impl Taint {
    /// Whether it lasts no longer than what the node is in just now.
    fn passes(&self) -> bool {
        PASSING.iter().any(|passing| self.key.starts_with(passing))
    }
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
        let capacity = gpus(&self.status.capacity);
        let product = if capacity.is_empty() { None } else { products::of(|key| self.label(key)) };
        let memory = |resource: &String| {
            // A shared GPU shows each of its users all of its memory.
            let whole = resource.trim_end_matches(SHARED);
            let told = self.label(&format!("{whole}.memory")).and_then(|label| label.parse().ok());
            let known = || product.as_ref().filter(|_| whole == WHOLE)?.memory_mib;
            Some((resource.clone(), told.or_else(known)?))
        };
        let memory_mib = capacity.keys().filter_map(memory).collect();
        let sharing = |resource: &String| (resource.clone(), self.sharing(resource));
        let sharing =
            capacity.keys().map(sharing).filter(|(_, sharing)| *sharing != Sharing::Whole).collect();
        let amount = |name: &str, read: fn(&str) -> Option<u64>| {
            self.status.allocatable.get(name).and_then(|amount| read(&amount.0)).unwrap_or(0)
        };
        let allocatable = Amounts {
            gpus: gpus(&self.status.allocatable),
            millicores: amount("cpu", quantity::millis_there),
            memory_mib: amount("memory", quantity::mebibytes_there),
        };
        GpuNode {
            product: product.map(|product| product.name),
            memory_mib,
            sharing,
            driver: self.driver(),
            usable: self.is_usable(),
            capacity,
            allocatable,
        }
    }

    /// How GPUs of a resource are cut. Instances of the mixed strategy have resources that name their size, and count as
    /// what they are.
    fn sharing(&self, resource: &str) -> Sharing {
        let replicas = format!("{}.replicas", resource.trim_end_matches(SHARED));
        let several =
            self.label(&replicas).and_then(|count| count.parse().ok()).is_some_and(|count: u32| count > 1);
        match self.label("nvidia.com/gpu.sharing-strategy") {
            Some("mps") if several || resource.ends_with(SHARED) => Sharing::Mps,
            _ if several || resource.ends_with(SHARED) => Sharing::TimeSlicing,
            _ if resource == WHOLE
                && self.label("nvidia.com/gpu.product").is_some_and(|p| p.contains("-MIG-")) =>
            {
                Sharing::Mig
            }
            _ => Sharing::Whole,
        }
    }

    /// The driver's version by the labels of GPU feature discovery, of today or of before 0.16.
    fn driver(&self) -> Option<Vec<u32>> {
        let numbers =
            |text: &str| text.split('.').map(|part| part.parse().ok()).collect::<Option<Vec<u32>>>();
        let parts = |labels: [&str; 3]| -> Option<Vec<u32>> {
            let [major, minor, revision] = labels.map(|label| self.label(label)?.parse().ok());
            Some([Some(major?), minor, revision].into_iter().map_while(|part| part).collect())
        };
        self.label("nvidia.com/cuda.driver-version.full")
            .and_then(numbers)
            .or_else(|| {
                parts([
                    "nvidia.com/cuda.driver-version.major",
                    "nvidia.com/cuda.driver-version.minor",
                    "nvidia.com/cuda.driver-version.revision",
                ])
            })
            .or_else(|| {
                parts([
                    "nvidia.com/cuda.driver.major",
                    "nvidia.com/cuda.driver.minor",
                    "nvidia.com/cuda.driver.rev",
                ])
            })
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

    /// Its taints, but for those that pass, and its labels.
    pub(super) fn ground(&self) -> Ground {
        let lasting = self.repelling().filter(|taint| !taint.passes());
        let taint = |taint: &Taint| NodeTaint {
            key: taint.key.clone(),
            value: taint.value.clone(),
            effect: taint.effect.clone(),
        };
        Ground::new(lasting.map(taint).collect(), self.metadata.labels.as_ref())
    }

    fn is_usable(&self) -> bool {
        let ready = self.status.conditions.iter().any(|c| c.kind == "Ready" && c.status == "True");
        ready && !self.spec.unschedulable && !self.repelling().any(Taint::passes)
    }

    fn repelling(&self) -> impl Iterator<Item = &Taint> {
        self.spec.taints.iter().filter(|taint| NodeTaint::repels(&taint.effect))
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
    overhead: BTreeMap<String, Quantity>,
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
    /// What it holds; `None` when it holds nothing, is bound nowhere or has finished.
    pub(super) fn bound(&self) -> Option<BoundPod> {
        if self.spec.node_name.is_empty() || matches!(self.status.phase.as_str(), "Succeeded" | "Failed") {
            return None;
        }
        let asked = |containers: &[Container]| -> Vec<ContainerRequest> {
            containers
                .iter()
                .map(|container| ContainerRequest {
                    requests: container.resources.requested(),
                    sidecar: container.restart_policy == "Always",
                })
                .collect()
        };
        let mut requests = pod_requests(&asked(&self.spec.init_containers), &asked(&self.spec.containers));
        let overhead = Resources { requests: self.spec.overhead.clone() };
        requests.add(&overhead.requested());
        let of = self.of().filter(|_| !requests.gpus.is_empty());
        (!requests.is_nothing()).then(|| BoundPod { node: self.spec.node_name.clone(), of, requests })
    }

    /// Namespace and name of the NIM object whose pod it is, by the labels that its operator gives all pods, or by that of
    /// its LeaderWorkerSet: workers that NVIDIA's operator made have no other.
    fn of(&self) -> Option<(String, String)> {
        let labels = self.metadata.labels.as_ref()?;
        let managed = labels.get("app.kubernetes.io/managed-by").is_some_and(|by| by == "k8s-nim-operator");
        let instance = labels.get("app.kubernetes.io/instance").filter(|name| managed && !name.is_empty());
        let of_set = || service_of(labels.get(SET_NAME)?);
        let name = instance.map(String::as_str).or_else(of_set)?;
        Some((self.metadata.namespace.clone()?, name.to_owned()))
    }
}

impl Resources {
    fn requested(&self) -> Amounts {
        let amount = |name: &str, read: fn(&str) -> Option<u64>| {
            self.requests.get(name).and_then(|amount| read(&amount.0)).unwrap_or(0)
        };
        Amounts {
            gpus: gpus(&self.requests),
            millicores: amount("cpu", quantity::millis_asked),
            memory_mib: amount("memory", quantity::mebibytes_asked),
        }
    }
}

/// Whether an extended resource is of GPUs.
pub(super) fn is_gpu(resource: &str) -> bool {
    GPU_RESOURCES.iter().any(|known| resource.starts_with(known))
}

/// GPUs by resource. What is no quantity is left out.
fn gpus(all: &BTreeMap<String, Quantity>) -> BTreeMap<String, u32> {
    all.iter()
        .filter(|(resource, _)| is_gpu(resource))
        .filter_map(|(resource, amount)| {
            let count = quantity::whole(&amount.0)?;
            Some((resource.clone(), u32::try_from(count).unwrap_or(u32::MAX)))
        })
        .collect()
}

#[cfg(test)]
#[path = "trimmed/tests.rs"]
mod tests;
