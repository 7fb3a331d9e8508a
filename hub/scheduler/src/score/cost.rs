//! Score: the cluster's GPUs are cheap beside those of the cheapest that fits.

use crds::gpu_product;

use crate::{Workload, fleet::Cluster, room};

/// Names the price of every product that has none of its own.
const ANY: &str = "*";

/// What one GPU and hour costs on average over the objects, each on the cheapest product that will do; none where that is
/// not known.
pub(super) fn per_gpu(workloads: &[Workload], cluster: &Cluster) -> Option<u64> {
    if cluster.cost_per_gpu_hour.is_empty() {
        return None;
    }
    let (mut sum, mut gpus) = (0u64, 0u64);
    for workload in workloads {
        let Some(gpu) = &workload.need.gpu else { continue };
        let pools = cluster.capacity.iter().flat_map(|capacity| &capacity.pools);
        let suitable = pools.filter(|pool| pool.capacity > 0 && room::suits(pool, gpu, &workload.need.kind));
        let cheapest = suitable.filter_map(|pool| price(&pool.product, cluster)).min()?;
        let taken = u64::from(gpu.total()) * u64::from(workload.need.replicas.max(1));
        sum = sum.saturating_add(cheapest.saturating_mul(taken));
        gpus += taken;
    }
    sum.checked_div(gpus)
}

fn price(product: &str, cluster: &Cluster) -> Option<u64> {
    let prices = &cluster.cost_per_gpu_hour;
    let named =
        || prices.iter().find(|(name, _)| gpu_product::is_named(product, name)).map(|(_, price)| *price);
    prices.get(product).copied().or_else(named).or_else(|| prices.get(ANY).copied())
}

/// 100 for the cheapest, 50 for one that is twice as dear; 0 where the price is not known.
pub(super) fn points(cost: Option<u64>, cheapest: Option<u64>) -> u32 {
    match (cost, cheapest) {
        (Some(0), Some(_)) => 100,
        (Some(cost), Some(cheapest)) => u32::try_from(cheapest.saturating_mul(100) / cost).unwrap_or(100),
        _ => 0,
    }
}
