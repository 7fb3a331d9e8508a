//! How good a cluster is that can take a placement: 0 to 100 points for each score below, one per file, and their mean by
//! weight. What nothing speaks for, such as cost where no cluster says what its GPUs cost, is left out for all.

mod cache_locality;
mod cost;
mod free_capacity;
mod freshness;
mod preferred_affinity;
mod stickiness;
#[cfg(test)]
mod tests;
mod topology_spread;

use std::fmt;

use super::{CacheLocality, CapacityStrategy, Request, Workload, packing::Left, variants::InCluster};
use crate::fleet::{Cluster, Fleet};

pub(super) use cache_locality::holds;
pub(super) use freshness::REPEATED;
pub(super) use topology_spread::Domains;

/// The scores.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Score {
    /// The models are there already.
    CacheLocality,
    /// GPUs remain free, or few do.
    FreeCapacity,
    /// Its GPUs are cheap.
    Cost,
    /// Preferred terms match.
    PreferredAffinity,
    /// Few chosen clusters share its domains.
    TopologySpread,
    /// The placement is there.
    Stickiness,
    /// Its report is new.
    Freshness,
}

impl Score {
    const ALL: [Self; 7] = [
        Self::CacheLocality,
        Self::FreeCapacity,
        Self::Cost,
        Self::PreferredAffinity,
        Self::TopologySpread,
        Self::Stickiness,
        Self::Freshness,
    ];

    /// In words.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::CacheLocality => "cache locality",
            Self::FreeCapacity => "free capacity",
            Self::Cost => "cost",
            Self::PreferredAffinity => "preferred affinity",
            Self::TopologySpread => "topology spread",
            Self::Stickiness => "stickiness",
            Self::Freshness => "freshness",
        }
    }
}

impl fmt::Display for Score {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One score of one cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Which.
    pub score: Score,
    /// 0 to 100.
    pub points: u32,
    /// What it weighs beside the other parts.
    pub weight: u32,
}

/// Points of one cluster, in the order of [`Score::ALL`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Points([u8; 7]);

/// What counts for one request, and how much.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scale {
    weights: [u32; 7],
    sum: u32,
}

impl Scale {
    /// The weights of the policy, 0 for what nothing speaks for.
    pub(super) fn of(request: &Request, workloads: &[Workload], fleet: &Fleet) -> Self {
        let weights = request.policy.weights;
        let needs = || workloads.iter().map(|workload| &workload.need).chain(request.variants.all());
        let caches = request.policy.cache_locality != CacheLocality::Ignore
            && needs().any(|need| need.cache.is_some());
        let gpus = needs().any(|need| need.gpu.is_some());
        let weights = [
            (weights.cache_locality, caches),
            (weights.free_capacity, gpus),
            (weights.cost, gpus && fleet.is_priced()),
            (weights.preferred_affinity, !request.policy.affinity.preferred.is_empty()),
            (weights.topology_spread, !request.policy.spread.is_empty()),
            (weights.stickiness, !request.previous.is_empty()),
            (weights.freshness, true),
        ];
        let weights = weights.map(|(weight, counts)| if counts { weight } else { 0 });
        Self { weights, sum: weights.iter().sum() }
    }

    pub(super) const fn counts(&self, score: Score) -> bool {
        self.weights[score as usize] > 0
    }

    /// What each score weighs, in the order of [`Score::ALL`].
    pub(super) const fn weights(&self) -> [u32; 7] {
        self.weights
    }

    /// Points of a cluster. `left` is what remains after the placement, where that is known; the cost is compared later, by
    /// [`Scale::compare`], and the spread when it is known what else is chosen.
    pub(super) fn points(
        &self,
        request: &Request,
        workloads: &[Workload],
        cluster: &Cluster,
        left: Option<&Left<'_>>,
        stays: bool,
    ) -> Points {
        let mut points = Points::default();
        for score in Score::ALL.into_iter().filter(|score| self.counts(*score)) {
            let of_one = match score {
                Score::CacheLocality => cache_locality::points(workloads, cluster),
                Score::FreeCapacity => {
                    let strategy = request.policy.capacity_strategy;
                    left.map_or(0, |left| free_capacity::points(workloads, cluster, left, strategy))
                }
                Score::Cost | Score::TopologySpread => 0,
                Score::PreferredAffinity => preferred_affinity::points(&request.policy.affinity, cluster),
                Score::Stickiness => stickiness::points(stays),
                Score::Freshness => freshness::points(cluster, request.now),
            };
            points.set(score, of_one);
        }
        points
    }

    /// Gives each cluster its points for cost, beside the cheapest of them and of others of which one costs `elsewhere`.
    pub(super) fn compare<'a>(
        &self,
        workloads: &(impl InCluster + ?Sized),
        clusters: impl Iterator<Item = (&'a Cluster, &'a mut Points)>,
        elsewhere: Option<u64>,
    ) {
        if !self.counts(Score::Cost) {
            return;
        }
        let priced: Vec<_> = clusters
            .map(|(cluster, points)| (cost::per_gpu(workloads.in_cluster(&cluster.name), cluster), points))
            .collect();
        let cheapest = priced.iter().filter_map(|(cost, _)| *cost).chain(elsewhere).min();
        for (cost, points) in priced {
            points.set(Score::Cost, cost::points(cost, cheapest));
        }
    }

    /// The sum by weight: what is compared.
    pub(super) fn sum(&self, points: Points) -> u32 {
        self.weights.iter().zip(points.0).map(|(weight, points)| weight * u32::from(points)).sum()
    }

    /// The mean by weight, 0 to 100: what is shown.
    pub(super) fn mean(&self, points: Points) -> i32 {
        let mean = (self.sum(points) + self.sum / 2).checked_div(self.sum).unwrap_or(0);
        i32::try_from(mean).unwrap_or(100)
    }

    /// The parts that count.
    pub(super) fn parts(&self, points: Points) -> Vec<Part> {
        let part = |score: Score| Part {
            score,
            points: points.0[score as usize].into(),
            weight: self.weights[score as usize],
        };
        Score::ALL.into_iter().filter(|score| self.counts(*score)).map(part).collect()
    }
}

/// Percent of the GPUs that would remain free in a cluster, or would not.
pub(super) fn free(workloads: &[Workload], cluster: &Cluster, left: &Left<'_>, by: CapacityStrategy) -> u8 {
    u8::try_from(free_capacity::points(workloads, cluster, left, by)).unwrap_or(100)
}

/// Percent of the wanted caches that are in a cluster.
pub(super) fn cached(workloads: &[Workload], cluster: &Cluster) -> u8 {
    u8::try_from(cache_locality::points(workloads, cluster)).unwrap_or(100)
}

/// What a GPU costs for an hour in a cluster, if that is known.
pub(super) fn cost(workloads: &[Workload], cluster: &Cluster) -> Option<u64> {
    cost::per_gpu(workloads, cluster)
}

/// Points for a cost beside the lowest one.
pub(super) fn cost_points(cost: Option<u64>, cheapest: Option<u64>) -> u32 {
    cost::points(cost, cheapest)
}

/// Points of a report that came so many seconds after it would have been repeated.
pub(super) fn freshness_points(late: i64) -> u32 {
    freshness::points_of(late)
}

impl Points {
    pub(super) fn set(&mut self, score: Score, points: u32) {
        self.0[score as usize] = u8::try_from(points.min(100)).unwrap_or(100);
    }
}

/// `free capacity 50 × 20, freshness 100 × 5`.
pub(super) fn words(parts: &[Part]) -> String {
    let words: Vec<_> =
        parts.iter().map(|part| format!("{} {} × {}", part.score, part.points, part.weight)).collect();
    words.join(", ")
}
