//! Score: what the cluster's spoke reported is new, so that less can have changed since.

use jiff::{SignedDuration, Timestamp};

use crate::fleet::{Cluster, STALE_AFTER};

/// A spoke repeats its report this often: a younger one is as new as can be.
pub(crate) const REPEATED: SignedDuration = SignedDuration::from_mins(10);

/// 100 up to the age at which a spoke repeats a report, then less and less until it is too old to place by.
pub(super) fn points(cluster: &Cluster, now: Timestamp) -> u32 {
    let Some(capacity) = &cluster.capacity else { return 0 };
    points_of((now.duration_since(capacity.received_at) - REPEATED).as_secs())
}

/// Points of a report that came so many seconds later than one that would be repeated now.
pub(super) fn points_of(late: i64) -> u32 {
    let most = (STALE_AFTER - REPEATED).as_secs();
    u32::try_from((most - late.max(0)).max(0) * 100 / most).unwrap_or(0)
}
