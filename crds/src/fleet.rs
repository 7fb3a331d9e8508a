//! Our own kinds, group `nimfleet.io/v1alpha1`: the clusters of the fleet, what shall run where, and what was decided.

mod capacity;
mod cluster;
mod decision;
mod placement;
mod placement_status;
mod potential;
mod quota;
#[cfg(test)]
mod tests;

pub use capacity::{
    DeviceGroup, GPUPool, GPUSharing, HeldCache, NodeGroup, Platform, ReportCounts, StorageClass,
    TaintedGPUs, VolumeAccess,
};
pub use cluster::{GPUCluster, GPUClusterSpec, GPUClusterStatus, Taint, TaintEffect};
pub use decision::{
    DecidedCluster, Decision, DecisionState, NIMPlacementDecision, NIMPlacementDecisionSpec, PlacedObject,
    PlacementRef, RemovalPolicy,
};
pub use placement::{
    CacheLocality, CapacityStrategy, ClusterAffinity, ClusterOverride, ClusterWeight, Failover,
    GPURequirement, InvalidDuration, JsonPatchOp, JsonPatchVerb, NIMPlacement, NIMPlacementSpec,
    OnUnreachable, PreferredClusters, ProfileChange, ReplicaDivision, ReplicaScheduling,
    ReplicaSchedulingType, ResourceSelector, ScoreWeights, SelectedKind, Tier, TopologySpreadConstraint,
    WhenUnsatisfiable,
};
pub use placement_status::{DecisionSummary, NIMPlacementStatus, Refusal, Tally};
pub use potential::PotentialPool;
pub use quota::{GPUQuota, GPUQuotaSpec, GPUQuotaStatus, QuotaLimit, QuotaUse};
