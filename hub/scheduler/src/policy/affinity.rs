//! Which clusters a placement may choose, which it would rather have, and in which order.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::{Expression, Policy};
use crate::fleet::{Cluster, Selector};

/// Which clusters may be chosen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Affinity {
    /// Terms over the clusters' labels and properties, ORed; empty: any.
    pub required: Vec<Selector>,
    /// Terms that make a cluster better.
    pub preferred: Vec<Preferred>,
    /// All must be true.
    pub expressions: Vec<Expression>,
    /// Names; empty: any. A name that no cluster has is a refusal.
    pub cluster_names: Vec<String>,
    /// Names that are never chosen.
    pub exclude: Vec<String>,
}

/// Clusters that are better than others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Preferred {
    /// What a match weighs beside the other terms.
    pub weight: u32,
    /// Which clusters.
    pub selector: Selector,
}

/// How clusters are spread over a label or a property.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpreadConstraint {
    /// Clusters with the same value are one domain.
    pub key: String,
    /// By how many chosen clusters a domain may exceed the one with the fewest.
    pub max_skew: u32,
    /// Whether a cluster that breaks it is refused; else it scores less.
    pub is_hard: bool,
}

/// Clusters by name and by labels or properties.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClusterSet {
    /// These.
    pub names: Vec<String>,
    /// And these.
    pub selector: Option<Selector>,
}

impl ClusterSet {
    /// Whether the cluster is in it.
    #[must_use]
    pub fn has(&self, cluster: &Cluster) -> bool {
        self.names.iter().any(|name| name == cluster.name.as_str())
            || self.selector.as_ref().is_some_and(|selector| selector.matches(cluster))
    }
}

/// A group of clusters that is filled before the next one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tier {
    /// For messages.
    pub name: String,
    /// Which clusters, less those of earlier tiers.
    pub clusters: ClusterSet,
    /// What it gets before an earlier tier is filled: replicas if Divided, clusters if Duplicated.
    pub least: u32,
}

/// The lists of names of a policy, by name: every decision asks every cluster. It is no part of what a policy says, only of how
/// fast it answers: all of them are equal, and a policy without one looks through its lists.
#[derive(Clone, Debug, Default)]
pub(crate) struct ByName(Option<Arc<Index>>);

#[derive(Debug, Default)]
struct Index {
    /// Names of the affinity.
    named: HashSet<String>,
    excluded: HashSet<String>,
    /// The first tier that names a cluster, and the first weight.
    tiers: HashMap<String, usize>,
    weights: HashMap<String, usize>,
}

impl PartialEq for ByName {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for ByName {}

impl Policy {
    /// The same, which looks names up instead of going through its lists.
    #[must_use]
    pub fn indexed(mut self) -> Self {
        fn first<'a>(sets: impl Iterator<Item = &'a ClusterSet>) -> HashMap<String, usize> {
            let mut first = HashMap::new();
            for (index, set) in sets.enumerate() {
                for name in &set.names {
                    first.entry(name.clone()).or_insert(index);
                }
            }
            first
        }
        self.by_name = ByName(Some(Arc::new(Index {
            named: self.affinity.cluster_names.iter().cloned().collect(),
            excluded: self.affinity.exclude.iter().cloned().collect(),
            tiers: first(self.tiers.iter().map(|tier| &tier.clusters)),
            weights: first(self.shares.weights.iter().map(|(clusters, _)| clusters)),
        })));
        self
    }

    /// Whether the affinity excludes a cluster by name.
    pub(crate) fn excludes(&self, name: &str) -> bool {
        match &self.by_name.0 {
            Some(index) => index.excluded.contains(name),
            None => self.affinity.exclude.iter().any(|excluded| excluded == name),
        }
    }

    /// Whether the affinity names a cluster, or none at all.
    pub(crate) fn names(&self, name: &str) -> bool {
        self.affinity.cluster_names.is_empty()
            || match &self.by_name.0 {
                Some(index) => index.named.contains(name),
                None => self.affinity.cluster_names.iter().any(|named| named == name),
            }
    }

    /// The first tier that a cluster is in.
    pub(crate) fn tier_of(&self, cluster: &Cluster) -> Option<usize> {
        let sets = self.tiers.iter().map(|tier| &tier.clusters);
        first_of(sets, cluster, self.by_name.0.as_ref().map(|index| &index.tiers))
    }

    /// What a cluster weighs where replicas are divided by weight.
    pub(crate) fn weight_of(&self, cluster: &Cluster) -> u32 {
        let weights = &self.shares.weights;
        let sets = weights.iter().map(|(clusters, _)| clusters);
        match first_of(sets, cluster, self.by_name.0.as_ref().map(|index| &index.weights)) {
            Some(index) => weights[index].1,
            None => u32::from(weights.is_empty()),
        }
    }
}

/// The first of the sets that a cluster is in; `named`: the first that names a cluster, where that is known.
fn first_of<'a>(
    mut sets: impl Iterator<Item = &'a ClusterSet>,
    cluster: &Cluster,
    named: Option<&HashMap<String, usize>>,
) -> Option<usize> {
    let Some(named) = named else { return sets.position(|set| set.has(cluster)) };
    let named = named.get(cluster.name.as_str()).copied();
    let selects = |set: &ClusterSet| set.selector.as_ref().is_some_and(|selector| selector.matches(cluster));
    sets.enumerate().find(|(index, set)| Some(*index) == named || selects(set)).map(|(index, _)| index)
}
