//! Filter: the placement's cluster affinity.

use super::{Reason, Verdict, refuse};
use crate::{
    NAMED, Policy,
    fleet::{Cluster, properties},
};

/// For a placement that comes.
pub(super) fn admits(policy: &Policy, cluster: &Cluster) -> Verdict {
    check(policy, cluster, &|_| false)
}

/// Why a placement may not come, in a word.
pub(super) fn reason(policy: &Policy, cluster: &Cluster) -> Option<Reason> {
    let (affinity, name) = (&policy.affinity, cluster.name.as_str());
    if policy.excludes(name) {
        return Some(Reason::Excluded);
    }
    let matches = affinity.required.is_empty() || affinity.required.iter().any(|term| term.matches(cluster));
    (!policy.names(name) || !matches).then_some(Reason::AffinityMismatch)
}

/// For a placement that is there: what is observed and not known now, or comes and goes by itself, speaks against nothing.
pub(super) fn keeps(policy: &Policy, cluster: &Cluster) -> Verdict {
    let is_open = |key: &str| {
        let observed = properties::SINGLE.contains(&key) && cluster.property(key).is_none();
        observed || properties::MANY.contains(&key) && !cluster.labels.contains_key(key)
    };
    check(policy, cluster, &is_open)
}

/// `is_open`: a requirement on that key counts as met.
fn check(policy: &Policy, cluster: &Cluster, is_open: &dyn Fn(&str) -> bool) -> Verdict {
    let (affinity, name) = (&policy.affinity, cluster.name.as_str());
    if policy.excludes(name) {
        return refuse(Reason::Excluded, "named in spec.clusterAffinity.exclude".to_owned());
    }
    if !policy.names(name) {
        let names = &affinity.cluster_names;
        let first = names.iter().take(NAMED).map(String::as_str).collect::<Vec<_>>().join(", ");
        let more = names.len().saturating_sub(NAMED);
        let more = if more == 0 { String::new() } else { format!(" and {more} more") };
        let message = format!("not among spec.clusterAffinity.clusterNames ({first}{more})");
        return refuse(Reason::AffinityMismatch, message);
    }
    let matches = || affinity.required.iter().any(|term| term.matches_but(cluster, is_open));
    if !affinity.required.is_empty() && !matches() {
        let labels: Vec<_> = cluster.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let labels = if labels.is_empty() { "none".to_owned() } else { labels.join(", ") };
        let terms = affinity.required.len();
        let message = format!(
            "its labels ({labels}) and properties match no term of spec.clusterAffinity.required ({terms} given)"
        );
        return refuse(Reason::AffinityMismatch, message);
    }
    Ok(())
}
