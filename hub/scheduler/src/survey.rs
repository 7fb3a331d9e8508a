//! Which clusters a placement could come to, found by the [`Index`] instead of one by one: the filters in their order, each as a
//! set of clusters. Of those that fit only the ones are looked at closer that may be chosen.
//!
//! It finds what [`super::filter::may_come`] says of each cluster; that one makes the sentences, and what is left of a cluster.

use std::collections::{BTreeMap, HashMap};

use jiff::SignedDuration;

use super::{
    CapacityStrategy, Division, Expression, Reason, Refused, Request, Score, Workload,
    filter::{self, Refusal},
    keep::Kept,
    packing::Left,
    run::{Candidate, Found, Refusals, Settling, Unchosen},
    score::{self, Scale},
    select::FEW,
    variants::{InCluster, Objects},
};
use crate::fleet::{Cluster, ClusterName, Fleet, STALE_AFTER};
use crate::index::{Bits, Class, ClassKey, Index, NOWHERE, Question, nanoseconds};

/// Clusters to which objects come as one of their versions.
struct Part {
    members: Bits,
    key: ClassKey,
}

/// Who was refused and who fits, as sets.
struct Sets {
    refused: BTreeMap<Reason, Bits>,
    /// Those of which nothing is known to speak against them yet.
    open: Bits,
}

impl Sets {
    fn refuse(&mut self, reason: Reason, bits: &Bits) {
        if bits.is_empty() {
            return;
        }
        match self.refused.get_mut(&reason) {
            Some(refused) => refused.unite(bits),
            None => drop(self.refused.insert(reason, bits.clone())),
        }
    }

    /// Refuses those that are outside.
    fn pass(&mut self, reason: Reason, passes: &Bits) {
        let outside = self.open.take_outside(passes);
        self.refuse(reason, &outside);
    }

    /// Refuses those that are inside.
    fn stop(&mut self, reason: Reason, stopped: &Bits) {
        let inside = self.open.take(stopped);
        self.refuse(reason, &inside);
    }
}

/// What the survey works with.
pub(super) struct Survey<'a, 'i> {
    pub(super) request: &'a Request,
    pub(super) objects: &'a Objects<'a>,
    pub(super) fleet: &'a Fleet,
    pub(super) index: &'i mut Index,
}

impl<'a> Survey<'a, '_> {
    /// Sorts the clusters that the placement is not in: those that could take it and may be chosen, and those that cannot.
    pub(super) fn find(&mut self, scale: &Scale, kept: &[Kept<'a>], refusals: Refusals) -> Found<'a> {
        let request = self.request;
        let parts = self.parts();
        let mut sets = Sets { refused: BTreeMap::new(), open: self.index.all() };
        let there = self.index.named(request.previous.iter().map(|row| row.cluster.as_str()));
        sets.open.subtract(&there);
        // What it leaves behind where it no longer is counts as its own there, so that these are asked one by one.
        let own = self.fleet.granted_to(&request.placement);
        let own = self.index.named(own.map(ClusterName::as_str));
        let own = sets.open.take(&own);
        let tiers = self.cluster_filters(&mut sets, &parts);
        self.object_filters(&mut sets, &parts);

        let mut alone = Vec::new();
        let mut settling: Option<Settling> = None;
        for place in own.iter() {
            match self.ask(place, scale) {
                Some(Ok(candidate)) => alone.push(candidate),
                Some(Err(refusal)) => {
                    let settles = refusal.settles_at.map(|at| Settling { first: at, last: at });
                    settling = settling.into_iter().chain(settles).reduce(Settling::and);
                    let mut one = self.index.none();
                    one.set(place, true);
                    sets.refuse(refusal.reason, &one);
                }
                None => {}
            }
        }
        if let Some(bits) = sets.refused.get(&Reason::Settling) {
            let settles = bits.iter().filter_map(|place| request.settles_at(self.cluster(place)?));
            let settles = settles.map(|at| Settling { first: at, last: at });
            settling = settling.into_iter().chain(settles).reduce(Settling::and);
        }
        let refusals = self.tell(refusals, &sets.refused);
        let fits = sets.open;
        let mut all = fits.clone();
        for candidate in &alone {
            if let Some(place) = self.index.place(candidate.cluster.name.as_str()) {
                all.set(place, true);
            }
        }
        let groups = self.groups(&all, &tiers);
        for term in &request.policy.affinity.preferred {
            self.answer(Question::Matches(term.selector.clone()));
        }
        let ranking = Ranking::new(self, scale, &parts, &fits, kept, &alone);
        let chosen = self.shortlist(&ranking, kept, (&fits, all.count()), &tiers, &groups);
        let cheapest = ranking.cheapest;
        let mut candidates = alone;
        candidates.extend(chosen.into_iter().filter_map(|place| self.ask(place, scale)?.ok()));
        candidates.sort_by(|a, b| a.cluster.name.cmp(&b.cluster.name));
        let names = self.index.names().clone();
        Found { candidates, refusals, settling, cheapest, unchosen: Unchosen { names, places: all, groups } }
    }

    fn cluster(&self, place: usize) -> Option<&'a Cluster> {
        self.fleet.cluster(self.index.names().get(place)?.as_str())
    }

    /// Asks one cluster in full.
    fn ask(&self, place: usize, scale: &Scale) -> Option<Result<Candidate<'a>, Refusal>> {
        let cluster = self.cluster(place)?;
        let workloads = self.objects.in_cluster(&cluster.name);
        let found = self.come(place, workloads, cluster);
        Some(found.map(|(left, tier)| {
            let points = scale.points(self.request, workloads, cluster, Some(&left), false);
            Candidate { cluster, workloads, left, points, tier }
        }))
    }

    /// What the filters say of a cluster, where the index knows what expressions say of it.
    fn come(
        &self,
        place: usize,
        workloads: &[Workload],
        cluster: &'a Cluster,
    ) -> Result<(Left<'a>, usize), Refusal> {
        let expressions = || {
            if !self.request.verdicts.is_empty() {
                return filter::expression::admits(self.request, cluster);
            }
            for (index, expression) in self.request.policy.affinity.expressions.iter().enumerate() {
                let question = Question::Holds(expression.clone());
                if self.index.answered(&question).is_some_and(|bits| !bits.has(place)) {
                    let error = self.index.error(&question, place);
                    return filter::expression::false_here(index, expression, error);
                }
            }
            Ok(())
        };
        filter::may_come_where(self.request, workloads, self.fleet, cluster, expressions)
    }

    /// The versions of the objects, with the clusters that have each.
    fn parts(&mut self) -> Vec<Part> {
        let (request, objects) = (self.request, self.objects);
        let mut parts = vec![(self.index.all(), objects.plain())];
        if !request.variants.is_empty() {
            parts.extend(objects.versions().map(|workloads| (self.index.none(), workloads)));
            for (name, version) in request.variants.clusters() {
                if let Some(place) = self.index.place(name.as_str()) {
                    parts[0].0.set(place, false);
                    parts[version + 1].0.set(place, true);
                }
            }
        }
        let part = |(members, workloads): (Bits, &[Workload])| {
            let key = ClassKey::of(&request.policy, workloads);
            self.index.prepare(self.fleet, &key, workloads);
            Part { members, key }
        };
        parts.into_iter().filter(|(members, _)| !members.is_empty()).map(part).collect()
    }

    fn answer(&mut self, question: Question) -> &Bits {
        self.index.answer(self.fleet, question)
    }

    /// The clusters of a set.
    fn set(&mut self, set: &super::ClusterSet) -> Bits {
        let mut bits = self.index.named(set.names.iter().map(String::as_str));
        if let Some(selector) = &set.selector {
            bits.unite(self.answer(Question::Matches(selector.clone())));
        }
        bits
    }

    /// The filters that do not ask what objects take. Gives the clusters of each tier.
    fn cluster_filters(&mut self, sets: &mut Sets, parts: &[Part]) -> Vec<Bits> {
        let request = self.request;
        let policy = &request.policy;
        let affinity = &policy.affinity;
        if !affinity.exclude.is_empty() {
            sets.stop(Reason::Excluded, &self.index.named(affinity.exclude.iter().map(String::as_str)));
        }
        if !affinity.cluster_names.is_empty() {
            let named = self.index.named(affinity.cluster_names.iter().map(String::as_str));
            sets.pass(Reason::AffinityMismatch, &named);
        }
        if !affinity.required.is_empty() {
            let mut matches = self.index.none();
            for term in &affinity.required {
                matches.unite(self.answer(Question::Matches(term.clone())));
            }
            sets.pass(Reason::AffinityMismatch, &matches);
        }
        let mut tiers = Vec::new();
        let mut in_none = sets.open.clone();
        for tier in &policy.tiers {
            let mut members = self.set(&tier.clusters);
            members.intersect(&in_none);
            in_none.subtract(&members);
            tiers.push(members);
        }
        if tiers.is_empty() {
            tiers.push(sets.open.clone());
        } else {
            sets.stop(Reason::NotInTier, &in_none);
        }
        sets.stop(Reason::HubItself, &self.index.hubs);
        sets.pass(Reason::NotAccepted, &self.index.accepted);
        sets.pass(Reason::Unreachable, &self.index.connected);
        let mut returned = self.index.returned.clone();
        returned.intersect(&sets.open);
        if !returned.is_empty() {
            let settles =
                |place: &usize| self.cluster(*place).is_some_and(|one| request.settles_at(one).is_some());
            let mut settling = self.index.none();
            returned.iter().filter(settles).for_each(|place| settling.set(place, true));
            sets.stop(Reason::Settling, &settling);
        }
        sets.stop(Reason::Draining, &self.index.draining);
        self.agents(sets, parts);
        let tolerates = Question::Tolerates(policy.tolerations.clone());
        sets.pass(Reason::UntoleratedTaint, self.answer(tolerates));
        let admits = Question::Admits(request.placement.namespace.clone());
        sets.pass(Reason::NamespaceNotAllowed, self.answer(admits));
        sets.pass(Reason::CapacityUnknown, &self.index.reported);
        let limit = nanoseconds(request.now).saturating_sub(nanoseconds_of(STALE_AFTER));
        if !self.index.all_received_since(limit) {
            let received = &self.index.received;
            let stale = Bits::of(received.len(), |place| received[place] < limit);
            sets.stop(Reason::CapacityStale, &stale);
        }
        for constraint in policy.spread.iter().filter(|constraint| constraint.is_hard) {
            sets.pass(Reason::TopologySpread, self.answer(Question::Has(constraint.key.clone())));
        }
        self.expressions(sets, &affinity.expressions);
        if !request.variants.is_empty() {
            let faulty = request.variants.faulty().map(ClusterName::as_str);
            sets.stop(Reason::InvalidOverride, &self.index.named(faulty));
        }
        tiers
    }

    /// Agents that do not know a kind of the objects that they would have.
    fn agents(&mut self, sets: &mut Sets, parts: &[Part]) {
        let mut old = self.index.none();
        for part in parts {
            let mut kinds: Vec<(String, String)> = Vec::new();
            let first = part.members.iter().next().and_then(|place| self.cluster(place));
            let Some(first) = first else { continue };
            for workload in self.objects.in_cluster(&first.name) {
                let kind = (workload.object.api_version.clone(), workload.object.kind.clone());
                if !kinds.contains(&kind) {
                    kinds.push(kind);
                }
            }
            for (api_version, kind) in kinds {
                let mut lacks = part.members.clone();
                lacks.subtract(self.answer(Question::Knows { api_version, kind }));
                old.unite(&lacks);
            }
        }
        sets.stop(Reason::AgentTooOld, &old);
    }

    /// Expressions: as they were asked before, where they were.
    fn expressions(&mut self, sets: &mut Sets, expressions: &[Expression]) {
        if expressions.is_empty() {
            return;
        }
        let verdicts = &self.request.verdicts;
        if verdicts.is_empty() {
            for expression in expressions {
                sets.pass(Reason::ExpressionFalse, self.answer(Question::Holds(expression.clone())));
            }
            return;
        }
        let mut fails = self.index.none();
        for place in sets.open.iter() {
            let name = &self.index.names()[place];
            let is_true = match verdicts.of(name) {
                Some(failed) => failed.is_empty(),
                None => self.cluster(place).is_some_and(|one| {
                    expressions.iter().all(|expression| expression.holds(one) == Ok(true))
                }),
            };
            if !is_true {
                fails.set(place, true);
            }
        }
        sets.stop(Reason::ExpressionFalse, &fails);
    }

    /// The filters that ask whether a cluster has what objects take, and those that are asked of it last.
    fn object_filters(&mut self, sets: &mut Sets, parts: &[Part]) {
        let request = self.request;
        let refuse = |sets: &mut Sets, is_early: bool| {
            let mut all: Vec<(Reason, Bits)> = Vec::new();
            for part in parts {
                let class = self.index.known_class(&part.key);
                for (reason, bits) in class.into_iter().flat_map(|class| &class.refused) {
                    if filter::is_early(*reason) == is_early {
                        let mut bits = bits.clone();
                        bits.intersect(&part.members);
                        all.push((*reason, bits));
                    }
                }
            }
            // Each cluster is in one of them at most.
            for (reason, bits) in all {
                sets.stop(reason, &bits);
            }
        };
        let denied = |reason: Reason| {
            let names = request.denied.iter().filter(move |(_, denied)| denied.reason == reason);
            names.map(|(name, _)| name.as_str())
        };
        refuse(sets, true);
        if !request.denied.is_empty() {
            sets.stop(Reason::NoRoom, &self.index.named(denied(Reason::NoRoom)));
        }
        refuse(sets, false);
        if !request.over_quota.is_empty() {
            sets.stop(
                Reason::QuotaExceeded,
                &self.index.named(request.over_quota.keys().map(String::as_str)),
            );
        }
        if !request.denied.is_empty() {
            sets.stop(Reason::PolicyDenied, &self.index.named(denied(Reason::PolicyDenied)));
        }
    }

    /// Counts who was refused, and says of the first of each reason why.
    fn tell(&self, mut refusals: Refusals, refused: &BTreeMap<Reason, Bits>) -> Refusals {
        for (reason, bits) in refused {
            let (told, count) = (refusals.may_tell(*reason), bits.count());
            for place in bits.iter().take(told) {
                let Some(cluster) = self.cluster(place) else { continue };
                let workloads = self.objects.in_cluster(&cluster.name);
                let found = self.come(place, workloads, cluster);
                debug_assert!(
                    found.as_ref().is_err_and(|refusal| refusal.reason == *reason),
                    "the index refuses {} as {reason:?}, the filters say {found:?}",
                    cluster.name
                );
                let message = found.err().map(|refusal| refusal.message).unwrap_or_default();
                refusals.told.push(Refused { cluster: cluster.name.to_string(), reason: *reason, message });
            }
            refusals.add_to(*reason, count);
        }
        refusals
    }

    /// Clusters of one tier that share all domains. One group where nothing depends on what else is chosen.
    fn groups(&mut self, fits: &Bits, tiers: &[Bits]) -> Groups {
        let request = self.request;
        let policy = &request.policy;
        let has_floors = policy.tiers.iter().any(|tier| tier.least > 0);
        if policy.spread.is_empty() && !has_floors {
            return Groups { of: Vec::new(), first: fits.iter().take(1).collect() };
        }
        let mut of = vec![0; fits.len()];
        for (number, tier) in tiers.iter().enumerate() {
            let number = u32::try_from(number).unwrap_or(NOWHERE);
            tier.iter().for_each(|place| of[place] = number);
        }
        let mut count = u32::try_from(tiers.len()).unwrap_or(NOWHERE);
        for constraint in &policy.spread {
            let domain = self.index.domain(self.fleet, &constraint.key);
            let values = u32::try_from(domain.count()).unwrap_or(NOWHERE).saturating_add(1);
            if let Some(product) = count.checked_mul(values).filter(|product| *product < NOWHERE) {
                for place in fits.iter() {
                    of[place] = of[place] * values + domain.numbers[place].wrapping_add(1);
                }
                count = product;
                continue;
            }
            let mut known: HashMap<(u32, u32), u32> = HashMap::new();
            for place in fits.iter() {
                let next = u32::try_from(known.len()).unwrap_or(NOWHERE);
                of[place] = *known.entry((of[place], domain.numbers[place])).or_insert(next);
            }
            count = u32::try_from(known.len()).unwrap_or(NOWHERE);
        }
        // Numbers without gaps.
        let mut first = Vec::new();
        let mut numbers: HashMap<u32, u32> = HashMap::new();
        let mut dense = vec![NOWHERE; if count <= 4096 { count as usize } else { 0 }];
        for place in fits.iter() {
            let number = of[place];
            let next = u32::try_from(first.len()).unwrap_or(NOWHERE);
            let known = match dense.get_mut(number as usize) {
                Some(known) => known,
                None => numbers.entry(number).or_insert(NOWHERE),
            };
            if *known == NOWHERE {
                *known = next;
                first.push(place);
            }
            of[place] = *known;
        }
        Groups { of, first }
    }

    /// The places of those that may be chosen, in order: the best of each group.
    fn shortlist(
        &self,
        ranking: &Ranking<'_>,
        kept: &[Kept<'a>],
        (fits, count): (&Bits, usize),
        tiers: &[Bits],
        groups: &Groups,
    ) -> Vec<usize> {
        let policy = &self.request.policy;
        let spreads = !policy.spread.is_empty();
        if policy.division == Division::Divided || spreads && count <= FEW {
            return fits.iter().collect();
        }
        let wanted = usize::try_from(policy.clusters.unwrap_or(1)).unwrap_or(usize::MAX);
        let leaving = kept.iter().filter(|kept| kept.leaving.is_some()).count();
        let mut most = wanted.saturating_sub(kept.len()).saturating_add(leaving);
        if self.request.rebalance.is_some() {
            most = most.max(wanted).max(kept.len());
        }
        if !spreads && most == 0 {
            return Vec::new();
        }
        if most >= count {
            return fits.iter().collect();
        }
        let mut best: Vec<Best> = groups.first.iter().map(|_| Best::new(most.max(1))).collect();
        for (number, tier) in tiers.iter().enumerate() {
            let mut members = fits.clone();
            members.intersect(tier);
            ranking.each(number, &members, |place, rank| {
                let group = groups.of.get(place).map_or(0, |group| *group as usize);
                best[group].offer(rank, place);
            });
        }
        let mut places: Vec<usize> = best.into_iter().flat_map(Best::into_places).collect();
        places.sort_unstable();
        // Of few candidates all sets are tried: there must not seem to be few.
        if spreads && places.len() <= FEW {
            let others: Vec<usize> = fits
                .iter()
                .filter(|place| places.binary_search(place).is_err())
                .take(FEW + 1 - places.len())
                .collect();
            places.extend(others);
            places.sort_unstable();
        }
        places
    }
}

/// Clusters that fit, in groups that share what a choice depends on beside scores.
#[derive(Debug, Default)]
pub(super) struct Groups {
    /// The number of each cluster's group, by place; empty where there is one group.
    pub(super) of: Vec<u32>,
    /// The first cluster of each group.
    pub(super) first: Vec<usize>,
}

/// The best that were offered, as many as are wanted.
struct Best {
    most: usize,
    /// The worst on top.
    best: std::collections::BinaryHeap<(u64, usize)>,
}

impl Best {
    fn new(most: usize) -> Self {
        Self { most, best: std::collections::BinaryHeap::new() }
    }

    fn offer(&mut self, rank: u64, place: usize) {
        if self.best.len() < self.most {
            self.best.push((rank, place));
        } else if let Some(mut worst) = self.best.peek_mut()
            && (rank, place) < *worst
        {
            *worst = (rank, place);
        }
    }

    fn into_places(self) -> impl Iterator<Item = usize> {
        self.best.into_iter().map(|(_, place)| place)
    }
}

fn nanoseconds_of(duration: SignedDuration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

/// How clusters that fit are ordered, from arrays.
struct Ranking<'s> {
    index: &'s Index,
    weights: [u32; 7],
    strategy: CapacityStrategy,
    /// Of each version its clusters.
    parts: Vec<(&'s Bits, &'s Class)>,
    preferred: Vec<(u32, &'s Bits)>,
    all_preferred: u32,
    /// The cost of the cheapest, of those that stay and could come.
    cheapest: Option<u64>,
    /// What some wait for, in order.
    delays: Vec<SignedDuration>,
    now: i64,
    /// Whether no report is so old that it counts less.
    is_fresh: bool,
}

impl<'s> Ranking<'s> {
    fn new(
        survey: &'s Survey<'_, '_>,
        scale: &Scale,
        parts: &'s [Part],
        fits: &Bits,
        kept: &[Kept<'_>],
        alone: &[Candidate<'_>],
    ) -> Self {
        let (index, policy) = (&*survey.index, &survey.request.policy);
        let known = |part: &'s Part| Some((&part.members, index.known_class(&part.key)?));
        let parts: Vec<_> = parts.iter().filter_map(known).collect();
        let mut cheapest = None;
        if scale.counts(Score::Cost) {
            let there = kept.iter().map(|kept| (kept.workloads, kept.cluster));
            let alone = alone.iter().map(|one| (one.workloads, one.cluster));
            let costs = there.chain(alone).filter_map(|(workloads, cluster)| score::cost(workloads, cluster));
            let of = |(members, class): &(&Bits, &Class)| {
                let mut members = (*members).clone();
                members.intersect(fits);
                members.iter().filter_map(|place| class.cost.get(place).copied()).min()
            };
            let others = parts.iter().filter_map(of).filter(|cost| *cost < u64::MAX);
            cheapest = costs.chain(others).min();
        }
        let mut delays: Vec<SignedDuration> =
            parts.iter().flat_map(|(_, class)| class.waits.values().copied()).collect();
        delays.sort_unstable();
        delays.dedup();
        let terms = policy.affinity.preferred.iter();
        let preferred = terms.clone().filter_map(|term| {
            let question = Question::Matches(term.selector.clone());
            Some((term.weight, index.answered(&question)?))
        });
        let now = nanoseconds(survey.request.now).saturating_sub(nanoseconds_of(score::REPEATED));
        Self {
            index,
            weights: scale.weights(),
            strategy: policy.capacity_strategy,
            parts,
            preferred: preferred.collect(),
            all_preferred: terms.map(|term| term.weight).sum(),
            cheapest,
            delays,
            now,
            is_fresh: index.all_received_since(now),
        }
    }

    /// The rank of each of these clusters, which are of one tier: the lower the better, and of equal ones the first by name.
    fn each(&self, tier: usize, members: &Bits, mut offer: impl FnMut(usize, u64)) {
        let tier = u64::try_from(tier).unwrap_or(u64::MAX) << 48;
        for (of_part, class) in &self.parts {
            let mut places = members.clone();
            places.intersect(of_part);
            for place in places.iter() {
                let wait = class.waits.get(&place).map_or(0, |delay| {
                    let before = self.delays.binary_search(delay).unwrap_or_else(|at| at);
                    u64::try_from(before + 1).unwrap_or(u64::MAX)
                });
                offer(place, tier | wait << 32 | u64::from(u32::MAX - self.sum(class, place)));
            }
        }
    }

    /// The sum of a cluster's points by weight, without those for spread: what [`Scale::sum`] makes of [`Scale::points`].
    fn sum(&self, class: &Class, place: usize) -> u32 {
        let weight = |score: Score| self.weights[score as usize];
        let free = match self.strategy {
            _ if !class.takes_gpus => 0,
            CapacityStrategy::Spread => class.free[place],
            CapacityStrategy::Pack => 100 - class.free[place],
        };
        let mut sum = weight(Score::CacheLocality) * u32::from(class.cached[place])
            + weight(Score::FreeCapacity) * u32::from(free);
        if weight(Score::Cost) > 0 {
            let cost = class.cost.get(place).copied().filter(|cost| *cost < u64::MAX);
            sum += weight(Score::Cost) * score::cost_points(cost, self.cheapest).min(100);
        }
        let matching = self.preferred.iter().filter(|(_, bits)| bits.has(place));
        let matched: u32 = matching.map(|(weight, _)| weight).sum();
        let preferred = (matched * 100).checked_div(self.all_preferred).unwrap_or(0);
        sum += weight(Score::PreferredAffinity) * preferred.min(100);
        let fresh = if self.is_fresh {
            100
        } else {
            score::freshness_points(self.now.saturating_sub(self.index.received[place]) / 1_000_000_000)
        };
        sum + weight(Score::Freshness) * fresh
    }
}
