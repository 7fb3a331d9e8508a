//! The chosen clusters share the replicas by free capacity.

use super::{
    Chosen, Granted, Reason, Request, Workload,
    divide::apportion,
    keep::{self, Kept},
    packing::Left,
    run::{Candidate, Spread},
};

/// A cluster that shares.
#[derive(Clone)]
enum Member<'a> {
    Stays(Kept<'a>),
    Comes(Candidate<'a>),
}

/// One way to share.
struct Shared<'a> {
    members: Vec<Member<'a>>,
    /// Replicas per member and workload, in the order of both.
    replicas: Vec<Vec<u32>>,
    /// Replicas that found no place.
    missing: u32,
}

/// Replicas stay where they are; what is new, or lost its cluster, goes to free GPUs, in as few clusters as
/// it takes unless a number of clusters is wanted. A lost cluster gives its replicas up only if all of them
/// find a place elsewhere.
pub(super) fn spread<'a>(
    request: &Request,
    workloads: &[Workload],
    mut kept: Vec<Kept<'a>>,
    candidates: &[Candidate<'a>],
) -> Spread {
    let divisible: Vec<&Workload> =
        Workload::largest_first(workloads).into_iter().filter(|workload| workload.need.divisible()).collect();
    let total = divisible.iter().map(|workload| workload.need.replicas).fold(0, u32::saturating_add);
    // One replica at least per cluster; where there is nothing to share, one cluster will do.
    let limit = request.policy.clusters.map(|clusters| clusters.min(total.max(1)));
    let limit = if total == 0 { Some(limit.unwrap_or(1)) } else { limit };

    let mut spread = Spread::default();
    if let Some(limit) = limit {
        spread.removed = keep::surplus(&mut kept, usize::try_from(limit).unwrap_or(usize::MAX));
    }
    let mut best = grow(&divisible, kept.clone(), candidates, limit);
    let losing: Vec<_> = kept.iter().filter(|kept| kept.lost).cloned().collect();
    for lost in losing {
        let mut without = kept.clone();
        without.retain(|kept| kept.row.cluster != lost.row.cluster);
        let attempt = grow(&divisible, without.clone(), candidates, limit);
        if attempt.missing == 0 && !attempt.members.is_empty() {
            spread.replace(request, &lost);
            (kept, best) = (without, attempt);
        } else {
            spread.stuck.get_or_insert_with(|| lost.cluster.name.clone());
        }
    }
    for (member, replicas) in best.members.iter().zip(&best.replicas) {
        let idle = total > 0 && replicas.iter().all(|replicas| *replicas == 0);
        match member {
            Member::Comes(_) if idle => {}
            Member::Stays(kept) if idle => {
                let message = "the other clusters run all replicas".to_owned();
                spread.removed.push(kept.row.removed(Reason::NotNeeded, message));
            }
            _ => spread.chosen.push(member.chosen(request, workloads, &divisible, replicas)),
        }
    }
    let clusters = u32::try_from(spread.chosen.len()).unwrap_or(u32::MAX);
    spread.wanted_clusters = limit.unwrap_or(clusters.max(1));
    let fixed = workloads.iter().filter(|workload| workload.need.replicated && !workload.need.divisible());
    let fixed = fixed.map(|workload| workload.need.replicas).fold(0, u32::saturating_add);
    spread.wanted_replicas = total.saturating_add(fixed.saturating_mul(clusters.max(spread.wanted_clusters)));
    spread
}

/// Shares among those that stay and the best candidates: up to `limit` clusters, or as few as give every
/// replica a place.
fn grow<'a>(
    divisible: &[&Workload],
    kept: Vec<Kept<'a>>,
    candidates: &[Candidate<'a>],
    limit: Option<u32>,
) -> Shared<'a> {
    let room = limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
    let mut coming = candidates.iter().cloned().map(Member::Comes);
    let mut members: Vec<Member<'a>> = kept.into_iter().map(Member::Stays).collect();
    if limit.is_some() {
        let free = room.saturating_sub(members.len());
        members.extend(coming.by_ref().take(free));
    }
    loop {
        let shared = share(divisible, members);
        if shared.missing == 0 || limit.is_some() {
            return shared;
        }
        let Some(next) = coming.next() else { return shared };
        members = shared.members;
        members.push(next);
    }
}

/// Shares every workload's replicas among the members.
fn share<'a>(divisible: &[&Workload], mut members: Vec<Member<'a>>) -> Shared<'a> {
    members.sort_by(|a, b| a.name().cmp(b.name()));
    let mut rooms: Vec<Option<Left<'a>>> = members.iter().map(Member::left).collect();
    let mut replicas = vec![Vec::new(); members.len()];
    let mut missing = 0u32;
    for workload in divisible {
        let wanted = workload.need.replicas;
        let has: Vec<u32> = members.iter().map(|member| member.has(workload)).collect();
        let sum = has.iter().copied().fold(0, u32::saturating_add);
        let mut shares = if sum > wanted { apportion(wanted, &has, &has) } else { has };
        let rest = wanted.saturating_sub(sum);
        if rest > 0 {
            let fits = |left: &Option<Left<'_>>| {
                left.as_ref().map_or(0, |left| left.room.fits(&workload.need, rest))
            };
            let caps: Vec<u32> = rooms.iter().map(fits).collect();
            // Free capacity weighs, counted in replicas; a whole share is capped by what is missing.
            for (i, more) in apportion(rest, &weights(workload, &rooms, &caps), &caps).into_iter().enumerate()
            {
                if let Some(left) = &mut rooms[i] {
                    left.room.take(&workload.need, more);
                }
                shares[i] += more;
            }
        }
        missing = missing.saturating_add(wanted - shares.iter().sum::<u32>());
        for (of_member, share) in replicas.iter_mut().zip(shares) {
            of_member.push(share);
        }
    }
    Shared { members, replicas, missing }
}

/// Replicas that the free GPUs of each member could carry, not only those that are missing.
fn weights(workload: &Workload, rooms: &[Option<Left<'_>>], caps: &[u32]) -> Vec<u32> {
    let Some(gpu) = &workload.need.gpu else { return vec![1; caps.len()] };
    let free = |left: &Option<Left<'_>>| left.as_ref().map_or(0, |left| left.room.free(&workload.need));
    rooms.iter().zip(caps).map(|(left, cap)| (free(left) / gpu.total().max(1)).max(*cap)).collect()
}

impl<'a> Member<'a> {
    fn name(&self) -> &'a crate::fleet::ClusterName {
        match self {
            Self::Stays(kept) => &kept.cluster.name,
            Self::Comes(candidate) => &candidate.cluster.name,
        }
    }

    /// Room for more. A cluster that is silent or no longer accepted keeps what it has and gets nothing new.
    fn left(&self) -> Option<Left<'a>> {
        match self {
            Self::Stays(kept) if kept.is_silent() => None,
            Self::Stays(kept) => kept.left.clone(),
            Self::Comes(candidate) => Some(candidate.left.clone()),
        }
    }

    fn has(&self, workload: &Workload) -> u32 {
        match self {
            Self::Stays(kept) => kept.row.granted(&workload.object.uid),
            Self::Comes(_) => 0,
        }
    }

    fn chosen(
        &self,
        request: &Request,
        workloads: &[Workload],
        divisible: &[&Workload],
        shares: &[u32],
    ) -> Chosen {
        let granted = |workload: &Workload| {
            let uid = workload.object.uid.clone();
            let share = divisible.iter().position(|divided| divided.object.uid == uid).map(|i| shares[i]);
            Granted { uid, replicas: share.unwrap_or(workload.need.replicas), divided: share.is_some() }
        };
        let replicated = workloads.iter().filter(|workload| workload.need.replicated);
        let replicas = replicated.map(granted).collect();
        match self {
            Self::Stays(kept) => kept.chosen(replicas),
            Self::Comes(candidate) => candidate.chosen(request, replicas),
        }
    }
}
