//! What the hub sends becomes objects of this cluster, and nothing else does.
//!
//! The memory of this room is the cluster itself: every applied object carries marks (uid, generation, hash, hub
//! and epoch), and one ConfigMap keeps the highest epoch and what was deleted lately, so that a spoke restarted with no hub in sight loses
//! nothing. Only a tombstone of an obeyed epoch removes; what the hub does not mention is left alone.

mod call;
mod claim;
mod cluster;
mod epoch;
mod gang;
mod heal;
mod kinds;
mod limits;
mod made;
mod manifest;
mod namespace;
mod object;
mod refusal;
mod releases;
mod removal;
mod room;
mod secret_index;
mod state;
mod turns;
mod warden;

use std::future::Future;

use runtime::{CallError, Panic};

pub use cluster::ClusterDeliver;
pub use epoch::{Epoch, EpochRefused};
pub use gang::Gang;
pub use heal::heal;
pub use kinds::{DeliverableKind, KINDS};
pub use limits::Limits;
pub use manifest::{Marks, marks_of};
pub use object::{
    Cause, HeldObject, HoldReason, LargestFit, ObjectRef, Outcome, Policy, RejectionClass, Release,
    Tombstone, Upsert,
};
pub use warden::Warden;

/// The rules of delivery, which know no cluster: whose epoch is obeyed, whose name it is, what is applied.
pub mod rules {
    pub use super::claim::{Claim, judge as judge_claim};
    pub use super::epoch::{Accepted, check as check_epoch, judge as judge_epoch};
    pub use super::manifest::{manifest, release};
}

/// Why a call did not come to an outcome. Everything here may succeed when it is tried again, with backoff.
#[derive(Debug, thiserror::Error)]
pub enum DeliverError {
    /// The API server answered with a failure that may pass, or did not answer.
    #[error("{what}: {source}")]
    Call {
        /// The call, with the object it was about.
        what: String,
        /// Why it came to nothing.
        source: CallError,
    },
    /// Nothing can be made in a namespace that is being deleted.
    #[error("namespace {namespace} is Terminating: {object} is made when it has gone")]
    NamespaceTerminating {
        /// The namespace.
        namespace: String,
        /// Kind, namespace and name of what was to be made.
        object: String,
    },
    /// The object is on its way out; what was asked has to wait for that.
    #[error("{object} is still being deleted: it waits for the finalizers {finalizers:?}")]
    StillThere {
        /// Kind, namespace and name.
        object: String,
        /// What holds it.
        finalizers: Vec<String>,
    },
    /// Nodes and pods have not all been seen yet since this spoke started.
    #[error("{object} needs nodes together, and what is free on nodes is not known yet")]
    Unseen {
        /// Kind, namespace and name.
        object: String,
    },
    /// The stored epoch cannot be read, so nothing that depends on it is done.
    #[error(
        "ConfigMap {namespace}/{name}: {problem}; repair it, or delete it to accept the next hub that connects"
    )]
    State {
        /// Namespace of the spoke.
        namespace: String,
        /// Name of the ConfigMap.
        name: String,
        /// What is wrong with its content.
        problem: String,
    },
    /// A fault of the spoke.
    #[error("a fault of the spoke, to be reported with this line: {0}")]
    Panic(Panic),
}

impl DeliverError {
    /// Whether nobody answered: nothing else can be delivered then either.
    #[must_use]
    pub fn is_away(&self) -> bool {
        match self {
            Self::Call { source, .. } => source.status().is_none(),
            Self::NamespaceTerminating { .. }
            | Self::StillThere { .. }
            | Self::Unseen { .. }
            | Self::State { .. }
            | Self::Panic(_) => false,
        }
    }
}

/// Why an epoch was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum AcceptError {
    /// This spoke does not obey that epoch. Trying again does not help; nothing was changed.
    #[error(transparent)]
    Refused(#[from] EpochRefused),
    /// The epoch could not be read or stored. Try again.
    #[error(transparent)]
    Store(#[from] DeliverError),
}

/// What the link needs of the cluster. Calls may run concurrently for different objects.
pub trait Deliver: Send + Sync + 'static {
    /// What is held of the hub whose epoch was accepted last, read from the marks.
    fn held(&self) -> impl Future<Output = Result<Vec<HeldObject>, DeliverError>> + Send;

    /// The highest epoch this spoke has accepted; `None` until a hub has been heard once.
    fn highest_epoch(&self) -> impl Future<Output = Result<Option<Epoch>, DeliverError>> + Send;

    /// Accepts the epoch of a Welcome or refuses it; a higher one is stored before this returns.
    fn accept_epoch(&self, epoch: &Epoch) -> impl Future<Output = Result<(), AcceptError>> + Send;

    /// The deletions that the deletion guard let through lately, in this process or an earlier one.
    fn releases(&self) -> impl Future<Output = Result<Vec<Release>, DeliverError>> + Send;

    /// Stores the deletions that the deletion guard has let through; they are persisted before this returns.
    fn store_releases(&self, releases: &[Release]) -> impl Future<Output = Result<(), DeliverError>> + Send;

    /// Applies one object: `Accepted` or `Rejected`. An `Err` is to be tried again.
    fn upsert(
        &self,
        upsert: &Upsert,
        epoch: &Epoch,
    ) -> impl Future<Output = Result<Outcome, DeliverError>> + Send;

    /// Removes one object: `Gone` once it has really gone, or `Rejected`. An `Err` is to be tried again.
    fn remove(
        &self,
        tombstone: &Tombstone,
        epoch: &Epoch,
    ) -> impl Future<Output = Result<Outcome, DeliverError>> + Send;
}
