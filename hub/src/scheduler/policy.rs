//! What a NIMPlacement's user wants of the scheduler.

mod custom_resource;

use jiff::SignedDuration;

use crate::{
    fleet::{Effect, InvalidSelector, Selector, Taint},
    need::Need,
};

/// The parts of a NIMPlacement's spec that choose clusters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// Which clusters may be chosen.
    pub affinity: Affinity,
    /// Taints that do not matter.
    pub tolerations: Vec<Toleration>,
    /// GPUs that will do, on top of what the objects themselves say.
    pub gpu: GpuRequirement,
    /// How many clusters. Absent: one if Duplicated, as many as the replicas need if Divided.
    pub clusters: Option<u32>,
    /// How replicas spread over the clusters.
    pub division: Division,
    /// What happens when a cluster is lost.
    pub failover: Failover,
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
        need
    }
}

/// Which clusters may be chosen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Affinity {
    /// Terms over the clusters' labels, ORed; empty: any.
    pub required: Vec<Selector>,
    /// Names; empty: any. A name that no cluster has is a refusal.
    pub cluster_names: Vec<String>,
    /// Names that are never chosen.
    pub exclude: Vec<String>,
}

/// GPUs that will do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GpuRequirement {
    /// Products, any of them; empty: all.
    pub products: Vec<String>,
    /// Least memory of one GPU, MiB.
    pub min_memory_mib: Option<u64>,
}

/// How replicas spread over the clusters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Division {
    /// Every cluster runs all replicas.
    #[default]
    Duplicated,
    /// The clusters share the replicas by free capacity.
    Divided,
}

/// What happens when a cluster is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failover {
    /// Whether another one takes over.
    pub on_unreachable: OnUnreachable,
    /// How long a cluster must be silent to count as lost.
    pub lost_after: SignedDuration,
}

impl Default for Failover {
    fn default() -> Self {
        Self { on_unreachable: OnUnreachable::Keep, lost_after: SignedDuration::from_mins(5) }
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
#[derive(Clone, Debug, Default, PartialEq, Eq)]
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

/// A NIMPlacement that asks for something that means nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPolicy {
    /// A term of the affinity.
    #[error("spec.clusterAffinity.required[{index}]: {reason}")]
    Affinity {
        /// Which term.
        index: usize,
        /// What is wrong.
        reason: InvalidSelector,
    },
    /// A toleration.
    #[error("spec.tolerations[{index}].{field}: {value:?}: {remedy}")]
    Toleration {
        /// Which one.
        index: usize,
        /// Which field.
        field: &'static str,
        /// What it holds.
        value: String,
        /// What it may hold.
        remedy: &'static str,
    },
    /// `spec.gpu.minMemory`.
    #[error("spec.gpu.minMemory: {value:?} is no quantity of memory: write it like 80Gi")]
    Memory {
        /// What it holds.
        value: String,
    },
    /// `spec.failover.lostAfter`.
    #[error("spec.failover.lostAfter: {value:?} is no duration: write it like 5m or 90s")]
    LostAfter {
        /// What it holds.
        value: String,
    },
}
