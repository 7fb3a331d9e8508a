//! Filter: what is not free now could be brought by the cluster's autoscaler.

use jiff::SignedDuration;

use super::Refusal;
use crate::fleet::{Capacity, Cluster};
use crate::{Workload, packing::Left, room};

/// Asks again with all that an autoscaler can bring; `refusal` is what was said without. What is left then is known to be
/// waited for.
pub(super) fn seats<'a>(
    workloads: &[Workload],
    cluster: &'a Cluster,
    refusal: Refusal,
    seat: impl FnOnce(&'a Capacity) -> Result<Left<'a>, Refusal>,
) -> Result<Left<'a>, Refusal> {
    let Some(grown) = &cluster.grown else { return Err(refusal) };
    match seat(grown) {
        Ok(left) => Ok(Left { waits: Some(delay(workloads, cluster)), ..left }),
        // What no node brings is said once.
        Err(even_then) if even_then.message == refusal.message => Err(refusal),
        Err(even_then) => {
            let message = format!("{}; with all of spec.potential: {}", refusal.message, even_then.message);
            Err(Refusal { message, ..refusal })
        }
    }
}

/// How long the slowest pool takes to come that the objects could run on; nought where nothing can come.
pub(crate) fn delay(workloads: &[Workload], cluster: &Cluster) -> SignedDuration {
    if cluster.grown.is_none() {
        return SignedDuration::ZERO;
    }
    let suits = |pool: &&crate::fleet::Potential| {
        let pool = crate::fleet::Pool {
            product: pool.product.clone(),
            resource: pool.resource.clone(),
            memory_mib: pool.memory_mib,
            ..<_>::default()
        };
        workloads.iter().any(|workload| {
            workload.need.gpu.as_ref().is_some_and(|gpu| room::suits(&pool, gpu, &workload.need.kind))
        })
    };
    cluster.potential.iter().filter(suits).map(|pool| pool.delay).max().unwrap_or_default()
}
