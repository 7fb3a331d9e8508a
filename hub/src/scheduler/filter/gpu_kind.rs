//! Filter: the cluster has GPUs of the resource, product and memory that the objects take, free or not.

use super::{Reason, Verdict, refuse};
use crate::{
    fleet::{Capacity, Pool, Sharing},
    need::GpuNeed,
    scheduler::{Workload, product, room},
};

pub(super) fn check(workloads: &[Workload], capacity: &Capacity) -> Verdict {
    workloads
        .iter()
        .filter(|workload| workload.need.gpu_nodes)
        .try_for_each(|workload| of_one(workload, capacity))
}

fn of_one(workload: &Workload, capacity: &Capacity) -> Verdict {
    let (need, title) = (&workload.need, workload.title());
    let present: Vec<&Pool> = capacity.pools.iter().filter(|pool| pool.capacity > 0).collect();
    if present.is_empty() {
        return refuse(Reason::NoGPU, format!("{title} needs a GPU; the cluster has no GPU"));
    }
    // Its own, or those of its jobs.
    let asked = need.gpu.as_ref().or(need.jobs.as_ref());
    let of_resource: Vec<&Pool> = match asked {
        None => present.clone(),
        Some(gpu) => present.iter().copied().filter(|pool| pool.resource == gpu.resource).collect(),
    };
    if let Some(gpu) = asked.filter(|_| of_resource.is_empty()) {
        let found = list(present.iter().map(|pool| pool.resource.clone()));
        let message =
            format!("{title} needs {}; the cluster has no GPU of that resource, only {found}", gpu.resource);
        return refuse(Reason::NoGPU, message);
    }
    let of_product: Vec<&Pool> =
        of_resource.iter().copied().filter(|pool| product::is_of_kind(&pool.product, &need.kind)).collect();
    if of_product.is_empty() {
        let found = list(of_resource.iter().map(|pool| pool.product.clone()));
        let wanted: Vec<_> = need.kind.products.iter().map(|list| list.join(" or ")).collect();
        let message = format!("{title} runs on {}; the cluster has {found}", wanted.join(" and on "));
        return refuse(Reason::GPUProductMismatch, message);
    }
    let of_memory: Vec<&Pool> =
        of_product.iter().copied().filter(|pool| pool.memory_mib >= need.kind.min_memory_mib).collect();
    if of_memory.is_empty() {
        let found =
            list(of_product.iter().map(|pool| format!("{} with {} MiB", pool.product, pool.memory_mib)));
        let message =
            format!("{title} needs {} MiB on each GPU; the cluster has {found}", need.kind.min_memory_mib);
        return refuse(Reason::GPUMemoryTooSmall, message);
    }
    shared(workload, asked, &of_memory)?;
    jobs(workload, &of_memory)
}

/// Parts of GPUs are no more of a GPU together.
fn shared(workload: &Workload, asked: Option<&GpuNeed>, pools: &[&Pool]) -> Verdict {
    let gpus = asked.map_or(0, GpuNeed::total);
    if gpus <= 1 || pools.iter().any(|pool| pool.sharing == Sharing::Whole) {
        return Ok(());
    }
    let how = |pool: &&Pool| match pool.sharing {
        Sharing::TimeSlicing => format!("{} by time slices", pool.product),
        Sharing::Mps => format!("{} by MPS", pool.product),
        Sharing::Mig => format!("{} by MIG", pool.product),
        Sharing::Whole => pool.product.clone(),
    };
    let found = list(pools.iter().map(how));
    let title = workload.title();
    let needs = match workload.need.gpu {
        Some(_) => format!("{title} needs {gpus} GPUs per replica"),
        None => format!("jobs of {title} take {gpus} GPUs"),
    };
    let message = format!("{needs}; the cluster's are cut into parts that count one by one: {found}");
    refuse(Reason::GPUsShared, message)
}

/// Jobs wait for free GPUs, but GPUs that are not there never come.
fn jobs(workload: &Workload, pools: &[&Pool]) -> Verdict {
    let Some(jobs) = &workload.need.jobs else { return Ok(()) };
    let suitable = pools.iter().filter(|pool| room::suits(pool, jobs, &workload.need.kind));
    let there = suitable.map(|pool| pool.allocatable);
    let most = there.max().unwrap_or(0);
    if most >= jobs.total() {
        return Ok(());
    }
    let message = format!("jobs of {} take {jobs}; the cluster has {most} of one product", workload.title());
    refuse(Reason::InsufficientGPUs, message)
}

/// The distinct words, in order.
fn list(words: impl Iterator<Item = String>) -> String {
    let words: std::collections::BTreeSet<String> = words.collect();
    words.into_iter().collect::<Vec<_>>().join(", ")
}
