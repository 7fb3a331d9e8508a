//! Filter: enough free GPUs, on single nodes where one pod needs them together.

use super::{Reason, Refusal, Verdict};
use crate::scheduler::{Workload, packing::Left};

/// Takes the GPUs of `demand` replicas of each object out of `left`, the largest pods first; or says what is
/// missing.
pub(in crate::scheduler) fn check(
    workloads: &[Workload],
    demand: impl Fn(&Workload) -> u32,
    left: &mut Left<'_>,
) -> Verdict {
    for workload in Workload::largest_first(workloads) {
        take(workload, demand(workload), left)?;
    }
    Ok(())
}

/// Takes the GPUs of that many replicas out of `left`, all or none.
pub(in crate::scheduler) fn take(workload: &Workload, replicas: u32, left: &mut Left<'_>) -> Verdict {
    let mut room = left.room.clone();
    let given = room.take(&workload.need, replicas);
    if given < replicas {
        let message = missing(workload, replicas, given, left);
        return Err(Refusal { reason: Reason::InsufficientGPUs, message, settles_at: left.settles_at });
    }
    left.room = room;
    Ok(())
}

fn missing(workload: &Workload, replicas: u32, given: u32, left: &Left<'_>) -> String {
    let need = &workload.need;
    let what = need.gpu.as_ref().map(ToString::to_string).unwrap_or_default();
    let per_pod = need.gpu.as_ref().map_or(0, |gpu| gpu.per_pod);
    let promised = match left.promised {
        0 => String::new(),
        gpus => format!("; {gpus} more promised and not in use yet"),
    };
    let title = workload.title();
    match left.room.best_offer(need) {
        Some(offer) if offer.block < per_pod => {
            let nodes = if offer.nodes == 1 { "node" } else { "nodes" };
            format!(
                "{title} needs {what}; largest free block is {} ({}, {} {nodes}){promised}",
                offer.block, offer.product, offer.nodes
            )
        }
        _ => {
            let free = left.room.free(need);
            let needs = if replicas == 1 { what } else { format!("{replicas} replicas of {what}") };
            format!("{title} needs {needs}; room for {given}, with {free} suitable GPUs free{promised}")
        }
    }
}
