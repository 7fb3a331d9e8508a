//! What the hub sends: objects that are wanted, objects to be removed, and a goodbye.

use std::fmt;
use std::sync::Arc;

use crate::fleet::ObjectRef;

/// An object that one cluster shall hold, resolved for that cluster.
#[derive(Clone, PartialEq, Eq)]
pub struct DesiredObject {
    /// The object on the hub; its uid is the identity on the link.
    pub object: ObjectRef,
    /// metadata.generation on the hub.
    pub generation: i64,
    /// SHA-256 of the payload, lower-case hex.
    pub hash: String,
    /// The resolved object as canonical JSON; at most 1.5 MiB, as etcd allows.
    pub payload: Arc<[u8]>,
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

/// An object that one cluster shall hold no longer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Removal {
    /// The object on the hub.
    pub object: ObjectRef,
    /// What becomes of it in the cluster.
    pub policy: RemovalPolicy,
    /// One sentence for the spoke's event: why it goes.
    pub reason: String,
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
    /// The spoke's certificate is no longer taken: it needs a new token.
    Revoked,
}
