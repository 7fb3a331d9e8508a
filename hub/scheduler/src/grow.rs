//! Where new replicas go: tier by tier, among what stays and the best candidates.

use std::collections::BTreeSet;

use super::{
    ShareBy,
    divide::{apportion, apportion_within},
    member::{Divisible, Member, Shared},
    run::Candidate,
    select::Choice,
};
use crate::fleet::Cluster;

/// Most candidates among which a larger one is looked for: those that take most.
const MANY: usize = 32;

/// Shares among those that stay and the best candidates, in up to `slots` clusters.
pub(super) fn grow<'a>(
    choice: &Choice<'a>,
    divisible: &[Divisible<'_>],
    members: &[Member<'a>],
    candidates: &[Candidate<'a>],
    slots: usize,
) -> Shared<'a> {
    let candidates: Vec<_> =
        candidates.iter().map(|candidate| Member::new(candidate, divisible.len())).collect();
    share(choice, divisible, members, candidates, slots)
}

/// The same where nothing is given yet, and those that stay are no better than others for it.
pub(super) fn among<'a>(
    choice: &Choice<'a>,
    divisible: &[Divisible<'_>],
    here: Vec<Member<'a>>,
    candidates: &[Candidate<'a>],
    slots: usize,
) -> Shared<'a> {
    let mut all = here;
    all.extend(candidates.iter().map(|candidate| Member::new(candidate, divisible.len())));
    share(choice, divisible, &[], all, slots)
}

/// Where a least share for each cluster leaves replicas without a place, fewer and larger clusters may have one.
fn share<'a>(
    choice: &Choice<'a>,
    divisible: &[Divisible<'_>],
    members: &[Member<'a>],
    candidates: Vec<Member<'a>>,
    slots: usize,
) -> Shared<'a> {
    let least = choice.request.policy.shares.least;
    let others = if least > 1 { candidates.clone() } else { Vec::new() };
    let first = run(Growth { choice, divisible, members: members.to_vec(), candidates, slots, few: false });
    if first.missing == 0 || least <= 1 {
        return first;
    }
    let few =
        run(Growth { choice, divisible, members: members.to_vec(), candidates: others, slots, few: true });
    if few.missing < first.missing { few } else { first }
}

/// Replicas that are being shared.
struct Growth<'a, 'w> {
    choice: &'w Choice<'a>,
    divisible: &'w [Divisible<'w>],
    /// Those that have replicas, or get some.
    members: Vec<Member<'a>>,
    /// Those that could.
    candidates: Vec<Member<'a>>,
    slots: usize,
    /// Whether as few clusters come as possible, whatever the policy says.
    few: bool,
}

fn run<'a>(mut growth: Growth<'a, '_>) -> Shared<'a> {
    growth.shrink();
    let tiers = &growth.choice.request.policy.tiers;
    for (tier, of_tier) in tiers.iter().enumerate().filter(|(_, tier)| tier.least > 0) {
        let has = |i: usize| -> u32 {
            growth.members.iter().filter(|member| member.tier == tier).map(|member| member.has[i]).sum()
        };
        let rest = growth.rest();
        let amounts: Vec<u32> = rest
            .iter()
            .enumerate()
            .map(|(i, rest)| (*rest).min(of_tier.least.saturating_sub(has(i))))
            .collect();
        growth.fill(tier, &amounts);
    }
    for tier in 0..tiers.len().max(1) {
        let rest = growth.rest();
        growth.fill(tier, &rest);
    }
    let missing = growth.rest().iter().sum();
    let mut members = growth.members;
    members.sort_by(|a, b| a.cluster.name.cmp(&b.cluster.name));
    let replicas = members.iter().map(|member| member.has.clone()).collect();
    Shared { members, replicas, missing }
}

impl<'a> Growth<'a, '_> {
    /// Replicas that have no place, by object.
    fn rest(&self) -> Vec<u32> {
        let of_one = |(i, divided): (usize, &Divisible<'_>)| {
            let given = self.members.iter().map(|member| member.has[i]).fold(0, u32::saturating_add);
            divided.replicas().saturating_sub(given)
        };
        self.divisible.iter().enumerate().map(of_one).collect()
    }

    /// Takes what is too many, in the proportion in which it is there. The room it leaves is reported later.
    fn shrink(&mut self) {
        for (i, divided) in self.divisible.iter().enumerate() {
            let has: Vec<u32> = self.members.iter().map(|member| member.has[i]).collect();
            let wanted = divided.replicas();
            if has.iter().copied().fold(0, u32::saturating_add) > wanted {
                let shares = apportion(wanted, &has, &has);
                self.members.iter_mut().zip(shares).for_each(|(member, share)| member.has[i] = share);
            }
        }
    }

    /// Fewest and most replicas of an object in one cluster.
    fn bounds(&self) -> (u32, Option<u32>) {
        let shares = &self.choice.request.policy.shares;
        (shares.least.max(1), shares.most)
    }

    /// Gives so many replicas of each object to clusters of a tier.
    fn fill(&mut self, tier: usize, amounts: &[u32]) {
        // Where there is nothing to share, one cluster will do.
        let has_nothing = self.divisible.iter().all(|divided| divided.replicas() == 0);
        if amounts.iter().all(|amount| *amount == 0) && !(has_nothing && self.members.is_empty()) {
            return;
        }
        let newcomers = self.newcomers(tier, amounts);
        let first = self.members.len();
        for at in newcomers {
            self.members.push(self.candidates[at].clone());
        }
        let come: BTreeSet<&str> =
            self.members[first..].iter().map(|member| member.cluster.name.as_str()).collect();
        self.candidates.retain(|candidate| !come.contains(candidate.cluster.name.as_str()));
        for (i, amount) in amounts.iter().enumerate().filter(|(_, amount)| **amount > 0) {
            self.share(tier, i, *amount, first);
        }
        // Who was taken for nothing is none.
        let mut at = 0;
        self.members.retain(|member| {
            at += 1;
            at <= first || has_nothing || member.has.iter().any(|has| *has > 0)
        });
    }

    /// Shares replicas of one object among the members of a tier; those from `first` on are new.
    fn share(&mut self, tier: usize, i: usize, amount: u32, first: usize) {
        let (least, most) = self.bounds();
        let divided = self.divisible[i];
        let is_limited = self.choice.request.policy.clusters.is_some();
        let mut sharing: Vec<usize> =
            (0..self.members.len()).filter(|&at| self.members[at].tier == tier).collect();
        let of = |at: usize| &self.members[at];
        let mut caps: Vec<u32> = sharing.iter().map(|&at| of(at).fits(i, divided, most, amount)).collect();
        // A new one gets as many as it must have; without a number of clusters it may as well get none.
        let floors = sharing.iter().zip(&caps).map(|(&at, cap)| {
            let floor = match of(at).has[i] {
                0 if at >= first && (is_limited || least > 1) => least.min(amount),
                0 => 0,
                has => least.saturating_sub(has),
            };
            floor.min(*cap)
        });
        let mut floors: Vec<u32> = floors.collect();
        // More clusters than replicas: the last that came are too many.
        let mut all = floors.iter().map(|floor| u64::from(*floor)).sum::<u64>();
        while all > u64::from(amount) && sharing.last().is_some_and(|&at| at >= first) {
            sharing.pop();
            caps.pop();
            all -= u64::from(floors.pop().unwrap_or(0));
        }
        let weights = self.weights(&sharing, i, &caps, amount);
        let shares = apportion_within(amount, &weights, &floors, &caps);
        let shares = shares.unwrap_or_else(|| apportion(amount, &weights, &caps));
        for (&at, more) in sharing.iter().zip(shares) {
            self.members[at].take(i, divided, more);
        }
    }

    /// What members weigh, in the order of `sharing`.
    fn weights(&self, sharing: &[usize], i: usize, caps: &[u32], amount: u32) -> Vec<u32> {
        let divided = self.divisible[i];
        let policy = &self.choice.request.policy.shares;
        match policy.by {
            ShareBy::FreeCapacity => {
                let free = |&at: &usize| self.members[at].free(divided);
                sharing.iter().zip(caps).map(|(at, cap)| free(at).max(*cap)).collect()
            }
            // Whoever is filled first weighs so much that the next gets only what it cannot take.
            ShareBy::Aggregated => {
                let mut rest = amount;
                let fill = |cap: &u32| {
                    let takes = rest.min(*cap);
                    rest -= takes;
                    takes
                };
                caps.iter().map(fill).collect()
            }
            ShareBy::Weighted => {
                // What is there counts: who has more than its share gets nothing more.
                let weights: Vec<u32> =
                    sharing.iter().map(|&at| self.weight(self.members[at].cluster)).collect();
                let has: Vec<u32> = sharing.iter().map(|&at| self.members[at].has[i]).collect();
                let all = has.iter().copied().fold(amount, u32::saturating_add);
                let caps: Vec<u32> =
                    caps.iter().zip(&has).map(|(cap, has)| cap.saturating_add(*has)).collect();
                let target = apportion(all, &weights, &caps);
                let deficits: Vec<u32> =
                    target.iter().zip(&has).map(|(to, has)| to.saturating_sub(*has)).collect();
                if deficits.iter().all(|deficit| *deficit == 0) { weights } else { deficits }
            }
        }
    }

    /// What the policy says a cluster weighs.
    fn weight(&self, cluster: &Cluster) -> u32 {
        self.choice.request.policy.weight_of(cluster)
    }

    /// Which candidates of a tier come, so that these replicas find a place.
    fn newcomers(&self, tier: usize, amounts: &[u32]) -> Vec<usize> {
        let free = self.slots.saturating_sub(self.members.len());
        if free == 0 {
            return Vec::new();
        }
        let by = self.choice.request.policy.shares.by;
        let (least, most) = self.bounds();
        let could = |member: &Member<'a>| {
            let enough = |(i, amount): (usize, &u32)| {
                let least = least.min(*amount);
                member.fits(i, self.divisible[i], most, least) >= least
            };
            member.tier == tier
                && (by != ShareBy::Weighted || self.weight(member.cluster) > 0)
                && amounts.iter().enumerate().all(enough)
        };
        let open: Vec<usize> = (0..self.candidates.len()).filter(|&at| could(&self.candidates[at])).collect();
        let order = self.order(&open, free);
        let is_limited = self.choice.request.policy.clusters.is_some();
        let here = self.members.iter().filter(|member| member.tier == tier);
        let rest = here.fold(amounts.to_vec(), |rest, member| self.after(member, rest));
        match by {
            ShareBy::Aggregated => self.fewest(order, rest, free),
            _ if self.few => self.fewest(order, rest, free),
            _ if is_limited => self.enough(order, &rest, free),
            ShareBy::Weighted => order,
            ShareBy::FreeCapacity => self.until(order, rest, free),
        }
    }

    /// Candidates from the best on, and none that breaks the spread.
    fn order(&self, open: &[usize], free: usize) -> Vec<usize> {
        let plain: Vec<Candidate<'a>> =
            open.iter().filter_map(|&at| self.candidates[at].candidate()).collect();
        let taken: Vec<_> = self.members.iter().map(|member| (member.cluster, member.tier)).collect();
        let is_free = self.choice.request.policy.spread.iter().all(|constraint| !constraint.is_hard);
        // Where nothing is spread, those that come after the wanted ones are known too, for those that cannot take enough.
        let wanted = if is_free { plain.len() } else { free.min(plain.len()) };
        self.choice.order(&plain, &taken, wanted).into_iter().map(|i| open[i]).collect()
    }

    /// What of these replicas a cluster takes when it takes all that it can.
    fn takes(&self, member: &Member<'a>, rest: &[u32]) -> Vec<u32> {
        let (_, most) = self.bounds();
        if let [rest] = rest {
            return vec![if *rest == 0 { 0 } else { member.fits(0, self.divisible[0], most, *rest) }];
        }
        let mut member = member.clone();
        let of_one = |(i, rest): (usize, &u32)| {
            if *rest == 0 {
                return 0;
            }
            let takes = member.fits(i, self.divisible[i], most, *rest);
            member.take(i, self.divisible[i], takes);
            takes
        };
        rest.iter().enumerate().map(of_one).collect()
    }

    /// What remains of these replicas when a cluster has taken all that it can.
    fn after(&self, member: &Member<'a>, mut rest: Vec<u32>) -> Vec<u32> {
        let takes = self.takes(member, &rest);
        rest.iter_mut().zip(takes).for_each(|(rest, takes)| *rest -= takes);
        rest
    }

    /// From the best on, until all find a place.
    fn until(&self, order: Vec<usize>, mut rest: Vec<u32>, free: usize) -> Vec<usize> {
        let mut come = Vec::new();
        for at in order.into_iter().take(free) {
            if rest.iter().all(|rest| *rest == 0) && !(come.is_empty() && self.members.is_empty()) {
                break;
            }
            rest = self.after(&self.candidates[at], rest);
            come.push(at);
        }
        come
    }

    /// As many as are wanted: the best, but as large as it takes.
    fn enough(&self, order: Vec<usize>, rest: &[u32], free: usize) -> Vec<usize> {
        let mut known = Known::new(self, rest);
        let mut come: Vec<usize> = order.iter().copied().take(free).collect();
        let mut others: Vec<usize> = order.into_iter().skip(free).collect();
        if others.len() > MANY {
            others.sort_by_cached_key(|&at| known.left(at, rest));
            others.truncate(MANY);
        }
        let (mut rests, mut after) = known.along(&come, rest);
        let mut missing = rests.last().map_or(0, |rest| rest.iter().sum());
        while missing > 0 {
            // The exchange that costs least: the worst of those that come for the best of the others, of those that help most.
            let mut best: Option<(u32, usize, usize)> = None;
            for out in (0..come.len()).rev() {
                for (other, &candidate) in others.iter().enumerate() {
                    let mut left = rests[out].clone();
                    known.take(candidate, &mut left);
                    let lacks = known.lacks(&come[out + 1..], after[out + 1].as_deref(), left);
                    if lacks < best.map_or(missing, |(lacks, _, _)| lacks) {
                        best = Some((lacks, out, other));
                    }
                }
            }
            let Some((lacks, out, other)) = best else { break };
            std::mem::swap(&mut come[out], &mut others[other]);
            missing = lacks;
            (rests, after) = known.along(&come, rest);
        }
        come
    }

    /// As few as possible: the best that takes all the rest, or else the one that takes most of it.
    fn fewest(&self, mut order: Vec<usize>, mut rest: Vec<u32>, free: usize) -> Vec<usize> {
        let mut known = Known::new(self, &rest);
        let mut come = Vec::new();
        while come.len() < free
            && (rest.iter().any(|rest| *rest > 0) || come.is_empty() && self.members.is_empty())
        {
            // `min_by_key` takes the first of equal ones: the best.
            let next = order.iter().enumerate().min_by_key(|(_, at)| known.left(**at, &rest));
            let Some((place, &at)) = next else { break };
            known.take(at, &mut rest);
            come.push(at);
            order.remove(place);
        }
        come
    }
}

/// What candidates take, found out once where it is the same again: whoever is not held back by what remains takes the same of
/// more and of less, as long as it is enough.
struct Known<'g, 'a, 'w> {
    growth: &'g Growth<'a, 'w>,
    /// Of all replicas that are looked for.
    of_all: Vec<Option<Taken>>,
    /// Of what remained when that was asked last.
    of_rest: Vec<Option<Taken>>,
    all: Vec<u32>,
}

/// What a candidate took, and of what.
struct Taken {
    takes: Vec<u32>,
    of: Vec<u32>,
}

impl Taken {
    /// Whether it takes the same of other replicas.
    fn holds(&self, rest: &[u32]) -> bool {
        let each = self.takes.iter().zip(&self.of).zip(rest);
        each.into_iter().all(|((takes, of), rest)| takes <= rest && (takes < of || takes == rest))
    }
}

impl<'g, 'a, 'w> Known<'g, 'a, 'w> {
    fn new(growth: &'g Growth<'a, 'w>, all: &[u32]) -> Self {
        let none = || std::iter::repeat_with(|| None).take(growth.candidates.len()).collect();
        Self { growth, of_all: none(), of_rest: none(), all: all.to_vec() }
    }

    /// What a candidate takes of these replicas.
    fn takes(&mut self, at: usize, rest: &[u32]) -> &[u32] {
        let takes = |of: &[u32]| {
            let takes = self.growth.takes(&self.growth.candidates[at], of);
            Taken { takes, of: of.to_vec() }
        };
        let of_all = self.of_all[at].get_or_insert_with(|| takes(&self.all));
        if of_all.holds(rest) {
            return &of_all.takes;
        }
        let of_rest = &mut self.of_rest[at];
        if !of_rest.as_ref().is_some_and(|known| known.holds(rest)) {
            *of_rest = Some(takes(rest));
        }
        of_rest.as_ref().map_or(&[], |known| &known.takes)
    }

    /// Takes them.
    fn take(&mut self, at: usize, rest: &mut [u32]) {
        let takes = self.takes(at, rest).to_vec();
        rest.iter_mut().zip(takes).for_each(|(rest, takes)| *rest -= takes);
    }

    /// How many of these replicas remain when a candidate has taken all that it can.
    fn left(&mut self, at: usize, rest: &[u32]) -> u32 {
        let takes = self.takes(at, rest).iter();
        rest.iter().zip(takes).map(|(rest, takes)| rest - takes).sum()
    }

    /// What remains before each of some candidates, and after the last; and what each and all after it take together, as long as
    /// nothing holds them back.
    fn along(&mut self, come: &[usize], rest: &[u32]) -> (Vec<Vec<u32>>, Vec<Option<Vec<u32>>>) {
        let mut rests = vec![rest.to_vec()];
        for &at in come {
            let mut rest = rests.last().cloned().unwrap_or_default();
            self.take(at, &mut rest);
            rests.push(rest);
        }
        let all = self.all.clone();
        let mut after = vec![Some(vec![0u32; rest.len()])];
        for &at in come.iter().rev() {
            let takes = self.takes(at, &all);
            let is_free = takes.len() == 1 || takes.iter().zip(&all).all(|(takes, all)| takes < all);
            let sum = after.last().cloned().flatten().filter(|_| is_free);
            after.push(
                sum.map(|sum| sum.iter().zip(takes).map(|(sum, takes)| sum.saturating_add(*takes)).collect()),
            );
        }
        after.reverse();
        (rests, after)
    }

    /// How many of these replicas remain after some candidates, of which is known what they take if nothing holds them back.
    fn lacks(&mut self, come: &[usize], together: Option<&[u32]>, mut rest: Vec<u32>) -> u32 {
        match together {
            // Of one object whoever is held back takes all that remains.
            Some([takes]) => rest.iter().map(|rest| rest.saturating_sub(*takes)).sum(),
            Some(takes) if rest.iter().zip(takes).all(|(rest, takes)| takes <= rest) => {
                rest.iter().zip(takes).map(|(rest, takes)| rest - takes).sum()
            }
            _ => {
                for &at in come {
                    if rest.iter().all(|rest| *rest == 0) {
                        break;
                    }
                    self.take(at, &mut rest);
                }
                rest.iter().sum()
            }
        }
    }
}

#[cfg(test)]
#[path = "grow/tests.rs"]
mod tests;
