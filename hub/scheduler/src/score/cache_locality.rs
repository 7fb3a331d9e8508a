//! Score: the models are in the cluster's caches already.

use crate::{Workload, fleet::Cluster, need::CacheKey};

/// Percent of the wanted caches that are there.
pub(super) fn points(workloads: &[Workload], cluster: &Cluster) -> u32 {
    let wanted = workloads.iter().filter_map(|workload| workload.need.cache.as_ref());
    let (held, all) =
        wanted.fold((0, 0), |(held, all), cache| (held + u32::from(holds(cache, cluster)), all + 1));
    (held * 100u32).checked_div(all).unwrap_or(0)
}

/// Whether a cache is ready in the cluster.
pub(crate) fn holds(wanted: &CacheKey, cluster: &Cluster) -> bool {
    cluster.capacity.as_ref().is_some_and(|capacity| capacity.cache(wanted).is_some())
}
