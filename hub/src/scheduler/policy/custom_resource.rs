//! NIMPlacement, the custom resource, to the policy it asks for.

use crds::fleet as crd;
use jiff::SignedDuration;
use k8s_openapi::api::core::v1 as core;

use super::{Affinity, Division, Failover, GpuRequirement, InvalidPolicy, OnUnreachable, Policy, Toleration};
use crate::fleet::{Effect, Selector};

impl TryFrom<&crd::NIMPlacementSpec> for Policy {
    type Error = InvalidPolicy;

    fn try_from(spec: &crd::NIMPlacementSpec) -> Result<Self, Self::Error> {
        let tolerations = spec.tolerations.iter().enumerate();
        Ok(Self {
            affinity: spec.cluster_affinity.as_ref().map(affinity).transpose()?.unwrap_or_default(),
            tolerations: tolerations.map(|(index, one)| toleration(index, one)).collect::<Result<_, _>>()?,
            gpu: spec.gpu.as_ref().map(gpu).transpose()?.unwrap_or_default(),
            clusters: spec.number_of_clusters.and_then(|number| u32::try_from(number).ok()),
            division: match spec.replica_scheduling.unwrap_or_default().type_ {
                crd::ReplicaSchedulingType::Duplicated => Division::Duplicated,
                crd::ReplicaSchedulingType::Divided => Division::Divided,
            },
            failover: spec.failover.as_ref().map(failover).transpose()?.unwrap_or_default(),
        })
    }
}

fn affinity(affinity: &crd::ClusterAffinity) -> Result<Affinity, InvalidPolicy> {
    let term =
        |(index, term)| Selector::try_from(term).map_err(|reason| InvalidPolicy::Affinity { index, reason });
    Ok(Affinity {
        required: affinity.required.iter().enumerate().map(term).collect::<Result<_, _>>()?,
        cluster_names: affinity.cluster_names.clone(),
        exclude: affinity.exclude.clone(),
    })
}

fn toleration(index: usize, toleration: &core::Toleration) -> Result<Toleration, InvalidPolicy> {
    let invalid = |field, value: &str, remedy| {
        Err(InvalidPolicy::Toleration { index, field, value: value.to_owned(), remedy })
    };
    let any_value = match toleration.operator.as_deref() {
        None | Some("" | "Equal") => false,
        Some("Exists") => true,
        Some(other) => return invalid("operator", other, "write Exists or Equal"),
    };
    let effect = match toleration.effect.as_deref() {
        None | Some("") => None,
        Some("NoSchedule") => Some(Effect::NoSchedule),
        Some("NoExecute") => Some(Effect::NoExecute),
        Some(other) => {
            return invalid("effect", other, "write NoSchedule or NoExecute, or leave it out for both");
        }
    };
    let key = toleration.key.clone().filter(|key| !key.is_empty());
    if key.is_none() && !any_value {
        return invalid("key", "", "name a key, or write operator Exists to tolerate every taint");
    }
    Ok(Toleration { key, any_value, value: toleration.value.clone().unwrap_or_default(), effect })
}

fn gpu(gpu: &crd::GPURequirement) -> Result<GpuRequirement, InvalidPolicy> {
    let memory = |quantity: &k8s_openapi::apimachinery::pkg::api::resource::Quantity| {
        mebibytes(&quantity.0).ok_or_else(|| InvalidPolicy::Memory { value: quantity.0.clone() })
    };
    Ok(GpuRequirement {
        products: gpu.products.iter().filter(|product| !product.is_empty()).cloned().collect(),
        min_memory_mib: gpu.min_memory.as_ref().map(memory).transpose()?,
    })
}

fn failover(failover: &crd::Failover) -> Result<Failover, InvalidPolicy> {
    let invalid = || InvalidPolicy::LostAfter { value: failover.lost_after.clone() };
    let lost_after = failover.lost_after().map_err(|_| invalid())?;
    Ok(Failover {
        on_unreachable: match failover.on_unreachable {
            crd::OnUnreachable::Keep => OnUnreachable::Keep,
            crd::OnUnreachable::Replace => OnUnreachable::Replace,
        },
        lost_after: SignedDuration::try_from(lost_after).map_err(|_| invalid())?,
    })
}

/// Suffixes of a Kubernetes quantity with the bytes they stand for.
const UNITS: [(&str, u64); 10] = [
    ("Ki", 1 << 10),
    ("Mi", 1 << 20),
    ("Gi", 1 << 30),
    ("Ti", 1 << 40),
    ("Pi", 1 << 50),
    ("k", 1_000),
    ("M", 1_000_000),
    ("G", 1_000_000_000),
    ("T", 1_000_000_000_000),
    ("P", 1_000_000_000_000_000),
];

/// A quantity of memory in MiB, rounded up. At most three decimals count, which is what a quantity keeps.
fn mebibytes(quantity: &str) -> Option<u64> {
    let quantity = quantity.trim();
    let (number, unit) = UNITS
        .iter()
        .find_map(|(suffix, bytes)| Some((quantity.strip_suffix(suffix)?, *bytes)))
        .unwrap_or((quantity, 1));
    let (whole, decimals) = number.split_once('.').unwrap_or((number, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(decimals) || decimals.len() > 3 {
        return None;
    }
    let thousandths: u128 = format!("{whole}{decimals:0<3}").parse().ok()?;
    let bytes = thousandths.checked_mul(u128::from(unit))?.div_ceil(1000);
    u64::try_from(bytes.div_ceil(1 << 20)).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn policy(extra: &serde_json::Value) -> Result<Policy, InvalidPolicy> {
        let mut spec = json!({"resourceSelectors": [{"kind": "NIMService", "name": "llm"}]});
        spec.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        Policy::try_from(&serde_json::from_value::<crd::NIMPlacementSpec>(spec).unwrap())
    }

    #[test]
    fn what_is_not_said_has_its_default() {
        assert_eq!(policy(&json!({})).unwrap(), Policy::default());
    }

    #[test]
    fn every_part_arrives() {
        let policy = policy(&json!({
            "clusterAffinity": {"required": [{"matchLabels": {"tier": "gold"}}], "clusterNames": ["a"], "exclude": ["b"]},
            "tolerations": [{"key": "k", "operator": "Exists", "effect": "NoExecute"}, {"key": "q", "value": "v"}],
            "gpu": {"products": ["NVIDIA-L40S"], "minMemory": "40Gi"},
            "numberOfClusters": 3,
            "replicaScheduling": {"type": "Divided"},
            "failover": {"onUnreachable": "Replace", "lostAfter": "90s"}
        }))
        .unwrap();
        assert_eq!(policy.affinity.required.len(), 1);
        assert_eq!(
            (policy.affinity.cluster_names[0].as_str(), policy.affinity.exclude[0].as_str()),
            ("a", "b")
        );
        assert!(policy.tolerations[0].any_value && policy.tolerations[0].effect == Some(Effect::NoExecute));
        assert_eq!((policy.tolerations[1].value.as_str(), policy.tolerations[1].effect), ("v", None));
        assert_eq!(policy.gpu.min_memory_mib, Some(40 * 1024));
        assert_eq!((policy.clusters, policy.division), (Some(3), Division::Divided));
        assert_eq!(policy.failover.on_unreachable, OnUnreachable::Replace);
        assert_eq!(policy.failover.lost_after, SignedDuration::from_secs(90));
    }

    #[test]
    fn what_means_nothing_is_named_with_its_path() {
        for (extra, path, value) in [
            (
                json!({"tolerations": [{"key": "k", "operator": "Like"}]}),
                "spec.tolerations[0].operator",
                "Like",
            ),
            (
                json!({"tolerations": [{"key": "k", "effect": "Evict"}]}),
                "spec.tolerations[0].effect",
                "Evict",
            ),
            (json!({"tolerations": [{"value": "v"}]}), "spec.tolerations[0].key", "Exists"),
            (json!({"gpu": {"minMemory": "much"}}), "spec.gpu.minMemory", "much"),
            (json!({"failover": {"lostAfter": "soon"}}), "spec.failover.lostAfter", "soon"),
            (
                json!({"clusterAffinity": {"required": [{"matchExpressions": [{"key": "a", "operator": "Gt"}]}]}}),
                "spec.clusterAffinity.required[0]",
                "Gt",
            ),
        ] {
            let message = policy(&extra).unwrap_err().to_string();
            assert!(message.contains(path) && message.contains(value), "{message}");
        }
    }

    #[test]
    fn memory_is_rounded_up_to_mebibytes() {
        for (quantity, expected) in [
            ("80Gi", Some(81_920)),
            ("80G", Some(76_294)),
            ("1.5Gi", Some(1536)),
            ("1048577", Some(2)),
            ("512Mi", Some(512)),
            ("", None),
            ("Gi", None),
            ("-1Gi", None),
            ("1.2.3Gi", None),
            ("99999999999999999999999999999999999999Pi", None),
        ] {
            assert_eq!(mebibytes(quantity), expected, "{quantity}");
        }
    }
}
