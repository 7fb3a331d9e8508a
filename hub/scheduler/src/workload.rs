//! Questions that several steps ask of an object to place.

use std::cmp::Reverse;

use super::{Division, Workload};

impl Workload {
    /// Kind and name, for messages.
    pub(super) fn title(&self) -> String {
        let title = format!("{} {}", self.object.kind, self.object.name);
        if self.need.service.is_empty() { title } else { format!("{title} (service {})", self.need.service) }
    }

    /// Replicas that a cluster must have room for to be chosen at all.
    pub(super) fn least(&self, division: Division) -> u32 {
        if self.is_divided(division) { self.need.replicas.min(1) } else { self.need.replicas }
    }

    /// Replicas that every chosen cluster runs.
    pub(super) fn undivided(&self, division: Division) -> u32 {
        if self.is_divided(division) { 0 } else { self.need.replicas }
    }

    fn is_divided(&self, division: Division) -> bool {
        division == Division::Divided && self.need.divisible()
    }

    /// The objects by the GPUs of one pod, the largest first: small ones fit into what large ones leave.
    pub(super) fn largest_first(workloads: &[Self]) -> Vec<&Self> {
        Self::places_largest_first(workloads).into_iter().map(|place| &workloads[place]).collect()
    }

    /// The same by their places.
    pub(super) fn places_largest_first(workloads: &[Self]) -> Vec<usize> {
        let mut places: Vec<usize> = (0..workloads.len()).collect();
        places.sort_by_key(|place| {
            let workload = &workloads[*place];
            let gpu = workload.need.gpu.as_ref().map(|gpu| (gpu.per_pod, gpu.total()));
            (Reverse(gpu), &workload.object.uid, &workload.need.service)
        });
        places
    }
}
