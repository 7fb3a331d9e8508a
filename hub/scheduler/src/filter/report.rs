//! Filter: the hub knows what the cluster can run, and the report is fresh.

use jiff::Timestamp;

use super::{Reason, Refusal};
use crate::fleet::{Capacity, Cluster, STALE_AFTER};

pub(super) fn check(cluster: &Cluster, now: Timestamp) -> Result<&Capacity, Refusal> {
    let Some(capacity) = &cluster.capacity else {
        let message = "its spoke has not reported what the cluster can run yet".to_owned();
        return Err(Refusal { reason: Reason::CapacityUnknown, message, settles_at: None });
    };
    if capacity.is_stale(now) {
        let limit = STALE_AFTER.as_mins();
        let message = format!(
            "its last capacity report came at {:.0}; it is believed for {limit} minutes",
            capacity.received_at
        );
        return Err(Refusal { reason: Reason::CapacityStale, message, settles_at: None });
    }
    Ok(capacity)
}
