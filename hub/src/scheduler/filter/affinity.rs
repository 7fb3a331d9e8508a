//! Filter: the placement's cluster affinity.

use super::{Reason, Verdict, refuse};
use crate::{fleet::Cluster, scheduler::Affinity};

pub(super) fn check(affinity: &Affinity, cluster: &Cluster) -> Verdict {
    let name = cluster.name.as_str();
    if affinity.exclude.iter().any(|excluded| excluded == name) {
        return refuse(Reason::Excluded, "named in spec.clusterAffinity.exclude".to_owned());
    }
    if !affinity.cluster_names.is_empty() && !affinity.cluster_names.iter().any(|named| named == name) {
        let message =
            format!("not among spec.clusterAffinity.clusterNames ({})", affinity.cluster_names.join(", "));
        return refuse(Reason::AffinityMismatch, message);
    }
    if !affinity.required.is_empty() && !affinity.required.iter().any(|term| term.matches(&cluster.labels)) {
        let labels: Vec<_> = cluster.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let labels = if labels.is_empty() { "none".to_owned() } else { labels.join(", ") };
        let terms = affinity.required.len();
        let message =
            format!("its labels ({labels}) match no term of spec.clusterAffinity.required ({terms} given)");
        return refuse(Reason::AffinityMismatch, message);
    }
    Ok(())
}
