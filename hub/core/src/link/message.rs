//! The messages of a session in the hub's own words.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use proto::Fingerprint;

use super::object::{DesiredObject, GoAwayReason, Removal};
use crate::epoch::Epoch;
use crate::fleet::{Agent, Capacity, HeldObject, ObjectResult, ObjectStatus};
use crate::identity::EpochProof;

/// One process of an agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Instance {
    /// Random per process.
    pub(super) id: String,
    /// Start of the process, milliseconds since the Unix epoch by the spoke's clock.
    pub(super) started_ms: i64,
}

/// What a spoke says of itself first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hello {
    pub(super) cluster: String,
    pub(super) agent: Agent,
    pub(super) instance: Instance,
    pub(super) highest_epoch: Option<Epoch>,
    /// What it returns as the proof of that epoch; empty from an agent that knows no proofs.
    pub(super) epoch_proof: Vec<u8>,
    /// All that it holds of the hub whose epoch that is; none of an agent that does not compare by hash.
    pub(super) held: Option<Fingerprint>,
}

/// What a spoke says.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum FromSpoke {
    Hello(Hello),
    /// `buckets` come with the last chunk: those the index tells whole.
    Index {
        held: Vec<HeldObject>,
        last: bool,
        buckets: BTreeSet<u8>,
    },
    Ack {
        delta: u64,
        results: Vec<ObjectResult>,
    },
    Status(Vec<ObjectStatus>),
    Capacity(Capacity),
    /// Now and then with all that is held.
    Heartbeat(Option<Fingerprint>),
}

/// What the hub says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ToSpoke {
    Welcome {
        epoch: Epoch,
        proof: EpochProof,
        heartbeat: Duration,
        longest_wait: Duration,
        in_sync: bool,
    },
    /// The buckets of what the spoke should hold, as they travel.
    Compare(HashMap<u32, u64>),
    Delta {
        id: u64,
        epoch: Epoch,
        proof: EpochProof,
        upserts: Vec<Arc<DesiredObject>>,
        tombstones: Vec<Arc<Removal>>,
    },
    Heartbeat,
    GoAway {
        reason: GoAwayReason,
        message: String,
        retry_after: Duration,
    },
}
