//! Nodes that exist as objects only, labelled as GPU Feature Discovery labels real ones.

use k8s_openapi::api::core::v1::Node as NodeObject;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::{Map, Value, json};

use super::gpu;
use super::{Cluster, ClusterError};

/// One node.
#[derive(Debug, Clone)]
pub(super) struct Node {
    gpus: Option<(String, u32)>,
}

impl Node {
    pub(super) fn with_gpus(product: &str, count: u32) -> Self {
        Self { gpus: Some((product.to_owned(), count)) }
    }

    pub(super) fn without_gpus() -> Self {
        Self { gpus: None }
    }

    fn manifest(&self, name: &str) -> Result<Value, ClusterError> {
        let mut labels: Map<String, Value> = [
            ("kubernetes.io/hostname", name),
            ("kubernetes.io/arch", "amd64"),
            ("kubernetes.io/os", "linux"),
            ("type", "kwok"),
        ]
        .map(|(key, value)| (key.to_owned(), value.into()))
        .into_iter()
        .collect();
        let mut capacity = json!({"cpu": "128", "memory": "1Ti", "pods": "110", "ephemeral-storage": "4Ti"});
        if let Some((product, count)) = &self.gpus {
            let memory = gpu::memory_mib(product).ok_or_else(|| ClusterError::UnknownGpu(product.clone()))?;
            labels.extend(
                [
                    ("nvidia.com/gpu.present", "true".to_owned()),
                    ("nvidia.com/gpu.product", product.clone()),
                    ("nvidia.com/gpu.count", count.to_string()),
                    ("nvidia.com/gpu.memory", memory.to_string()),
                    (gpu::NVIDIA_NODE, "true".to_owned()),
                ]
                .map(|(key, value)| (key.to_owned(), value.into())),
            );
            capacity["nvidia.com/gpu"] = count.to_string().into();
        }
        Ok(json!({
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": name, "labels": labels, "annotations": {"kwok.x-k8s.io/node": "fake"}},
            "status": {"capacity": capacity, "allocatable": capacity},
        }))
    }
}

/// Registers the nodes as `<cluster>-<n>`.
pub(super) async fn register(cluster: &Cluster, nodes: &[Node]) -> Result<(), ClusterError> {
    let api: Api<NodeObject> = Api::all(cluster.client());
    let by = PatchParams::apply("e2e").force();
    for (n, node) in nodes.iter().enumerate() {
        let name = format!("{}-{n}", cluster.name());
        let manifest = node.manifest(&name)?;
        let doing = format!("registering node {name}");
        api.patch(&name, &by, &Patch::Apply(&manifest)).await.map_err(cluster.fault(&doing))?;
        api.patch_status(&name, &by, &Patch::Apply(&manifest)).await.map_err(cluster.fault(&doing))?;
    }
    Ok(())
}
