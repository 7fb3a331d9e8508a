//! Score, and what its filter counts by: how many chosen clusters share a domain, such as a region.

use std::collections::BTreeMap;

use crate::{fleet::Cluster, scheduler::SpreadConstraint};

/// Chosen clusters by domain, for each constraint.
#[derive(Clone, Debug)]
pub(in crate::scheduler) struct Domains<'a> {
    constraints: &'a [SpreadConstraint],
    chosen: Vec<BTreeMap<&'a str, u32>>,
}

impl<'a> Domains<'a> {
    /// Nothing is chosen yet, of clusters that could be.
    pub(in crate::scheduler) fn new(constraints: &'a [SpreadConstraint], eligible: &[&'a Cluster]) -> Self {
        let of_one = |constraint: &'a SpreadConstraint| {
            let values = eligible.iter().filter_map(|cluster| cluster.property(&constraint.key));
            values.map(|value| (value, 0)).collect()
        };
        Self { constraints, chosen: constraints.iter().map(of_one).collect() }
    }

    /// One more is chosen.
    pub(in crate::scheduler) fn add(&mut self, cluster: &'a Cluster) {
        for (constraint, chosen) in self.constraints.iter().zip(&mut self.chosen) {
            if let Some(value) = cluster.property(&constraint.key) {
                *chosen.entry(value).or_default() += 1;
            }
        }
    }

    /// The first hard constraint that the cluster would break: its key, and how many clusters its domain would have beside
    /// the one with the fewest.
    pub(in crate::scheduler) fn broken_by(
        &self,
        cluster: &Cluster,
    ) -> Option<(&'a SpreadConstraint, u32, u32)> {
        let hard = self.constraints.iter().zip(&self.chosen).filter(|(constraint, _)| constraint.is_hard);
        hard.into_iter().find_map(|(constraint, chosen)| {
            let would =
                cluster.property(&constraint.key).and_then(|value| chosen.get(value)).map_or(1, |n| n + 1);
            let fewest = chosen.values().copied().min().unwrap_or(0);
            (would > fewest.saturating_add(constraint.max_skew)).then_some((constraint, would, fewest))
        })
    }

    /// Whether what is chosen keeps every hard constraint.
    pub(in crate::scheduler) fn are_kept(&self) -> bool {
        self.constraints.iter().zip(&self.chosen).filter(|(constraint, _)| constraint.is_hard).all(
            |(constraint, chosen)| {
                let most = chosen.values().copied().max().unwrap_or(0);
                let fewest = chosen.values().copied().min().unwrap_or(0);
                most <= fewest.saturating_add(constraint.max_skew)
            },
        )
    }

    /// 100 for a cluster that is, or would be, alone in its domains, 50 for one of two, and so on; 0 for one without domain.
    /// The mean over the constraints. `is_chosen`: it is among those that were added.
    pub(in crate::scheduler) fn points(&self, cluster: &Cluster, is_chosen: bool) -> u32 {
        let of_one = |(constraint, chosen): (&SpreadConstraint, &BTreeMap<&str, u32>)| {
            let Some(value) = cluster.property(&constraint.key) else { return 0 };
            let there = chosen.get(value).copied().unwrap_or(0) + u32::from(!is_chosen);
            100u32.checked_div(there).unwrap_or(100)
        };
        let sum: u32 = self.constraints.iter().zip(&self.chosen).map(of_one).sum();
        sum.checked_div(u32::try_from(self.constraints.len()).unwrap_or(u32::MAX)).unwrap_or(0)
    }
}
