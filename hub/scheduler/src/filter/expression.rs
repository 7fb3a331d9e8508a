//! Filter: the CEL expressions of the cluster affinity.

use super::{Reason, Verdict, refuse};
use crate::{Affinity, Expression, Request, Verdicts, fleet::Cluster};

/// For a placement that comes: every expression counts.
pub(crate) fn admits(request: &Request, cluster: &Cluster) -> Verdict {
    first_false(request, cluster, |_| true)
}

/// For a placement that is there: only what speaks of what the admin says of the cluster, since the rest changes by itself.
pub(super) fn keeps(request: &Request, cluster: &Cluster) -> Verdict {
    first_false(request, cluster, Expression::is_steady)
}

fn first_false(request: &Request, cluster: &Cluster, counts: fn(&Expression) -> bool) -> Verdict {
    let affinity: &Affinity = &request.policy.affinity;
    if !affinity.expressions.iter().any(counts) {
        return Ok(());
    }
    let asked_now;
    let failed = if let Some(failed) = request.verdicts.of(&cluster.name) {
        failed
    } else {
        asked_now = Verdicts::ask(affinity, [cluster], |_| true);
        asked_now.of(&cluster.name).unwrap_or_default()
    };
    for (index, error) in failed {
        let Some(expression) = affinity.expressions.get(*index).filter(|one| counts(one)) else { continue };
        return false_here(*index, expression, error.as_deref());
    }
    Ok(())
}

/// The refusal for an expression that is false, or has no value for that reason.
pub(crate) fn false_here(index: usize, expression: &Expression, error: Option<&str>) -> Verdict {
    let why = match error {
        None => "is false".to_owned(),
        Some(error) => format!("has no value here: {error}"),
    };
    let source = expression.source();
    let message = format!("spec.clusterAffinity.expressions[{index}] ({source}) {why}");
    refuse(Reason::ExpressionFalse, message)
}
