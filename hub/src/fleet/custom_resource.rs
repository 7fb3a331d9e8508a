//! GPUCluster, the custom resource, to and from the model.

use std::collections::BTreeMap;

use crds::fleet as crd;
use crds::marks::CONFIRM_FAILOVER_ANNOTATION;

use super::{Capacity, Effect, Namespaces, Pool, Potential, Taint};

/// What a cluster's admin says of it: metadata and spec of the GPUCluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Admin {
    /// Labels of the GPUCluster.
    pub labels: BTreeMap<String, String>,
    /// `spec.taints`.
    pub taints: Vec<Taint>,
    /// `spec.accepted`.
    pub accepted: bool,
    /// [`CONFIRM_FAILOVER_ANNOTATION`] is `true`.
    pub failover_confirmed: bool,
    /// `spec.allowedNamespaces`.
    pub allowed_namespaces: Namespaces,
    /// `spec.drain`.
    pub drain: bool,
    /// `spec.costPerGPUHour`, in thousandths.
    pub cost_per_gpu_hour: BTreeMap<String, u64>,
    /// `spec.potential`.
    pub potential: Vec<Potential>,
}

impl From<&crd::GPUCluster> for Admin {
    fn from(cluster: &crd::GPUCluster) -> Self {
        let taints = cluster.spec.taints.iter().map(|taint| Taint {
            key: taint.key.clone(),
            value: taint.value.clone().unwrap_or_default(),
            effect: match taint.effect {
                crd::TaintEffect::NoSchedule => Effect::NoSchedule,
                crd::TaintEffect::NoExecute => Effect::NoExecute,
            },
        });
        let annotations = cluster.metadata.annotations.as_ref();
        let confirmed = annotations.and_then(|all| all.get(CONFIRM_FAILOVER_ANNOTATION));
        Self {
            labels: cluster.metadata.labels.clone().unwrap_or_default(),
            taints: taints.collect(),
            accepted: cluster.spec.accepted,
            failover_confirmed: confirmed.is_some_and(|word| word == "true"),
            allowed_namespaces: cluster.spec.allowed_namespaces.as_ref().into(),
            drain: cluster.spec.drain,
            cost_per_gpu_hour: costs(&cluster.spec),
            potential: cluster.spec.potential.iter().map(Potential::from).collect(),
        }
    }
}

/// Amounts in thousandths. What is no amount is left out; an API server with our schema stores none such.
fn costs(spec: &crd::GPUClusterSpec) -> BTreeMap<String, u64> {
    let thousandths = |amount: &String| {
        let (whole, decimals) = amount.split_once('.').unwrap_or((amount, ""));
        let decimals = format!("{decimals:0<3}");
        (decimals.len() == 3).then_some(())?;
        whole.parse::<u64>().ok()?.checked_mul(1000)?.checked_add(decimals.parse().ok()?)
    };
    let known = spec.cost_per_gpu_hour.iter();
    known.filter_map(|(product, amount)| Some((product.clone(), thousandths(amount)?))).collect()
}

impl Capacity {
    /// Writes the report into a GPUCluster's status: what was observed, and nothing that changes while
    /// nothing does.
    pub fn write(&self, status: &mut crd::GPUClusterStatus) {
        let text = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
        status.kubernetes_version = text(&self.kubernetes_version);
        status.region = text(&self.region);
        status.zone = text(&self.zone);
        status.provider = text(&self.provider);
        status.platforms = self
            .platforms
            .iter()
            .map(|platform| crd::Platform { name: platform.name.clone(), version: text(&platform.version) })
            .collect();
        status.gpus = self.pools.iter().map(gpu_pool).collect();
        let (free, allocatable) = self.totals();
        status.gpu_summary = Some(format!("{free}/{allocatable}"));
        status.caches = self
            .caches
            .iter()
            .map(|cache| crd::HeldCache {
                namespace: cache.namespace.clone(),
                name: cache.name.clone(),
                model: text(&cache.model),
                profiles: cache.profiles.clone(),
            })
            .collect();
    }
}

fn gpu_pool(pool: &Pool) -> crd::GPUPool {
    let number = |number: u32| i32::try_from(number).unwrap_or(i32::MAX);
    let nodes = pool.free_per_node.iter();
    crd::GPUPool {
        product: pool.product.clone(),
        resource: pool.resource.clone(),
        memory_mib: Some(pool.memory_mib).filter(|mib| *mib > 0).and_then(|mib| i64::try_from(mib).ok()),
        nodes: number(pool.nodes),
        capacity: number(pool.capacity),
        allocatable: number(pool.allocatable),
        free: number(pool.free),
        free_per_node: nodes.map(|(block, nodes)| (block.to_string(), number(*nodes))).collect(),
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use serde_json::json;

    use super::*;
    use crate::fleet::Platform;

    #[test]
    fn the_admins_words_are_read() {
        let cluster: crd::GPUCluster = serde_json::from_value(json!({
            "apiVersion": "nimfleet.io/v1alpha1", "kind": "GPUCluster",
            "metadata": {"name": "east", "labels": {"tier": "gold"},
                         "annotations": {"nimfleet.io/confirm-failover": "true"}},
            "spec": {"accepted": true, "taints": [{"key": "drain", "effect": "NoExecute"}], "drain": true,
                     "costPerGPUHour": {"h100": "2.49", "*": "1"},
                     "allowedNamespaces": {"matchLabels": {"team": "ml"}},
                     "potential": [{"product": "NVIDIA-L40S", "gpusPerNode": 4, "maxNodes": 2, "memory": "48Gi"}]}
        }))
        .unwrap();
        let admin = Admin::from(&cluster);
        assert!(admin.accepted && admin.failover_confirmed && admin.labels["tier"] == "gold");
        assert_eq!(
            admin.taints,
            [Taint { key: "drain".into(), value: String::new(), effect: Effect::NoExecute }]
        );
        assert!(admin.drain && matches!(admin.allowed_namespaces, Namespaces::Matching(_)));
        assert_eq!(admin.cost_per_gpu_hour, BTreeMap::from([("h100".into(), 2490), ("*".into(), 1000)]));
        let [pool] = &admin.potential[..] else { panic!("one pool: {:?}", admin.potential) };
        assert_eq!((pool.memory_mib, pool.max_nodes, pool.delay.as_secs()), (49_152, 2, 600));
    }

    #[test]
    fn a_report_becomes_status() {
        let capacity = Capacity {
            observed_at: Timestamp::UNIX_EPOCH,
            received_at: Timestamp::UNIX_EPOCH,
            kubernetes_version: "v1.34.2".into(),
            region: String::new(),
            zone: "b".into(),
            provider: String::new(),
            pools: vec![Pool {
                product: "NVIDIA-L40S".into(),
                resource: "nvidia.com/gpu".into(),
                memory_mib: 46_068,
                nodes: 2,
                capacity: 8,
                allocatable: 8,
                free: 5,
                free_per_node: BTreeMap::from([(1, 1), (4, 1)]),
            }],
            platforms: vec![Platform { name: "kserve".into(), version: "v1beta1".into() }],
            caches: Vec::new(),
        };
        let mut status = crd::GPUClusterStatus::default();
        capacity.write(&mut status);
        assert_eq!(
            serde_json::to_value(status).unwrap(),
            json!({
                "kubernetesVersion": "v1.34.2", "zone": "b", "gpuSummary": "5/8",
                "platforms": [{"name": "kserve", "version": "v1beta1"}],
                "gpus": [{"product": "NVIDIA-L40S", "resource": "nvidia.com/gpu", "memoryMiB": 46068, "nodes": 2,
                          "capacity": 8, "allocatable": 8, "free": 5, "freePerNode": {"1": 1, "4": 1}}]
            })
        );
    }
}
