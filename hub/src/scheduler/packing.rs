//! What is left of a cluster for one request.

use std::sync::Arc;

use jiff::Timestamp;

use super::{Previous, Request, Workload, room::Room};
use crate::fleet::{Capacity, Cluster, Fleet, Grant, GrantedObject, PlacementKey, Promises};
use crate::need::GpuNeed;

/// What is left of a cluster for one request.
#[derive(Clone, Debug)]
pub(super) struct Left<'a> {
    /// Free GPUs after all that has been promised.
    pub(super) room: Room<'a>,
    /// GPUs that are promised and not seen in use yet.
    pub(super) promised: u32,
    /// When time alone may show a promise to be in the report already.
    pub(super) settles_at: Option<Timestamp>,
}

/// Free GPUs of the report, less what has been given, to others and to this placement, and is not seen in use
/// yet. The oldest grant is served first, as it was when it was made.
pub(super) fn left<'a>(
    request: &Request,
    fleet: &Fleet,
    cluster: &Cluster,
    capacity: &'a Capacity,
) -> Left<'a> {
    let promises = match request.previous.iter().find(|row| row.cluster == cluster.name) {
        None => fleet.promises(&cluster.name, capacity, request.now),
        Some(row) => Arc::new(beside_own(request, &request.grant(row), fleet, cluster, capacity)),
    };
    let mut left = Left { room: Room::reported(capacity), promised: 0, settles_at: promises.settles_at };
    for (need, unseen) in &promises.owed {
        left.room.owe(need, *unseen);
        let gpus = need.gpu.as_ref().map_or(0, GpuNeed::total).saturating_mul(*unseen);
        left.promised = left.promised.saturating_add(gpus);
    }
    left
}

/// The promises of a cluster that the placement is in. The request says itself what it keeps there; what it no longer
/// has but still leaves behind, the fleet says.
fn beside_own(
    request: &Request,
    own: &Grant,
    fleet: &Fleet,
    cluster: &Cluster,
    capacity: &Capacity,
) -> Promises {
    let mut grants = fleet.grants(&cluster.name);
    grants.push((&request.placement, own));
    grants.sort_by_key(|(placement, grant)| (grant.since, *placement));
    let counts = |placement: &PlacementKey, grant: &Grant, uid: &str| {
        *placement != request.placement || std::ptr::eq(own, grant) || !own.holds(uid)
    };
    Promises::of(grants, counts, |uid| fleet.statuses().get(&cluster.name, uid), capacity, request.now)
}

impl Request {
    /// What rows of the placement's decision give away, for [`crate::fleet::FleetEvent::Granted`]: rows in
    /// state Placed and rows in state Removing.
    #[must_use]
    pub fn grants(&self, rows: &[Previous]) -> Vec<Grant> {
        rows.iter().map(|row| self.grant(row)).collect()
    }

    fn grant(&self, row: &Previous) -> Grant {
        let objects = self.workloads.iter().map(|workload| GrantedObject {
            uid: workload.object.uid.clone(),
            need: self.policy.narrow(&workload.need),
            replicas: row.granted(&workload.object.uid),
        });
        Grant { cluster: row.cluster.clone(), since: row.since, objects: objects.collect() }
    }

    /// The objects with what they take under the placement's own demands on GPUs.
    pub(super) fn narrowed(&self) -> Vec<Workload> {
        let narrow = |workload: &Workload| Workload {
            object: workload.object.clone(),
            need: self.policy.narrow(&workload.need),
        };
        self.workloads.iter().map(narrow).collect()
    }
}

impl Previous {
    /// Replicas that an object was granted in this cluster.
    #[must_use]
    pub fn granted(&self, uid: &str) -> u32 {
        self.replicas.iter().find(|granted| granted.uid == uid).map_or(0, |granted| granted.replicas)
    }
}
