//! Filter: the cluster is in one of the placement's tiers.

use super::{Reason, Refusal};
use crate::{Policy, fleet::Cluster};

/// The cluster's tier: its place in the list; 0 where there are no tiers.
pub(crate) fn of(policy: &Policy, cluster: &Cluster) -> Result<usize, Refusal> {
    if policy.tiers.is_empty() {
        return Ok(0);
    }
    policy.tier_of(cluster).ok_or_else(|| {
        let names: Vec<_> = policy.tiers.iter().map(|tier| tier.name.as_str()).collect();
        let message = format!("in no tier of spec.tiers ({})", names.join(", "));
        Refusal { reason: Reason::NotInTier, message, settles_at: None }
    })
}
