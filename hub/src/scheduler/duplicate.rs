//! Every chosen cluster runs all replicas.

use super::{
    Granted, Request, Workload,
    filter::free_block,
    keep::{self, Kept},
    run::{Candidate, Spread},
};

/// Keeps what stays, adds the best candidates up to the number that is wanted, then replaces lost clusters by
/// further ones.
pub(super) fn spread<'a>(
    request: &Request,
    workloads: &[Workload],
    mut kept: Vec<Kept<'a>>,
    candidates: Vec<Candidate<'a>>,
) -> Spread {
    let wanted_clusters = request.policy.clusters.unwrap_or(1);
    let wanted = usize::try_from(wanted_clusters).unwrap_or(usize::MAX);
    let mut spread = Spread { wanted_clusters, ..Spread::default() };
    spread.removed = keep::surplus(&mut kept, wanted);

    let mut candidates = candidates.into_iter();
    let full = |workload: &Workload| Granted {
        uid: workload.object.uid.clone(),
        replicas: workload.need.replicas,
        divided: false,
    };
    let replicated = || workloads.iter().filter(|workload| workload.need.replicated);
    for candidate in candidates.by_ref().take(wanted - kept.len()) {
        spread.chosen.push(candidate.chosen(request, replicated().map(full).collect()));
    }
    for mut stays in kept {
        if stays.lost {
            if let Some(candidate) = candidates.next() {
                spread.chosen.push(candidate.chosen(request, replicated().map(full).collect()));
                spread.replace(request, &stays);
                continue;
            }
            spread.stuck.get_or_insert_with(|| stays.cluster.name.clone());
        }
        let mut granted: Vec<Granted> = Vec::new();
        for workload in Workload::largest_first(workloads).into_iter().filter(|w| w.need.replicated) {
            granted.push(grow(&mut stays, workload, &mut spread.shortfalls));
        }
        spread.chosen.push(stays.chosen(granted));
    }
    let replicas: u32 = replicated().map(|workload| workload.need.replicas).fold(0, u32::saturating_add);
    spread.wanted_replicas = replicas.saturating_mul(wanted_clusters);
    spread
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
