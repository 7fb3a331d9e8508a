//! The messages of a session in the spoke's own words.

use std::time::Duration;

use crate::deliver::{Epoch, HeldObject, Outcome, Tombstone, Upsert};
use crate::facts::CapacityReport;
use crate::report::ObjectStatus;

/// What the hub says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum FromHub {
    Welcome { epoch: Epoch, heartbeat: Duration },
    Delta(Delta),
    Heartbeat,
    GoAway(GoAway),
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
pub(super) enum Work {
    Upsert(Upsert),
    Remove(Tombstone),
}

impl Work {
    /// uid of the object on the hub.
    pub(super) fn uid(&self) -> &str {
        match self {
            Self::Upsert(upsert) => &upsert.object.uid,
            Self::Remove(tombstone) => &tombstone.object.uid,
        }
    }

    /// Hash of the payload; empty for a removal.
    pub(super) fn hash(&self) -> &str {
        match self {
            Self::Upsert(upsert) => &upsert.hash,
            Self::Remove(_) => "",
        }
    }
}

/// The hub ends the session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct GoAway {
    pub(super) reason: GoAwayReason,
    pub(super) message: String,
    pub(super) retry_after: Duration,
}

/// Why the hub ends a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum GoAwayReason {
    /// It stops or starts; or a reason that this spoke does not know.
    Unavailable,
    /// A newer agent of this identity is connected.
    DuplicateInstance,
    /// The fleet admin has not accepted this cluster, or no longer does.
    NotAccepted,
    /// The hub did not understand us.
    ProtocolError,
}

/// What the spoke says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ToHub {
    Hello { highest_epoch: Option<Epoch> },
    Index { held: Vec<HeldObject>, last: bool },
    Ack { delta: u64, uid: String, hash: String, outcome: Outcome },
    Status(Vec<ObjectStatus>),
    Capacity(CapacityReport),
    Heartbeat,
}
