//! Seats by table, and that no more is ever given than there is.

use proptest::prelude::*;

use super::*;

const GPU: &str = "nvidia.com/gpu";

fn group(free: u32, cores: u64, gib: u64, nodes: u32) -> NodeGroup {
    NodeGroup { free, millicores: cores * 1000, memory_mib: gib * 1024, nodes, set: 0 }
}

fn pool(groups: &[NodeGroup]) -> Pool {
    Pool { product: "NVIDIA-H100".into(), resource: GPU.into(), groups: groups.to_vec(), ..Pool::default() }
}

fn capacity(pools: Vec<Pool>) -> Capacity {
    Capacity { pools, ..Capacity::default() }
}

fn need(per_pod: u32, pods: u32, cores: u64, gib: u64) -> Need {
    let gpu = GpuNeed { resource: GPU.into(), per_pod, pods };
    Need { gpu: Some(gpu), millicores: cores * 1000, memory_mib: gib * 1024, ..Need::default() }
}

#[test]
fn pods_take_gpus_and_what_goes_with_them() {
    for (groups, need, fits) in [
        (vec![group(8, 64, 512, 1)], need(1, 1, 8, 64), 8),
        (vec![group(8, 64, 512, 1)], need(1, 1, 16, 64), 4),
        (vec![group(8, 64, 512, 1)], need(1, 1, 8, 200), 2),
        (vec![group(8, 64, 512, 1)], need(1, 1, 0, 0), 8),
        (vec![group(8, 64, 512, 1)], need(1, 1, 65, 0), 0),
        (vec![group(4, 64, 512, 2), group(8, 64, 512, 1)], need(4, 1, 32, 0), 4),
        (vec![group(8, 64, 512, 2)], need(8, 2, 64, 0), 1),
        (vec![group(8, 64, 512, 1), group(8, 8, 512, 1)], need(8, 2, 64, 0), 0),
        (vec![group(8, 64, 512, 5)], need(8, 2, 0, 0), 2),
        (vec![group(1, 64, 512, 16)], need(8, 2, 0, 0), 0),
    ] {
        let capacity = capacity(vec![pool(&groups)]);
        assert_eq!(Room::reported(&capacity).fits(&need, 100), fits, "{groups:?} {need:?}");
    }
}

#[test]
fn a_quota_leaves_less_than_is_free() {
    let limited = Pool { quota_left: Some(5), ..pool(&[group(8, 64, 512, 1)]) };
    let capacity = capacity(vec![limited]);
    let mut room = Room::reported(&capacity);
    assert_eq!((room.free(&need(2, 1, 0, 0)), room.fits(&need(8, 1, 0, 0), 1)), (5, 0));
    assert_eq!(room.take(&need(2, 1, 0, 0), 4), 2);
    assert_eq!(room.free(&need(1, 1, 0, 0)), 1);
}

#[test]
fn gpus_that_are_cut_seat_one_to_a_pod() {
    for sharing in [Sharing::TimeSlicing, Sharing::Mps, Sharing::Mig] {
        let capacity = capacity(vec![Pool { sharing, ..pool(&[group(8, 64, 512, 1)]) }]);
        let room = Room::reported(&capacity);
        assert_eq!((room.fits(&need(1, 1, 0, 0), 9), room.fits(&need(2, 1, 0, 0), 9)), (8, 0), "{sharing:?}");
    }
}

proptest! {
    #[test]
    fn nothing_is_given_twice(
        groups in prop::collection::vec((0u32..9, 0u64..64, 0u64..512, 1u32..4), 1..6),
        asks in prop::collection::vec((1u32..9, 1u32..4, 0u64..32, 0u64..128, 0u32..6), 1..8),
        quota in prop::option::of(0u32..40),
    ) {
        let mut groups: Vec<NodeGroup> = groups.into_iter().map(|(free, cores, gib, nodes)| group(free, cores, gib, nodes)).collect();
        groups.sort_unstable();
        let capacity = capacity(vec![Pool { quota_left: quota, ..pool(&groups) }]);
        let mut room = Room::reported(&capacity);
        let sum = |room: &Room<'_>| {
            let nodes = room.pools[0].nodes.iter();
            nodes.fold((0u64, 0u64, 0u64, 0u64), |(nodes, gpus, cores, mib), node| {
                let count = u64::from(node.nodes);
                (nodes + count, gpus + count * u64::from(node.free), cores + count * node.millicores, mib + count * node.memory_mib)
            })
        };
        for (per_pod, pods, cores, gib, replicas) in asks {
            let need = need(per_pod, pods, cores, gib);
            let before = sum(&room);
            let could = room.fits(&need, replicas);
            let given = room.take(&need, replicas);
            prop_assert_eq!(could, given);
            let seats = u64::from(given) * u64::from(pods);
            let taken = (0, seats * u64::from(per_pod), seats * need.millicores, seats * need.memory_mib);
            let after = sum(&room);
            prop_assert_eq!((before.0, before.1 - taken.1, before.2 - taken.2, before.3 - taken.3), after);
            prop_assert!(room.pools[0].nodes.is_sorted());
            if given < replicas {
                prop_assert_eq!(room.fits(&need, 1), 0, "more would have fitted");
            }
        }
        if let Some(quota) = quota {
            prop_assert!(sum(&Room::reported(&capacity)).1 - sum(&room).1 <= u64::from(quota));
        }
    }
}
