//! Filter: the cluster can make the volumes that the objects ask for, and pods can mount them from where they run.

use super::{Reason, Verdict, refuse};
use crate::{
    Workload,
    fleet::{Access, Capacity, StorageClass},
    need::{ClaimNeed, Mounts},
};

/// What an agent or a class does not tell refuses nothing.
pub(super) fn check(
    workloads: &[Workload],
    demand: impl Fn(&Workload) -> u32,
    capacity: &Capacity,
) -> Verdict {
    let Some(classes) = &capacity.storage else { return Ok(()) };
    let complete = !capacity.cut.iter().any(|list| list == "storage");
    for workload in workloads {
        // A cache that is ready has its volume already.
        let made = workload.object.kind == "NIMCache"
            && workload.need.cache.as_ref().is_some_and(|key| capacity.cache(key).is_some());
        for claim in workload.need.claims.iter().filter(|_| !made) {
            of_one(workload, claim, demand(workload), classes, complete)?;
        }
    }
    Ok(())
}

fn of_one(
    workload: &Workload,
    claim: &ClaimNeed,
    replicas: u32,
    classes: &[StorageClass],
    complete: bool,
) -> Verdict {
    let (title, field) = (workload.title(), &claim.field);
    let class = match &claim.class {
        // Where no class is the default one, claims without a class get volumes that somebody made by hand.
        None => classes.iter().find(|class| class.is_default),
        Some(name) => classes.iter().find(|class| class.name == *name),
    };
    let Some(class) = class else {
        let Some(name) = claim.class.as_ref().filter(|_| complete) else { return Ok(()) };
        let found: Vec<_> = classes.iter().map(|class| class.name.as_str()).collect();
        let found = if found.is_empty() { "none".to_owned() } else { found.join(", ") };
        let message = format!(
            "{title}: {field}.storageClass: no storage class {name}; there are: {found}: name one of them there by an override, \
             or make the class"
        );
        return refuse(Reason::StorageClassMissing, message);
    };
    let pods = workload.need.pods().saturating_mul(replicas);
    if class.access == Some(Access::OneNode) {
        let name = &class.name;
        match claim.mounts {
            Mounts::ManyNodes => {
                let message = format!(
                    "{title}: {field}.volumeAccessMode: volumes of storage class {name} are mounted from one node at a time: \
                     name a class there that shares, by an override, or annotate the class with nimfleet.io/access-modes"
                );
                return refuse(Reason::NoSharedStorage, message);
            }
            Mounts::OneNodeByAll if pods > 1 => {
                let message = format!(
                    "{title}: {pods} pods share the volume of {field}, which storage class {name} lets one node mount: set \
                     volumeAccessMode to ReadWriteMany with a class that shares"
                );
                return refuse(Reason::NoSharedStorage, message);
            }
            _ => {}
        }
    }
    match class.largest_mib {
        Some(largest) if largest < claim.mib => {
            let message = format!(
                "{title}: {field}.size: needs {} MiB of storage class {}; the largest volume it can make is {largest} MiB",
                claim.mib, class.name
            );
            refuse(Reason::InsufficientStorage, message)
        }
        _ => Ok(()),
    }
}
