//! Free devices of one cluster, by dynamic resource allocation, as they are given away.

use std::borrow::Cow;
use std::cmp::Ordering;

use crate::fleet::{Capacity, DeviceGroup};
use crate::need::{DeviceNeed, Need, Selector, Wanted, version_numbers};

/// Free devices of one cluster.
#[derive(Clone, Debug)]
pub(in crate::scheduler) struct Devices<'a> {
    pub(in crate::scheduler) groups: Cow<'a, [DeviceGroup]>,
    /// Whether the report names all classes.
    pub(in crate::scheduler) complete: bool,
}

impl<'a> Devices<'a> {
    /// What the report says is free; none of an agent that does not tell.
    pub(in crate::scheduler) fn reported(capacity: &'a Capacity) -> Option<Self> {
        let groups = Cow::Borrowed(capacity.devices.as_deref()?);
        Some(Self { groups, complete: !capacity.cut.iter().any(|list| list == "devices") })
    }

    /// Gives up to `replicas` replicas their devices, and says how many got them: all of a replica or none.
    pub(in crate::scheduler) fn take(&mut self, need: &Need, replicas: u32) -> u32 {
        if need.devices.is_empty() {
            return replicas;
        }
        for given in 0..replicas {
            let mut next = self.clone();
            if !next.seat(need) {
                return given;
            }
            *self = next;
        }
        replicas
    }

    /// Sets aside what others have been given, in pieces where it no longer fits as a whole.
    pub(super) fn owe(&mut self, need: &Need, replicas: u32) {
        let taken = self.take(need, replicas);
        for one in &need.devices {
            let mut debt = one.count.saturating_mul(pods(need)).saturating_mul(replicas - taken);
            while debt > 0 && self.shrink(one, &mut debt) {}
        }
    }

    /// Gives one replica its devices; of those that cannot be counted there are enough.
    fn seat(&mut self, need: &Need) -> bool {
        let mut each = (0..pods(need)).flat_map(|_| &need.devices);
        each.all(|one| !self.counts(one) || self.seat_one(one))
    }

    fn counts(&self, one: &DeviceNeed) -> bool {
        let mut of_class = self.groups.iter().filter(|group| group.class == one.class).peekable();
        if of_class.peek().is_none() {
            return self.complete;
        }
        !of_class.any(|group| group.uncounted)
    }

    /// Devices of one claim are on one node: on that which has fewest, but enough.
    fn seat_one(&mut self, one: &DeviceNeed) -> bool {
        let enough =
            |group: &DeviceGroup| group.free_per_node.range(one.count..).next().map(|(free, _)| *free);
        let suitable = self.groups.iter().enumerate().filter(|(_, group)| suits(one, group));
        let tightest = suitable.filter_map(|(at, group)| Some((enough(group)?, at))).min();
        let Some((free, at)) = tightest else { return false };
        self.groups.to_mut()[at].give(free, one.count);
        true
    }

    /// Takes a part of a debt from a node that has most; says whether there was any.
    fn shrink(&mut self, one: &DeviceNeed, debt: &mut u32) -> bool {
        let most = |group: &DeviceGroup| group.free_per_node.keys().next_back().copied().unwrap_or(0);
        let suitable = self.groups.iter().enumerate().filter(|(_, group)| suits(one, group));
        let largest = suitable.map(|(at, group)| (most(group), at)).max().filter(|(free, _)| *free > 0);
        let Some((free, at)) = largest else { return false };
        let part = free.min(*debt);
        self.groups.to_mut()[at].give(free, part);
        *debt -= part;
        true
    }
}

impl DeviceGroup {
    /// A node with so many free devices gives some of them away.
    fn give(&mut self, free: u32, devices: u32) {
        self.free = self.free.saturating_sub(devices);
        if let Some(nodes) = self.free_per_node.get_mut(&free) {
            *nodes -= 1;
            if *nodes == 0 {
                self.free_per_node.remove(&free);
            }
            *self.free_per_node.entry(free - devices).or_default() += 1;
        }
    }
}

/// Pods of one replica.
fn pods(need: &Need) -> u32 {
    need.gpu.as_ref().map_or(1, |gpu| gpu.pods)
}

/// Whether devices of the group are of the class, and have what is asked for.
pub(in crate::scheduler) fn suits(need: &DeviceNeed, group: &DeviceGroup) -> bool {
    group.class == need.class
        && group.driver == need.driver
        && need.selectors.iter().all(|selector| matches(selector, group))
}

/// Whether devices of the group have what is asked for. What the group does not tell refuses nothing.
pub(in crate::scheduler) fn matches(selector: &Selector, group: &DeviceGroup) -> bool {
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    const CLASS: &str = "gpu.nvidia.com";

    fn capacity(free_per_node: &[(u32, u32)]) -> Capacity {
        let free = free_per_node.iter().map(|(free, nodes)| free * nodes).sum();
        let group = DeviceGroup {
            class: CLASS.into(),
            driver: CLASS.into(),
            attributes: BTreeMap::new(),
            capacity: BTreeMap::new(),
            devices: 16,
            free,
            free_per_node: free_per_node.iter().copied().collect(),
            uncounted: false,
        };
        Capacity { devices: Some(vec![group]), ..Capacity::default() }
    }

    fn need(counts: &[u32]) -> Need {
        let device = |count: &u32| DeviceNeed {
            field: "spec.draResources[0]".into(),
            class: CLASS.into(),
            driver: CLASS.into(),
            count: *count,
            selectors: Vec::new(),
        };
        Need { devices: counts.iter().map(device).collect(), ..Need::default() }
    }

    fn blocks(devices: &Devices<'_>) -> Vec<(u32, u32)> {
        devices.groups[0].free_per_node.iter().map(|(free, nodes)| (*free, *nodes)).collect()
    }

    #[test]
    fn a_replica_gets_all_its_devices_or_none_each_claim_on_the_fullest_node() {
        let capacity = capacity(&[(2, 1), (8, 1)]);
        let mut devices = Devices::reported(&capacity).unwrap();
        assert_eq!(devices.take(&need(&[2]), 1), 1);
        assert_eq!(blocks(&devices), [(0, 1), (8, 1)]);
        assert_eq!(devices.take(&need(&[4, 3]), 2), 1, "seven of eight, then one of seven");
        assert_eq!(blocks(&devices), [(0, 1), (1, 1)]);
        assert_eq!(devices.groups[0].free, 1);
        assert_eq!(devices.take(&need(&[]), 5), 5, "what claims nothing");
    }

    #[test]
    fn what_is_owed_and_does_not_fit_is_set_aside_in_pieces() {
        let capacity = capacity(&[(3, 2)]);
        let mut devices = Devices::reported(&capacity).unwrap();
        devices.owe(&need(&[4]), 1);
        assert_eq!(blocks(&devices), [(0, 1), (2, 1)]);
        devices.owe(&need(&[4]), 3);
        assert_eq!(blocks(&devices), [(0, 2)]);
    }

    #[test]
    fn what_cannot_be_counted_is_enough() {
        let mut capacity = capacity(&[(1, 1)]);
        capacity.devices.as_mut().unwrap()[0].uncounted = true;
        assert_eq!(Devices::reported(&capacity).unwrap().take(&need(&[4]), 2), 2);
        let other = Need {
            devices: vec![DeviceNeed { class: "fpga".into(), ..need(&[1]).devices[0].clone() }],
            ..Need::default()
        };
        assert_eq!(Devices::reported(&capacity).unwrap().take(&other, 1), 0, "no such class");
        capacity.cut = vec!["devices".into()];
        assert_eq!(Devices::reported(&capacity).unwrap().take(&other, 1), 1, "none that is named");
        assert!(Devices::reported(&Capacity::default()).is_none());
    }
}
