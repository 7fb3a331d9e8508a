//! The words of delivery: what comes from the hub, what is held, and how it ended.

use std::fmt;
use std::time::Duration;

use super::Gang;

/// One object of the hub, wherever it is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ObjectRef {
    /// metadata.uid on the hub: the identity on the link.
    pub uid: String,
    /// For example `apps.nvidia.com/v1alpha1`.
    pub api_version: String,
    /// For example `NIMService`.
    pub kind: String,
    /// Namespace, here as on the hub.
    pub namespace: String,
    /// Name, here as on the hub.
    pub name: String,
}

impl fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}/{}", self.kind, self.namespace, self.name)
    }
}

/// What the spoke holds of a hub.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldObject {
    /// Which object.
    pub object: ObjectRef,
    /// Generation of the hub's object that was applied last.
    pub generation: i64,
    /// Hash of the payload that was applied last.
    pub hash: String,
}

/// An object that the hub wants here.
#[derive(Clone, PartialEq, Eq)]
pub struct Upsert {
    /// Which object.
    pub object: ObjectRef,
    /// metadata.generation on the hub.
    pub generation: i64,
    /// SHA-256 of the payload, lower-case hex.
    pub hash: String,
    /// apiVersion, kind, metadata (name, namespace, labels, annotations) and spec, as canonical JSON.
    pub payload: Vec<u8>,
    /// What has to be free together before it comes for the first time; none if nothing has.
    pub gang: Option<Box<Gang>>,
}

impl fmt::Debug for Upsert {
    /// Not the payload: it may be a Secret's.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upsert")
            .field("object", &self.object)
            .field("generation", &self.generation)
            .field("hash", &self.hash)
            .finish_non_exhaustive()
    }
}

/// An object that the hub wants away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tombstone {
    /// Which object.
    pub object: ObjectRef,
    /// What becomes of it.
    pub policy: Policy,
    /// Why, in one sentence.
    pub reason: String,
    /// When it was decided, milliseconds since the Unix epoch by the hub's clock; 0 if the hub does not say.
    pub decided_ms: i64,
    /// Who decided.
    pub cause: Cause,
}

/// A deletion that the deletion guard let through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release {
    /// Which object; its API version is not kept.
    pub object: ObjectRef,
    /// How long ago.
    pub age: Duration,
}

/// Who decided that an object goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// The fleet's admin changed or deleted something.
    Admin,
    /// The placement's failover has replaced it in another cluster.
    Failover,
    /// The fleet's admin has confirmed it after it was held back here.
    Confirmed,
}

/// What a tombstone does with the object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// Delete it.
    Delete,
    /// Take our marks off and leave it to the cluster.
    Retain,
}

/// How an upsert or a removal ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The object is persisted in this cluster.
    Accepted,
    /// The object is not here (any more), or is not ours (any more).
    Gone,
    /// The object is wrong; the last good one stays. Not to be tried again until its hash changes.
    Rejected {
        /// The kind of wrong.
        class: RejectionClass,
        /// What the API server or the spoke said, with the remedy.
        message: String,
    },
    /// A deletion waits for the admin's word; nothing was removed.
    Held {
        /// The kind of doubt.
        reason: HoldReason,
        /// The numbers, in one sentence.
        message: String,
    },
    /// No outcome yet: it is tried again and again, until there is one or something else is wanted of the object.
    Retrying {
        /// What failed last.
        message: String,
    },
}

/// Why a deletion is held back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HoldReason {
    /// Too many would go at once.
    TooMany,
    /// It was decided long before this cluster came back.
    Stale,
}

impl HoldReason {
    /// The word for logs and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TooMany => "TooManyDeletions",
            Self::Stale => "StaleDeletions",
        }
    }
}

/// The kinds of wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RejectionClass {
    /// The API server refused the object.
    Invalid,
    /// An object of that name is there and is not this hub's.
    Conflict,
    /// This cluster lacks the kind.
    Unsupported,
    /// The epoch is not one this spoke obeys.
    StaleEpoch,
    /// The cluster's owner does not let a hub do this here.
    PolicyDenied {
        /// Whether an earlier version of the object is here; it stays.
        held: bool,
    },
    /// The nodes that its pods need together are not free; there is less.
    NoRoom(LargestFit),
}

/// What there is in place of what a [`Gang`] needs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LargestFit {
    /// When the report was made that says what was looked at.
    pub observed_at_ms: i64,
    /// Groups that fit.
    pub groups: u32,
    /// Of one group more, the pods of the largest part that fits in one pool.
    pub nodes: u32,
    /// GPUs of each of them.
    pub gpus_per_node: u32,
}

impl RejectionClass {
    /// The word for logs and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Invalid => "Invalid",
            Self::Conflict => "Conflict",
            Self::Unsupported => "Unsupported",
            Self::StaleEpoch => "StaleEpoch",
            Self::PolicyDenied { .. } => "PolicyDenied",
            Self::NoRoom(_) => "NoRoom",
        }
    }
}
