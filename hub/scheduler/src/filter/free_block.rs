//! Filter: enough free GPUs, on single nodes where one pod needs them together, and devices that are promised to nobody.

use super::{Reason, Verdict, devices, nodes, refuse};
use crate::need::Need;
use crate::{Workload, packing::Left};

/// Takes the GPUs and devices of `demand` replicas of each object out of `left`, the largest pods first; or says what is
/// missing.
pub(crate) fn check(
    workloads: &[Workload],
    demand: impl Fn(&Workload) -> u32,
    left: &mut Left<'_>,
) -> Verdict {
    for workload in Workload::largest_first(workloads) {
        take(workload, demand(workload), left)?;
    }
    Ok(())
}

/// Takes the GPUs and devices of that many replicas out of `left`, all or none.
pub(crate) fn take(workload: &Workload, replicas: u32, left: &mut Left<'_>) -> Verdict {
    let mut room = left.room.clone();
    let given = room.take(&workload.need, replicas);
    if given < replicas {
        let (reason, message) = missing(workload, replicas, given, left);
        return refuse(reason, message);
    }
    left.room = room;
    Ok(())
}

fn missing(workload: &Workload, replicas: u32, given: u32, left: &Left<'_>) -> (Reason, String) {
    let (need, title) = (&workload.need, workload.title());
    if let Some(free) = &left.room.devices
        && free.clone().take(need, replicas) < replicas
    {
        return devices::missing(workload, replicas, given, free);
    }
    let Some(gpu) = &need.gpu else { return (Reason::InsufficientGPUs, title) };
    let promised = match left.promised {
        0 => String::new(),
        gpus => format!("; {gpus} more promised and not in use yet"),
    };
    let withheld = match left.room.withheld(need) {
        0 => String::new(),
        gpus => format!("; {gpus} more free and not within the quotas of Kueue"),
    };
    let needs = if replicas == 1 { gpu.to_string() } else { format!("{replicas} replicas of {gpu}") };
    let elsewhere = nodes::elsewhere(left.room.elsewhere(need));
    // It is the GPUs that are missing if they would be without anything beside them: then only they are spoken of.
    let bare = Need { millicores: 0, memory_mib: 0, ..need.clone() };
    let offer = left.room.best_offer(&bare);
    if let Some(offer) = offer.filter(|offer| offer.block < gpu.per_pod) {
        let nodes = if offer.nodes == 1 { "node" } else { "nodes" };
        let message = format!(
            "{title} needs {gpu}; largest free block is {} ({}, {} {nodes}){promised}{withheld}{elsewhere}",
            offer.block, offer.product, offer.nodes
        );
        return (Reason::InsufficientGPUs, message);
    }
    let seated = left.room.fits(&bare, replicas);
    if seated >= replicas {
        let message = format!("{title} needs {needs}{}{promised}", beside(need, given, left));
        return (Reason::InsufficientNodeResources, message);
    }
    if let Some(offer) = offer.filter(|offer| gpu.pods > 1 && offer.pods < gpu.pods) {
        let message = format!(
            "{title} needs {gpu}, of one product; largest fit is {} × {} ({}){promised}{withheld}{elsewhere}",
            offer.pods, gpu.per_pod, offer.product
        );
        return (Reason::InsufficientGPUs, message);
    }
    let free = left.room.free(need);
    let message = format!(
        "{title} needs {needs}; room for {seated}, with {free} suitable GPUs free{promised}{withheld}{elsewhere}"
    );
    (Reason::InsufficientGPUs, message)
}

/// What is missing beside the GPUs: what the best node has, where `given` replicas have theirs.
fn beside(need: &Need, given: u32, left: &Left<'_>) -> String {
    let mut room = left.room.clone();
    room.take(need, given);
    let (millicores, mib) = room.best_beside(need).unwrap_or_default();
    let nodes = if given == 0 { "the nodes with" } else { "the nodes that then have" };
    format!(
        ", with {}m CPU and {} MiB of memory for a pod; room for {given}: of {nodes} enough GPUs the best has {millicores}m CPU \
         and {mib} MiB free",
        need.millicores, need.memory_mib
    )
}
