//! The messages of a session in the spoke's own words.

use std::collections::HashMap;
use std::time::Duration;

use proto::Fingerprint;

use crate::deliver::{Epoch, HeldObject, ObjectRef, Outcome, Tombstone, Upsert};

/// What the hub says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum FromHub {
    Welcome {
        epoch: Epoch,
        heartbeat: Duration,
        hub: Hub,
    },
    Delta(Delta),
    /// The buckets of what the hub thinks is held, as they travel.
    Compare(HashMap<u32, u64>),
    Heartbeat,
    GoAway(GoAway),
}

/// What a hub says of itself in its Welcome; as it is by default, one that can do the least.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Hub {
    /// It compares by hash: a whole index goes to those only that do not.
    pub(super) compares: bool,
    /// It understands that the deletion guard holds a deletion.
    pub(super) knows_guard: bool,
    /// Its clock at the Welcome, milliseconds since the Unix epoch.
    pub(super) time_ms: i64,
    /// The ceiling of waits between attempts to connect.
    pub(super) longest_wait: Option<Duration>,
    /// The largest message it takes, bytes.
    pub(super) most_bytes: Option<usize>,
}

/// What the hub wants here, and away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Delta {
    pub(super) id: u64,
    pub(super) epoch: Epoch,
    pub(super) work: Vec<Work>,
}

/// One object of a delta.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Work {
    /// Apply an object.
    Upsert(Upsert),
    /// Remove an object.
    Remove(Tombstone),
}

impl Work {
    /// The object.
    #[must_use]
    pub fn object(&self) -> &ObjectRef {
        match self {
            Self::Upsert(upsert) => &upsert.object,
            Self::Remove(tombstone) => &tombstone.object,
        }
    }

    /// uid of the object on the hub.
    #[must_use]
    pub fn uid(&self) -> &str {
        &self.object().uid
    }

    /// Hash of the payload; empty for a removal.
    #[must_use]
    pub fn hash(&self) -> &str {
        match self {
            Self::Upsert(upsert) => &upsert.hash,
            Self::Remove(_) => "",
        }
    }
}

/// The hub ends the session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GoAway {
    /// Why.
    pub reason: GoAwayReason,
    /// In one sentence.
    pub message: String,
    /// Not to be dialled before.
    pub retry_after: Duration,
}

/// Why the hub ends a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GoAwayReason {
    /// It stops or starts; or a reason that this spoke does not know.
    Unavailable,
    /// A newer agent of this identity is connected.
    DuplicateInstance,
    /// The fleet admin has not accepted this cluster, or no longer does.
    NotAccepted,
    /// The hub did not understand us.
    ProtocolError,
    /// The hub is behind the epoch that this spoke has accepted, and does not know it as its own.
    EpochUnproven,
    /// The hub takes our certificate no longer: a new token is needed.
    Revoked,
}

/// What the session says; what it tells unasked is in `parcels`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ToHub {
    /// The first word.
    Hello {
        /// The highest epoch that was accepted; none until a hub has been heard once.
        highest_epoch: Option<Epoch>,
        /// All that is held of the hub whose epoch that is.
        held: Fingerprint,
    },
    /// A part of what is held.
    Index {
        /// Objects.
        held: Vec<HeldObject>,
        /// Whether it is the last part.
        last: bool,
        /// With the last part: the buckets that are told whole.
        buckets: Vec<u8>,
    },
    /// How one piece of work ended.
    Ack {
        /// The delta it came with.
        delta: u64,
        /// Of the object, on the hub.
        uid: String,
        /// Hash of the payload; empty for a removal.
        hash: String,
        /// How it ended.
        outcome: Outcome,
    },
    /// A sign of life.
    Heartbeat {
        /// Now and then: all that is held.
        held: Option<Fingerprint>,
    },
}
