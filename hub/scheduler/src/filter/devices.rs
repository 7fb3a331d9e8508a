//! Filter: the devices that pods claim are there and free, by dynamic resource allocation.

use super::{Reason, Refusal, Verdict, nodes, refuse};
use crate::{
    Workload,
    fleet::{Capacity, DeviceGroup},
    need::{DeviceNeed, Selector},
    room::devices::{Devices, is_asked_for, matches, suits},
};

/// An agent that does not tell devices refuses nothing: its cluster's own scheduler does.
pub(super) fn check(
    workloads: &[Workload],
    demand: impl Fn(&Workload) -> u32,
    capacity: &Capacity,
) -> Verdict {
    let Some(devices) = Devices::reported(capacity) else { return Ok(()) };
    workloads.iter().try_for_each(|workload| free(workload, demand(workload), &devices))
}

/// Whether each claim of so many replicas finds its devices among those.
fn free(workload: &Workload, replicas: u32, devices: &Devices<'_>) -> Verdict {
    let pods = workload.need.pods().saturating_mul(replicas);
    let mut claims = workload.need.devices.iter();
    claims.try_for_each(|claim| of_one(workload, claim, pods, &devices.groups, devices.complete))
}

/// Why so many replicas find too few devices, of which some have been promised to others.
pub(super) fn missing(
    workload: &Workload,
    replicas: u32,
    given: u32,
    devices: &Devices<'_>,
) -> (Reason, String) {
    if let Err(Refusal { reason, message, .. }) = free(workload, replicas, devices) {
        return (reason, format!("{message}; what is promised to others is not free"));
    }
    let message = format!(
        "{}: its claims find their devices one by one, and not together: room for {given} of {replicas} replicas",
        workload.title()
    );
    (Reason::InsufficientDevices, message)
}

fn of_one(
    workload: &Workload,
    claim: &DeviceNeed,
    pods: u32,
    groups: &[DeviceGroup],
    complete: bool,
) -> Verdict {
    let (need, title) = (&workload.need, workload.title());
    let of_class: Vec<_> = groups.iter().filter(|group| group.class == claim.class).collect();
    if of_class.is_empty() {
        if !complete {
            return Ok(());
        }
        let mut found: Vec<_> = groups.iter().map(|group| group.class.as_str()).collect();
        found.dedup();
        let found = if found.is_empty() { "none".to_owned() } else { found.join(", ") };
        let message = format!("{title}: {}: no DeviceClass {}; there are: {found}", claim.field, claim.class);
        return refuse(Reason::DeviceClassMissing, message);
    }
    if of_class.iter().any(|group| group.uncounted) {
        return Ok(());
    }
    let suitable: Vec<_> = of_class.iter().filter(|group| suits(claim, need, group)).collect();
    // Devices of one claim are on one node.
    let seats = |group: &DeviceGroup| {
        let nodes = group.free_per_node.iter();
        nodes
            .map(|(free, nodes)| (free / claim.count.max(1)).saturating_mul(*nodes))
            .fold(0, u32::saturating_add)
    };
    let room = suitable.iter().map(|group| seats(group)).fold(0, u32::saturating_add);
    if room >= pods {
        return Ok(());
    }
    let repelling: Vec<_> = of_class.iter().filter(|group| is_asked_for(claim, need, group)).collect();
    if suitable.is_empty() && !repelling.is_empty() {
        let row = |group: &DeviceGroup| {
            let taints = nodes::untolerated(&group.taints, need.nodes.as_deref(), need.gpu.is_some());
            format!("{} of class {} on nodes with {taints}", counted(group.devices), claim.class)
        };
        let rows: Vec<_> = repelling.iter().map(|group| row(group)).collect();
        let message = format!("{}, which {title} does not tolerate", rows.join("; "));
        return refuse(Reason::TaintNotTolerated, message);
    }
    let free = suitable.iter().map(|group| group.free).fold(0, u32::saturating_add);
    let all = of_class.iter().map(|group| group.devices).fold(0, u32::saturating_add);
    let largest = suitable.iter().filter_map(|group| group.free_per_node.keys().max()).max().unwrap_or(&0);
    let lacking = if suitable.is_empty() { lacking(claim, &of_class) } else { String::new() };
    let (class, field) = (&claim.class, &claim.field);
    let together = if claim.count == 1 { "" } else { " on one node" };
    let each = if pods == 1 { String::new() } else { format!(" for each of {pods} pods") };
    let at_most = if claim.count == 1 { String::new() } else { format!(", {largest} at most on one node") };
    let seated = if pods == 1 { String::new() } else { format!(", enough for {room} pods") };
    let message = format!(
        "{title} needs {} of class {class}{together}{each}; {free} of {all} are free{at_most}{seated} ({field}){lacking}",
        counted(claim.count)
    );
    refuse(Reason::InsufficientDevices, message)
}

fn counted(devices: u32) -> String {
    if devices == 1 { "1 device".to_owned() } else { format!("{devices} devices") }
}

/// What none of the devices has; nothing where there are none.
fn lacking(need: &DeviceNeed, of_class: &[&DeviceGroup]) -> String {
    if of_class.iter().all(|group| group.devices == 0) {
        return String::new();
    }
    let of_driver: Vec<_> = of_class.iter().filter(|group| group.driver == need.driver).collect();
    if of_driver.is_empty() {
        return format!("; none is of driver {}", need.driver);
    }
    let unmet = |selector: &&Selector| !of_driver.iter().any(|group| matches(selector, group));
    match need.selectors.iter().find(unmet) {
        Some(selector) => format!("; none has {selector}"),
        None => "; none has all that is selected".to_owned(),
    }
}
