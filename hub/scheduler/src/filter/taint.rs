//! Filter: the cluster's taints against the placement's tolerations.

use super::{Reason, Verdict, refuse};
use crate::{
    Toleration,
    fleet::{Cluster, Effect, Taint},
};

/// For a placement that comes: every taint counts.
pub(super) fn admits(tolerations: &[Toleration], cluster: &Cluster) -> Verdict {
    refuse_for(first_untolerated(tolerations, cluster, |_| true))
}

/// For a placement that is there: only NoExecute counts.
pub(super) fn keeps(tolerations: &[Toleration], cluster: &Cluster) -> Verdict {
    refuse_for(first_untolerated(tolerations, cluster, |taint| taint.effect == Effect::NoExecute))
}

/// The first taint that counts and is not tolerated.
pub(super) fn first_untolerated<'a>(
    tolerations: &[Toleration],
    cluster: &'a Cluster,
    counts: fn(&Taint) -> bool,
) -> Option<&'a Taint> {
    let tolerated = |taint: &Taint| tolerations.iter().any(|toleration| toleration.tolerates(taint));
    cluster.taints.iter().find(|taint| counts(taint) && !tolerated(taint))
}

fn refuse_for(taint: Option<&Taint>) -> Verdict {
    match taint {
        None => Ok(()),
        Some(taint) => {
            let value = if taint.value.is_empty() { String::new() } else { format!("={}", taint.value) };
            let effect = taint.effect.as_str();
            refuse(Reason::UntoleratedTaint, format!("taint {}{value}:{effect} is not tolerated", taint.key))
        }
    }
}
