//! GPUs that the scheduler has given to a placement in a cluster.

use jiff::Timestamp;

use super::{Capacity, Heard};
use crate::need::Need;

/// A NIMPlacement's identity.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PlacementKey {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl std::fmt::Display for PlacementKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// What one placement has been given in one cluster. It stands from the decision on until the spoke has said
/// that the objects are gone, so a row of a decision in state Removing still counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The cluster.
    pub cluster: super::ClusterName,
    /// When it was decided, by the hub's clock: the older grant is served first.
    pub since: Timestamp,
    /// Of the placement: a higher one may take what was given and does not run yet.
    pub priority: i32,
    /// What each object was given.
    pub objects: Vec<GrantedObject>,
}

impl Grant {
    /// Whether it is about that object.
    #[must_use]
    pub fn holds(&self, uid: &str) -> bool {
        self.objects.iter().any(|object| object.uid == uid)
    }
}

/// What one object has been given in one cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrantedObject {
    /// `metadata.uid` on the hub.
    pub uid: String,
    /// What one replica takes.
    pub need: Need,
    /// Replicas granted.
    pub replicas: u32,
}

impl GrantedObject {
    /// Replicas that the cluster's report of free GPUs already counts as used: those whose pods were bound to nodes in the
    /// very moment of the report. An agent that does not tell them is judged by ready replicas, since only ready ones
    /// are known to be bound: one that still starts is counted twice rather than not at all.
    ///
    /// What runs to an end counts as seen once it has come there: it takes nothing any more.
    #[must_use]
    pub fn seen(&self, heard: Option<&Heard>, capacity: &Capacity) -> u32 {
        if self.need.life.ends() {
            let counts = |heard: &Heard| {
                let runs = heard.status.state == BUILDING && is_reported(heard, capacity);
                runs || self.need.has_ended(&heard.status)
            };
            return if heard.is_some_and(counts) { self.replicas } else { 0 };
        }
        if let Some(pods) = capacity.bound_pods(&self.need.pods_of(&self.uid)) {
            return (pods / self.need.pods().max(1)).min(self.replicas);
        }
        let Some(heard) = heard.filter(|heard| is_reported(heard, capacity)) else { return 0 };
        // The pods of a pipeline are not counted in its status: all of them are there once it is ready.
        match self.need.service.is_empty() {
            true => heard.status.ready_replicas.min(self.replicas),
            false if heard.status.is_ready() => self.replicas,
            false => 0,
        }
    }
}

/// The state of a NIMBuild whose pod runs.
const BUILDING: &str = "InProgress";

/// Whether a report of free GPUs was made after the status: later by the spoke's clock, and by ours, since the spoke's may
/// have been set back in between.
fn is_reported(heard: &Heard, capacity: &Capacity) -> bool {
    capacity.observed_at >= heard.status.observed_at && capacity.received_at >= heard.steady_since
}
