//! What sessions report to the rest of the hub.

use std::fmt;

use jiff::Timestamp;

use crate::fleet::{Agent, Capacity, ClusterName, Excess, HeldObject, ObjectResult, ObjectStatus};
use crate::identity::{CaHash, SpokeCertificate};

/// An epoch that a spoke says it has accepted, that this hub's does not cover, and that the spoke cannot prove.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnprovenEpoch {
    /// Its term.
    pub theirs: u64,
    /// The hub's own term.
    pub ours: u64,
    /// Whether there was a proof, which this hub did not make; else there was none.
    pub has_proof: bool,
}

impl fmt::Display for UnprovenEpoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { theirs, ours, has_proof } = self;
        let how = if *has_proof { "with a proof that this hub did not make" } else { "without a proof" };
        write!(
            f,
            "the agent says, {how}, that it has accepted term {theirs} of this hub, which is at term {ours}: it is not let in, \
             and no term was raised for it"
        )
    }
}

/// One report of a session. While its receiver is slow, a session keeps the latest per object ([`super::EventBuffer`]), so that
/// its memory is bounded by the number of distinct objects.
#[derive(Clone, Debug, PartialEq)]
pub enum LinkEvent {
    /// A session is up: the spoke has passed all checks and was welcomed.
    Connected {
        /// Whose.
        cluster: ClusterName,
        /// What the spoke said of itself.
        agent: Agent,
        /// When the spoke's certificate ends.
        certificate_expiry: Timestamp,
    },
    /// By which certificate the spoke is known, and by which CAs it knows the hub: with each session, and when it takes
    /// others.
    Identified {
        /// Whose.
        cluster: ClusterName,
        /// The certificate of the session.
        certificate: SpokeCertificate,
        /// What the spoke says it trusts.
        trusted: Vec<CaHash>,
    },
    /// Another live agent with this cluster's identity was turned away.
    Duplicate {
        /// Whose.
        cluster: ClusterName,
        /// What both agents say of themselves, in one sentence.
        message: String,
    },
    /// A spoke was turned away because it does not prove the epoch that it says it has accepted.
    EpochUnproven {
        /// Whose.
        cluster: ClusterName,
        /// What it says.
        epoch: UnprovenEpoch,
    },
    /// The session ended; what the cluster holds is unknown from now on, not gone.
    Disconnected {
        /// Whose.
        cluster: ClusterName,
    },
    /// A message of the spoke arrived; at most one report every 5 seconds.
    Alive {
        /// Whose.
        cluster: ClusterName,
    },
    /// What the cluster can run.
    Capacity {
        /// Whose.
        cluster: ClusterName,
        /// The spoke's whole report.
        capacity: Box<Capacity>,
    },
    /// State of objects, latest per object.
    Status {
        /// Whose.
        cluster: ClusterName,
        /// One row per object.
        objects: Vec<ObjectStatus>,
    },
    /// What became of objects that were sent.
    Results {
        /// Whose.
        cluster: ClusterName,
        /// One row per object.
        results: Vec<ObjectResult>,
    },
    /// The spoke said more than the hub keeps.
    Excess {
        /// Whose.
        cluster: ClusterName,
        /// Of what, and how much.
        excess: Vec<Excess>,
    },
    /// Objects that the spoke holds for this hub and the hub neither wants nor removes. They are reported, never
    /// removed.
    Orphans {
        /// Whose.
        cluster: ClusterName,
        /// The whole list; empty when there are none.
        objects: Vec<HeldObject>,
    },
}

impl LinkEvent {
    /// The cluster that the event is about.
    #[must_use]
    pub fn cluster(&self) -> &ClusterName {
        match self {
            Self::Connected { cluster, .. }
            | Self::Disconnected { cluster }
            | Self::Alive { cluster }
            | Self::Identified { cluster, .. }
            | Self::Duplicate { cluster, .. }
            | Self::EpochUnproven { cluster, .. }
            | Self::Capacity { cluster, .. }
            | Self::Status { cluster, .. }
            | Self::Results { cluster, .. }
            | Self::Excess { cluster, .. }
            | Self::Orphans { cluster, .. } => cluster,
        }
    }
}
