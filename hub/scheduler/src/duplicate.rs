//! Every chosen cluster runs all replicas.

use std::collections::BTreeSet;

use super::{
    Cause, Granted, Workload,
    filter::free_block,
    keep::{self, Kept},
    replace::Losses,
    run::{Candidate, Spread},
    score::Score,
    select::Choice,
};
use crate::fleet::{Cluster, Fleet};

/// Keeps what stays, adds the best candidates up to the number that is wanted, then replaces clusters that shall be left by
/// further ones.
pub(super) fn spread<'a>(
    choice: &Choice<'a>,
    workloads: &[Workload],
    fleet: &Fleet,
    mut kept: Vec<Kept<'a>>,
    candidates: &[Candidate<'a>],
    losses: &mut Losses,
) -> Spread {
    let wanted_clusters = choice.request.policy.clusters.unwrap_or(1);
    let wanted = usize::try_from(wanted_clusters).unwrap_or(usize::MAX);
    let mut spread = Spread { wanted_clusters, ..Spread::default() };
    spread.removed = keep::surplus(&mut kept, wanted, choice.scale);

    let taken = |kept: &[Kept<'a>]| -> Vec<(&'a Cluster, usize)> {
        kept.iter().filter(|kept| kept.leaving.is_none()).map(|kept| (kept.cluster, kept.tier)).collect()
    };
    rebalance(choice, &mut kept, candidates, &mut spread, losses);
    // Those that are left are replaced after what is missing has been found.
    let missing = wanted - kept.len();
    let leaving = kept.iter().filter(|kept| kept.leaving.is_some()).count();
    let mut picked = choice.pick(candidates, &taken(&kept), missing + leaving).into_iter();
    let full = |workload: &Workload| Granted {
        uid: workload.object.uid.clone(),
        replicas: workload.need.replicas,
        divided: false,
    };
    let replicated = || workloads.iter().filter(|workload| workload.need.replicated);
    let mut come = Vec::new();
    come.extend(picked.by_ref().take(missing));
    let mut stays = Vec::new();
    for kept in kept {
        match (kept.leaving, picked.len()) {
            (Some(cause), 1..) => {
                come.extend(picked.next());
                spread.replace(choice.request, &kept, cause);
            }
            (cause, _) => {
                if let Some(cause) = cause {
                    spread.stuck.get_or_insert_with(|| (kept.cluster.name.clone(), cause));
                }
                stays.push(kept);
            }
        }
    }
    let taken: Vec<_> = stays.iter().map(|kept| (kept.cluster, kept.tier)).collect();
    let mut domains = choice.domains(candidates, &taken);
    for &i in &come {
        domains.add(candidates[i].cluster);
    }
    for i in come {
        let Candidate { cluster, workloads, tier, .. } = candidates[i];
        let waits = candidates[i].left.waits;
        let points = candidates[i].spread(&domains, true);
        spread.chosen.push(choice.comes(
            (cluster, workloads),
            points,
            (tier, waits),
            replicated().map(full).collect(),
        ));
    }
    for mut stays in stays {
        let mut granted: Vec<Granted> = Vec::new();
        for workload in Workload::largest_first(stays.workloads).into_iter().filter(|w| w.need.replicated) {
            granted.push(grow(&mut stays, workload, &mut spread.shortfalls));
            unschedulable(choice, fleet, &stays, workload, &mut spread);
        }
        stays.points.set(Score::TopologySpread, domains.points(stays.cluster, true));
        spread.chosen.push(stays.chosen(choice.scale, granted));
    }
    let replicas: u32 = replicated().map(|workload| workload.need.replicas).fold(0, u32::saturating_add);
    spread.wanted_replicas = replicas.saturating_mul(wanted_clusters);
    spread
}

/// Told to choose anew: of all clusters that it is in or could be in the best are taken, and others are left, as many at
/// once as the budget allows.
fn rebalance<'a>(
    choice: &Choice<'a>,
    kept: &mut [Kept<'a>],
    candidates: &[Candidate<'a>],
    spread: &mut Spread,
    losses: &mut Losses,
) {
    let request = choice.request;
    if request.rebalance.is_none() {
        return;
    }
    let moving = request.previous.iter().filter(|row| row.replaced.is_some_and(Cause::is_voluntary)).count();
    let moving = moving + kept.iter().filter(|kept| kept.leaving.is_some_and(Cause::is_voluntary)).count();
    let budget = usize::try_from(request.policy.eviction_budget).unwrap_or(usize::MAX).saturating_sub(moving);
    let paced = usize::try_from(losses.left(request, Cause::Rebalance.lane())).unwrap_or(usize::MAX);
    let allowed = budget.min(paced);
    // As if it ran nowhere: of equal ones those stay that are there.
    let is_open = |kept: &Kept<'a>| kept.leaving.is_none() && !kept.is_silent();
    let anew = |kept: &Kept<'a>| {
        let mut points = kept.points;
        points.set(Score::Stickiness, 0);
        let left = kept.left.clone()?;
        Some(Candidate { cluster: kept.cluster, workloads: kept.workloads, left, points, tier: kept.tier })
    };
    let mut all: Vec<Candidate<'a>> = kept.iter().filter(|kept| is_open(kept)).filter_map(anew).collect();
    let there = all.len();
    all.extend(candidates.iter().cloned());
    let fixed: Vec<_> = kept
        .iter()
        .filter(|kept| !is_open(kept) && kept.leaving.is_none())
        .map(|k| (k.cluster, k.tier))
        .collect();
    let best = choice.pick(&all, &fixed, there);
    let names: BTreeSet<_> = best.iter().map(|&i| &all[i].cluster.name).collect();
    let stays = |kept: &Kept<'a>| names.contains(&kept.cluster.name);
    let worth =
        |candidate: &Candidate<'a>| (candidate.tier, std::cmp::Reverse(choice.scale.sum(candidate.points)));
    let coming = best.iter().filter(|&&i| i >= there).map(|&i| worth(&all[i])).max();
    let mut leaving: Vec<usize> = (0..kept.len())
        .filter(|&i| is_open(&kept[i]) && !stays(&kept[i]))
        // What is as good as what would come is not left for it.
        .filter(|&i| anew(&kept[i]).is_some_and(|here| coming.is_some_and(|coming| coming < worth(&here))))
        .collect();
    leaving.sort_by_cached_key(|&i| std::cmp::Reverse(anew(&kept[i]).map(|here| worth(&here))));
    spread.rebalanced = leaving.len() <= allowed;
    if paced < budget
        && let Some(&waits) = leaving.get(paced)
    {
        losses.pace(&kept[waits].cluster.name, Cause::Rebalance);
    }
    for i in leaving.into_iter().take(allowed) {
        kept[i].leaving = Some(Cause::Rebalance);
    }
}

/// Tells of replicas that find no node where others of the object run: every chosen cluster runs all of them, so that they
/// cannot go elsewhere.
fn unschedulable(
    choice: &Choice<'_>,
    fleet: &Fleet,
    stays: &Kept<'_>,
    workload: &Workload,
    spread: &mut Spread,
) {
    let granted = stays.row.granted(&workload.object.uid);
    let (pending, due_at) = super::cause::pending(choice.request, fleet, stays.cluster, workload, granted);
    spread.due_at = [spread.due_at, due_at].into_iter().flatten().min();
    if pending > 0 {
        let name = &stays.cluster.name;
        let title = workload.title();
        let replicas = if granted == 1 { "replica" } else { "replicas" };
        let wait = if pending == 1 { "waits" } else { "wait" };
        spread
            .shortfalls
            .push(format!("{pending} of {granted} {replicas} of {title} {wait} for a node in {name}"));
    }
}

/// What an object is granted where it stays: what it has, and the rest if there is room; if not, that is said
/// and nothing moves.
fn grow(stays: &mut Kept<'_>, workload: &Workload, shortfalls: &mut Vec<String>) -> Granted {
    let (uid, wanted) = (workload.object.uid.clone(), workload.need.replicas);
    let has = stays.row.granted(&uid).min(wanted);
    let verdict = match &mut stays.left {
        _ if has == wanted || workload.need.gpu.is_none() => Ok(()),
        Some(left) => free_block::take(workload, wanted - has, left).map_err(|refusal| refusal.message),
        None => Err(format!("{} needs more; no capacity report yet", workload.title())),
    };
    let replicas = match verdict {
        Ok(()) => wanted,
        Err(message) => {
            shortfalls
                .push(format!("stays in {} with {has} of {wanted} replicas: {message}", stays.cluster.name));
            has
        }
    };
    Granted { uid, replicas, divided: false }
}
