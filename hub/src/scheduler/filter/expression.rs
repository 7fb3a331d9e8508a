//! Filter: the CEL expressions of the cluster affinity.

use super::{Reason, Verdict, refuse};
use crate::{
    fleet::Cluster,
    scheduler::{Affinity, Expression},
};

/// For a placement that comes: every expression counts.
pub(super) fn admits(affinity: &Affinity, cluster: &Cluster) -> Verdict {
    first_false(affinity, cluster, |_| true)
}

/// For a placement that is there: only what speaks of what the admin says of the cluster, since the rest changes by itself.
pub(super) fn keeps(affinity: &Affinity, cluster: &Cluster) -> Verdict {
    first_false(affinity, cluster, Expression::is_steady)
}

fn first_false(affinity: &Affinity, cluster: &Cluster, counts: fn(&Expression) -> bool) -> Verdict {
    for (index, expression) in affinity.expressions.iter().enumerate().filter(|(_, one)| counts(one)) {
        let why = match expression.holds(cluster) {
            Ok(true) => continue,
            Ok(false) => "is false".to_owned(),
            Err(error) => format!("has no value here: {error}"),
        };
        let source = expression.source();
        let message = format!("spec.clusterAffinity.expressions[{index}] ({source}) {why}");
        return refuse(Reason::ExpressionFalse, message);
    }
    Ok(())
}
