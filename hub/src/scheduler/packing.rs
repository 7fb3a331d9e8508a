//! What is left of a cluster for one request.

use jiff::Timestamp;

use super::{Previous, Request, Workload, room::Room};
use crate::fleet::{Capacity, Cluster, Fleet, Grant, GrantedObject, PlacementKey};

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
    let mut left = Left { room: Room::reported(capacity), promised: 0, settles_at: None };
    let own = request.previous.iter().find(|row| row.cluster == cluster.name).map(|row| request.grant(row));
    let mut grants: Vec<(&PlacementKey, &Grant)> = fleet.grants(&cluster.name);
    if let Some(own) = &own {
        // The request says itself what it keeps here; what it no longer has but still leaves behind, the
        // fleet says.
        grants.push((&request.placement, own));
        grants.sort_by_key(|(placement, grant)| (grant.since, *placement));
    }
    let repeated = |placement: &PlacementKey, grant: &Grant, object: &GrantedObject| {
        *placement == request.placement
            && own.as_ref().is_some_and(|own| !std::ptr::eq(own, grant) && own.holds(&object.uid))
    };
    let granted = grants.iter().flat_map(|(placement, grant)| {
        grant.objects.iter().filter(move |object| !repeated(placement, grant, object))
    });
    for object in granted {
        let heard = fleet.statuses().get(&cluster.name, &object.uid);
        let seen = object.seen(heard, capacity.observed_at, request.now);
        let unseen = object.replicas.saturating_sub(seen);
        let Some(gpu) = object.need.gpu.as_ref().filter(|_| unseen > 0) else { continue };
        left.room.owe(&object.need, unseen);
        left.promised = left.promised.saturating_add(gpu.total().saturating_mul(unseen));
        let settles_at = object.settles_at(heard).filter(|at| *at > request.now);
        left.settles_at = [left.settles_at, settles_at].into_iter().flatten().min();
    }
    left
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
