//! Filter: enough free GPUs, on single nodes where one pod needs them together, and devices that are promised to nobody.

use super::{Reason, Verdict, devices, refuse};
use crate::need::Need;
use crate::scheduler::{Workload, packing::Left};

/// Takes the GPUs and devices of `demand` replicas of each object out of `left`, the largest pods first; or says what is
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

/// Takes the GPUs and devices of that many replicas out of `left`, all or none.
pub(in crate::scheduler) fn take(workload: &Workload, replicas: u32, left: &mut Left<'_>) -> Verdict {
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
    let offer = left.room.best_offer(need);
    if let Some(offer) = offer.filter(|offer| offer.block < gpu.per_pod) {
        let nodes = if offer.nodes == 1 { "node" } else { "nodes" };
        let message = format!(
            "{title} needs {gpu}; largest free block is {} ({}, {} {nodes}){promised}",
            offer.block, offer.product, offer.nodes
        );
        return (Reason::InsufficientGPUs, message);
    }
    // It is the GPUs that are missing if they would be without anything beside them.
    let bare = Need { millicores: 0, memory_mib: 0, ..need.clone() };
    if left.room.fits(&bare, replicas) >= replicas {
        let (millicores, mib) = left.room.best_beside(need).unwrap_or_default();
        let message = format!(
            "{title} needs {gpu}, with {}m CPU and {} MiB of memory for a pod; room for {given}: of the nodes with enough GPUs \
             the best has {millicores}m CPU and {mib} MiB free{promised}",
            need.millicores, need.memory_mib
        );
        return (Reason::InsufficientNodeResources, message);
    }
    if let Some(offer) = offer.filter(|offer| gpu.pods > 1 && offer.pods < gpu.pods) {
        let message = format!(
            "{title} needs {gpu}, of one product; largest fit is {} × {} ({}){promised}",
            offer.pods, gpu.per_pod, offer.product
        );
        return (Reason::InsufficientGPUs, message);
    }
    let free = left.room.free(need);
    let needs = if replicas == 1 { gpu.to_string() } else { format!("{replicas} replicas of {gpu}") };
    let message =
        format!("{title} needs {needs}; room for {given}, with {free} suitable GPUs free{promised}");
    (Reason::InsufficientGPUs, message)
}
