//! A cluster that shares replicas with others.

use super::{
    Chosen, Granted, Workload, keep::Kept, packing::Left, run::Candidate, score::Points, select::Choice,
};
use crate::{fleet::Cluster, need::Need};

/// An object whose replicas are divided: its place among the objects, and the object where no override changes it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Divisible<'a> {
    pub(super) at: usize,
    pub(super) workload: &'a Workload,
}

impl<'a> Divisible<'a> {
    /// Those of the objects, the largest pods first.
    pub(super) fn of(workloads: &'a [Workload]) -> Vec<Self> {
        let sorted = Workload::largest_first(workloads).into_iter();
        let divisible = sorted.filter(|workload| workload.need.divisible());
        let place = |workload: &Workload| workloads.iter().position(|one| std::ptr::eq(one, workload));
        divisible.filter_map(|workload| Some(Self { at: place(workload)?, workload })).collect()
    }

    /// Replicas that it wants.
    pub(super) const fn replicas(&self) -> u32 {
        self.workload.need.replicas
    }

    pub(super) fn uid(&self) -> &str {
        &self.workload.object.uid
    }
}

/// A cluster that shares.
#[derive(Clone, Debug)]
pub(super) struct Member<'a> {
    pub(super) cluster: &'a Cluster,
    /// The objects, as it has them.
    pub(super) workloads: &'a [Workload],
    /// Its row, if the placement is there.
    pub(super) kept: Option<Kept<'a>>,
    /// Room for more; none where nothing new can come.
    pub(super) left: Option<Left<'a>>,
    pub(super) points: Points,
    pub(super) tier: usize,
    /// Replicas that it has, for each object.
    pub(super) has: Vec<u32>,
    /// Of those that it may get, so many need no room: they run there now.
    pub(super) sure: Vec<u32>,
}

/// One way to share.
#[derive(Debug)]
pub(super) struct Shared<'a> {
    /// By name.
    pub(super) members: Vec<Member<'a>>,
    /// Replicas per member and object, in the order of both.
    pub(super) replicas: Vec<Vec<u32>>,
    /// Replicas that found no place.
    pub(super) missing: u32,
}

impl<'a> Member<'a> {
    /// A cluster in which the placement is not yet.
    pub(super) fn new(candidate: &Candidate<'a>, objects: usize) -> Self {
        Self {
            cluster: candidate.cluster,
            workloads: candidate.workloads,
            kept: None,
            left: Some(candidate.left.clone()),
            points: candidate.points,
            tier: candidate.tier,
            has: vec![0; objects],
            sure: vec![0; objects],
        }
    }

    /// As a candidate; none where nothing new can come.
    pub(super) fn candidate(&self) -> Option<Candidate<'a>> {
        let (cluster, workloads, points, tier) = (self.cluster, self.workloads, self.points, self.tier);
        self.left.clone().map(|left| Candidate { cluster, workloads, left, points, tier })
    }

    /// More replicas of an object that fit, at most `limit`, and no more than one cluster may have.
    pub(super) fn fits(&self, object: usize, of: Divisible<'_>, most: Option<u32>, limit: u32) -> u32 {
        let limit = most.map_or(limit, |most| limit.min(most.saturating_sub(self.has[object])));
        let sure = self.sure[object].min(limit);
        sure + self.left.as_ref().map_or(0, |left| left.room.fits(self.need(of), limit - sure))
    }

    /// Gives it more replicas of an object, as many as fit.
    pub(super) fn take(&mut self, object: usize, of: Divisible<'_>, replicas: u32) {
        let sure = self.sure[object].min(replicas);
        self.sure[object] -= sure;
        let need = &self.workloads[of.at].need;
        if let Some(left) = &mut self.left {
            left.room.take(need, replicas - sure);
        }
        self.has[object] = self.has[object].saturating_add(replicas);
    }

    /// Replicas that its free GPUs could carry, whatever else is in the way.
    pub(super) fn free(&self, of: Divisible<'_>) -> u32 {
        let need = self.need(of);
        let Some(gpu) = &need.gpu else { return 1 };
        let free = self.left.as_ref().map_or(0, |left| left.room.free(need));
        free / gpu.total().max(1)
    }

    /// What a replica of an object takes there.
    fn need(&self, of: Divisible<'_>) -> &'a Need {
        &self.workloads[of.at].need
    }

    pub(super) fn chosen(
        &self,
        choice: &Choice<'a>,
        workloads: &[Workload],
        divisible: &[Divisible<'_>],
        shares: &[u32],
    ) -> Chosen {
        let granted = |workload: &Workload| {
            let uid = workload.object.uid.clone();
            let share =
                divisible.iter().position(|divided| divided.workload.object.uid == uid).map(|i| shares[i]);
            Granted { uid, replicas: share.unwrap_or(workload.need.replicas), divided: share.is_some() }
        };
        let replicated = workloads.iter().filter(|workload| workload.need.replicated);
        let replicas = replicated.map(granted).collect();
        let Some(kept) = &self.kept else {
            let waits = self.left.as_ref().and_then(|left| left.waits);
            return choice.comes((self.cluster, self.workloads), self.points, (self.tier, waits), replicas);
        };
        kept.chosen(choice.scale, replicas)
    }
}
