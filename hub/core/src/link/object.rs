//! What the hub sends: objects that are wanted, objects to be removed, and a goodbye.

use std::fmt;
use std::sync::Arc;

use crds::taints::NodeToleration;
use jiff::Timestamp;

use crate::fleet::{HoldReason, ObjectRef};

/// An object that one cluster shall hold, resolved for that cluster.
#[derive(Clone, PartialEq, Eq)]
pub struct DesiredObject {
    /// The object on the hub; its uid is the identity on the link.
    pub object: ObjectRef,
    /// metadata.generation on the hub.
    pub generation: i64,
    /// SHA-256 of the payload, lower-case hex.
    pub hash: String,
    /// The resolved object as canonical JSON; a larger one than [`Self::MOST_BYTES`] is not sent.
    pub payload: Arc<[u8]>,
    /// What has to be free together before it comes for the first time; none where the spoke is not to look. What is wanted is
    /// the same with another one: it counts when the object is sent.
    pub gang: Option<Gang>,
}

/// What an object takes whose pods run on several nodes at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gang {
    /// Extended resource, e.g. `nvidia.com/gpu`.
    pub resource: String,
    /// Products of the cluster's pools that will do; none: all.
    pub products: Vec<String>,
    /// GPUs that each pod takes of one node.
    pub gpus_per_node: u32,
    /// Pods of one group, all on nodes of one pool.
    pub nodes: u32,
    /// Groups that were granted there.
    pub groups: u32,
    /// Of its placement.
    pub priority: i32,
    /// Of its pods.
    pub tolerations: Vec<NodeToleration>,
}

impl fmt::Debug for DesiredObject {
    /// Not the payload: it may be a Secret's.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DesiredObject")
            .field("object", &self.object)
            .field("generation", &self.generation)
            .field("hash", &self.hash)
            .finish_non_exhaustive()
    }
}

impl DesiredObject {
    /// The largest payload that is sent, bytes: etcd takes no larger request (1.5 MiB), and it fits into one message.
    pub const MOST_BYTES: usize = crate::resolve::MOST_BYTES;

    /// Whether it is the same object in the same version.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.object.uid == other.object.uid && self.generation == other.generation && self.hash == other.hash
    }
}

/// An object that one cluster shall hold no longer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Removal {
    /// The object on the hub.
    pub object: ObjectRef,
    /// What becomes of it in the cluster.
    pub policy: RemovalPolicy,
    /// One sentence for the spoke's event: why it goes.
    pub reason: String,
    /// When it was decided, by the hub's clock. A spoke that was away for long since then holds it back.
    pub decided: Timestamp,
    /// Who decided.
    pub cause: Cause,
}

/// Who decided that an object leaves; says whether the spoke may hold its deletion back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The admin changed or deleted something.
    Admin,
    /// The placement's failover has replaced it elsewhere.
    Failover,
    /// The admin has confirmed what the spoke held back.
    Confirmed,
}

/// A removal that a spoke holds back until the admin has confirmed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldBack {
    /// The object on the hub.
    pub object: ObjectRef,
    /// Why.
    pub reason: HoldReason,
    /// In one sentence, with the numbers.
    pub message: String,
}

/// What becomes of an object that leaves a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RemovalPolicy {
    /// Delete it.
    Delete,
    /// Take our marks off and leave it to the cluster.
    Retain,
}

/// Why the hub ends a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GoAwayReason {
    /// The hub stops, or has not read its own state yet.
    Unavailable,
    /// A newer agent of the same identity is connected.
    DuplicateInstance,
    /// `GPUCluster.spec.accepted` is not true, or the object is gone.
    NotAccepted,
    /// The spoke broke the protocol.
    ProtocolError,
    /// The spoke has accepted an epoch that is above this hub's, and does not prove it.
    EpochUnproven,
    /// The spoke's certificate is no longer taken: it needs a new token.
    Revoked,
}
