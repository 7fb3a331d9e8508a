//! Nodes that are alike, in few rows: what the hub reads of them is never more than they have.

use super::NodeGroup;

/// Most rows of one pool.
const MOST: usize = 32;

/// Leading bits of an amount that are kept: it is rounded down by a sixteenth at most, so that small pods that come and go
/// are no news to the hub.
const KEPT_BITS: u32 = 5;

/// An amount of processor or memory, rounded down.
pub(super) const fn rounded(amount: u64) -> u64 {
    let bits = u64::BITS - amount.leading_zeros();
    let dropped = bits.saturating_sub(KEPT_BITS);
    amount >> dropped << dropped
}

/// One row for nodes that are alike, fewest GPUs first. Where that is too many rows, those of one set that differ least become
/// one, with the least of each; there are fewer sets than rows.
pub(super) fn few(mut nodes: Vec<NodeGroup>) -> Vec<NodeGroup> {
    nodes.sort_unstable_by_key(|node| (node.set, *node));
    let mut rows: Vec<NodeGroup> = Vec::new();
    for node in nodes {
        match rows.last_mut() {
            Some(row) if NodeGroup { nodes: node.nodes, ..*row } == node => row.nodes += node.nodes,
            _ => rows.push(node),
        }
    }
    while rows.len() > MOST {
        let alike = (0..rows.len() - 1).filter(|at| rows[*at].set == rows[*at + 1].set);
        let least = alike.min_by_key(|at| loss(&rows[*at], &rows[*at + 1]));
        let Some(at) = least else { break };
        let other = rows.remove(at + 1);
        rows[at] = both(&rows[at], &other);
    }
    rows.sort_unstable();
    rows
}

/// What is lost when two rows become one: GPUs weigh more than anything else.
fn loss(one: &NodeGroup, other: &NodeGroup) -> (u64, u64) {
    let both = both(one, other);
    let of = |row: &NodeGroup| {
        let nodes = u64::from(row.nodes);
        // A processor for every 8 GiB, as nodes have them.
        let rest = (row.millicores - both.millicores) / 1000 + (row.memory_mib - both.memory_mib) / 8192;
        (nodes * u64::from(row.free - both.free), nodes.saturating_mul(rest))
    };
    let (one, other) = (of(one), of(other));
    (one.0 + other.0, one.1.saturating_add(other.1))
}

fn both(one: &NodeGroup, other: &NodeGroup) -> NodeGroup {
    NodeGroup {
        free: one.free.min(other.free),
        millicores: one.millicores.min(other.millicores),
        memory_mib: one.memory_mib.min(other.memory_mib),
        nodes: one.nodes + other.nodes,
        set: one.set,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn amounts_are_rounded_down_by_a_sixteenth_at_most() {
        for (amount, expected) in [(0, 0), (31, 31), (33, 32), (95_500, 94_208), (1_031_000, 1_015_808)] {
            assert_eq!(rounded(amount), expected, "{amount}");
            assert!(amount - rounded(amount) <= amount / 16);
        }
    }

    proptest! {
        #[test]
        fn rows_are_few_and_never_say_more_than_there_is(
            nodes in prop::collection::vec((0u32..9, 0u64..128_000, 0u64..2_000_000, 0u32..16), 0..200),
        ) {
            let nodes: Vec<NodeGroup> = nodes
                .into_iter()
                .map(|(free, millicores, memory_mib, set)| NodeGroup { free, millicores, memory_mib, nodes: 1, set })
                .collect();
            let rows = few(nodes.clone());
            prop_assert!(rows.len() <= MOST);
            prop_assert_eq!(rows.iter().map(|row| row.nodes).sum::<u32>() as usize, nodes.len());
            prop_assert!(rows.is_sorted());
            // However much is asked for, no more nodes have it by the rows than have it.
            for asked in &nodes {
                let has = |node: &&NodeGroup| {
                    node.set == asked.set
                        && node.free >= asked.free
                        && node.millicores >= asked.millicores
                        && node.memory_mib >= asked.memory_mib
                };
                let told: u32 = rows.iter().filter(has).map(|row| row.nodes).sum();
                prop_assert!(told as usize <= nodes.iter().filter(has).count());
            }
        }
    }
}
