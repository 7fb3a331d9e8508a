//! Filter: the devices that pods claim are there and free, by dynamic resource allocation.

use super::{Reason, Refusal, Verdict, refuse};
use crate::{
    fleet::{Capacity, DeviceGroup},
    need::{DeviceNeed, Selector},
    scheduler::{
        Workload,
        room::devices::{Devices, matches, suits},
    },
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
    claims.try_for_each(|need| of_one(workload, need, pods, &devices.groups, devices.complete))
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
    let suitable: Vec<_> = of_class.iter().filter(|group| suits(need, group)).collect();
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
    let lacking = if suitable.is_empty() { lacking(need, &of_class) } else { String::new() };
    let pods = if pods == 1 { "1 pod takes".to_owned() } else { format!("{pods} pods take") };
    let devices = if need.count == 1 { "1 device".to_owned() } else { format!("{} devices", need.count) };
    let message = format!(
        "{title}: {}: {pods} {devices} of class {} each, on one node; room for {room}, with {free} suitable ones free \
         ({largest} at most on one node) of {all} in the class{lacking}",
        need.field, need.class
    );
    refuse(Reason::InsufficientDevices, message)
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
