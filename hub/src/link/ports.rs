//! What the link asks of the rest of the hub.

use std::future::Future;

use hub_core::epoch::Epoch;
use hub_core::identity::{EpochKey, Member, SpokeCertificate};
use hub_scheduler::fleet::ClusterName;

/// A fault behind a port: the API server did not answer, for example. The call is tried again later.
pub type PortError = Box<dyn std::error::Error + Send + Sync>;

/// What certificates of an accepted cluster are held to, beside its name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemberIdentity {
    /// `metadata.uid` of its GPUCluster.
    pub object_uid: String,
    /// `metadata.uid` of its kube-system namespace. Empty where nobody has said it yet.
    pub cluster_uid: String,
}

/// May a cluster be part of the fleet?
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Membership {
    /// `GPUCluster.spec.accepted` is true.
    Accepted(MemberIdentity),
    /// The admin has not accepted it yet.
    Pending,
    /// It cannot be: the sentence says why and what to do.
    Refused(String),
    /// It could, but not with this certificate: only a new token helps. The sentence says so.
    Revoked(String),
}

/// The admin's half of the double opt-in.
pub trait Admission: Send + Sync + 'static {
    /// A spoke with a valid token asks in: its GPUCluster is created where absent and its UID recorded.
    fn ask(
        &self,
        cluster: &ClusterName,
        cluster_uid: &str,
    ) -> impl Future<Output = Result<Membership, PortError>> + Send;

    /// Where the holder of a certificate stands now. Creates nothing.
    fn membership(
        &self,
        certificate: &SpokeCertificate,
    ) -> impl Future<Output = Result<Membership, PortError>> + Send;

    /// Where a spoke stands whose certificate is over and that asks for another by its key. Creates nothing. Refused if
    /// a later certificate of the cluster has been seen: then this one is not the cluster's any more.
    fn returning(
        &self,
        certificate: &SpokeCertificate,
        cluster_uid: &str,
    ) -> impl Future<Output = Result<Membership, PortError>> + Send;

    /// The accepted clusters that have a certificate.
    fn members(&self) -> Vec<Member>;
}

/// The hub's epoch, persisted in the hub's cluster.
pub trait EpochStore: Send + Sync + 'static {
    /// Whether this hub may use its epoch at this moment: a replica that cannot renew its lease sends nothing that
    /// changes a spoke.
    fn is_in_force(&self) -> bool {
        true
    }

    /// The epoch in force.
    fn current(&self) -> Epoch;

    /// Proves epochs of this hub.
    fn key(&self) -> EpochKey;

    /// Makes and persists an epoch whose term is above `term`, unless the one in force is above it already. Until this
    /// has returned nothing is sent to the spoke that reported `term`.
    fn raise_above(&self, term: u64) -> impl Future<Output = Result<Epoch, PortError>> + Send;
}
