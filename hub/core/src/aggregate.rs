//! Folds what spokes report into the status that users read on the hub: of NIMPlacements, of NIM objects, of
//! GPUClusters.
//!
//! Pure: time is an argument. Messages hold moments, not ages, so that a status does not change while nothing
//! does. Partial is never True, and what a silent cluster said last is never shown as if it held now.
//!
//! A controller builds one [`View`] per placement, and gets [`placement_status`] for the NIMPlacement,
//! [`object_status`] for each of its NIM objects, and [`cluster_conditions`] for each GPUCluster. Each takes
//! the conditions stored last, for their transition times; a result equal to what is stored needs no write.

mod cluster;
mod held;
mod identity;
mod object;
mod placement;
mod reason;
mod standing;
#[cfg(test)]
mod tests;
mod unplaced;

use jiff::Timestamp;

use crate::{
    fleet::{Answer, ClusterName, Link, ObjectRef, ObjectStatus},
    scheduler::{Chosen, Decision},
};

pub use cluster::{
    cluster_conditions, cluster_ready, cluster_troubles, cluster_unready, drained, gpus_labelled, is_hub,
    report_truncated, write_summaries,
};
pub use held::{DELETION_HELD, HELD, HeldDeletions, confirmation, deletion_held, kept_in_use};
pub use identity::{DUPLICATE_FOR, Identity, set_identity_conditions};
pub use object::object_status;
pub use placement::{assignments, placement_status};
pub use reason::Reason;
pub use unplaced::{NOT_PLACED, is_nowhere, unplaced_status};

/// Everything there is to say about one placement.
#[derive(Clone, Debug, PartialEq)]
pub struct View<'a> {
    /// `metadata.generation` of the NIMPlacement.
    pub generation: i64,
    /// Where it goes.
    pub decision: &'a Decision,
    /// One per cluster of [`Decision::chosen`], in that order.
    pub places: Vec<Place<'a>>,
    /// By the hub's clock.
    pub now: Timestamp,
}

/// One chosen cluster.
#[derive(Clone, Debug, PartialEq)]
pub struct Place<'a> {
    /// Its row.
    pub row: &'a Chosen,
    /// Whether the hub hears it.
    pub link: Link,
    /// The objects that belong there.
    pub deliveries: Vec<Delivery<'a>>,
}

impl Place<'_> {
    /// Name of the cluster.
    #[must_use]
    pub const fn cluster(&self) -> &ClusterName {
        &self.row.cluster
    }

    /// Whether it counts: of a cluster that others have replaced nothing is expected.
    fn counts(&self) -> bool {
        !self.row.is_replaced()
    }
}

/// One object in one chosen cluster.
#[derive(Clone, Debug, PartialEq)]
pub struct Delivery<'a> {
    /// The object.
    pub object: &'a ObjectRef,
    /// Replicas it shall have there; none for kinds that have none.
    pub replicas: Option<u32>,
    /// Whether their number is left to an autoscaler of that cluster once they are there: what it adds is wanted too.
    pub elastic: bool,
    /// Hash of the payload that belongs there, or why there is none.
    pub payload: Result<&'a str, String>,
    /// The spoke's answer to that payload, if it came.
    pub answer: Option<&'a Answer>,
    /// What the spoke last said about the object, of whichever payload.
    pub status: Option<&'a ObjectStatus>,
}
