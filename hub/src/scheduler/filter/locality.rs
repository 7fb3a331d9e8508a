//! Filter: the models are in the cluster's caches, where the placement requires it.

use super::{Reason, Verdict, refuse};
use crate::{
    fleet::Cluster,
    scheduler::{CacheLocality, Policy, Workload, score},
};

pub(super) fn check(policy: &Policy, workloads: &[Workload], cluster: &Cluster) -> Verdict {
    if policy.cache_locality != CacheLocality::Require {
        return Ok(());
    }
    let wanted = workloads.iter().filter_map(|workload| workload.need.cache.as_ref());
    for cache in wanted {
        if !score::holds(cache, cluster) {
            let message = format!(
                "NIMCache {}/{} is not ready here, and spec.cacheLocality is Require",
                cache.namespace, cache.name
            );
            return refuse(Reason::ModelNotCached, message);
        }
    }
    Ok(())
}
