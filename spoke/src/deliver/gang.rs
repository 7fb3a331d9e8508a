//! Pods that only work together: whether what is free takes them all, beside what others have taken.

use std::collections::BTreeMap;

use crds::taints::{GPU_TAINT, NodeTaint, NodeToleration};
use serde::{Deserialize, Serialize};

use crate::facts::{GpuPool, Sharing};

/// What most people mean by a GPU.
const GPU: &str = "nvidia.com/gpu";

/// What an object takes whose pods run on several nodes at once.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Gang {
    /// Extended resource, for example `nvidia.com/gpu`.
    pub resource: String,
    /// Products of the pools that will do; none: all.
    #[serde(default)]
    pub products: Vec<String>,
    /// GPUs that each pod takes of one node.
    pub gpus_per_node: u32,
    /// Pods of one group, all on nodes of one pool.
    pub nodes: u32,
    /// How many groups.
    pub groups: u32,
    /// Gangs of a lower one that are not bound yet are not in its way.
    #[serde(default)]
    pub priority: i32,
    /// Of its pods.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tolerations: Vec<NodeToleration>,
}

/// A gang that was taken before, as far as nodes do not have its pods yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Taken {
    pub(super) gang: Gang,
    /// Pods without a node.
    pub(super) pods: u32,
}

/// What there is in place of what a gang needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Lack {
    /// Groups that fit.
    pub(super) groups: u32,
    /// Of one group more, the largest part that fits in one pool: pods, and GPUs of each.
    pub(super) part: (u32, u32),
    /// All of it in one sentence.
    pub(super) message: String,
}

/// Free GPUs of one pool: nodes by how many each has.
#[derive(Debug, Clone)]
struct Free<'a> {
    pool: &'a GpuPool,
    nodes: BTreeMap<u32, u32>,
}

impl Gang {
    /// Pods of all groups.
    pub(super) const fn pods(&self) -> u32 {
        self.nodes.saturating_mul(self.groups)
    }

    fn per_node(&self) -> u32 {
        self.gpus_per_node.max(1)
    }

    fn suits(&self, pool: &GpuPool) -> bool {
        pool.resource == self.resource
            && pool.sharing == Sharing::Whole
            && (self.products.is_empty() || self.products.contains(&pool.product))
    }

    fn tolerates(&self, taints: &[NodeTaint]) -> bool {
        taints.iter().all(|taint| taint.key == GPU_TAINT || taint.is_tolerated(&self.tolerations))
    }
}

/// Whether the pools seat the gang beside what was taken before. Pods go where the hub's scheduler counts on them: each
/// group to one pool, each pod to the node with the least room that is enough.
pub(super) fn check(gang: &Gang, pools: &[GpuPool], taken: &[Taken]) -> Result<(), Lack> {
    // What was taken counts on these nodes too, though it may tolerate others: too careful until its pods are bound.
    let mut room: Vec<Free<'_>> = pools.iter().map(|pool| Free::reported(pool, gang)).collect();
    let mut owed = 0_u32;
    // What a higher priority displaces looks for another place.
    for taken in taken.iter().filter(|taken| taken.gang.priority >= gang.priority) {
        owed = owed.saturating_add(owe(&mut room, taken));
    }
    let groups = take(&mut room, gang, gang.groups);
    if groups >= gang.groups {
        return Ok(());
    }
    let suitable = room.iter().filter(|free| gang.suits(free.pool));
    let parts = suitable.map(|free| (free.largest_part(gang), free.pool.product.as_str()));
    // The most pods first; the first by product where several pools have it.
    let best = parts.min_by_key(|((pods, gpus), product)| (u32::MAX - gpus, u32::MAX - pods, *product));
    let (part, product) = best.unwrap_or_default();
    Err(Lack { groups, part, message: message(gang, groups, part, product, owed) })
}

fn message(gang: &Gang, groups: u32, (pods, gpus): (u32, u32), product: &str, owed: u32) -> String {
    let unit = if gang.resource == GPU { "GPUs" } else { gang.resource.as_str() };
    let several = if gang.groups > 1 { format!("{} groups of ", gang.groups) } else { String::new() };
    let fits = match (groups, gpus) {
        (0, 0) => "none is free".to_owned(),
        (0, _) => format!("the largest fit is {pods} × {gpus} ({product})"),
        (_, 0) => format!("there is room for {groups}"),
        _ => format!(
            "there is room for {groups}, and of one more the largest fit is {pods} × {gpus} ({product})"
        ),
    };
    let owed = match owed {
        0 => String::new(),
        owed => format!("; {owed} more are taken by what has no node yet"),
    };
    format!(
        "{several}{} × {} free {unit} are needed, each on one node and all of one product; {fits}{owed}",
        gang.nodes,
        gang.per_node()
    )
}

/// Gives up to so many groups their GPUs, and says how many got them; the pool with the tightest fit comes first.
fn take(room: &mut [Free<'_>], gang: &Gang, groups: u32) -> u32 {
    let mut given = 0;
    for at in in_order(room, gang) {
        let (free, wanted) = (&mut room[at], (groups - given).saturating_mul(gang.nodes));
        // All pods of a group or none.
        let seats = free.clone().seat(gang.per_node(), wanted) / gang.nodes.max(1);
        free.seat(gang.per_node(), seats * gang.nodes);
        given += seats;
    }
    given
}

/// Sets aside what was taken, whole groups first; says how many GPUs that are.
fn owe(room: &mut [Free<'_>], taken: &Taken) -> u32 {
    let gang = &taken.gang;
    let mut pods = taken.pods;
    pods -= take(room, gang, pods / gang.nodes.max(1)) * gang.nodes;
    for at in in_order(room, gang) {
        pods -= room[at].seat(gang.per_node(), pods);
    }
    (taken.pods - pods).saturating_mul(gang.per_node())
}

/// The pools that will do and seat one pod at least, the tightest fit first.
fn in_order(room: &[Free<'_>], gang: &Gang) -> Vec<usize> {
    let fitting = room.iter().enumerate().filter(|(_, free)| gang.suits(free.pool));
    let mut order: Vec<(u32, usize)> =
        fitting.filter_map(|(at, free)| Some((*free.nodes.range(gang.per_node()..).next()?.0, at))).collect();
    order.sort_unstable();
    order.into_iter().map(|(_, at)| at).collect()
}

impl<'a> Free<'a> {
    /// The nodes whose taints the gang tolerates.
    fn reported(pool: &'a GpuPool, gang: &Gang) -> Self {
        let open = pool.free_per_node.iter().map(|(free, nodes)| (*free, *nodes));
        let tainted = pool.tainted.iter().filter(|nodes| gang.tolerates(&nodes.taints));
        let tainted = tainted.flat_map(|nodes| &nodes.groups).map(|group| (group.free, group.nodes));
        let mut nodes: BTreeMap<u32, u32> = BTreeMap::new();
        for (free, count) in open.chain(tainted).filter(|(free, nodes)| *free > 0 && *nodes > 0) {
            *nodes.entry(free).or_default() += count;
        }
        Self { pool, nodes }
    }

    /// Seats up to so many pods, each on the fullest node that has room for it; says how many.
    fn seat(&mut self, per_node: u32, pods: u32) -> u32 {
        let mut seated = 0;
        while seated < pods
            && let Some((&free, nodes)) = self.nodes.range_mut(per_node..).next()
        {
            *nodes -= 1;
            if *nodes == 0 {
                self.nodes.remove(&free);
            }
            let on_it = (free / per_node).min(pods - seated);
            *self.nodes.entry(free - on_it * per_node).or_default() += 1;
            seated += on_it;
        }
        seated
    }

    /// The largest part of one group that fits: pods, and GPUs of each. Where no node has enough for a pod, the node that
    /// has most.
    fn largest_part(&self, gang: &Gang) -> (u32, u32) {
        match self.clone().seat(gang.per_node(), gang.nodes) {
            0 => match self.nodes.last_key_value() {
                Some((&most, _)) if most > 0 => (1, most),
                _ => (0, 0),
            },
            pods => (pods, gang.per_node()),
        }
    }
}

#[cfg(test)]
#[path = "gang/tests.rs"]
mod tests;
