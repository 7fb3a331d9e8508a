//! Pools of nodes that a cluster does not have yet and that its autoscaler can bring.

use crds::fleet as crd;
use jiff::SignedDuration;

use super::{Capacity, NodeGroup, Pool, Sets};
use crds::quantity::mebibytes_asked;

/// A pool that an autoscaler can bring.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Potential {
    /// Node label `nvidia.com/gpu.product` that its nodes will have.
    pub product: String,
    /// Extended resource, e.g. `nvidia.com/gpu`.
    pub resource: String,
    /// GPUs of one node.
    pub gpus_per_node: u32,
    /// The most nodes of the product and resource, those that are there among them.
    pub max_nodes: u32,
    /// Memory of one GPU, MiB; 0 where nobody says.
    pub memory_mib: u64,
    /// How long a node takes to come.
    pub delay: SignedDuration,
}

impl From<&crd::PotentialPool> for Potential {
    fn from(pool: &crd::PotentialPool) -> Self {
        let number = |number: i32| u32::try_from(number).unwrap_or_default();
        let delay = pool.delay().ok().and_then(|delay| SignedDuration::try_from(delay).ok());
        Self {
            product: pool.product.clone(),
            resource: pool.resource.clone(),
            gpus_per_node: number(pool.gpus_per_node),
            max_nodes: number(pool.max_nodes),
            memory_mib: pool
                .memory
                .as_ref()
                .and_then(|memory| mebibytes_asked(&memory.0))
                .unwrap_or_default(),
            delay: delay.unwrap_or(SignedDuration::from_mins(10)),
        }
    }
}

/// The report as it would be with every node there that an autoscaler can bring, all of them free; none where nothing
/// can come.
pub(super) fn grown(capacity: Option<&Capacity>, potential: &[Potential]) -> Option<Capacity> {
    let mut grown = capacity?.clone();
    let mut brought = 0;
    for more in potential {
        brought += bring(&mut grown.pools, more);
    }
    grown.has_coming_nodes = brought > 0;
    (brought > 0).then_some(grown)
}

/// Adds the nodes that are still to come, and says how many.
fn bring(pools: &mut Vec<Pool>, more: &Potential) -> u32 {
    let is_it = |pool: &Pool| pool.product == more.product && pool.resource == more.resource;
    if !pools.iter().any(is_it) {
        pools.push(Pool {
            product: more.product.clone(),
            resource: more.resource.clone(),
            memory_mib: more.memory_mib,
            ..Pool::default()
        });
    }
    let Some(pool) = pools.iter_mut().find(|pool| is_it(pool)) else { return 0 };
    let nodes = more.max_nodes.saturating_sub(pool.nodes);
    let gpus = nodes.saturating_mul(more.gpus_per_node);
    for total in [&mut pool.capacity, &mut pool.allocatable, &mut pool.free] {
        *total = total.saturating_add(gpus);
    }
    pool.nodes = pool.nodes.saturating_add(nodes);
    *pool.free_per_node.entry(more.gpus_per_node).or_default() += nodes;
    // Nobody says what else nodes to come have: enough is taken for granted, and labels that will do.
    if nodes > 0 && !pool.groups.is_empty() {
        let new = NodeGroup {
            free: more.gpus_per_node,
            millicores: u64::MAX,
            memory_mib: u64::MAX,
            nodes,
            set: Sets::ANY,
        };
        let place = pool.groups.partition_point(|group| *group < new);
        pool.groups.insert(place, new);
    }
    nodes
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use jiff::Timestamp;

    use super::*;

    fn report(pools: Vec<Pool>) -> Capacity {
        Capacity {
            observed_at: Timestamp::UNIX_EPOCH,
            received_at: Timestamp::UNIX_EPOCH,
            pools,
            ..Capacity::default()
        }
    }

    fn potential(product: &str, max_nodes: u32) -> Potential {
        Potential {
            product: product.into(),
            resource: "nvidia.com/gpu".into(),
            gpus_per_node: 8,
            max_nodes,
            memory_mib: 81_559,
            delay: SignedDuration::from_mins(10),
        }
    }

    fn h100(nodes: u32) -> Pool {
        Pool {
            product: "NVIDIA-H100".into(),
            resource: "nvidia.com/gpu".into(),
            memory_mib: 81_559,
            nodes,
            capacity: nodes * 8,
            allocatable: nodes * 8,
            free: 0,
            free_per_node: BTreeMap::from([(0, nodes)]),
            groups: vec![NodeGroup { nodes, ..NodeGroup::default() }],
            ..Pool::default()
        }
    }

    #[test]
    fn nodes_that_are_there_are_not_brought_again() {
        for (there, most, comes) in [(0, 3, 3), (1, 3, 2), (3, 3, 0), (5, 3, 0)] {
            let grown = grown(Some(&report(vec![h100(there)])), &[potential("NVIDIA-H100", most)]);
            let free = grown.map_or(0, |grown| grown.pools[0].free);
            assert_eq!(free, comes * 8, "{there} of {most}");
        }
    }

    #[test]
    fn a_pool_that_is_at_nought_is_there_with_its_memory() {
        let grown = grown(Some(&report(Vec::new())), &[potential("NVIDIA-L40S", 2)]).unwrap();
        let pool = &grown.pools[0];
        assert_eq!((pool.nodes, pool.free, pool.memory_mib), (2, 16, 81_559));
        assert_eq!(pool.free_per_node, BTreeMap::from([(8, 2)]));
    }

    #[test]
    fn nothing_grows_without_a_report() {
        assert_eq!(super::grown(None, &[potential("NVIDIA-L40S", 2)]), None);
        assert_eq!(super::grown(Some(&report(Vec::new())), &[]), None);
    }
}
