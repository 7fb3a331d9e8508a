//! Which of the clusters that fit are taken: tiers in their order, the best score first, and no domain that holds more than
//! its share.
//!
//! Where there are few clusters, all ways to choose are tried; else the best next one is taken as long as one is wanted. With one
//! hard constraint that finds as many clusters as there are to find; with several it may find fewer.

use jiff::SignedDuration;

use super::{
    Request,
    run::Candidate,
    score::{Domains, Points, Scale, Score},
};
use crate::fleet::Cluster;

/// Most candidates of which all sets are tried.
const FEW: usize = 12;

/// What is chosen by.
#[derive(Clone, Copy, Debug)]
pub(super) struct Choice<'a> {
    pub(super) request: &'a Request,
    pub(super) scale: &'a Scale,
}

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
        let mut domains = self.domains(candidates, taken);
        let mut picked: Vec<usize> = Vec::new();
        let mut next = |picked: &mut Vec<usize>, tier: Option<usize>| {
            let open = (0..candidates.len()).filter(|i| !picked.contains(i));
            let fits = open.filter(|&i| {
                tier.is_none_or(|tier| candidates[i].tier == tier)
                    && domains.broken_by(candidates[i].cluster).is_none()
            });
            let best = fits.min_by_key(|&i| self.rank(&candidates[i], candidates[i].spread(&domains, false)));
            let Some(best) = best else { return false };
            domains.add(candidates[best].cluster);
            picked.push(best);
            true
        };
        for (tier, of_tier) in policy.tiers.iter().enumerate() {
            let has = taken.iter().filter(|(_, of)| *of == tier).count();
            let least = usize::try_from(of_tier.least).unwrap_or(usize::MAX);
            for _ in has..least {
                if picked.len() == wanted || !next(&mut picked, Some(tier)) {
                    break;
                }
            }
        }
        while picked.len() < wanted && next(&mut picked, None) {}
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
        let mut best = (self.worth(candidates, taken, &known), known);
        for size in (1..=wanted.min(candidates.len())).rev() {
            if size < best.1.len() {
                break;
            }
            let mut set: Vec<usize> = (0..size).collect();
            loop {
                let worth = self.worth(candidates, taken, &set);
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
    /// how early the tiers are, and the scores.
    pub(super) fn worth(
        &self,
        candidates: &[Candidate<'a>],
        taken: &[(&'a Cluster, usize)],
        set: &[usize],
    ) -> Option<(usize, usize, std::cmp::Reverse<usize>, u64)> {
        let mut domains = self.domains(candidates, taken);
        for &i in set {
            domains.add(candidates[i].cluster);
        }
        if !domains.are_kept() {
            return None;
        }
        let tiers = self.request.policy.tiers.iter().enumerate();
        let floors = tiers.map(|(tier, of_tier)| {
            let has = taken.iter().filter(|(_, of)| *of == tier).count();
            let has = has + set.iter().filter(|&&i| candidates[i].tier == tier).count();
            has.min(usize::try_from(of_tier.least).unwrap_or(usize::MAX))
        });
        let floors = floors.sum();
        let late = set.iter().map(|&i| candidates[i].tier).sum();
        let scores = set.iter().map(|&i| u64::from(self.scale.sum(candidates[i].spread(&domains, true))));
        Some((set.len(), floors, std::cmp::Reverse(late), scores.sum()))
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
