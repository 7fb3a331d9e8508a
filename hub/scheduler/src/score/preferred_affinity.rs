//! Score: preferred terms of the cluster affinity match.

use crate::{Affinity, fleet::Cluster};

/// Percent, by weight, of the terms that match.
pub(super) fn points(affinity: &Affinity, cluster: &Cluster) -> u32 {
    let (mut matched, mut all) = (0, 0u32);
    for term in &affinity.preferred {
        all += term.weight;
        if term.selector.matches(cluster) {
            matched += term.weight;
        }
    }
    (matched * 100).checked_div(all).unwrap_or(0)
}
