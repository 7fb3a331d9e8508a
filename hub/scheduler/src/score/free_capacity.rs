//! Score: the share of GPUs that would remain free, or would not.

use crate::{CapacityStrategy, Workload, fleet::Cluster, packing::Left, room};

/// Percent of the offered GPUs that remain free for the object that would be tightest, or with [`CapacityStrategy::Pack`]
/// that do not; 0 where no object takes a GPU.
pub(super) fn points(
    workloads: &[Workload],
    cluster: &Cluster,
    left: &Left<'_>,
    strategy: CapacityStrategy,
) -> u32 {
    let pools = cluster.capacity.iter().flat_map(|capacity| &capacity.pools);
    let shares = workloads.iter().filter_map(|workload| {
        let gpu = workload.need.gpu.as_ref()?;
        let suitable = pools.clone().filter(|pool| room::suits(pool, gpu, &workload.need.kind));
        let offered: u64 = suitable.map(|pool| u64::from(pool.allocatable)).sum();
        Some(u64::from(left.room.free(&workload.need)).saturating_mul(100).checked_div(offered).unwrap_or(0))
    });
    let Some(free) = shares.min().map(|share| u32::try_from(share.min(100)).unwrap_or(100)) else { return 0 };
    match strategy {
        CapacityStrategy::Spread => free,
        CapacityStrategy::Pack => 100 - free,
    }
}
