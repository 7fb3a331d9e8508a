//! Which of the clusters that fit are taken: tiers in their order, the best score first, and no domain that holds more than
//! its share.
//!
//! Where there are few clusters, all ways to choose are tried; else the best next one is taken as long as one is wanted. With one
//! hard constraint that finds as many clusters as there are to find; with several it may find fewer.

use std::collections::HashMap;

use jiff::SignedDuration;

use super::{
    Request,
    run::Candidate,
    score::{Domains, Points, Scale, Score},
};
use crate::fleet::Cluster;

/// Most candidates of which all sets are tried.
pub(super) const FEW: usize = 12;

/// What is chosen by.
#[derive(Clone, Copy, Debug)]
pub(super) struct Choice<'a> {
    pub(super) request: &'a Request,
    pub(super) scale: &'a Scale,
}

/// What sets of candidates are ordered by.
type Worth = (usize, usize, std::cmp::Reverse<usize>, u64);

/// What candidates are ordered by.
type Rank<'a> = (usize, Option<SignedDuration>, u32, &'a str);

impl<'a> Choice<'a> {
    /// Takes up to `wanted` of the candidates, beside those that are taken already, each with its tier. Gives their places in
    /// `candidates`, the first tier and the best score first.
    pub(super) fn pick(
        &self,
        candidates: &[Candidate<'a>],
        taken: &[(&'a Cluster, usize)],
        wanted: usize,
    ) -> Vec<usize> {
        if wanted == 0 || candidates.is_empty() {
            return Vec::new();
        }
        let policy = &self.request.policy;
        if policy.spread.is_empty() && policy.tiers.iter().all(|tier| tier.least == 0) {
            return self.best(candidates, wanted);
        }
        let greedy = self.greedy(candidates, taken, wanted);
        if policy.spread.is_empty() || candidates.len() > FEW {
            return greedy;
        }
        self.exact(candidates, taken, wanted, greedy)
    }

    /// Nothing depends on what else is taken: the first tiers, and of each the best.
    fn best(&self, candidates: &[Candidate<'a>], wanted: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..candidates.len()).collect();
        let key = |&i: &usize| self.rank(&candidates[i], candidates[i].points);
        if wanted < order.len() {
            order.select_nth_unstable_by_key(wanted - 1, key);
            order.truncate(wanted);
        }
        order.sort_by_key(key);
        order
    }

    /// Candidates in this order: tier, what is free before what would have to be brought and what comes sooner before what
    /// comes later, score from the highest, name.
    pub(super) fn rank(&self, candidate: &Candidate<'a>, points: Points) -> Rank<'a> {
        let score = u32::MAX - self.scale.sum(points);
        (candidate.tier, candidate.left.waits, score, candidate.cluster.name.as_str())
    }

    /// One after the other, each the best that is left: first what tiers get in any case, then in order.
    pub(super) fn greedy(
        &self,
        candidates: &[Candidate<'a>],
        taken: &[(&'a Cluster, usize)],
        wanted: usize,
    ) -> Vec<usize> {
        let policy = &self.request.policy;
        let mut open = Open::new(self, candidates, self.domains(candidates, taken));
        let mut picked: Vec<usize> = Vec::new();
        for (tier, of_tier) in policy.tiers.iter().enumerate() {
            let has = taken.iter().filter(|(_, of)| *of == tier).count();
            let least = usize::try_from(of_tier.least).unwrap_or(usize::MAX);
            for _ in has..least {
                if picked.len() == wanted {
                    break;
                }
                let Some(next) = open.next(Some(tier)) else { break };
                picked.push(next);
            }
        }
        while picked.len() < wanted {
            let Some(next) = open.next(None) else { break };
            picked.push(next);
        }
        picked
    }

    /// Up to `wanted` candidates so that any number of the first of them is a good choice too.
    pub(super) fn order(
        &self,
        candidates: &[Candidate<'a>],
        taken: &[(&'a Cluster, usize)],
        wanted: usize,
    ) -> Vec<usize> {
        if self.request.policy.spread.is_empty() {
            return self.best(candidates, wanted);
        }
        self.greedy(candidates, taken, wanted)
    }

    /// Tries all ways to take as many as possible, and takes the best; `known` is one to begin with.
    fn exact(
        &self,
        candidates: &[Candidate<'a>],
        taken: &[(&'a Cluster, usize)],
        wanted: usize,
        known: Vec<usize>,
    ) -> Vec<usize> {
        let mut domains = self.domains(candidates, taken);
        let tiers = 0..self.request.policy.tiers.len();
        let has: Vec<usize> = tiers.map(|tier| taken.iter().filter(|(_, of)| *of == tier).count()).collect();
        let mut worth = |set: &[usize]| self.worth(candidates, &mut domains, &has, set);
        let mut best = (worth(&known), known);
        for size in (1..=wanted.min(candidates.len())).rev() {
            if size < best.1.len() {
                break;
            }
            let mut set: Vec<usize> = (0..size).collect();
            loop {
                let worth = worth(&set);
                if worth > best.0 {
                    best = (worth, set.clone());
                }
                if !advance(&mut set, candidates.len()) {
                    break;
                }
            }
        }
        let mut picked = best.1;
        picked.sort_by_key(|&i| self.rank(&candidates[i], candidates[i].points));
        picked
    }

    /// How good a set is: whether it keeps the hard constraints, how many it has, what tiers get of what they get in any case,
    /// how early the tiers are, and the scores. `has`: the clusters that are taken of each tier.
    fn worth(
        &self,
        candidates: &[Candidate<'a>],
        domains: &mut Domains<'a>,
        has: &[usize],
        set: &[usize],
    ) -> Option<Worth> {
        for &i in set {
            domains.add(candidates[i].cluster);
        }
        let worth = domains.are_kept().then(|| {
            let tiers = self.request.policy.tiers.iter().zip(has).enumerate();
            let floors = tiers.map(|(tier, (of_tier, has))| {
                let has = has + set.iter().filter(|&&i| candidates[i].tier == tier).count();
                has.min(usize::try_from(of_tier.least).unwrap_or(usize::MAX))
            });
            let floors = floors.sum();
            let late = set.iter().map(|&i| candidates[i].tier).sum();
            let scores = set.iter().map(|&i| u64::from(self.scale.sum(candidates[i].spread(domains, true))));
            (set.len(), floors, std::cmp::Reverse(late), scores.sum())
        });
        for &i in set {
            domains.remove(candidates[i].cluster);
        }
        worth
    }

    /// The domains of all clusters that are taken or fit.
    pub(super) fn domains(
        &self,
        candidates: &[Candidate<'a>],
        taken: &[(&'a Cluster, usize)],
    ) -> Domains<'a> {
        let all = taken.iter().map(|(cluster, _)| *cluster);
        let all = all.chain(candidates.iter().map(|candidate| candidate.cluster));
        let all: Vec<&'a Cluster> = all.collect();
        let mut domains = Domains::new(&self.request.policy.spread, &all);
        for (cluster, _) in taken {
            domains.add(cluster);
        }
        domains
    }
}

impl Candidate<'_> {
    /// Its points with those for spread.
    pub(super) fn spread(&self, domains: &Domains<'_>, is_chosen: bool) -> Points {
        let mut points = self.points;
        points.set(Score::TopologySpread, domains.points(self.cluster, is_chosen));
        points
    }
}

/// Candidates that are not picked yet, in groups of one tier and the same domains: of each group the best is known, and points
/// for spread change for all of it at once.
struct Open<'s, 'a> {
    scale: &'s Scale,
    candidates: &'s [Candidate<'a>],
    domains: Domains<'a>,
    groups: Vec<Group>,
    /// Rank of the best of each group; [`NOBODY`] for one that is empty.
    best: Vec<u128>,
    /// Groups by constraint and number of the domain.
    members: Vec<Vec<Vec<usize>>>,
}

/// Comes after every rank.
const NOBODY: u128 = u128::MAX;

/// Candidates of one tier and the same domains.
struct Group {
    tier: usize,
    domains: Vec<Option<usize>>,
    /// The best comes last: what sets it apart beside its score, its points, and its place among the candidates.
    waiting: Vec<(Apart, usize)>,
}

/// What a candidate is ordered by beside its score: before it the place of its tier and wait among all of them, after it that of
/// its name.
#[derive(Clone, Copy, Debug)]
struct Apart {
    before: u32,
    after: u32,
}

impl Apart {
    /// The order of [`Choice::rank`], as one number.
    fn rank(self, score: u32) -> u128 {
        u128::from(self.before) << 64 | u128::from(u32::MAX - score) << 32 | u128::from(self.after)
    }

    /// Of every candidate, in their order.
    fn of_all(candidates: &[Candidate<'_>]) -> Vec<Self> {
        let by = |key: &dyn Fn(usize, usize) -> std::cmp::Ordering| {
            let mut order: Vec<usize> = (0..candidates.len()).collect();
            order.sort_by(|a, b| key(*a, *b));
            let mut places = vec![0u32; candidates.len()];
            let mut place = 0;
            for pair in order.windows(2) {
                place += u32::from(key(pair[0], pair[1]).is_ne());
                places[pair[1]] = place;
            }
            places
        };
        let early = |i: usize| (candidates[i].tier, candidates[i].left.waits);
        let before = by(&|a, b| early(a).cmp(&early(b)));
        let after = by(&|a, b| candidates[a].cluster.name.cmp(&candidates[b].cluster.name));
        before.into_iter().zip(after).map(|(before, after)| Self { before, after }).collect()
    }
}

impl<'s, 'a> Open<'s, 'a> {
    fn new(choice: &Choice<'s>, candidates: &'s [Candidate<'a>], domains: Domains<'a>) -> Self {
        let scale = choice.scale;
        let mut places: HashMap<(usize, Vec<Option<usize>>), usize> = HashMap::new();
        let mut groups: Vec<Group> = Vec::new();
        for ((index, candidate), apart) in candidates.iter().enumerate().zip(Apart::of_all(candidates)) {
            let (tier, numbers) = (candidate.tier, domains.numbers(candidate.cluster));
            let place = *places.entry((tier, numbers.clone())).or_insert_with(|| {
                groups.push(Group { tier, domains: numbers, waiting: Vec::new() });
                groups.len() - 1
            });
            groups[place].waiting.push((apart, index));
        }
        let mut members = vec![Vec::new(); choice.request.policy.spread.len()];
        for (place, group) in groups.iter_mut().enumerate() {
            // All of a group have the same points for spread: without them the order is the same.
            let rank = |(apart, index): &(Apart, usize)| apart.rank(scale.sum(candidates[*index].points));
            group.waiting.sort_by_key(|one| std::cmp::Reverse(rank(one)));
            for (constraint, number) in group.domains.iter().enumerate() {
                let Some(number) = *number else { continue };
                let of_constraint: &mut Vec<Vec<usize>> = &mut members[constraint];
                if of_constraint.len() <= number {
                    of_constraint.resize_with(number + 1, Vec::new);
                }
                of_constraint[number].push(place);
            }
        }
        let best = vec![NOBODY; groups.len()];
        let mut open = Self { scale, candidates, domains, groups, best, members };
        (0..open.groups.len()).for_each(|place| open.rank(place));
        open
    }

    /// Finds out anew how good the best of a group is.
    fn rank(&mut self, place: usize) {
        let group = &self.groups[place];
        self.best[place] = group.waiting.last().map_or(NOBODY, |(apart, index)| {
            let mut points = self.candidates[*index].points;
            points.set(Score::TopologySpread, self.domains.points_of(&group.domains));
            apart.rank(self.scale.sum(points))
        });
    }

    /// Picks the best that breaks no hard constraint, of one tier or of all.
    fn next(&mut self, tier: Option<usize>) -> Option<usize> {
        let mut found: Option<(u128, usize)> = None;
        for (place, rank) in self.best.iter().enumerate() {
            if *rank < found.map_or(NOBODY, |(rank, _)| rank)
                && tier.is_none_or(|tier| self.groups[place].tier == tier)
                && !self.domains.are_full(&self.groups[place].domains)
            {
                found = Some((*rank, place));
            }
        }
        let (_, place) = found?;
        let (_, index) = self.groups[place].waiting.pop()?;
        let changed = self.domains.add_to(&self.groups[place].domains);
        self.rank(place);
        for (constraint, number) in changed {
            let members = std::mem::take(&mut self.members[constraint][number]);
            for &member in &members {
                self.rank(member);
            }
            self.members[constraint][number] = members;
        }
        Some(index)
    }
}

/// The next set of that size, in order; false after the last.
fn advance(set: &mut [usize], of: usize) -> bool {
    let size = set.len();
    let Some(at) = (0..size).rev().find(|&at| set[at] < of - size + at) else { return false };
    set[at] += 1;
    for later in at + 1..size {
        set[later] = set[later - 1] + 1;
    }
    true
}

#[cfg(test)]
#[path = "select/tests.rs"]
mod tests;
