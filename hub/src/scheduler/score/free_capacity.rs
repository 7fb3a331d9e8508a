//! Score: the share of GPUs that would remain free, 0 to 100.

use crate::{
    fleet::Cluster,
    scheduler::{Workload, packing::Left, room},
};

/// Percent of the offered GPUs that remain free for the object that would be tightest; 0 where no object
/// takes a GPU.
pub(super) fn score(workloads: &[Workload], cluster: &Cluster, left: &Left<'_>) -> i32 {
    let pools = cluster.capacity.iter().flat_map(|capacity| &capacity.pools);
    let shares = workloads.iter().filter_map(|workload| {
        let gpu = workload.need.gpu.as_ref()?;
        let suitable = pools.clone().filter(|pool| room::suits(pool, gpu, &workload.need.kind));
        let offered: u64 = suitable.map(|pool| u64::from(pool.allocatable)).sum();
        Some(u64::from(left.room.free(&workload.need)).saturating_mul(100).checked_div(offered).unwrap_or(0))
    });
    shares.min().and_then(|share| i32::try_from(share.min(100)).ok()).unwrap_or(0)
}
