//! What is left of a cluster for one request.

use std::borrow::Cow;

use jiff::SignedDuration;

use super::{Previous, Request, Workload, room::Room};
use crate::fleet::{Capacity, Cluster, Fleet, Grant, GrantedObject, Promise, Promises, together};
use crate::need::{GpuNeed, Need};

/// What is left of a cluster for one request.
#[derive(Clone, Debug)]
pub(super) struct Left<'a> {
    /// Free GPUs after all that has been promised.
    pub(super) room: Room<'a>,
    /// GPUs that are promised and not seen in use yet.
    pub(super) promised: u32,
    /// How long an autoscaler takes to bring it, where it is more than what is there.
    pub(super) waits: Option<SignedDuration>,
}

/// Free GPUs of the report, less what has been given, to others and to this placement, and is not seen in use
/// yet. The oldest grant is served first, as it was when it was made. `row` is what the placement has there.
pub(super) fn left<'a>(
    request: &Request,
    fleet: &Fleet,
    row: Option<&Previous>,
    cluster: &Cluster,
    capacity: &'a Capacity,
) -> Left<'a> {
    let promises = fleet.promises(&cluster.name, capacity);
    let outranks = promises.each.iter().any(|promise| promise.priority < request.policy.priority);
    let owed = if row.is_none() && !outranks {
        Cow::Borrowed(&promises.owed)
    } else {
        let own = row.map(|row| request.grant(row));
        Cow::Owned(beside_own(request, own.as_ref(), fleet, &promises, capacity))
    };
    let mut left = Left { room: Room::reported(capacity), promised: 0, waits: None };
    for (need, unseen) in owed.iter() {
        left.room.owe(need, *unseen);
        let gpus = need.gpu.as_ref().map_or(0, GpuNeed::total).saturating_mul(*unseen);
        left.promised = left.promised.saturating_add(gpus);
    }
    left
}

/// The promises of a cluster that the placement is in, or of which it may take some. The request says itself what it keeps
/// there; what it no longer has but still leaves behind, the fleet says. What a lower priority was promised is none.
fn beside_own(
    request: &Request,
    own: Option<&Grant>,
    fleet: &Fleet,
    promises: &Promises,
    capacity: &Capacity,
) -> Vec<(Need, u32)> {
    let counts = |promise: &&Promise| {
        if promise.placement != request.placement {
            return promise.priority >= request.policy.priority;
        }
        own.is_none_or(|own| !own.holds(&promise.uid))
    };
    let mut each: Vec<Promise> = promises.each.iter().filter(counts).cloned().collect();
    if let Some(own) = own {
        let heard = |uid: &str| fleet.statuses().get(&own.cluster, uid);
        each.extend(own.promises(&request.placement, heard, capacity));
        each.sort_by(|a, b| (a.since, &a.placement).cmp(&(b.since, &b.placement)));
    }
    together(&each)
}

/// Whether what the placement was promised in a cluster, and of which nothing runs since its pods find no node, no longer
/// fits beside what higher ones were promised. Of what has not been heard, as after a start of the hub, nothing is said.
pub(super) fn is_outbid(
    request: &Request,
    workloads: &[Workload],
    fleet: &Fleet,
    row: &Previous,
    cluster: &Cluster,
) -> bool {
    let priority = request.policy.priority;
    let Some(capacity) = &cluster.capacity else { return false };
    let waits = |workload: &Workload| {
        let heard = fleet.statuses().get(&cluster.name, &workload.object.uid);
        heard.is_some_and(|heard| heard.status.ready_replicas == 0 && heard.unschedulable_since.is_some())
    };
    // One that was scaled to nothing keeps its row and takes nothing.
    let takes =
        |grant: &Grant| grant.priority > priority && grant.objects.iter().any(|object| object.replicas > 0);
    if !workloads.iter().filter(|workload| workload.need.gpu.is_some()).all(waits)
        || !fleet.grants(&cluster.name).iter().any(|(_, grant)| takes(grant))
    {
        return false;
    }
    let promises = fleet.promises(&cluster.name, capacity);
    let higher = promises.each.iter().filter(|promise| promise.priority > priority);
    let mut room = Room::reported(capacity);
    for (need, unseen) in &together(higher) {
        room.owe(need, *unseen);
    }
    workloads.iter().any(|workload| {
        let granted = row.granted_to(workload);
        room.take(&workload.need, granted) < granted
    })
}

impl Request {
    /// What rows of the placement's decision give away, for [`crate::fleet::FleetEvent::Granted`]: rows in
    /// state Placed and rows in state Removing.
    #[must_use]
    pub fn grants(&self, rows: &[Previous]) -> Vec<Grant> {
        rows.iter().map(|row| self.grant(row)).collect()
    }

    fn grant(&self, row: &Previous) -> Grant {
        let objects = self.workloads_in(&row.cluster).into_iter().map(|workload| GrantedObject {
            replicas: row.granted_to(&workload),
            uid: workload.object.uid,
            need: workload.need,
        });
        let (cluster, since, priority) = (row.cluster.clone(), row.since, self.policy.priority);
        Grant { cluster, since, priority, objects: objects.collect() }
    }
}

impl Previous {
    /// Replicas that an object was granted in this cluster.
    #[must_use]
    pub fn granted(&self, uid: &str) -> u32 {
        self.replicas.iter().find(|granted| granted.uid == uid).map_or(0, |granted| granted.replicas)
    }

    /// Replicas of an object, or of a service of a pipeline, that count here.
    fn granted_to(&self, workload: &Workload) -> u32 {
        let granted = self.replicas.iter().find(|granted| granted.uid == workload.object.uid);
        workload.need.granted(Some(granted.map_or(0, |granted| granted.replicas)))
    }
}
