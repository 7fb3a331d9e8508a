//! Filter: the devices that pods claim are there and free, by dynamic resource allocation.

use std::cmp::Ordering;

use super::{Reason, Verdict, refuse};
use crate::{
    fleet::{Capacity, DeviceGroup},
    need::{DeviceNeed, Selector, Wanted, version_numbers},
    scheduler::Workload,
};

/// An agent that does not tell devices refuses nothing: its cluster's own scheduler does.
pub(super) fn check(
    workloads: &[Workload],
    demand: impl Fn(&Workload) -> u32,
    capacity: &Capacity,
) -> Verdict {
    let Some(groups) = &capacity.devices else { return Ok(()) };
    let complete = !capacity.cut.iter().any(|list| list == "devices");
    for workload in workloads {
        let pods = workload.need.gpu.as_ref().map_or(1, |gpu| gpu.pods).saturating_mul(demand(workload));
        for need in &workload.need.devices {
            of_one(workload, need, pods, groups, complete)?;
        }
    }
    Ok(())
}

fn of_one(
    workload: &Workload,
    need: &DeviceNeed,
    pods: u32,
    groups: &[DeviceGroup],
    complete: bool,
) -> Verdict {
    let title = workload.title();
    let of_class: Vec<_> = groups.iter().filter(|group| group.class == need.class).collect();
    if of_class.is_empty() {
        if !complete {
            return Ok(());
        }
        let mut found: Vec<_> = groups.iter().map(|group| group.class.as_str()).collect();
        found.dedup();
        let found = if found.is_empty() { "none".to_owned() } else { found.join(", ") };
        let message = format!("{title}: {}: no DeviceClass {}; there are: {found}", need.field, need.class);
        return refuse(Reason::DeviceClassMissing, message);
    }
    if of_class.iter().any(|group| group.uncounted) {
        return Ok(());
    }
    let will_do = |group: &&&DeviceGroup| need.selectors.iter().all(|selector| matches(selector, group));
    let suitable: Vec<_> =
        of_class.iter().filter(|group| group.driver == need.driver).filter(will_do).collect();
    // Devices of one claim are on one node.
    let seats = |group: &DeviceGroup| {
        let nodes = group.free_per_node.iter();
        nodes
            .map(|(free, nodes)| (free / need.count.max(1)).saturating_mul(*nodes))
            .fold(0, u32::saturating_add)
    };
    let room = suitable.iter().map(|group| seats(group)).fold(0, u32::saturating_add);
    if room >= pods {
        return Ok(());
    }
    let free = suitable.iter().map(|group| group.free).fold(0, u32::saturating_add);
    let all = of_class.iter().map(|group| group.devices).fold(0, u32::saturating_add);
    let largest = suitable.iter().filter_map(|group| group.free_per_node.keys().max()).max().unwrap_or(&0);
    let message = format!(
        "{title}: {}: {pods} pods take {} devices of class {} each, on one node; room for {room}, with {free} suitable ones \
         free ({largest} at most on one node) of {all} in the class",
        need.field, need.count, need.class
    );
    refuse(Reason::InsufficientDevices, message)
}

/// Whether devices of the group have what is asked for. What the group does not tell refuses nothing.
fn matches(selector: &Selector, group: &DeviceGroup) -> bool {
    let told = match &selector.wanted {
        Wanted::Quantity(_) => group.capacity.get(&selector.key),
        _ => group.attributes.get(&selector.key),
    };
    let Some(told) = told else { return true };
    let order: Option<Ordering> = match &selector.wanted {
        Wanted::Text(text) => Some(told.cmp(text)),
        Wanted::Number(number) => told.parse::<i64>().ok().map(|told| told.cmp(number)),
        Wanted::Version(version) => version_numbers(told).map(|told| told.cmp(version)),
        Wanted::Quantity(amount) => crds::quantity::compare(told, amount),
    };
    order.is_none_or(|order| selector.comparison.holds(order))
}
