//! Filter: the cluster has GPUs of the resource, product and memory that the objects take, free or not.

use super::{Reason, Verdict, refuse};
use crate::{
    Workload,
    fleet::{Capacity, ClusterName, DeviceGroup, Pool, Sharing, UNKNOWN_PRODUCT},
    need::{GpuNeed, Need},
    product, room,
};

/// Platform of claimed devices.
const DRA: &str = "dra";

pub(super) fn check(workloads: &[Workload], cluster: &ClusterName, capacity: &Capacity) -> Verdict {
    workloads
        .iter()
        .filter(|workload| workload.need.gpu_nodes)
        .try_for_each(|workload| of_one(workload, cluster, capacity))
}

fn of_one(workload: &Workload, cluster: &ClusterName, capacity: &Capacity) -> Verdict {
    let (need, title) = (&workload.need, workload.title());
    // Its own, or those of its jobs.
    let asked = need.gpu.as_ref().or(need.jobs.as_ref());
    if asked.is_none() && need.platforms.contains(DRA) {
        return claimed(workload, capacity);
    }
    let present: Vec<&Pool> = capacity.pools.iter().filter(|pool| pool.capacity > 0).collect();
    if present.is_empty() {
        return match asked {
            // Its pods go where nodes have a label, which is looked for; or where devices are.
            None if need.kind.is_any() && capacity.nodes.is_some() => Ok(()),
            None if capacity.gpu_devices().next().is_some() => claimed(workload, capacity),
            _ => refuse(Reason::NoGPU, format!("{title} needs a GPU; {}", none(asked, capacity))),
        };
    }
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
        let is_device = |group: &DeviceGroup| {
            group.product().is_some_and(|product| product::is_of_kind(product, &need.kind))
        };
        if asked.is_none() && capacity.gpu_devices().any(is_device) {
            return Ok(());
        }
        if of_resource.iter().any(|pool| pool.product == UNKNOWN_PRODUCT) {
            let wants = format!("runs on {}", products(need));
            return refuse(Reason::GPUUnknown, unknown(&title, &wants, cluster, capacity));
        }
        let found = list(of_resource.iter().map(|pool| pool.product.clone()));
        let message = format!("{title} runs on {}; the cluster has {found}", products(need));
        return refuse(Reason::GPUProductMismatch, message);
    }
    let least = need.kind.min_memory_mib;
    let of_memory: Vec<&Pool> = of_product.iter().copied().filter(|pool| pool.memory_mib >= least).collect();
    if of_memory.is_empty() {
        if of_product.iter().any(|pool| pool.memory_mib == 0) {
            let wants = format!("needs {least} MiB on each GPU");
            return refuse(Reason::GPUUnknown, unknown(&title, &wants, cluster, capacity));
        }
        let found =
            list(of_product.iter().map(|pool| format!("{} with {} MiB", pool.product, pool.memory_mib)));
        let message = format!("{title} needs {least} MiB on each GPU; the cluster has {found}");
        return refuse(Reason::GPUMemoryTooSmall, message);
    }
    shared(workload, asked, &of_memory)?;
    jobs(workload, &of_memory)
}

/// GPUs that pods claim as devices. What the devices do not say refuses nothing; that there are too few is said elsewhere.
fn claimed(workload: &Workload, capacity: &Capacity) -> Verdict {
    let (need, title) = (&workload.need, workload.title());
    let is_claimed = |group: &&DeviceGroup| need.devices.iter().any(|claim| claim.class == group.class);
    let groups: Vec<&DeviceGroup> = if need.devices.is_empty() {
        capacity.gpu_devices().collect()
    } else {
        capacity.devices.iter().flatten().filter(is_claimed).collect()
    };
    if groups.iter().any(|group| group.uncounted || group.product().is_none()) {
        return Ok(());
    }
    let of =
        |group: &&&DeviceGroup| group.product().is_some_and(|name| product::is_of_kind(name, &need.kind));
    let of_product: Vec<&DeviceGroup> = groups.iter().filter(of).copied().collect();
    let named = |group: &&DeviceGroup| format!("{} (devices)", group.product().unwrap_or_default());
    if of_product.is_empty() && !groups.is_empty() {
        let found = list(groups.iter().map(named));
        let message = format!("{title} runs on {}; the cluster has {found}", products(need));
        return refuse(Reason::GPUProductMismatch, message);
    }
    let least = need.kind.min_memory_mib;
    let is_large = |group: &&DeviceGroup| group.memory_mib().is_none_or(|memory| memory >= least);
    if !of_product.is_empty() && !of_product.iter().any(is_large) {
        let with = |group: &&DeviceGroup| {
            format!("{} with {} MiB", named(group), group.memory_mib().unwrap_or_default())
        };
        let found = list(of_product.iter().map(with));
        let message = format!("{title} needs {least} MiB on each GPU; the cluster has {found}");
        return refuse(Reason::GPUMemoryTooSmall, message);
    }
    Ok(())
}

/// `h100 or a100 and on NVIDIA-H100-80GB-HBM3`: of every list one.
fn products(need: &Need) -> String {
    let lists: Vec<_> = need.kind.products.iter().map(|list| list.join(" or ")).collect();
    lists.join(" and on ")
}

/// What is there in place of GPUs that pods can ask for.
fn none(asked: Option<&GpuNeed>, capacity: &Capacity) -> String {
    let devices = capacity.gpu_devices().map(|group| group.devices).fold(0, u32::saturating_add);
    let (Some(gpu), 1..) = (asked, devices) else { return "the cluster has no GPU".to_owned() };
    let classes = list(capacity.gpu_devices().map(|group| group.class.clone()));
    format!(
        "its {devices} GPUs are given out as devices (DeviceClass {classes}), which pods that ask for {} do not get: claim them          by spec.draResources, or set extendedResourceName of the class",
        gpu.resource
    )
}

/// That nobody says what the GPUs are, and what to do.
fn unknown(title: &str, wants: &str, cluster: &ClusterName, capacity: &Capacity) -> String {
    let nodes = match capacity.nodes.as_ref().map_or(0, |nodes| nodes.unlabelled.nodes) {
        0 => format!("the GPU nodes of {cluster} have"),
        1 => format!("1 GPU node of {cluster} has"),
        nodes => format!("{nodes} GPU nodes of {cluster} have"),
    };
    format!(
        "{nodes} no labels of GPU feature discovery (nvidia.com/gpu.product, .memory): product and memory are not known, and          {title} {wants}; run GPU feature discovery there, as the NVIDIA GPU Operator and gfd.enabled of the device plugin's          chart do, or label the nodes"
    )
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
