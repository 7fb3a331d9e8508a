//! The closed list of reasons of aggregated conditions, beside those of the scheduler.

use std::fmt;

/// Why an aggregated condition is what it is. The same word stands in condition, event and metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// Everything that is wanted holds everywhere.
    Complete,
    /// Every replica is ready everywhere.
    Ready,
    /// Nothing speaks against it.
    AsExpected,
    /// No cluster has been chosen.
    NotScheduled,
    /// No placement selects the object.
    NotPlaced,
    /// Something of the placement has yet to leave a cluster.
    AwaitingRemoval,
    /// The GPUCluster is the hub's own cluster.
    IsHub,
    /// The object has no payload for a cluster: an override does not fit it.
    OverrideFailed,
    /// Nodes with GPUs have no label that says what they are.
    NoProductLabel,
    /// A cluster holds objects of this hub that the hub does not know.
    UnknownToHub,
    /// A listed Secret cannot be sent: it is not there, or may not be read.
    SecretUnavailable,
    /// A spoke refused the object.
    Rejected,
    /// The cluster's owner does not let the object in.
    PolicyDenied,
    /// It serves, and the cluster's admission changes fields of what it was sent.
    MutatedHere,
    /// The nodes that the object needs together are not free.
    NoRoom,
    /// An object has failed in a cluster.
    Failed,
    /// A chosen cluster is silent.
    Unreachable,
    /// Sent, not answered yet.
    AwaitingCluster,
    /// In the cluster, not taken in by its operator yet.
    AwaitingOperator,
    /// Being brought up.
    NotReady,
    /// The cluster is to be emptied, and is not yet.
    Draining,
    /// The cluster was to be emptied, and is.
    Drained,
    /// Replicas wait for a node that takes them.
    Unschedulable,
    /// Pods are refused by their cluster: by a quota, pod security or another admission.
    PodsNotCreated,
    /// Pods are there and do not start: their image, a Secret, a volume or their program keeps them from it.
    ReplicaFailure,
    /// `spec.accepted` of a GPUCluster is true.
    Accepted,
    /// `spec.accepted` of a GPUCluster is not true.
    NotAccepted,
    /// A session is up.
    Connected,
    /// No spoke has ever connected under that name.
    NeverConnected,
    /// The last report is recent enough to place by.
    ReportFresh,
    /// The last report is too old to place by.
    ReportStale,
    /// There is no report.
    NoReport,
    /// The agent is of the hub's version.
    SameVersion,
    /// The agent is of another version.
    OtherVersion,
    /// The agent's certificate is good.
    CertificateValid,
    /// The agent's certificate is over.
    CertificateExpired,
    /// The agent's certificate is no longer taken.
    CertificateRevoked,
    /// The agent trusts the hub's CA.
    TrustTaken,
    /// The agent does not trust the CA that comes.
    TrustAwaited,
    /// The agent's certificate is of the CA that goes.
    RenewalAwaited,
    /// A second agent with the same identity was turned away.
    DuplicateAgent,
    /// No second agent has shown itself lately.
    OneAgent,
    /// An agent does not prove the epoch that it says it has accepted.
    EpochUnproven,
    /// The agent has accepted no epoch above the hub's.
    EpochProven,
    /// The agent reports more than the hub keeps.
    ReportOverBudget,
}

impl Reason {
    /// The reason that a condition of a GPUCluster names, among those that speak against `Ready`.
    pub(super) fn of_cluster(word: &str) -> Self {
        let all = [
            Self::NotAccepted,
            Self::IsHub,
            Self::Unreachable,
            Self::NeverConnected,
            Self::NoReport,
            Self::ReportStale,
        ];
        all.into_iter().find(|reason| reason.as_str() == word).unwrap_or(Self::NotReady)
    }

    /// The word for conditions, events and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Complete => "Complete",
            Self::Ready => "Ready",
            Self::AsExpected => "AsExpected",
            Self::NotScheduled => "NotScheduled",
            Self::NotPlaced => "NotPlaced",
            Self::AwaitingRemoval => "AwaitingRemoval",
            Self::IsHub => "IsHub",
            Self::OverrideFailed => "OverrideFailed",
            Self::NoProductLabel => "NoProductLabel",
            Self::UnknownToHub => "UnknownToHub",
            Self::SecretUnavailable => "SecretUnavailable",
            Self::Rejected => "Rejected",
            Self::PolicyDenied => "PolicyDenied",
            Self::MutatedHere => "MutatedHere",
            Self::NoRoom => "NoRoom",
            Self::Failed => "Failed",
            Self::Unreachable => "Unreachable",
            Self::AwaitingCluster => "AwaitingCluster",
            Self::AwaitingOperator => "AwaitingOperator",
            Self::NotReady => "NotReady",
            Self::Draining => "Draining",
            Self::Drained => "Drained",
            Self::Unschedulable => "Unschedulable",
            Self::PodsNotCreated => "PodsNotCreated",
            Self::ReplicaFailure => "ReplicaFailure",
            Self::Accepted => "Accepted",
            Self::NotAccepted => "NotAccepted",
            Self::Connected => "Connected",
            Self::NeverConnected => "NeverConnected",
            Self::ReportFresh => "ReportFresh",
            Self::ReportStale => "ReportStale",
            Self::NoReport => "NoReport",
            Self::SameVersion => "SameVersion",
            Self::OtherVersion => "OtherVersion",
            Self::CertificateValid => "CertificateValid",
            Self::CertificateExpired => "CertificateExpired",
            Self::CertificateRevoked => "CertificateRevoked",
            Self::TrustTaken => "TrustTaken",
            Self::TrustAwaited => "TrustAwaited",
            Self::RenewalAwaited => "RenewalAwaited",
            Self::DuplicateAgent => "DuplicateAgent",
            Self::OneAgent => "OneAgent",
            Self::EpochUnproven => "EpochUnproven",
            Self::EpochProven => "EpochProven",
            Self::ReportOverBudget => "ReportOverBudget",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
