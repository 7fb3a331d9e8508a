//! Free GPUs of one cluster, node by node, as they are given away.

use std::collections::BTreeMap;

use super::product;
use crate::{
    fleet::{Capacity, Pool},
    need::{GpuKind, GpuNeed, Need},
};

/// Free GPUs of one cluster.
#[derive(Clone, Debug)]
pub(super) struct Room<'a> {
    pools: Vec<Free<'a>>,
}

/// Free GPUs of one pool: nodes by their number of free GPUs.
#[derive(Clone, Debug)]
struct Free<'a> {
    pool: &'a Pool,
    nodes: BTreeMap<u32, u32>,
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
}

/// Whether GPUs of that pool will do.
pub(crate) fn suits(pool: &Pool, gpu: &GpuNeed, kind: &GpuKind) -> bool {
    pool.resource == gpu.resource
        && pool.memory_mib >= kind.min_memory_mib
        && product::is_of_kind(&pool.product, kind)
}

impl<'a> Room<'a> {
    /// What the report says is free.
    pub(super) fn reported(capacity: &'a Capacity) -> Self {
        let pools = capacity.pools.iter();
        Self { pools: pools.map(|pool| Free { pool, nodes: pool.free_per_node.clone() }).collect() }
    }

    /// Gives up to `replicas` replicas their GPUs, and says how many got them. Each replica's pods go to
    /// nodes of one product, each to the fullest node that still has room, so that large blocks stay whole.
    pub(super) fn take(&mut self, need: &Need, replicas: u32) -> u32 {
        let Some(gpu) = &need.gpu else { return replicas };
        (0..replicas).find(|_| !self.take_one(gpu, &need.kind)).unwrap_or(replicas)
    }

    /// How many replicas would get their GPUs, at most `limit`.
    pub(super) fn fits(&self, need: &Need, limit: u32) -> u32 {
        self.clone().take(need, limit)
    }

    /// Sets aside what others have been given. What no longer fits as a whole is set aside in pieces: it is
    /// owed before anything new.
    pub(super) fn owe(&mut self, need: &Need, replicas: u32) {
        let Some(gpu) = &need.gpu else { return };
        let taken = self.take(need, replicas);
        let mut debt = gpu.total().saturating_mul(replicas.saturating_sub(taken));
        for free in self.pools.iter_mut().filter(|free| suits(free.pool, gpu, &need.kind)) {
            while debt > 0 && free.largest() > 0 {
                let block = free.largest();
                let part = block.min(debt);
                free.shrink(block, part);
                debt -= part;
            }
        }
    }

    /// Free GPUs that suit the need.
    pub(super) fn free(&self, need: &Need) -> u32 {
        self.suitable(need).map(Free::total).fold(0, u32::saturating_add)
    }

    /// The pool with the largest free block that suits the need; the first by product where several have it.
    pub(super) fn best_offer(&self, need: &Need) -> Option<Offer<'a>> {
        self.suitable(need)
            .map(|free| Offer { product: &free.pool.product, block: free.largest(), nodes: free.pool.nodes })
            .min_by_key(|offer| (u32::MAX - offer.block, offer.product))
    }

    fn suitable(&self, need: &Need) -> impl Iterator<Item = &Free<'a>> {
        let gpu = need.gpu.as_ref();
        self.pools.iter().filter(move |free| gpu.is_some_and(|gpu| suits(free.pool, gpu, &need.kind)))
    }

    /// Tries the pools from the tightest fit on; ties by order of the report.
    fn take_one(&mut self, gpu: &GpuNeed, kind: &GpuKind) -> bool {
        let mut pools: Vec<_> = self
            .pools
            .iter_mut()
            .filter(|free| suits(free.pool, gpu, kind))
            .filter_map(|free| Some((free.tightest(gpu.per_pod)?, free)))
            .collect();
        pools.sort_by_key(|(block, _)| *block);
        for (_, free) in pools {
            let mut after = free.nodes.clone();
            std::mem::swap(&mut after, &mut free.nodes);
            if (0..gpu.pods).all(|_| free.take_pod(gpu.per_pod)) {
                return true;
            }
            free.nodes = after;
        }
        false
    }
}

impl Free<'_> {
    fn take_pod(&mut self, gpus: u32) -> bool {
        let Some(block) = self.tightest(gpus) else { return false };
        self.shrink(block, gpus);
        true
    }

    /// Smallest free block with at least that many GPUs.
    fn tightest(&self, gpus: u32) -> Option<u32> {
        self.nodes.range(gpus..).find(|(_, nodes)| **nodes > 0).map(|(block, _)| *block)
    }

    fn largest(&self) -> u32 {
        self.nodes.iter().rev().find(|(_, nodes)| **nodes > 0).map_or(0, |(block, _)| *block)
    }

    /// Takes GPUs from one node that has `block` of them free.
    fn shrink(&mut self, block: u32, gpus: u32) {
        if let Some(nodes) = self.nodes.get_mut(&block) {
            *nodes = nodes.saturating_sub(1);
            *self.nodes.entry(block.saturating_sub(gpus)).or_default() += 1;
        }
    }

    fn total(&self) -> u32 {
        self.nodes.iter().map(|(block, nodes)| block.saturating_mul(*nodes)).fold(0, u32::saturating_add)
    }
}
