//! Placements that ask for something that means nothing.

use crate::fleet::InvalidSelector;

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
    /// A term of the preferred affinity.
    #[error("spec.clusterAffinity.preferred[{index}].preference: {reason}")]
    Preferred {
        /// Which term.
        index: usize,
        /// What is wrong.
        reason: InvalidSelector,
    },
    /// A CEL expression.
    #[error("spec.clusterAffinity.expressions[{index}]: {expression:?}: {reason}")]
    Expression {
        /// Which one.
        index: usize,
        /// As it is written.
        expression: String,
        /// What is wrong.
        reason: String,
    },
    /// All CEL expressions together.
    #[error("spec.clusterAffinity.expressions: {reason}")]
    Expressions {
        /// What is wrong.
        reason: String,
    },
    /// The selector of a tier or of a weight.
    #[error("spec.{field}[{index}].clusterSelector: {reason}")]
    ClusterSelector {
        /// The list that it is in.
        field: &'static str,
        /// Which one.
        index: usize,
        /// What is wrong.
        reason: InvalidSelector,
    },
    /// Fewer than the fewest.
    #[error("spec.replicaScheduling.maxPerCluster: {most} is less than minPerCluster, {least}")]
    PerCluster {
        /// `minPerCluster`.
        least: u32,
        /// `maxPerCluster`.
        most: u32,
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
    /// A duration.
    #[error("{field}: {value:?} is no duration: write it like 5m or 90s")]
    Duration {
        /// Which field.
        field: &'static str,
        /// What it holds.
        value: String,
    },
}
