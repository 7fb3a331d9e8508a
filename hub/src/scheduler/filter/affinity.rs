//! Filter: the placement's cluster affinity.

use super::{Reason, Verdict, refuse};
use crate::{
    fleet::{Cluster, properties},
    scheduler::Affinity,
};

/// For a placement that comes.
pub(super) fn admits(affinity: &Affinity, cluster: &Cluster) -> Verdict {
    check(affinity, cluster, &|_| false)
}

/// Why a placement may not come, in a word.
pub(super) fn reason(affinity: &Affinity, cluster: &Cluster) -> Option<Reason> {
    let name = cluster.name.as_str();
    if affinity.exclude.iter().any(|excluded| excluded == name) {
        return Some(Reason::Excluded);
    }
    let is_named =
        affinity.cluster_names.is_empty() || affinity.cluster_names.iter().any(|named| named == name);
    let matches = affinity.required.is_empty() || affinity.required.iter().any(|term| term.matches(cluster));
    (!is_named || !matches).then_some(Reason::AffinityMismatch)
}

/// For a placement that is there: what is observed and not known now, or comes and goes by itself, speaks against nothing.
pub(super) fn keeps(affinity: &Affinity, cluster: &Cluster) -> Verdict {
    let is_open = |key: &str| {
        let observed = properties::SINGLE.contains(&key) && cluster.property(key).is_none();
        observed || properties::MANY.contains(&key) && !cluster.labels.contains_key(key)
    };
    check(affinity, cluster, &is_open)
}

/// `is_open`: a requirement on that key counts as met.
fn check(affinity: &Affinity, cluster: &Cluster, is_open: &dyn Fn(&str) -> bool) -> Verdict {
    let name = cluster.name.as_str();
    if affinity.exclude.iter().any(|excluded| excluded == name) {
        return refuse(Reason::Excluded, "named in spec.clusterAffinity.exclude".to_owned());
    }
    if !affinity.cluster_names.is_empty() && !affinity.cluster_names.iter().any(|named| named == name) {
        let message =
            format!("not among spec.clusterAffinity.clusterNames ({})", affinity.cluster_names.join(", "));
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
