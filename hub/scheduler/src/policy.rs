//! What a NIMPlacement's user wants of the scheduler.

mod affinity;
mod custom_resource;
mod expression;
mod invalid;
mod preference;

use std::sync::Arc;

use jiff::SignedDuration;

use crate::{
    fleet::{Effect, Taint},
    need::Need,
};

pub(super) use affinity::ByName;
pub use affinity::{Affinity, ClusterSet, Preferred, SpreadConstraint, Tier};
pub(super) use expression::Evaluation;
pub use expression::{Expression, Verdicts};
pub use invalid::InvalidPolicy;
pub use preference::{CacheLocality, CapacityStrategy, Weights};

/// The parts of a NIMPlacement's spec that choose clusters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Which clusters may be chosen.
    pub affinity: Affinity,
    /// Taints that do not matter.
    pub tolerations: Vec<Toleration>,
    /// GPUs that will do, on top of what the objects themselves say.
    pub gpu: GpuRequirement,
    /// Over what the clusters are spread.
    pub spread: Vec<SpreadConstraint>,
    /// Groups of clusters, the first to be filled first; empty: one group of all.
    pub tiers: Vec<Tier>,
    /// What a model that is there already is worth.
    pub cache_locality: CacheLocality,
    /// Where free GPUs shall remain.
    pub capacity_strategy: CapacityStrategy,
    /// What each score weighs.
    pub weights: Weights,
    /// Who gets scarce GPUs: the higher one.
    pub priority: i32,
    /// How many clusters. Absent: one if Duplicated, as many as the replicas need if Divided.
    pub clusters: Option<u32>,
    /// How replicas spread over the clusters.
    pub division: Division,
    /// How replicas are divided, if they are.
    pub shares: Shares,
    /// What happens when a cluster is lost, or cannot run what was placed there.
    pub failover: Failover,
    /// How many clusters at once are left for others though they run.
    pub eviction_budget: u32,
    /// The lists of names above, by name.
    pub(super) by_name: ByName,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            affinity: Affinity::default(),
            tolerations: Vec::new(),
            gpu: GpuRequirement::default(),
            spread: Vec::new(),
            tiers: Vec::new(),
            cache_locality: CacheLocality::default(),
            capacity_strategy: CapacityStrategy::default(),
            weights: Weights::default(),
            priority: 0,
            clusters: None,
            division: Division::default(),
            shares: Shares::default(),
            failover: Failover::default(),
            eviction_budget: 1,
            by_name: ByName::default(),
        }
    }
}

impl Policy {
    /// What an object takes, with the placement's own demands on the GPUs added.
    #[must_use]
    pub fn narrow(&self, need: &Need) -> Need {
        let mut need = need.clone();
        if !self.gpu.products.is_empty() {
            need.kind.products.push(self.gpu.products.clone());
        }
        need.kind.min_memory_mib = need.kind.min_memory_mib.max(self.gpu.min_memory_mib.unwrap_or(0));
        need.gpu_nodes |= !need.kind.is_any();
        if self.gpu.profile_change {
            need.profiles = need.profiles.map(|profiles| Arc::new(profiles.of_any_signature()));
        }
        need.services = need.services.iter().map(|service| self.narrow(service)).collect();
        need
    }
}

/// GPUs that will do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GpuRequirement {
    /// Products, any of them; empty: all.
    pub products: Vec<String>,
    /// Least memory of one GPU, MiB.
    pub min_memory_mib: Option<u64>,
    /// Whether clusters may serve profiles of different precision or engine.
    pub profile_change: bool,
}

/// How replicas spread over the clusters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Division {
    /// Every cluster runs all replicas.
    #[default]
    Duplicated,
    /// The clusters share the replicas.
    Divided,
}

/// How replicas are divided.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shares {
    /// By what.
    pub by: ShareBy,
    /// What clusters weigh, for [`ShareBy::Weighted`]; the first that has a cluster counts. Empty: all the same.
    pub weights: Vec<(ClusterSet, u32)>,
    /// Fewest replicas of an object in a chosen cluster; 0 and 1 are the same.
    pub least: u32,
    /// Most replicas of an object in one cluster.
    pub most: Option<u32>,
}

/// By what replicas are divided.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ShareBy {
    /// By the weights of the policy, over all clusters that fit.
    Weighted,
    /// By free GPUs.
    #[default]
    FreeCapacity,
    /// Into as few clusters as possible, each filled before the next.
    Aggregated,
}

/// What happens when a cluster is lost, or cannot run what was placed there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failover {
    /// Whether another one takes over.
    pub on_unreachable: OnUnreachable,
    /// How long a cluster must be silent to count as lost.
    pub lost_after: SignedDuration,
    /// How long replicas find no node before they go elsewhere; zero: never.
    pub unschedulable_after: SignedDuration,
}

impl Default for Failover {
    fn default() -> Self {
        Self {
            on_unreachable: OnUnreachable::Keep,
            lost_after: SignedDuration::from_mins(5),
            unschedulable_after: SignedDuration::from_mins(2),
        }
    }
}

/// Whether another cluster takes over from a lost one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnUnreachable {
    /// Never.
    #[default]
    Keep,
    /// When lost, and only if another cluster can take all of it.
    Replace,
}

/// A toleration, in the words of core/v1.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Toleration {
    /// Key; none: every key.
    pub key: Option<String>,
    /// `Exists`: any value will do.
    pub any_value: bool,
    /// Value to equal unless `any_value`.
    pub value: String,
    /// Effect; none: both.
    pub effect: Option<Effect>,
}

impl Toleration {
    /// Whether the taint does not matter.
    #[must_use]
    pub fn tolerates(&self, taint: &Taint) -> bool {
        self.key.as_ref().is_none_or(|key| *key == taint.key)
            && self.effect.is_none_or(|effect| effect == taint.effect)
            && (self.any_value || self.value == taint.value)
    }
}
