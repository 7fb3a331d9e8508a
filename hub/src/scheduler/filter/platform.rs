//! Filter: the platforms that the objects run on are in the cluster.

use super::{Reason, Verdict, refuse};
use crate::{fleet::Capacity, scheduler::Workload};

pub(super) fn check(workloads: &[Workload], capacity: &Capacity) -> Verdict {
    for workload in workloads {
        if let Some(missing) = workload.need.platforms.iter().find(|name| !capacity.has_platform(name)) {
            let found: Vec<_> = capacity.platforms.iter().map(|platform| platform.name.as_str()).collect();
            let found = if found.is_empty() { "none".to_owned() } else { found.join(", ") };
            let message = format!("{} needs platform {missing}; found: {found}", workload.title());
            return refuse(Reason::PlatformMissing, message);
        }
    }
    Ok(())
}
