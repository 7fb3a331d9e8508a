//! Free GPUs of one cluster, node by node, as they are given away; the processor and memory beside them; and devices.

pub(super) mod devices;

use std::borrow::Cow;

use super::{nodes, product};
use crate::{
    fleet::{Capacity, NodeGroup, Pool, Sets, Sharing},
    need::{GpuKind, GpuNeed, Need},
};
use devices::Devices;

/// Free GPUs and devices of one cluster.
#[derive(Clone, Debug)]
pub(super) struct Room<'a> {
    capacity: &'a Capacity,
    pools: Vec<Free<'a>>,
    /// None where the agent does not tell: then there are enough.
    pub(super) devices: Option<Devices<'a>>,
}

/// Free GPUs of one pool: nodes that are alike, fewest GPUs first.
#[derive(Clone, Debug)]
struct Free<'a> {
    pool: &'a Pool,
    nodes: Cow<'a, [NodeGroup]>,
    /// GPUs that a quota leaves.
    quota: u32,
}

/// What one pod takes of a node.
#[derive(Clone, Copy, Debug)]
struct Ask {
    gpus: u32,
    millicores: u64,
    memory_mib: u64,
    /// Nodes on which it may run.
    sets: Sets,
}

/// The best a cluster could offer to a need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Offer<'a> {
    /// Product of the pool.
    pub(super) product: &'a str,
    /// Most free GPUs on one node.
    pub(super) block: u32,
    /// Nodes of the pool.
    pub(super) nodes: u32,
    /// Pods of the need that the pool seats.
    pub(super) pods: u32,
}

/// Whether GPUs of that pool will do. One pod takes one of those that are cut into several, or none: more of them are not
/// more of a GPU.
#[must_use]
pub fn suits(pool: &Pool, gpu: &GpuNeed, kind: &GpuKind) -> bool {
    pool.resource == gpu.resource
        && pool.memory_mib >= kind.min_memory_mib
        && (pool.sharing == Sharing::Whole || gpu.total() <= 1)
        && product::is_of_kind(&pool.product, kind)
}

/// Replicas that a report has room for, whatever has been promised of it.
#[must_use]
pub fn seats(capacity: &Capacity, need: &Need) -> u32 {
    Room::reported(capacity).fits(need, u32::MAX)
}

impl<'a> Room<'a> {
    /// What the report says is free.
    pub(super) fn reported(capacity: &'a Capacity) -> Self {
        let pools = capacity.pools.iter().map(Free::reported).collect();
        Self { capacity, pools, devices: Devices::reported(capacity) }
    }

    /// Gives up to `replicas` replicas their GPUs and devices, and says how many got them. Each replica's pods go to
    /// nodes of one product, each to the fullest node that still has room, so that large blocks stay whole.
    pub(super) fn take(&mut self, need: &Need, replicas: u32) -> u32 {
        let Some(devices) = self.devices.as_ref().filter(|_| !need.devices.is_empty()) else {
            return self.take_gpus(need, replicas);
        };
        let with_devices = devices.clone().take(need, replicas);
        let given = self.take_gpus(need, with_devices);
        if let Some(devices) = &mut self.devices {
            devices.take(need, given);
        }
        given
    }

    fn take_gpus(&mut self, need: &Need, replicas: u32) -> u32 {
        let Some(gpu) = &need.gpu else { return replicas };
        let ask = self.ask(need, gpu);
        // The pool with the tightest fit first; ties by order of the report.
        let suitable = (0..self.pools.len()).filter(|at| suits(self.pools[*at].pool, gpu, &need.kind));
        let mut pools: Vec<_> = suitable.filter_map(|at| Some((self.pools[at].tightest(ask)?, at))).collect();
        pools.sort_unstable();
        let mut given = 0;
        for (_, at) in pools {
            if given == replicas {
                break;
            }
            let free = &mut self.pools[at];
            let wanted = (replicas - given).saturating_mul(gpu.pods).min(free.quota / ask.gpus.max(1));
            // All pods of a replica or none: what remains of a group that does not fit stays free.
            let seats = if gpu.pods > 1 { free.clone().seat(ask, wanted) } else { wanted };
            given += free.seat(ask, seats / gpu.pods * gpu.pods) / gpu.pods;
        }
        given
    }

    /// How many replicas would get their GPUs and devices, at most `limit`.
    pub(super) fn fits(&self, need: &Need, limit: u32) -> u32 {
        self.clone().take(need, limit)
    }

    /// Sets aside what others have been given. What no longer fits as a whole is set aside in pieces: it is
    /// owed before anything new.
    pub(super) fn owe(&mut self, need: &Need, replicas: u32) {
        if let Some(devices) = &mut self.devices {
            devices.owe(need, replicas);
        }
        let Some(gpu) = &need.gpu else { return };
        let taken = self.take_gpus(need, replicas);
        let mut debt = gpu.total().saturating_mul(replicas.saturating_sub(taken));
        let sets = nodes::accepted(need, self.capacity);
        for free in self.pools.iter_mut().filter(|free| suits(free.pool, gpu, &need.kind)) {
            while debt > 0 && free.largest(sets) > 0 {
                let part = free.largest(sets).min(debt);
                free.shrink(part, sets);
                debt -= part;
            }
        }
    }

    fn ask(&self, need: &Need, gpu: &GpuNeed) -> Ask {
        Ask {
            gpus: gpu.per_pod,
            millicores: need.millicores,
            memory_mib: need.memory_mib,
            sets: nodes::accepted(need, self.capacity),
        }
    }

    /// Free GPUs that suit the need.
    pub(super) fn free(&self, need: &Need) -> u32 {
        let sets = nodes::accepted(need, self.capacity);
        self.suitable(need).map(|free| free.total(sets)).fold(0, u32::saturating_add)
    }

    /// Free GPUs that suit the need and that quotas do not leave to it.
    pub(super) fn withheld(&self, need: &Need) -> u32 {
        let sets = nodes::accepted(need, self.capacity);
        let withheld = self.suitable(need).map(|free| free.unlimited(sets) - free.total(sets));
        withheld.fold(0, u32::saturating_add)
    }

    /// Free GPUs that would suit the need if its pods might run on every node.
    pub(super) fn elsewhere(&self, need: &Need) -> u32 {
        let sets = nodes::accepted(need, self.capacity);
        let elsewhere = self.suitable(need).map(|free| free.unlimited(Sets::ALL) - free.unlimited(sets));
        elsewhere.fold(0, u32::saturating_add)
    }

    /// The pool that seats most of the need's pods; then the one with the largest free block, the first by product where
    /// several have it.
    pub(super) fn best_offer(&self, need: &Need) -> Option<Offer<'a>> {
        let gpu = need.gpu.as_ref()?;
        let ask = self.ask(need, gpu);
        self.suitable(need)
            .map(|free| Offer {
                product: &free.pool.product,
                block: free.largest(ask.sets),
                nodes: free.accepted(ask.sets).map(|node| node.nodes).fold(0, u32::saturating_add),
                pods: free.clone().seat(ask, gpu.pods),
            })
            .min_by_key(|offer| (u32::MAX - offer.pods, u32::MAX - offer.block, offer.product))
    }

    /// The processor (thousandths) and memory (MiB) of the node that has enough free GPUs for a pod and most of what else
    /// it takes; none if no node has enough GPUs.
    pub(super) fn best_beside(&self, need: &Need) -> Option<(u64, u64)> {
        let gpus = need.gpu.as_ref()?.per_pod;
        let sets = nodes::accepted(need, self.capacity);
        let fits = self
            .suitable(need)
            .flat_map(|free| free.accepted(sets))
            .filter(|node| node.nodes > 0 && node.free >= gpus);
        // What is missing least, in parts of what is asked for.
        let lack = |has: u64, asked: u64| {
            asked.saturating_sub(has).saturating_mul(1000).checked_div(asked).unwrap_or(0)
        };
        fits.map(|node| (node.millicores, node.memory_mib))
            .min_by_key(|(millicores, mib)| lack(*millicores, need.millicores) + lack(*mib, need.memory_mib))
    }

    fn suitable(&self, need: &Need) -> impl Iterator<Item = &Free<'a>> {
        let gpu = need.gpu.as_ref();
        self.pools.iter().filter(move |free| gpu.is_some_and(|gpu| suits(free.pool, gpu, &need.kind)))
    }
}

impl Ask {
    fn fits(self, node: &NodeGroup) -> bool {
        node.nodes > 0
            && self.sets.holds(node.set)
            && node.free >= self.gpus
            && node.millicores >= self.millicores
            && node.memory_mib >= self.memory_mib
    }

    /// How many such pods one node seats.
    fn per_node(self, node: &NodeGroup) -> u32 {
        let of = |has: u64, asked: u64| has.checked_div(asked).unwrap_or(u64::MAX);
        let most = of(u64::from(node.free), u64::from(self.gpus))
            .min(of(node.millicores, self.millicores))
            .min(of(node.memory_mib, self.memory_mib));
        u32::try_from(most).unwrap_or(u32::MAX)
    }
}

impl<'a> Free<'a> {
    /// An agent that does not tell what else is free on nodes is taken to have enough of it.
    fn reported(pool: &'a Pool) -> Self {
        let nodes = if pool.groups.is_empty() {
            let group = |(free, nodes): (&u32, &u32)| NodeGroup {
                free: *free,
                millicores: u64::MAX,
                memory_mib: u64::MAX,
                nodes: *nodes,
                set: Sets::ANY,
            };
            Cow::Owned(pool.free_per_node.iter().map(group).collect())
        } else {
            Cow::Borrowed(pool.groups.as_slice())
        };
        Free { pool, nodes, quota: pool.quota_left.unwrap_or(u32::MAX) }
    }

    /// Seats up to `pods` pods, each on the fullest node that has room for it; says how many.
    fn seat(&mut self, ask: Ask, pods: u32) -> u32 {
        let mut seated = 0;
        while seated < pods {
            let Some(at) = self.nodes.iter().position(|node| ask.fits(node)) else { break };
            let node = self.nodes[at];
            let left = pods - seated;
            let per_node = ask.per_node(&node).max(1);
            // Once a pod is on a node, the next one finds no tighter fit than that node: nodes are filled one by one.
            let (on_each, nodes) =
                if left >= per_node { (per_node, (left / per_node).min(node.nodes)) } else { (left, 1) };
            self.change(at, nodes, |node| NodeGroup {
                free: node.free - ask.gpus * on_each,
                millicores: node.millicores - ask.millicores * u64::from(on_each),
                memory_mib: node.memory_mib - ask.memory_mib * u64::from(on_each),
                ..*node
            });
            let gpus = on_each.saturating_mul(nodes).saturating_mul(ask.gpus);
            self.quota =
                if self.pool.quota_left.is_some() { self.quota.saturating_sub(gpus) } else { self.quota };
            seated += on_each * nodes;
        }
        seated
    }

    /// Takes GPUs from one of those nodes that have most of them.
    fn shrink(&mut self, gpus: u32, sets: Sets) {
        let has_some = |node: &NodeGroup| node.nodes > 0 && node.free > 0 && sets.holds(node.set);
        if let Some(at) = self.nodes.iter().rposition(has_some) {
            self.change(at, 1, |node| NodeGroup { free: node.free.saturating_sub(gpus), ..*node });
            self.quota =
                if self.pool.quota_left.is_some() { self.quota.saturating_sub(gpus) } else { self.quota };
        }
    }

    /// Changes so many nodes of a group, which become a group of their own.
    fn change(&mut self, at: usize, nodes: u32, change: impl Fn(&NodeGroup) -> NodeGroup) {
        let all = self.nodes.to_mut();
        let changed = NodeGroup { nodes, ..change(&all[at]) };
        all[at].nodes -= nodes;
        if all[at].nodes == 0 {
            all.remove(at);
        }
        let place = all.partition_point(|node| *node < changed);
        all.insert(place, changed);
    }

    /// Smallest free block that seats such a pod.
    fn tightest(&self, ask: Ask) -> Option<u32> {
        self.nodes.iter().find(|node| ask.fits(node)).map(|node| node.free)
    }

    /// The nodes on which pods may run.
    fn accepted(&self, sets: Sets) -> impl DoubleEndedIterator<Item = &NodeGroup> {
        self.nodes.iter().filter(move |node| sets.holds(node.set))
    }

    fn largest(&self, sets: Sets) -> u32 {
        let most = self.accepted(sets).rev().find(|node| node.nodes > 0).map_or(0, |node| node.free);
        most.min(self.quota)
    }

    fn total(&self, sets: Sets) -> u32 {
        self.unlimited(sets).min(self.quota)
    }

    /// What would be free without a quota.
    fn unlimited(&self, sets: Sets) -> u32 {
        let free = self.accepted(sets).map(|node| node.free.saturating_mul(node.nodes));
        free.fold(0, u32::saturating_add)
    }
}

#[cfg(test)]
#[path = "room/tests.rs"]
mod tests;
