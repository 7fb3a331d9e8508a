//! Whole decisions: tables, stability, and properties.

pub(crate) mod builder;
mod causes;
mod decisions;
mod devices;
mod division;
mod failover;
mod followed;
mod oracle;
mod overcommit;
mod pipelines;
mod priority;
mod properties;
mod samples;
mod stability;

use crate::fleet::Fleet;
use crate::{Decision, Request, run};

/// The decision, of an index that has just been made, held against that of a scan of every cluster.
pub(crate) fn schedule(request: &Request, fleet: &Fleet) -> Decision {
    let decision = crate::schedule(request, &mut fleet.clone());
    assert_eq!(
        decision,
        run::scan(request, fleet),
        "with an index, and by asking one cluster after the other"
    );
    decision
}
