//! What fits, by table and by property.

use proptest::prelude::*;

use super::*;
use crate::facts::{NodeGroup, TaintedNodes};

const H100: &str = "NVIDIA-H100-80GB-HBM3";
const L40S: &str = "NVIDIA-L40S";

/// A pool: product, and nodes by their free GPUs.
fn pool(product: &str, nodes: &[(u32, u32)]) -> GpuPool {
    let free_per_node = nodes.iter().copied().collect();
    GpuPool { product: product.into(), resource: GPU.into(), free_per_node, ..GpuPool::default() }
}

fn gang(groups: u32, nodes: u32, gpus_per_node: u32) -> Gang {
    Gang { resource: GPU.into(), gpus_per_node, nodes, groups, ..Gang::default() }
}

fn taken(gang: Gang, pods: u32) -> Taken {
    Taken { gang, pods }
}

#[test]
fn a_gang_fits_where_one_pool_seats_all_pods_of_each_group() {
    let two = || gang(1, 2, 8);
    let of_l40s = || Gang { products: vec![L40S.into()], ..two() };
    let cut = || GpuPool { sharing: Sharing::TimeSlicing, ..pool(H100, &[(8, 2)]) };
    let mig = || Gang { resource: "nvidia.com/mig-7g.80gb".into(), ..two() };
    let table = [
        ("two whole nodes", two(), vec![pool(H100, &[(8, 2)])], Ok(())),
        ("one is taken", two(), vec![pool(H100, &[(0, 1), (8, 1)])], Err((0, (1, 8)))),
        ("one GPU of one is taken", two(), vec![pool(H100, &[(7, 1), (8, 1)])], Err((0, (1, 8)))),
        ("both are begun", two(), vec![pool(H100, &[(5, 1), (7, 1)])], Err((0, (1, 7)))),
        ("nothing is free", two(), vec![pool(H100, &[(0, 2)])], Err((0, (0, 0)))),
        ("no node at all", two(), vec![], Err((0, (0, 0)))),
        ("one of each product", two(), vec![pool(H100, &[(8, 1)]), pool(L40S, &[(8, 1)])], Err((0, (1, 8)))),
        ("of the second product", two(), vec![pool(H100, &[(8, 1)]), pool(L40S, &[(8, 2)])], Ok(())),
        (
            "not of that product",
            of_l40s(),
            vec![pool(H100, &[(8, 2)]), pool(L40S, &[(4, 9)])],
            Err((0, (1, 4))),
        ),
        ("of that product", of_l40s(), vec![pool(H100, &[(8, 1)]), pool(L40S, &[(8, 2)])], Ok(())),
        ("parts are no GPUs", two(), vec![cut()], Err((0, (0, 0)))),
        ("another resource", mig(), vec![pool(H100, &[(8, 2)])], Err((0, (0, 0)))),
        ("two pods on one node", gang(1, 2, 4), vec![pool(H100, &[(8, 1)])], Ok(())),
        ("groups over pools", gang(2, 2, 8), vec![pool(H100, &[(8, 2)]), pool(L40S, &[(8, 3)])], Ok(())),
        ("one group of two", gang(2, 2, 8), vec![pool(H100, &[(8, 3)])], Err((1, (1, 8)))),
        ("no groups", gang(0, 2, 8), vec![], Ok(())),
        (
            "an absurd number of them",
            gang(u32::MAX, u32::MAX, 1),
            vec![pool(H100, &[(8, 2)])],
            Err((0, (16, 1))),
        ),
    ];
    for (case, gang, pools, expected) in table {
        let found = check(&gang, &pools, &[]).map_err(|lack| (lack.groups, lack.part));
        assert_eq!(found, expected, "{case}");
    }
}

#[test]
fn what_was_taken_is_set_aside_until_its_pods_have_nodes() {
    let (two, four) = (|| gang(1, 2, 8), || vec![pool(H100, &[(8, 4)])]);
    let high = || Gang { priority: 7, ..two() };
    let elsewhere = || Gang { products: vec![L40S.into()], ..two() };
    let table = [
        ("room for both", two(), four(), vec![taken(two(), 2)], true),
        ("two were taken", two(), four(), vec![taken(two(), 2), taken(two(), 2)], false),
        (
            "one of them has its nodes",
            two(),
            vec![pool(H100, &[(0, 2), (8, 2)])],
            vec![taken(two(), 0)],
            true,
        ),
        (
            "one pod of it has no node yet",
            two(),
            vec![pool(H100, &[(0, 1), (8, 2)])],
            vec![taken(two(), 1)],
            false,
        ),
        ("it is on other GPUs", two(), vec![pool(H100, &[(8, 2)])], vec![taken(elsewhere(), 2)], true),
        ("it ranks lower", high(), vec![pool(H100, &[(8, 2)])], vec![taken(two(), 2)], true),
        ("it ranks higher", two(), vec![pool(H100, &[(8, 2)])], vec![taken(high(), 2)], false),
        ("it found no nodes itself", two(), vec![pool(H100, &[(4, 9)])], vec![taken(two(), 2)], false),
    ];
    for (case, gang, pools, taken, fits) in table {
        assert_eq!(check(&gang, &pools, &taken).is_ok(), fits, "{case}");
    }
}

#[test]
fn tainted_nodes_count_for_a_gang_that_tolerates_them() {
    let taint = NodeTaint { key: "sku".into(), value: "gpu".into(), effect: "NoSchedule".into() };
    let group = NodeGroup { free: 8, nodes: 1, ..NodeGroup::default() };
    let tainted = TaintedNodes { taints: vec![taint], groups: vec![group], ..TaintedNodes::default() };
    let pools = [GpuPool { tainted: vec![tainted], ..pool(H100, &[(8, 1)]) }];
    assert!(check(&gang(1, 2, 8), &pools, &[]).is_err());
    let tolerates =
        NodeToleration { key: "sku".into(), operator: "Exists".into(), ..NodeToleration::default() };
    assert_eq!(check(&Gang { tolerations: vec![tolerates], ..gang(1, 2, 8) }, &pools, &[]), Ok(()));
}

#[test]
fn the_sentence_has_the_numbers() {
    let lack =
        |gang: &Gang, pools: &[GpuPool], taken: &[Taken]| check(gang, pools, taken).unwrap_err().message;
    let needed = "2 × 8 free GPUs are needed, each on one node and all of one product; ";
    assert_eq!(
        lack(&gang(1, 2, 8), &[pool(H100, &[(0, 1), (8, 1)])], &[]),
        format!("{needed}the largest fit is 1 × 8 ({H100})")
    );
    assert_eq!(lack(&gang(1, 2, 8), &[], &[]), format!("{needed}none is free"));
    assert_eq!(
        lack(&gang(2, 2, 8), &[pool(H100, &[(8, 5)])], &[taken(gang(1, 2, 8), 2)]),
        format!(
            "2 groups of {needed}there is room for 1, and of one more the largest fit is 1 × 8 ({H100}); 16 more are taken by what has no node yet"
        )
    );
}

proptest! {
    #[test]
    fn what_is_said_to_fit_fits_and_nothing_more(
        nodes in prop::collection::btree_map(1u32..=8, 1u32..4, 0..4),
        pods in 1u32..6, per_node in 1u32..=8, groups in 1u32..4, owed in 0u32..6,
    ) {
        let pools = [GpuPool { free_per_node: nodes, ..pool(H100, &[]) }];
        let seats: u32 = pools[0].free_per_node.iter().map(|(free, nodes)| free / per_node * nodes).sum();
        let taken = [taken(gang(9, pods, per_node), owed)];
        let left = seats.saturating_sub(owed) / pods;
        match check(&gang(groups, pods, per_node), &pools, &taken) {
            Ok(()) => prop_assert!(left >= groups),
            Err(lack) => {
                prop_assert!(lack.groups == left && left < groups, "{lack:?}");
                prop_assert!(lack.part.0 < pods || lack.part.1 < per_node);
            }
        }
    }
}
