//! Filter: the models are in the cluster's caches, where the placement requires it, or where an object only works on one that
//! is there.

use super::{Reason, Verdict, refuse};
use crate::{
    CacheLocality, Policy, Workload,
    fleet::Cluster,
    need::{CacheKey, Life},
    score,
};

pub(super) fn check(policy: &Policy, workloads: &[Workload], cluster: &Cluster) -> Verdict {
    let is_required = policy.cache_locality == CacheLocality::Require;
    for workload in workloads {
        let Some(cache) = workload.need.cache.as_ref() else { continue };
        let CacheKey { namespace, name } = cache;
        let is_held = score::holds(cache, cluster);
        let comes =
            |other: &Workload| other.object.kind == "NIMCache" && other.need.cache.as_ref() == Some(cache);
        let builds = workload.need.life.ends() && !workloads.iter().any(comes);
        if builds && is_held && workload.need.life == Life::EndingOfUnknownSize {
            let message = format!(
                "{} builds from NIMCache {namespace}/{name}, which does not tell its profiles yet: how many GPUs the build \
                 takes is not known",
                workload.title()
            );
            return refuse(Reason::ModelNotCached, message);
        }
        if is_held {
            continue;
        }
        if is_required {
            let message =
                format!("NIMCache {namespace}/{name} is not ready here, and spec.cacheLocality is Require");
            return refuse(Reason::ModelNotCached, message);
        }
        if builds {
            let message = format!(
                "{} builds from NIMCache {namespace}/{name}, which is not ready here and is not placed with it",
                workload.title()
            );
            return refuse(Reason::ModelNotCached, message);
        }
    }
    Ok(())
}
