//! Which nodes of a cluster the pods of an object may run on.

use crate::fleet::{Capacity, NodeSets, Sets};
use crate::need::{GpuNeed, Need, NodeDemand};

use super::room;

/// Nodes of a cluster by why pods may run on them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Suited {
    /// Those whose taints are tolerated.
    pub(super) tolerated: Sets,
    /// Those whose labels are selected.
    pub(super) selected: Sets,
}

impl Suited {
    /// Those on which pods may run.
    pub(super) const fn both(self) -> Sets {
        self.tolerated.and(self.selected)
    }
}

/// The nodes for the pods of an object. An agent that does not tell sets refuses none.
pub(super) fn accepted(need: &Need, capacity: &Capacity) -> Sets {
    match &capacity.nodes {
        None => Sets::ALL,
        Some(known) => suited(need, capacity, known).both(),
    }
}

/// The nodes for the pods of an object, of those that are known.
pub(super) fn suited(need: &Need, capacity: &Capacity, known: &NodeSets) -> Suited {
    of_pods(need.nodes.as_deref(), need.gpu.as_ref(), need, capacity, known)
}

/// The nodes for the jobs that an object starts.
pub(super) fn suited_to_jobs(need: &Need, capacity: &Capacity, known: &NodeSets) -> Suited {
    of_pods(need.job_nodes.as_deref(), need.jobs.as_ref(), need, capacity, known)
}

fn of_pods(
    demand: Option<&NodeDemand>,
    gpu: Option<&GpuNeed>,
    need: &Need,
    capacity: &Capacity,
    known: &NodeSets,
) -> Suited {
    let tolerations = demand.map_or(&[][..], |demand| &demand.tolerations);
    let tolerated = known.tolerated(tolerations, gpu.is_some());
    let Some(demand) = demand.filter(|demand| demand.selects()) else {
        return Suited { tolerated, selected: known.all() };
    };
    let selected = known.selected(demand);
    // An autoscaler may bring nodes with labels that none has yet: pods wait for them, as long as their placement lets them.
    let selected = if capacity.is_autoscaled() && !has_nodes(gpu, need, selected, capacity) {
        known.all()
    } else {
        selected
    };
    Suited { tolerated, selected }
}

/// Whether some of these nodes have the GPUs that are asked for, free or not. Pods without GPUs need a node of these, or one
/// that an autoscaler can bring.
pub(super) fn has_nodes(gpu: Option<&GpuNeed>, need: &Need, sets: Sets, capacity: &Capacity) -> bool {
    let Some(gpu) = gpu else { return capacity.has_coming_nodes || !sets.is_empty() };
    let suitable = capacity.pools.iter().filter(|pool| room::suits(pool, gpu, &need.kind));
    suitable.flat_map(|pool| &pool.groups).any(|group| group.nodes > 0 && sets.holds(group.set))
}
