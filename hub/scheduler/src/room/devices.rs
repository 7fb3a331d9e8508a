//! Free devices of one cluster, by dynamic resource allocation, as they are given away.

use std::borrow::Cow;
use std::cmp::Ordering;

use crds::taints::{GPU_TAINT, NodeTaint};

use crate::fleet::{Capacity, DeviceGroup};
use crate::need::{DeviceNeed, Need, Selector, Wanted, version_numbers};
use crate::product;

/// Free devices of one cluster.
#[derive(Clone, Debug)]
pub(crate) struct Devices<'a> {
    pub(crate) groups: Cow<'a, [DeviceGroup]>,
    /// Whether the report names all classes.
    pub(crate) complete: bool,
}

impl<'a> Devices<'a> {
    /// What the report says is free; none of an agent that does not tell.
    pub(crate) fn reported(capacity: &'a Capacity) -> Option<Self> {
        let groups = Cow::Borrowed(capacity.devices.as_deref()?);
        Some(Self { groups, complete: !capacity.cut.iter().any(|list| list == "devices") })
    }

    /// Gives up to `replicas` replicas their devices, and says how many got them: all of a replica or none.
    pub(crate) fn take(&mut self, need: &Need, replicas: u32) -> u32 {
        if need.devices.is_empty() {
            return replicas;
        }
        // By halving: neither what is asked for nor what a spoke tells bounds the number.
        let (mut given, mut most, mut rest) = (0, replicas, None);
        while given < most {
            let half = most - (most - given) / 2;
            let mut next = self.clone();
            if next.seat(need, half) {
                (given, rest) = (half, Some(next));
            } else {
                most = half - 1;
            }
        }
        if let Some(rest) = rest {
            *self = rest;
        }
        given
    }

    /// Sets aside what others have been given, in pieces where it no longer fits as a whole.
    pub(super) fn owe(&mut self, need: &Need, replicas: u32) {
        let taken = self.take(need, replicas);
        for one in &need.devices {
            let mut debt = one.count.saturating_mul(need.pods()).saturating_mul(replicas - taken);
            while debt > 0 && self.shrink(one, need, &mut debt) {}
        }
    }

    /// Gives so many replicas their devices; of those that cannot be counted there are enough.
    fn seat(&mut self, need: &Need, replicas: u32) -> bool {
        let pods = need.pods().saturating_mul(replicas);
        need.devices.iter().all(|one| !self.counts(one) || self.seat_one(one, need, pods))
    }

    fn counts(&self, one: &DeviceNeed) -> bool {
        let mut of_class = self.groups.iter().filter(|group| group.class == one.class).peekable();
        if of_class.peek().is_none() {
            return self.complete;
        }
        !of_class.any(|group| group.uncounted)
    }

    /// Devices of one claim are on one node: on that which has fewest, but enough.
    fn seat_one(&mut self, one: &DeviceNeed, need: &Need, pods: u32) -> bool {
        let (count, mut left) = (one.count.max(1), pods);
        while left > 0 {
            let suitable = self.groups.iter().enumerate().filter(|(_, group)| suits(one, need, group));
            let enough = |group: &DeviceGroup| group.blocks().find(|free| *free >= count);
            let tightest = suitable.filter_map(|(at, group)| Some((enough(group)?, at))).min();
            let Some((free, at)) = tightest else { return false };
            left -= self.groups.to_mut()[at].fill(free, count, left);
        }
        true
    }

    /// Takes a part of a debt from nodes that have most; says whether there was any.
    fn shrink(&mut self, one: &DeviceNeed, need: &Need, debt: &mut u32) -> bool {
        let suitable = self.groups.iter().enumerate().filter(|(_, group)| suits(one, need, group));
        let most = |group: &DeviceGroup| group.blocks().max().unwrap_or(0);
        let largest = suitable.map(|(at, group)| (most(group), at)).max().filter(|(free, _)| *free > 0);
        let Some((free, at)) = largest else { return false };
        let part = free.min(*debt);
        *debt -= part * self.groups.to_mut()[at].fill(free, part, *debt / part);
        true
    }
}

impl DeviceGroup {
    /// How many free devices nodes have, the fewest first.
    fn blocks(&self) -> impl Iterator<Item = u32> {
        self.free_per_node.iter().filter(|(_, nodes)| **nodes > 0).map(|(free, _)| *free)
    }

    /// Nodes with so many free devices seat up to so many pods, one node after the other; says how many.
    fn fill(&mut self, free: u32, count: u32, pods: u32) -> u32 {
        let there = self.free_per_node.remove(&free).unwrap_or(0);
        let on_each = (free / count).min(pods);
        let nodes = pods.checked_div(on_each).unwrap_or(0).min(there);
        if nodes < there {
            self.free_per_node.insert(free, there - nodes);
        }
        let left = self.free_per_node.entry(free - on_each * count).or_default();
        *left = left.saturating_add(nodes);
        let seated = on_each * nodes;
        self.free = self.free.saturating_sub(seated.saturating_mul(count));
        seated
    }
}

/// Whether devices of the group are of the class, have what is asked for, and are on nodes on which the pods may run.
pub(crate) fn suits(claim: &DeviceNeed, need: &Need, group: &DeviceGroup) -> bool {
    is_asked_for(claim, need, group) && is_reached(need, group)
}

/// Whether devices of the group are of the class, and have what is asked for.
pub(crate) fn is_asked_for(claim: &DeviceNeed, need: &Need, group: &DeviceGroup) -> bool {
    group.class == claim.class
        && group.driver == claim.driver
        && claim.selectors.iter().all(|selector| matches(selector, group))
        && is_of_kind(need, group)
}

/// Whether devices of the group are of a kind that will do, where they are the pods' GPUs and say what they are.
fn is_of_kind(need: &Need, group: &DeviceGroup) -> bool {
    let Some(product) = group.product().filter(|_| need.gpu.is_none()) else { return true };
    product::is_of_kind(product, &need.kind)
        && group.memory_mib().is_none_or(|memory_mib| memory_mib >= need.kind.min_memory_mib)
}

/// Whether the pods tolerate the taints of the nodes that have them.
fn is_reached(need: &Need, group: &DeviceGroup) -> bool {
    let tolerations = need.nodes.as_deref().map_or(&[][..], |demand| &demand.tolerations);
    let has_gpus = need.gpu.is_some();
    let tolerates =
        |taint: &NodeTaint| (has_gpus && taint.key == GPU_TAINT) || taint.is_tolerated(tolerations);
    group.taints.iter().all(tolerates)
}

/// Whether devices of the group have what is asked for. What the group does not tell refuses nothing.
pub(crate) fn matches(selector: &Selector, group: &DeviceGroup) -> bool {
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
    use super::*;

    const CLASS: &str = "gpu.nvidia.com";

    fn capacity(free_per_node: &[(u32, u32)]) -> Capacity {
        let free = free_per_node.iter().map(|(free, nodes)| free * nodes).fold(0, u32::saturating_add);
        let group = DeviceGroup {
            class: CLASS.into(),
            driver: CLASS.into(),
            devices: 16,
            free,
            free_per_node: free_per_node.iter().copied().collect(),
            ..DeviceGroup::default()
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

    #[test]
    fn how_many_are_asked_for_or_told_costs_nothing() {
        let mut capacity = capacity(&[(0, 3), (2, 0), (8, 500_000_000)]);
        let most = |capacity: &Capacity, counts: &[u32]| {
            Devices::reported(capacity).unwrap().take(&need(counts), u32::MAX)
        };
        assert_eq!(most(&capacity, &[3]), 1_000_000_000, "two of three on each node of eight");
        assert_eq!(most(&capacity, &[4, 4]), 500_000_000);
        let mut owing = Devices::reported(&capacity).unwrap();
        owing.owe(&need(&[9]), 400_000_000);
        assert_eq!(owing.take(&need(&[8]), u32::MAX), 50_000_000);
        capacity.devices.as_mut().unwrap()[0].uncounted = true;
        assert_eq!(most(&capacity, &[3]), u32::MAX);
    }
}
