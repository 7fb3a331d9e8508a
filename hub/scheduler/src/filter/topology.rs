//! Filter: the cluster has the properties over which the placement must be spread. Whether one more cluster of its domain
//! is too many is known only as clusters are chosen.

use super::{Reason, Refusal, Verdict, refuse};
use crate::{SpreadConstraint, fleet::Cluster, score::Domains};

pub(super) fn check(constraints: &[SpreadConstraint], cluster: &Cluster) -> Verdict {
    let hard = constraints.iter().enumerate().filter(|(_, constraint)| constraint.is_hard);
    for (index, constraint) in hard {
        if cluster.property(&constraint.key).is_none() {
            let message = format!("has no {}: spec.topologySpreadConstraints[{index}]", constraint.key);
            return refuse(Reason::TopologySpread, message);
        }
    }
    Ok(())
}

/// Why a cluster that fits is one too many of its domain.
pub(crate) fn one_too_many(domains: &Domains<'_>, cluster: &Cluster) -> Option<Refusal> {
    let (constraint, would, fewest) = domains.broken_by(cluster)?;
    let (key, value) = (&constraint.key, cluster.property(&constraint.key).unwrap_or_default());
    let message = format!(
        "{key} {value} would have {would} clusters and another {fewest}: maxSkew of {key} is {}",
        constraint.max_skew
    );
    Some(Refusal { reason: Reason::TopologySpread, message, settles_at: None })
}
