//! Chooses clusters: `schedule(&Request, &mut Fleet) -> Decision`. The fleet changes by it only in what it remembers of answers.
//!
//! How a controller uses it:
//!
//! 1. Read the placement: `Policy::try_from(&spec)` turns a NIMPlacementSpec into a [`Policy`].
//! 2. For every selected object (and the NIMCaches its services bring): [`crate::need::need`], giving a
//!    [`Workload`].
//! 3. Rows of the placement's NIMPlacementDecisions in state Placed become [`Previous`], by cluster.
//! 4. [`schedule`] with the current [`Fleet`] and time. Same input, same output: no clock, no randomness, no
//!    memory.
//! 5. Write [`Decision::chosen`] as rows in state Placed (with [`Granted::replicas`] of every replicated
//!    object, whether or not the payload's replicas are overridden), and [`Decision::removed`] as rows in
//!    state Removing, which stay until the spoke says Gone.
//! 6. Feed all rows, Placed and Removing, back as [`crate::fleet::FleetEvent::Granted`] (made by
//!    [`Request::grants`]) before the next placement is scheduled: that is what keeps two placements off the
//!    same GPUs. After a start, feed the rows of *all* placements before the first is scheduled.
//!
//! A placement is scheduled again when it, its objects or the set of clusters change, on capacity reports
//! while something of it is refused, and at [`Decision::retry_at`].

mod cause;
mod divide;
mod duplicate;
mod explain;
pub mod failover;
mod filter;
pub mod fleet;
mod grow;
mod index;
mod keep;
mod member;
pub mod need;
mod nodes;
mod packing;
mod policy;
mod product;
pub mod quota;
mod reason;
mod replace;
mod room;
mod run;
mod score;
mod select;
mod share;
mod spare;
mod survey;
#[cfg(test)]
mod tests;
mod variants;
mod waiting;
mod workload;

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::{
    failover::{Allowance, Limits, PerLane},
    fleet::{ClusterName, ObjectRef, PlacementKey},
    need::Need,
};

pub use cause::Cause;
pub use explain::{NAMED, NOT_NEEDED, RefusalSummary, Sentence};
pub use policy::{
    Affinity, CacheLocality, CapacityStrategy, ClusterSet, Division, Expression, Failover, GpuRequirement,
    InvalidPolicy, OnUnreachable, Policy, Preferred, ShareBy, Shares, SpreadConstraint, Tier, Toleration,
    Verdicts, Weights,
};
pub use reason::Reason;
pub use room::{seats, suits};
pub use run::schedule;
pub use score::{Part, Score};
pub use spare::Spare;
pub use variants::Variants;
pub use waiting::{Waiting, woken};

/// One placement that wants clusters.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// Which placement.
    pub placement: PlacementKey,
    /// What its user wants.
    pub policy: Policy,
    /// The objects that go together, as they are stored.
    pub workloads: Vec<Workload>,
    /// What they take where overrides change them.
    pub variants: Variants,
    /// What the expressions of the policy say of clusters, where that was asked before the decision.
    pub verdicts: Verdicts,
    /// Where it is placed now.
    pub previous: Vec<Previous>,
    /// Clusters whose spokes have refused it, by name.
    pub denied: BTreeMap<String, Denied>,
    /// Since when clusters where it is placed refuse one of its objects, by name: the API server does, or the object's name is
    /// somebody else's there.
    pub rejected: BTreeMap<String, Timestamp>,
    /// The wish of its user to choose anew, by what sets it apart from earlier ones, until it has been followed.
    pub rebalance: Option<String>,
    /// Of how many clusters it is told why they were refused for one reason, the first by name; of the others only how many
    /// they are. Words cost more than the decision.
    pub told: usize,
    /// Clusters where it would exceed a quota, by name, each with the numbers.
    pub over_quota: BTreeMap<String, String>,
    /// By the hub's clock.
    pub now: Timestamp,
    /// How careful the fleet is with failovers.
    pub limits: Limits,
    /// How many clusters this placement may leave for others now, by why.
    pub allowance: PerLane<Allowance>,
}

/// What a cluster's spoke has refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denied {
    /// [`Reason::PolicyDenied`] where the cluster's owner does not let it in, [`Reason::NoRoom`] where its nodes are not free
    /// together.
    pub reason: Reason,
    /// What the spoke said: field, value, limit and whom to ask; or what is needed, and the largest fit.
    pub message: String,
    /// Whether something of the placement works there all the same, and keeps doing so.
    pub stays: bool,
}

/// An object to place, and what it takes.
#[derive(Clone, Debug, PartialEq)]
pub struct Workload {
    /// The object.
    pub object: ObjectRef,
    /// What it takes.
    pub need: Need,
}

/// A cluster in which the placement is placed now.
#[derive(Clone, Debug, PartialEq)]
pub struct Previous {
    /// The cluster.
    pub cluster: ClusterName,
    /// When it was chosen.
    pub since: Timestamp,
    /// What each object was granted there.
    pub replicas: Vec<Granted>,
    /// Why others have taken its place, if they have: it is left when they are available.
    pub replaced: Option<Cause>,
}

/// Replicas of one object in one cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Granted {
    /// `metadata.uid` of the object on the hub.
    pub uid: String,
    /// Replicas that have their GPUs there. For a service that no longer fits after a scale-up this is less
    /// than it asks for.
    pub replicas: u32,
    /// Whether the payload's `spec.replicas` is to be set to `replicas` (Divided); otherwise the spec stays
    /// as it is.
    pub divided: bool,
}

/// Where a placement goes.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// Clusters it runs in, by name; those whose place others have taken among them ([`Chosen::is_replaced`]).
    pub chosen: Vec<Chosen>,
    /// Clusters it leaves, by name.
    pub removed: Vec<Removed>,
    /// Clusters that cannot take it, by name, each with the first filter that failed: of each reason as many as
    /// [`Request::told`]. Clusters that could but are not needed are not here.
    pub refused: Vec<Refused>,
    /// How many clusters cannot take it, by reason.
    pub counts: BTreeMap<Reason, u32>,
    /// Clusters that could take it and are not needed, by name.
    pub spare: Spare,
    /// How it went as a whole: status, reason and message of the condition `Scheduled`.
    pub outcome: Outcome,
    /// Why a cluster that shall be left is not; none if nothing is held.
    pub hold: Option<Hold>,
    /// How many clusters were given up for others by this very decision, by why.
    pub moves: PerLane<usize>,
    /// Where the pace of the whole fleet holds a move back, when to ask again.
    pub paced_until: PerLane<Option<Timestamp>>,
    /// The last wish to choose anew ([`Request::rebalance`]) that has been followed.
    pub rebalanced: Option<String>,
    /// When time alone may change the decision: the earliest end of a failover's patience, of a report's
    /// settling or of the watch over a cluster that came back.
    pub retry_at: Option<Timestamp>,
}

impl Decision {
    /// Whether it may change by what spokes report alone: something is missing or held back, what has taken another's place
    /// has yet to serve, or the wish to choose anew ([`Request::rebalance`]) is being followed.
    #[must_use]
    pub fn is_waiting(&self, rebalance: Option<&str>) -> bool {
        !self.outcome.complete
            || self.hold.is_some()
            || self.chosen.iter().any(Chosen::is_replaced)
            || rebalance.is_some_and(|wish| self.rebalanced.as_deref() != Some(wish))
    }
}

/// Why a cluster that shall be left is not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// [`Reason::ManyClustersLost`], [`Reason::FailoverPaced`] or [`Reason::NoFailoverTarget`].
    pub reason: Reason,
    /// One sentence, with what to do.
    pub message: String,
}

/// A cluster that a placement runs in.
#[derive(Clone, Debug, PartialEq)]
pub struct Chosen {
    /// The cluster.
    pub cluster: ClusterName,
    /// [`Reason::Placed`] for a new one, [`Reason::Sticky`] for one that stays, and that of its [`Cause`] for one whose place
    /// others have taken.
    pub reason: Reason,
    /// 0 to 100: the mean of its parts by weight.
    pub score: i32,
    /// What the score is made of; empty for one whose place others have taken.
    pub parts: Vec<Part>,
    /// When it was chosen.
    pub since: Timestamp,
    /// What each object is granted there.
    pub replicas: Vec<Granted>,
    /// One sentence.
    pub message: String,
}

impl Chosen {
    /// Whether others have taken its place: it is left as it is and counts for nothing.
    #[must_use]
    pub fn is_replaced(&self) -> bool {
        matches!(
            self.reason,
            Reason::Replaced
                | Reason::Drained
                | Reason::Unschedulable
                | Reason::NoLongerFits
                | Reason::Rejected
                | Reason::Rebalanced
        )
    }
}

/// A cluster that a placement leaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Removed {
    /// The cluster.
    pub cluster: ClusterName,
    /// Why.
    pub reason: Reason,
    /// One sentence.
    pub message: String,
}

/// A cluster that cannot take a placement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The cluster; a name in `clusterNames` may name none.
    pub cluster: String,
    /// Which filter.
    pub reason: Reason,
    /// One sentence with the numbers.
    pub message: String,
}

/// How scheduling went as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Whether everything that is wanted has been given. Partial is false.
    pub complete: bool,
    /// [`Reason::Placed`], [`Reason::PartiallyScheduled`], [`Reason::NoClusterFits`], …
    pub reason: Reason,
    /// One sentence.
    pub message: String,
    /// Clusters that are wanted.
    pub wanted_clusters: u32,
    /// Replicas that are wanted, over all clusters and objects.
    pub wanted_replicas: u32,
    /// Replicas that have been given.
    pub given_replicas: u32,
}
