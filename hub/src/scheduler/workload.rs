//! Questions that several steps ask of an object to place.

use std::cmp::Reverse;

use super::{Division, Workload};

impl Workload {
    /// Kind and name, for messages.
    pub(super) fn title(&self) -> String {
        format!("{} {}", self.object.kind, self.object.name)
    }

    /// Replicas that a cluster must have room for to be chosen at all.
    pub(super) fn demand(&self, division: Division) -> u32 {
        match division {
            Division::Divided if self.need.divisible() => self.need.replicas.min(1),
            _ => self.need.replicas,
        }
    }

    /// The objects by the GPUs of one pod, the largest first: small ones fit into what large ones leave.
    pub(super) fn largest_first(workloads: &[Self]) -> Vec<&Self> {
        let mut sorted: Vec<_> = workloads.iter().collect();
        sorted.sort_by_key(|workload| {
            let gpu = workload.need.gpu.as_ref().map(|gpu| (gpu.per_pod, gpu.total()));
            (Reverse(gpu), &workload.object.uid)
        });
        sorted
    }
}
