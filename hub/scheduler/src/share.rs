//! The chosen clusters share the replicas.
//!
//! Replicas stay where they are; what is new, finds no node or loses its cluster goes elsewhere: tier by tier, by weight, by
//! free capacity or into as few clusters as possible. A cluster that is left gives its replicas up only if all of them find a
//! place.

use std::collections::{BTreeSet, HashMap};

use super::{
    Cause, NAMED, Reason, Request, Workload, cause, grow,
    keep::{self, Kept},
    member::{Divisible, Member, Shared},
    run::{Candidate, Spread},
    select::Choice,
};
use crate::fleet::Fleet;

/// Shares the replicas among what stays and the best candidates.
pub(super) fn spread<'a>(
    choice: &Choice<'a>,
    workloads: &[Workload],
    fleet: &Fleet,
    mut kept: Vec<Kept<'a>>,
    candidates: &[Candidate<'a>],
) -> Spread {
    let request = choice.request;
    let divisible = Divisible::of(workloads);
    let total = divisible.iter().map(Divisible::replicas).fold(0, u32::saturating_add);
    // One replica at least per cluster; where there is nothing to share, one cluster will do.
    let limit = request.policy.clusters.map(|clusters| clusters.min(total.max(1)));
    let limit = if total == 0 { Some(limit.unwrap_or(1)) } else { limit };
    let slots = limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));

    let removed = keep::surplus(&mut kept, slots, choice.scale);
    let mut spread = Spread { removed, ..Spread::default() };
    let grow = |kept: &[Kept<'a>], idle: &Idle| {
        let members: Vec<_> = kept.iter().map(|kept| stays(&divisible, kept, idle)).collect();
        grow::grow(choice, &divisible, &members, candidates, slots)
    };
    let mut best = grow(&kept, &Idle::default());
    let leaving: Vec<_> = kept.iter().filter_map(|kept| Some((kept.leaving?, kept.clone()))).collect();
    for (cause, left) in leaving {
        let mut without = kept.clone();
        without.retain(|kept| kept.row.cluster != left.row.cluster);
        let attempt = grow(&without, &Idle::default());
        if attempt.missing == 0 && !attempt.members.is_empty() {
            spread.replace(request, &left, cause);
            (kept, best) = (without, attempt);
        } else if cause != Cause::Unschedulable {
            spread.stuck.get_or_insert_with(|| (left.cluster.name.clone(), cause));
        }
    }
    let mut idle = Idle::of(request, &divisible, fleet, &kept, &mut spread);
    if !idle.replicas.is_empty() {
        let mut attempt = grow(&kept, &idle);
        if attempt.missing > best.missing {
            // Those that find no place elsewhere wait where they are.
            let cluster = idle.wait(attempt.missing - best.missing);
            let stuck = kept.iter().find(|kept| Some(kept.row.cluster.as_str()) == cluster.as_deref());
            let stuck = stuck.map(|kept| (kept.cluster.name.clone(), Cause::Unschedulable));
            spread.stuck = spread.stuck.or(stuck);
            attempt = grow(&kept, &idle);
        }
        if attempt.missing <= best.missing {
            best = attempt;
        }
    }
    if request.rebalance.is_some() {
        best = anew(choice, &divisible, &kept, candidates, slots, best, &mut spread);
    }
    conclude(choice, workloads, &divisible, &best, limit, &mut spread);
    spread
}

/// Tells who is chosen, with which shares, and who is not needed.
fn conclude<'a>(
    choice: &Choice<'a>,
    workloads: &[Workload],
    divisible: &[Divisible<'_>],
    best: &Shared<'a>,
    limit: Option<u32>,
    spread: &mut Spread,
) {
    let total = divisible.iter().map(Divisible::replicas).fold(0, u32::saturating_add);
    for (member, replicas) in best.members.iter().zip(&best.replicas) {
        let idle = total > 0 && replicas.iter().all(|replicas| *replicas == 0);
        match &member.kept {
            None if idle => {}
            Some(kept) if idle => {
                let (reason, message) = match kept.leaving {
                    Some(Cause::Unschedulable) => (Reason::Unschedulable, "its replicas found no node"),
                    _ => (Reason::NotNeeded, "the other clusters run all replicas"),
                };
                spread.removed.push(kept.row.removed(reason, message.to_owned()));
            }
            _ => spread.chosen.push(member.chosen(choice, workloads, divisible, replicas)),
        }
    }
    if best.missing > 0 && !spread.chosen.is_empty() {
        let names: Vec<_> = spread.chosen.iter().take(NAMED).map(|chosen| chosen.cluster.as_str()).collect();
        spread.shortfalls.push(format!("no room for {} more in {}", best.missing, names.join(", ")));
    }
    let clusters = u32::try_from(spread.chosen.len()).unwrap_or(u32::MAX);
    spread.wanted_clusters = limit.unwrap_or(clusters.max(1));
    let fixed = workloads.iter().filter(|workload| workload.need.replicated && !workload.need.divisible());
    let fixed = fixed.map(|workload| workload.need.replicas).fold(0, u32::saturating_add);
    spread.wanted_replicas = total.saturating_add(fixed.saturating_mul(clusters.max(spread.wanted_clusters)));
}

/// Replicas that find no node for too long.
#[derive(Debug, Default)]
struct Idle {
    /// Cluster, object, replicas.
    replicas: Vec<(String, String, u32)>,
    /// Their places, by cluster.
    places: HashMap<String, Vec<usize>>,
}

impl Idle {
    fn of(
        request: &Request,
        divisible: &[Divisible<'_>],
        fleet: &Fleet,
        kept: &[Kept<'_>],
        spread: &mut Spread,
    ) -> Self {
        let mut idle = Self::default();
        for kept in kept {
            for divided in divisible {
                let (granted, workload) = (kept.row.granted(divided.uid()), divided.workload);
                let (pending, due_at) = cause::pending(request, fleet, kept.cluster, workload, granted);
                spread.due_at = [spread.due_at, due_at].into_iter().flatten().min();
                if pending > 0 {
                    let places = idle.places.entry(kept.cluster.name.to_string()).or_default();
                    places.push(idle.replicas.len());
                    idle.replicas.push((kept.cluster.name.to_string(), divided.uid().to_owned(), pending));
                }
            }
        }
        idle
    }

    /// So many of them, from the last on, stay; gives the cluster of one of them.
    fn wait(&mut self, mut replicas: u32) -> Option<String> {
        let mut cluster = None;
        for (name, _, pending) in self.replicas.iter_mut().rev() {
            let stay = replicas.min(*pending);
            if stay > 0 {
                cluster = Some(name.clone());
            }
            *pending -= stay;
            replicas -= stay;
        }
        cluster
    }

    fn in_cluster(&self, cluster: &str, uid: &str) -> u32 {
        let mut here = self.places.get(cluster).into_iter().flatten().map(|place| &self.replicas[*place]);
        here.find(|(_, object, _)| object == uid).map_or(0, |(_, _, replicas)| *replicas)
    }
}

/// A cluster that stays, with what it has. Where replicas find no node nothing new comes, whatever it reports as free.
fn stays<'a>(divisible: &[Divisible<'_>], kept: &Kept<'a>, idle: &Idle) -> Member<'a> {
    let name = kept.cluster.name.as_str();
    let has: Vec<u32> = divisible
        .iter()
        .map(|divided| {
            let uid = divided.uid();
            kept.row.granted(uid).saturating_sub(idle.in_cluster(name, uid))
        })
        .collect();
    let is_closed =
        idle.places.contains_key(name) || kept.is_silent() || kept.cluster.drain || kept.leaving.is_some();
    let left = kept.left.clone().filter(|_| !is_closed);
    Member {
        cluster: kept.cluster,
        workloads: kept.workloads,
        kept: Some(kept.clone()),
        left,
        points: kept.points,
        tier: kept.tier,
        sure: vec![0; has.len()],
        has,
    }
}

/// Told to choose anew: the shares as if it ran nowhere. Until all that come are ready, nothing is taken from where it runs.
fn anew<'a>(
    choice: &Choice<'a>,
    divisible: &[Divisible<'_>],
    kept: &[Kept<'a>],
    candidates: &[Candidate<'a>],
    slots: usize,
    now: Shared<'a>,
    spread: &mut Spread,
) -> Shared<'a> {
    let mut here = Vec::new();
    for kept in kept {
        let mut member = stays(divisible, kept, &Idle::default());
        if member.left.is_none() {
            // What cannot be told stays as it is.
            return now;
        }
        std::mem::swap(&mut member.has, &mut member.sure);
        member.points.set(super::score::Score::Stickiness, 0);
        here.push(member);
    }
    let target = grow::among(choice, divisible, here, candidates, slots);
    if target.missing > now.missing {
        spread.rebalanced = true;
        return now;
    }
    let mut target = target;
    let names: BTreeSet<_> = target.members.iter().map(|member| &member.cluster.name).collect();
    let missing: Vec<&Kept<'a>> = kept.iter().filter(|kept| !names.contains(&kept.cluster.name)).collect();
    for kept in missing {
        target.members.push(stays(divisible, kept, &Idle::default()));
        target.replicas.push(vec![0; divisible.len()]);
    }
    let has = |member: &Member<'a>, i: usize| {
        let granted = |kept: &Kept<'a>| kept.row.granted(divisible[i].uid());
        member.kept.as_ref().map_or(0, granted)
    };
    let is_ready = |(member, shares): (&Member<'a>, &Vec<u32>)| {
        shares.iter().all(|share| *share == 0)
            || shares.iter().enumerate().all(|(i, share)| has(member, i) >= *share)
                && member.kept.as_ref().is_some_and(|kept| kept.available)
    };
    let done = target.members.iter().zip(&target.replicas).all(is_ready);
    spread.rebalanced = done;
    if done {
        return target;
    }
    let mut surge = target;
    for (member, shares) in surge.members.iter().zip(&mut surge.replicas) {
        for (i, share) in shares.iter_mut().enumerate() {
            *share = (*share).max(has(member, i));
        }
    }
    surge
}
