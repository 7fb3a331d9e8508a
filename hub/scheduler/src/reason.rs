//! The closed list of reasons of a decision.

use std::fmt;

/// Why a cluster was chosen, left or refused, or how scheduling went. The same word stands in condition,
/// event and metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// Chosen now.
    Placed,
    /// Chosen before, and nothing speaks against it.
    Sticky,
    /// Lost, and others have taken its place. What it ran stays, most likely serving, until it is back for good and the
    /// others are available; then it leaves for this reason.
    Replaced,
    /// Came back a moment ago, and is watched before it counts again.
    Settling,
    /// Lost with so many others that the fault is more likely the hub's: nothing fails over.
    ManyClustersLost,
    /// Lost, and enough other placements are failing over at this moment.
    FailoverPaced,
    /// Lost, and no other cluster can take the placement.
    NoFailoverTarget,
    /// Its admin empties it: nothing new comes.
    Draining,
    /// Its admin empties it, and others have taken its place; it is left when they are available.
    Drained,
    /// Its pods found no node, and others have taken its place; or replicas find no node, and no other cluster has room.
    Unschedulable,
    /// It lacks what the objects need, and others have taken its place.
    NoLongerFits,
    /// It refuses an object of the placement, and others have taken its place.
    Rejected,
    /// The placement was told to choose anew, and others have taken its place.
    Rebalanced,
    /// What the placement was promised there, and did not run yet, one of higher priority has taken.
    Preempted,
    /// Could take the placement, or took it, but fewer clusters are wanted.
    NotNeeded,
    /// No GPUCluster has that name.
    ClusterNotFound,
    /// It is the hub's own cluster, whose NIM objects say what the fleet shall run.
    HubItself,
    /// `spec.accepted` of the GPUCluster is not true.
    NotAccepted,
    /// The spoke is not connected.
    Unreachable,
    /// The spoke is too old for what it would be sent.
    AgentTooOld,
    /// The placement's affinity does not match.
    AffinityMismatch,
    /// The placement excludes it by name.
    Excluded,
    /// A CEL expression of the affinity is not true of it.
    ExpressionFalse,
    /// It is in none of the placement's tiers.
    NotInTier,
    /// One more cluster of its region, zone or the like would be one too many, or it has no such property.
    TopologySpread,
    /// It does not hold the models, and the placement requires that.
    ModelNotCached,
    /// The cluster does not admit the placement's namespace.
    NamespaceNotAllowed,
    /// A taint that the placement does not tolerate.
    UntoleratedTaint,
    /// No GPU of the resource that is asked for.
    NoGPU,
    /// GPUs, but none of a product that will do.
    GPUProductMismatch,
    /// GPUs, but with too little memory.
    GPUMemoryTooSmall,
    /// GPUs of which no label says product and memory, and one of both is asked for.
    GPUUnknown,
    /// No node has the labels that the pods select.
    NoMatchingNode,
    /// The nodes that would do have taints that the pods do not tolerate.
    TaintNotTolerated,
    /// Fitting GPUs, but not enough of them free together.
    InsufficientGPUs,
    /// GPUs that are cut into several, where one pod takes more than one.
    GPUsShared,
    /// Enough GPUs are free, but not with the processor and memory that go with them.
    InsufficientNodeResources,
    /// None of the cached profiles runs on the cluster's GPUs in the precision and with the engine that is served.
    NoProfileFits,
    /// KServe, LeaderWorkerSet or the like is missing.
    PlatformMissing,
    /// A platform is there, but not in the version that objects are made in.
    PlatformVersionMissing,
    /// No DeviceClass of that name.
    DeviceClassMissing,
    /// Devices of the class, but not enough free ones that will do together.
    InsufficientDevices,
    /// No storage class of that name.
    StorageClassMissing,
    /// Volumes of the class are mounted from one node at a time, and pods on several nodes need it.
    NoSharedStorage,
    /// The class cannot make a volume that large now.
    InsufficientStorage,
    /// The spoke has not said yet what its cluster can run.
    CapacityUnknown,
    /// What the spoke said is too old.
    CapacityStale,
    /// The placement's overrides for it cannot be applied, or make an object that means nothing.
    InvalidOverride,
    /// A quota of the placement's namespace does not allow it.
    QuotaExceeded,
    /// The cluster's owner does not let it in.
    PolicyDenied,
    /// Its spoke has looked, and the nodes that pods need together are not free.
    NoRoom,
    /// No cluster can take the placement.
    NoClusterFits,
    /// Some, but not all, of what is wanted could be given.
    PartiallyScheduled,
    /// The placement selects no object.
    NothingSelected,
    /// Another placement has taken an object that this one selects.
    ObjectTaken,
    /// The placement asks for something that means nothing.
    InvalidPlacement,
    /// An object asks for something that means nothing.
    InvalidObject,
    /// The placement's or an object's name is none that what is made from it can have.
    InvalidName,
    /// The placement lists Secrets of the hub's own namespace.
    SecretNotAllowed,
}

impl Reason {
    /// The word for conditions, events and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Placed => "Placed",
            Self::Sticky => "Sticky",
            Self::Replaced => "Replaced",
            Self::Settling => "Settling",
            Self::ManyClustersLost => "ManyClustersLost",
            Self::FailoverPaced => "FailoverPaced",
            Self::NoFailoverTarget => "NoFailoverTarget",
            Self::Draining => "Draining",
            Self::Drained => "Drained",
            Self::Unschedulable => "Unschedulable",
            Self::NoLongerFits => "NoLongerFits",
            Self::Rejected => "Rejected",
            Self::Rebalanced => "Rebalanced",
            Self::Preempted => "Preempted",
            Self::ExpressionFalse => "ExpressionFalse",
            Self::NotInTier => "NotInTier",
            Self::TopologySpread => "TopologySpread",
            Self::ModelNotCached => "ModelNotCached",
            Self::NotNeeded => "NotNeeded",
            Self::ClusterNotFound => "ClusterNotFound",
            Self::HubItself => "HubItself",
            Self::NotAccepted => "NotAccepted",
            Self::Unreachable => "Unreachable",
            Self::AgentTooOld => "AgentTooOld",
            Self::AffinityMismatch => "AffinityMismatch",
            Self::Excluded => "Excluded",
            Self::NamespaceNotAllowed => "NamespaceNotAllowed",
            Self::UntoleratedTaint => "UntoleratedTaint",
            Self::NoGPU => "NoGPU",
            Self::GPUProductMismatch => "GPUProductMismatch",
            Self::GPUMemoryTooSmall => "GPUMemoryTooSmall",
            Self::GPUUnknown => "GPUUnknown",
            Self::NoMatchingNode => "NoMatchingNode",
            Self::TaintNotTolerated => "TaintNotTolerated",
            Self::InsufficientGPUs => "InsufficientGPUs",
            Self::GPUsShared => "GPUsShared",
            Self::InsufficientNodeResources => "InsufficientNodeResources",
            Self::NoProfileFits => "NoProfileFits",
            Self::PlatformMissing => "PlatformMissing",
            Self::PlatformVersionMissing => "PlatformVersionMissing",
            Self::DeviceClassMissing => "DeviceClassMissing",
            Self::InsufficientDevices => "InsufficientDevices",
            Self::StorageClassMissing => "StorageClassMissing",
            Self::NoSharedStorage => "NoSharedStorage",
            Self::InsufficientStorage => "InsufficientStorage",
            Self::CapacityUnknown => "CapacityUnknown",
            Self::CapacityStale => "CapacityStale",
            Self::InvalidOverride => "InvalidOverride",
            Self::QuotaExceeded => "QuotaExceeded",
            Self::PolicyDenied => "PolicyDenied",
            Self::NoRoom => "NoRoom",
            Self::NoClusterFits => "NoClusterFits",
            Self::PartiallyScheduled => "PartiallyScheduled",
            Self::NothingSelected => "NoObjectsSelected",
            Self::ObjectTaken => "ObjectTaken",
            Self::InvalidPlacement => "InvalidPlacement",
            Self::InvalidObject => "InvalidObject",
            Self::InvalidName => "InvalidName",
            Self::SecretNotAllowed => "SecretNotAllowed",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
