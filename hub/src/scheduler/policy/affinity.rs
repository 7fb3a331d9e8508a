//! Which clusters a placement may choose, which it would rather have, and in which order.

use super::Expression;
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
