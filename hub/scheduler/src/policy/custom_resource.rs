//! NIMPlacement, the custom resource, to the policy it asks for.

use std::time::Duration;

use crds::fleet as crd;
use jiff::SignedDuration;
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use super::{
    Affinity, ByName, CacheLocality, CapacityStrategy, ClusterSet, Division, Expression, Failover,
    GpuRequirement, InvalidPolicy, OnUnreachable, Policy, Preferred, ShareBy, Shares, SpreadConstraint, Tier,
    Toleration, Weights,
};
use crate::fleet::{Effect, Selector};

impl TryFrom<&crd::NIMPlacementSpec> for Policy {
    type Error = InvalidPolicy;

    fn try_from(spec: &crd::NIMPlacementSpec) -> Result<Self, Self::Error> {
        let tolerations = spec.tolerations.iter().enumerate();
        Ok(Self {
            affinity: spec.cluster_affinity.as_ref().map(affinity).transpose()?.unwrap_or_default(),
            tolerations: tolerations.map(|(index, one)| toleration(index, one)).collect::<Result<_, _>>()?,
            gpu: spec.gpu.as_ref().map(gpu).transpose()?.unwrap_or_default(),
            spread: spec.topology_spread_constraints.iter().map(spread).collect(),
            tiers: spec
                .tiers
                .iter()
                .enumerate()
                .map(|(index, one)| tier(index, one))
                .collect::<Result<_, _>>()?,
            cache_locality: match spec.cache_locality.unwrap_or_default() {
                crd::CacheLocality::Ignore => CacheLocality::Ignore,
                crd::CacheLocality::Prefer => CacheLocality::Prefer,
                crd::CacheLocality::Require => CacheLocality::Require,
            },
            capacity_strategy: match spec.capacity_strategy.unwrap_or_default() {
                crd::CapacityStrategy::Spread => CapacityStrategy::Spread,
                crd::CapacityStrategy::Pack => CapacityStrategy::Pack,
            },
            weights: spec.score_weights.as_ref().map(weights).unwrap_or_default(),
            priority: spec.priority.unwrap_or_default(),
            clusters: spec.number_of_clusters.and_then(|number| u32::try_from(number).ok()),
            division: match spec.replica_scheduling.as_ref().map(|scheduling| scheduling.type_) {
                None | Some(crd::ReplicaSchedulingType::Duplicated) => Division::Duplicated,
                Some(crd::ReplicaSchedulingType::Divided) => Division::Divided,
            },
            shares: spec.replica_scheduling.as_ref().map(shares).transpose()?.unwrap_or_default(),
            failover: spec.failover.as_ref().map(failover).transpose()?.unwrap_or_default(),
            eviction_budget: spec.eviction_budget.map_or(1, number),
            by_name: ByName::default(),
        }
        .indexed())
    }
}

fn affinity(affinity: &crd::ClusterAffinity) -> Result<Affinity, InvalidPolicy> {
    let term =
        |(index, term)| Selector::try_from(term).map_err(|reason| InvalidPolicy::Affinity { index, reason });
    let preferred = |(index, one): (usize, &crd::PreferredClusters)| {
        let selector = Selector::try_from(&one.preference);
        let selector = selector.map_err(|reason| InvalidPolicy::Preferred { index, reason })?;
        Ok(Preferred { weight: number(one.weight), selector })
    };
    let expression = |(index, source): (usize, &String)| {
        Expression::compile(source).map_err(|reason| InvalidPolicy::Expression {
            index,
            expression: source.clone(),
            reason,
        })
    };
    let expressions: Vec<Expression> =
        affinity.expressions.iter().enumerate().map(expression).collect::<Result<_, _>>()?;
    Expression::cost_little(&expressions).map_err(|reason| InvalidPolicy::Expressions { reason })?;
    Ok(Affinity {
        required: affinity.required.iter().enumerate().map(term).collect::<Result<_, _>>()?,
        preferred: affinity.preferred.iter().enumerate().map(preferred).collect::<Result<_, _>>()?,
        expressions,
        cluster_names: affinity.cluster_names.clone(),
        exclude: affinity.exclude.clone(),
    })
}

/// A number that the schema keeps from being negative.
fn number(number: i32) -> u32 {
    u32::try_from(number).unwrap_or_default()
}

fn spread(constraint: &crd::TopologySpreadConstraint) -> SpreadConstraint {
    SpreadConstraint {
        key: constraint.topology_key.clone(),
        max_skew: number(constraint.max_skew).max(1),
        is_hard: constraint.when_unsatisfiable == crd::WhenUnsatisfiable::DoNotSchedule,
    }
}

fn tier(index: usize, tier: &crd::Tier) -> Result<Tier, InvalidPolicy> {
    Ok(Tier {
        name: tier.name.clone().unwrap_or_else(|| (index + 1).to_string()),
        clusters: clusters("tiers", index, &tier.cluster_names, tier.cluster_selector.as_ref())?,
        least: tier.min_replicas.map_or(0, number),
    })
}

fn clusters(
    field: &'static str,
    index: usize,
    names: &[String],
    selector: Option<&LabelSelector>,
) -> Result<ClusterSet, InvalidPolicy> {
    let selector = selector.map(Selector::try_from).transpose();
    let selector = selector.map_err(|reason| InvalidPolicy::ClusterSelector { field, index, reason })?;
    Ok(ClusterSet { names: names.to_vec(), selector })
}

fn weights(weights: &crd::ScoreWeights) -> Weights {
    let default = Weights::default();
    let or = |weight: Option<i32>, default| weight.map_or(default, number);
    Weights {
        cache_locality: or(weights.cache_locality, default.cache_locality),
        free_capacity: or(weights.free_capacity, default.free_capacity),
        cost: or(weights.cost, default.cost),
        preferred_affinity: or(weights.preferred_affinity, default.preferred_affinity),
        topology_spread: or(weights.topology_spread, default.topology_spread),
        stickiness: or(weights.stickiness, default.stickiness),
        freshness: or(weights.freshness, default.freshness),
    }
}

fn shares(scheduling: &crd::ReplicaScheduling) -> Result<Shares, InvalidPolicy> {
    let weight = |(index, one): (usize, &crd::ClusterWeight)| {
        let field = "replicaScheduling.weights";
        let clusters = clusters(field, index, &one.cluster_names, one.cluster_selector.as_ref())?;
        Ok((clusters, number(one.weight)))
    };
    let least = scheduling.min_per_cluster.map_or(1, number);
    let most = scheduling.max_per_cluster.map(number);
    if let Some(most) = most.filter(|most| *most < least) {
        return Err(InvalidPolicy::PerCluster { least, most });
    }
    Ok(Shares {
        by: match scheduling.division.unwrap_or_default() {
            crd::ReplicaDivision::Weighted => ShareBy::Weighted,
            crd::ReplicaDivision::FreeCapacity => ShareBy::FreeCapacity,
            crd::ReplicaDivision::Aggregated => ShareBy::Aggregated,
        },
        weights: scheduling.weights.iter().enumerate().map(weight).collect::<Result<_, _>>()?,
        least,
        most,
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
    let memory = |quantity: &Quantity| {
        let mib = crds::quantity::mebibytes_asked(&quantity.0).filter(|_| !quantity.0.starts_with('-'));
        mib.ok_or_else(|| InvalidPolicy::Memory { value: quantity.0.clone() })
    };
    Ok(GpuRequirement {
        products: gpu.products.iter().filter(|product| !product.is_empty()).cloned().collect(),
        min_memory_mib: gpu.min_memory.as_ref().map(memory).transpose()?,
        profile_change: gpu.profile_change == crd::ProfileChange::Allow,
    })
}

fn failover(failover: &crd::Failover) -> Result<Failover, InvalidPolicy> {
    let duration = |parsed: Result<Duration, crd::InvalidDuration>, field, value: &String| {
        let duration = parsed.ok().and_then(|parsed| SignedDuration::try_from(parsed).ok());
        duration.ok_or_else(|| InvalidPolicy::Duration { field, value: value.clone() })
    };
    Ok(Failover {
        on_unreachable: match failover.on_unreachable {
            crd::OnUnreachable::Keep => OnUnreachable::Keep,
            crd::OnUnreachable::Replace => OnUnreachable::Replace,
        },
        lost_after: duration(failover.lost_after(), "spec.failover.lostAfter", &failover.lost_after)?,
        unschedulable_after: duration(
            failover.unschedulable_after(),
            "spec.failover.unschedulableAfter",
            &failover.unschedulable_after,
        )?,
    })
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
            "clusterAffinity": {"required": [{"matchLabels": {"tier": "gold"}}], "clusterNames": ["a"], "exclude": ["b"],
                "preferred": [{"weight": 7, "preference": {"matchLabels": {"tier": "gold"}}}],
                "expressions": ["cluster.capacity.freeGPUs > 1"]},
            "tolerations": [{"key": "k", "operator": "Exists", "effect": "NoExecute"}, {"key": "q", "value": "v"}],
            "gpu": {"products": ["NVIDIA-L40S"], "minMemory": "40Gi", "profileChange": "Allow"},
            "numberOfClusters": 3,
            "replicaScheduling": {
                "type": "Divided", "division": "Weighted", "minPerCluster": 2, "maxPerCluster": 5,
                "weights": [{"clusterNames": ["a"], "weight": 3}, {"clusterSelector": {}, "weight": 1}]
            },
            "topologySpreadConstraints": [{"topologyKey": "topology.kubernetes.io/region", "maxSkew": 1}],
            "tiers": [{"clusterNames": ["a"], "minReplicas": 2}, {"name": "burst", "clusterSelector": {}}],
            "cacheLocality": "Require", "capacityStrategy": "Pack", "scoreWeights": {"cost": 100, "freshness": 0},
            "priority": -5, "evictionBudget": 3,
            "failover": {"onUnreachable": "Replace", "lostAfter": "90s", "unschedulableAfter": "0s"}
        }))
        .unwrap();
        assert_eq!(policy.affinity.required.len(), 1);
        assert_eq!(
            (policy.affinity.cluster_names[0].as_str(), policy.affinity.exclude[0].as_str()),
            ("a", "b")
        );
        assert!(policy.tolerations[0].any_value && policy.tolerations[0].effect == Some(Effect::NoExecute));
        assert_eq!((policy.tolerations[1].value.as_str(), policy.tolerations[1].effect), ("v", None));
        assert_eq!((policy.gpu.min_memory_mib, policy.gpu.profile_change), (Some(40 * 1024), true));
        assert_eq!((policy.clusters, policy.division), (Some(3), Division::Divided));
        assert_eq!(policy.failover.on_unreachable, OnUnreachable::Replace);
        assert_eq!(policy.failover.lost_after, SignedDuration::from_secs(90));
        assert!(policy.failover.unschedulable_after.is_zero());
        assert_eq!(policy.affinity.preferred[0].weight, 7);
        assert_eq!(policy.affinity.expressions[0].source(), "cluster.capacity.freeGPUs > 1");
        let Shares { by, least, most, weights } = &policy.shares;
        assert_eq!((*by, *least, *most, weights.len()), (ShareBy::Weighted, 2, Some(5), 2));
        assert!(policy.spread[0].is_hard && policy.spread[0].max_skew == 1);
        let tiers: Vec<_> = policy.tiers.iter().map(|tier| (tier.name.as_str(), tier.least)).collect();
        assert_eq!(tiers, [("1", 2), ("burst", 0)]);
        assert_eq!(
            (policy.cache_locality, policy.capacity_strategy, policy.priority, policy.eviction_budget),
            (CacheLocality::Require, CapacityStrategy::Pack, -5, 3)
        );
        assert_eq!(policy.weights, Weights { cost: 100, freshness: 0, ..Weights::default() });
    }

    #[test]
    fn names_are_found_as_they_are_by_looking_through_the_lists() {
        let named = policy(&json!({
            "clusterAffinity": {"clusterNames": ["a", "b", "c"], "exclude": ["c"]},
            "tiers": [{"clusterSelector": {"matchLabels": {"tier": "gold"}}}, {"clusterNames": ["a", "b"]}, {"clusterNames": ["b"]}],
            "replicaScheduling": {"type": "Divided", "division": "Weighted", "weights": [
                {"clusterNames": ["b"], "weight": 3}, {"clusterSelector": {"matchLabels": {"tier": "gold"}}, "weight": 2},
                {"clusterNames": ["a", "b"], "weight": 1}]},
        }))
        .unwrap();
        let plain = Policy { by_name: ByName::default(), ..named.clone() };
        for name in ["a", "b", "c", "d"] {
            for labels in [json!({}), json!({"tier": "gold"})] {
                let mut cluster = crate::fleet::Cluster::new(name.parse().unwrap());
                cluster.labels = serde_json::from_value(labels).unwrap();
                assert_eq!(named.names(name), plain.names(name));
                assert_eq!(named.excludes(name), plain.excludes(name));
                assert_eq!(named.tier_of(&cluster), plain.tier_of(&cluster), "{name}");
                assert_eq!(named.weight_of(&cluster), plain.weight_of(&cluster), "{name}");
            }
        }
    }

    #[test]
    fn expressions_are_bounded_together() {
        let pattern = "cluster.name.matches('a') || cluster.name.matches('b')";
        let error =
            policy(&json!({"clusterAffinity": {"expressions": vec![pattern; 9]}})).unwrap_err().to_string();
        assert!(error.contains("18 patterns") && error.contains("at most 16"), "{error}");
        let long = format!("cluster.capacity.pools.exists(p, [{}].size() > p.free)", "p.free,".repeat(40));
        let error =
            policy(&json!({"clusterAffinity": {"expressions": vec![long; 16]}})).unwrap_err().to_string();
        assert!(error.contains("steps") && error.contains("at most 16384"), "{error}");
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
            (json!({"gpu": {"minMemory": "-1Gi"}}), "spec.gpu.minMemory", "-1Gi"),
            (json!({"failover": {"lostAfter": "soon"}}), "spec.failover.lostAfter", "soon"),
            (
                json!({"clusterAffinity": {"required": [{"matchExpressions": [{"key": "a", "operator": "Gt"}]}]}}),
                "spec.clusterAffinity.required[0]",
                "Gt",
            ),
            (
                json!({"clusterAffinity": {"expressions": ["true", "cluster.gpus > 1"]}}),
                "spec.clusterAffinity.expressions[1]",
                "cluster.gpus is unknown",
            ),
            (
                json!({"tiers": [{"clusterSelector": {"matchExpressions": [{"key": "a", "operator": "Gt"}]}}]}),
                "spec.tiers[0].clusterSelector",
                "Gt",
            ),
            (
                json!({"replicaScheduling": {"type": "Divided", "minPerCluster": 3, "maxPerCluster": 2}}),
                "spec.replicaScheduling.maxPerCluster",
                "3",
            ),
        ] {
            let message = policy(&extra).unwrap_err().to_string();
            assert!(message.contains(path) && message.contains(value), "{message}");
        }
    }
}
