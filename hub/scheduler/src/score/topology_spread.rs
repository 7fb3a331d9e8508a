//! Score, and what its filter counts by: how many chosen clusters share a domain, such as a region.

use std::collections::{BTreeMap, HashMap};

use crate::{SpreadConstraint, fleet::Cluster};

/// Chosen clusters by domain, for each constraint.
#[derive(Clone, Debug)]
pub(crate) struct Domains<'a> {
    constraints: &'a [SpreadConstraint],
    each: Vec<Counts<'a>>,
}

/// Chosen clusters by domain of one constraint.
#[derive(Clone, Debug, Default)]
struct Counts<'a> {
    /// Number of the domain, by its value.
    numbers: HashMap<&'a str, usize>,
    /// Chosen clusters, by number of the domain.
    chosen: Vec<u32>,
    /// How many domains have so many chosen clusters.
    levels: BTreeMap<u32, usize>,
}

impl<'a> Counts<'a> {
    /// The number of a domain, which is there from now on.
    fn number(&mut self, value: &'a str) -> usize {
        let next = self.chosen.len();
        let number = *self.numbers.entry(value).or_insert(next);
        if number == next {
            self.chosen.push(0);
            *self.levels.entry(0).or_default() += 1;
        }
        number
    }

    fn set(&mut self, number: usize, chosen: u32) {
        let before = std::mem::replace(&mut self.chosen[number], chosen);
        if let Some(domains) = self.levels.get_mut(&before) {
            *domains -= 1;
            if *domains == 0 {
                self.levels.remove(&before);
            }
        }
        *self.levels.entry(chosen).or_default() += 1;
    }

    fn of(&self, value: &str) -> Option<u32> {
        self.numbers.get(value).map(|number| self.chosen[*number])
    }

    /// Chosen clusters of the domain that has fewest.
    fn fewest(&self) -> u32 {
        self.levels.first_key_value().map_or(0, |(chosen, _)| *chosen)
    }

    /// Chosen clusters of the domain that has most.
    fn most(&self) -> u32 {
        self.levels.last_key_value().map_or(0, |(chosen, _)| *chosen)
    }
}

/// Points of a cluster that shares its domain with so many chosen ones, itself among them: 100 where it is alone, 50 for one of
/// two, and so on.
const fn points(there: u32) -> u32 {
    match 100u32.checked_div(there) {
        Some(points) => points,
        None => 100,
    }
}

impl<'a> Domains<'a> {
    /// Nothing is chosen yet, of clusters that could be.
    pub(crate) fn new(constraints: &'a [SpreadConstraint], eligible: &[&'a Cluster]) -> Self {
        let of_one = |constraint: &'a SpreadConstraint| {
            let mut counts = Counts::default();
            for value in eligible.iter().filter_map(|cluster| cluster.property(&constraint.key)) {
                counts.number(value);
            }
            counts
        };
        Self { constraints, each: constraints.iter().map(of_one).collect() }
    }

    /// One more is chosen.
    pub(crate) fn add(&mut self, cluster: &'a Cluster) {
        for (constraint, counts) in self.constraints.iter().zip(&mut self.each) {
            if let Some(value) = cluster.property(&constraint.key) {
                let number = counts.number(value);
                counts.set(number, counts.chosen[number] + 1);
            }
        }
    }

    /// One that was added is not chosen after all.
    pub(crate) fn remove(&mut self, cluster: &'a Cluster) {
        for (constraint, counts) in self.constraints.iter().zip(&mut self.each) {
            if let Some(value) = cluster.property(&constraint.key) {
                let number = counts.number(value);
                counts.set(number, counts.chosen[number].saturating_sub(1));
            }
        }
    }

    /// The first hard constraint that the cluster would break: its key, and how many clusters its domain would have beside
    /// the one with the fewest.
    pub(crate) fn broken_by(&self, cluster: &Cluster) -> Option<(&'a SpreadConstraint, u32, u32)> {
        let hard = self.constraints.iter().zip(&self.each).filter(|(constraint, _)| constraint.is_hard);
        hard.into_iter().find_map(|(constraint, counts)| {
            let would =
                cluster.property(&constraint.key).and_then(|value| counts.of(value)).map_or(1, |n| n + 1);
            let fewest = counts.fewest();
            (would > fewest.saturating_add(constraint.max_skew)).then_some((constraint, would, fewest))
        })
    }

    /// Whether what is chosen keeps every hard constraint.
    pub(crate) fn are_kept(&self) -> bool {
        let hard = self.constraints.iter().zip(&self.each).filter(|(constraint, _)| constraint.is_hard);
        hard.into_iter()
            .all(|(constraint, counts)| counts.most() <= counts.fewest().saturating_add(constraint.max_skew))
    }

    /// 100 for a cluster that is, or would be, alone in its domains, 50 for one of two, and so on; 0 for one without domain.
    /// The mean over the constraints. `is_chosen`: it is among those that were added.
    pub(crate) fn points(&self, cluster: &Cluster, is_chosen: bool) -> u32 {
        let of_one = |(constraint, counts): (&SpreadConstraint, &Counts<'_>)| {
            let Some(value) = cluster.property(&constraint.key) else { return 0 };
            points(counts.of(value).unwrap_or(0) + u32::from(!is_chosen))
        };
        self.mean(self.constraints.iter().zip(&self.each).map(of_one).sum())
    }

    /// The numbers of the domains of a cluster that could be chosen, for each constraint.
    pub(crate) fn numbers(&self, cluster: &Cluster) -> Vec<Option<usize>> {
        let number = |(constraint, counts): (&SpreadConstraint, &Counts<'_>)| {
            counts.numbers.get(cluster.property(&constraint.key)?).copied()
        };
        self.constraints.iter().zip(&self.each).map(number).collect()
    }

    /// Whether one more cluster of these domains would break a hard constraint: the same as [`Self::broken_by`] says.
    pub(crate) fn are_full(&self, numbers: &[Option<usize>]) -> bool {
        self.constraints.iter().zip(&self.each).zip(numbers).any(|((constraint, counts), number)| {
            let would = number.map_or(1, |number| counts.chosen[number] + 1);
            constraint.is_hard && would > counts.fewest().saturating_add(constraint.max_skew)
        })
    }

    /// Points of a cluster of these domains that is not chosen yet: the same as [`Self::points`] gives.
    pub(crate) fn points_of(&self, numbers: &[Option<usize>]) -> u32 {
        let of_one = |(counts, number): (&Counts<'_>, &Option<usize>)| {
            number.map_or(0, |number| points(counts.chosen[number] + 1))
        };
        self.mean(self.each.iter().zip(numbers).map(of_one).sum())
    }

    /// One more of these domains is chosen. Gives those of them, by constraint and number, in which points are others now.
    pub(crate) fn add_to(&mut self, numbers: &[Option<usize>]) -> Vec<(usize, usize)> {
        let mut changed = Vec::new();
        for (constraint, (counts, number)) in self.each.iter_mut().zip(numbers).enumerate() {
            let Some(number) = *number else { continue };
            let there = counts.chosen[number] + 1;
            counts.set(number, there);
            if points(there) != points(there + 1) {
                changed.push((constraint, number));
            }
        }
        changed
    }

    fn mean(&self, sum: u32) -> u32 {
        sum.checked_div(u32::try_from(self.constraints.len()).unwrap_or(u32::MAX)).unwrap_or(0)
    }
}
