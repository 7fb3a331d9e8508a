//! GPUCluster, the custom resource, to and from the model.

use std::collections::BTreeMap;

use crds::fleet as crd;
use crds::marks::CONFIRM_FAILOVER_ANNOTATION;

use super::{Effect, Namespaces, Potential, Taint};

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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

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
}
