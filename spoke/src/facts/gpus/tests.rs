//! Pools by table and by property.

use proptest::prelude::*;

use super::*;

const GPU: &str = "nvidia.com/gpu";

fn gpus(entries: &[(&str, u32)]) -> BTreeMap<String, u32> {
    entries.iter().map(|(resource, amount)| ((*resource).to_owned(), *amount)).collect()
}

fn amounts(entries: &[(&str, u32)]) -> Amounts {
    Amounts { gpus: gpus(entries), ..Amounts::default() }
}

fn node(product: &str, capacity: u32, allocatable: u32, usable: bool) -> GpuNode {
    GpuNode {
        product: Some(product.to_owned()),
        memory_mib: BTreeMap::from([(GPU.to_owned(), 81559)]),
        usable,
        capacity: gpus(&[(GPU, capacity)]),
        allocatable: Amounts { millicores: 64_000, memory_mib: 524_288, ..amounts(&[(GPU, allocatable)]) },
        ..GpuNode::default()
    }
}

fn pod(node: &str, gpus: u32) -> BoundPod {
    BoundPod { node: node.to_owned(), of: None, requests: amounts(&[(GPU, gpus)]) }
}

fn fold(nodes: &[(&str, GpuNode)], pods: &[BoundPod]) -> Vec<GpuPool> {
    let nodes: BTreeMap<String, GpuNode> =
        nodes.iter().map(|(name, node)| ((*name).to_owned(), node.clone())).collect();
    pools(&nodes, pods, open).0
}

/// Every node is in the first set, which has no taints.
#[expect(clippy::unnecessary_wraps, reason = "some nodes have no set")]
fn open(_: &str) -> Option<Place<'static>> {
    Some(Place::default())
}

#[test]
fn free_is_counted_per_node() {
    let nodes =
        [("a", node("H100", 8, 8, true)), ("b", node("H100", 8, 8, true)), ("c", node("H100", 8, 8, true))];
    let pods = [pod("a", 2), pod("a", 4), pod("b", 8)];
    assert_eq!(
        fold(&nodes, &pods),
        [GpuPool {
            product: "H100".into(),
            resource: GPU.into(),
            memory_mib: 81559,
            nodes: 3,
            capacity: 24,
            allocatable: 24,
            free: 10,
            free_per_node: BTreeMap::from([(0, 1), (2, 1), (8, 1)]),
            groups: [0, 2, 8].map(|free| group(free, 64_000 - 64_000 % 2048, 524_288, 1)).to_vec(),
            ..GpuPool::default()
        }]
    );
}

fn group(free: u32, millicores: u64, memory_mib: u64, nodes: u32) -> NodeGroup {
    NodeGroup { free, millicores, memory_mib, nodes, set: 0 }
}

#[test]
fn what_else_is_free_is_told_by_nodes_that_are_alike() {
    let nodes =
        [("a", node("H100", 8, 8, true)), ("b", node("H100", 8, 8, true)), ("c", node("H100", 8, 8, true))];
    let busy = BoundPod {
        node: "b".into(),
        of: None,
        requests: Amounts { millicores: 60_000, memory_mib: 1024, ..Amounts::default() },
    };
    let pool = fold(&nodes, &[busy]).remove(0);
    assert_eq!(pool.free_per_node, BTreeMap::from([(8, 3)]));
    assert_eq!(pool.groups, [group(8, 3968, 507_904, 1), group(8, 63_488, 524_288, 2)]);
}

#[test]
fn the_oldest_driver_and_the_sharing_of_a_pool_are_told() {
    let with = |driver: &[u32], sharing| GpuNode {
        driver: Some(driver.to_vec()),
        sharing: BTreeMap::from([(GPU.to_owned(), sharing)]),
        ..node("H100", 8, 8, true)
    };
    let nodes = [
        ("a", with(&[570, 86, 15], Sharing::Whole)),
        ("b", with(&[535, 104, 5], Sharing::TimeSlicing)),
        ("c", node("H100", 8, 8, true)),
    ];
    let pool = fold(&nodes, &[]).remove(0);
    assert_eq!((pool.driver_version.as_str(), pool.sharing), ("535.104.5", Sharing::TimeSlicing));
}

#[test]
fn nodes_with_taints_of_people_are_told_by_set_and_counted_by_nobody_who_does_not_know_of_them() {
    let names = ["a", "b", "c", "d"];
    let nodes: BTreeMap<String, GpuNode> =
        names.iter().map(|name| ((*name).to_owned(), node("H100", 8, 8, true))).collect();
    let taint = |key: &str| NodeTaint { key: key.into(), value: "gpu".into(), effect: "NoSchedule".into() };
    let (sku, gpu) = ([taint("sku")], [taint(GPU_TAINT)]);
    let place = |name: &str| match name {
        "a" => Some(Place { set: 0, taints: &gpu }),
        "b" | "c" => Some(Place { set: 1, taints: &sku }),
        _ => None,
    };
    let pool = pools(&nodes, &[pod("b", 3)], place).0.remove(0);
    assert_eq!((pool.capacity, pool.nodes, pool.allocatable, pool.free), (32, 1, 8, 8));
    let [tainted] = &pool.tainted[..] else { panic!("{:?}", pool.tainted) };
    assert_eq!((tainted.set, tainted.nodes, tainted.allocatable, &tainted.taints[..]), (1, 2, 16, &sku[..]));
    assert_eq!(
        tainted.groups.iter().map(|group| (group.free, group.set)).collect::<Vec<_>>(),
        [(5, 1), (8, 1)]
    );
}

#[test]
fn nodes_without_a_product_are_named() {
    let unnamed = || GpuNode { product: None, ..node("", 2, 2, false) };
    let mut nodes: BTreeMap<String, GpuNode> = (10..25).map(|at| (format!("n{at}"), unnamed())).collect();
    nodes.insert("cpu".into(), GpuNode { product: None, ..node("", 0, 0, true) });
    nodes.insert("named".into(), node("H100", 8, 8, true));
    let told = unlabelled(&nodes);
    assert_eq!((told.nodes, told.names.len(), told.names[0].as_str()), (15, MOST_NAMES, "n10"));
}

#[test]
fn too_many_pools_are_cut_and_that_is_said() {
    let nodes: BTreeMap<String, GpuNode> =
        (0..70).map(|n| (format!("n{n}"), node(&format!("product-{n}"), 1, 1, true))).collect();
    let (pools, cut) = pools(&nodes, &[], open);
    assert!(cut && pools.len() == MOST_POOLS);
}

#[test]
fn an_unusable_node_is_capacity_only() {
    let nodes = [("a", node("H100", 8, 8, true)), ("b", node("H100", 8, 8, false))];
    let pool = fold(&nodes, &[pod("b", 8)]).remove(0);
    assert_eq!((pool.nodes, pool.capacity, pool.allocatable, pool.free), (1, 16, 8, 8));
    assert_eq!(pool.free_per_node, BTreeMap::from([(8, 1)]));
}

#[test]
fn products_and_resources_are_pools_of_their_own() {
    let mut mig = node("A100", 1, 1, true);
    mig.capacity.insert("nvidia.com/mig-1g.10gb".into(), 7);
    mig.allocatable.gpus.insert("nvidia.com/mig-1g.10gb".into(), 7);
    mig.memory_mib.insert("nvidia.com/mig-1g.10gb".into(), 9728);
    let unlabelled = GpuNode { product: None, memory_mib: BTreeMap::new(), ..node("", 2, 2, true) };
    let pools = fold(&[("a", mig), ("b", node("H100", 8, 8, true)), ("c", unlabelled)], &[]);
    let told: Vec<_> =
        pools.iter().map(|p| (p.product.as_str(), p.resource.as_str(), p.memory_mib, p.free)).collect();
    assert_eq!(
        told,
        [
            ("A100", GPU, 81559, 1),
            ("A100", "nvidia.com/mig-1g.10gb", 9728, 7),
            ("H100", GPU, 81559, 8),
            ("unknown", GPU, 0, 2),
        ]
    );
}

#[test]
fn memory_is_the_least_that_a_label_says() {
    let mut small = node("H100", 8, 8, true);
    small.memory_mib.insert(GPU.into(), 40960);
    let silent = GpuNode { memory_mib: BTreeMap::new(), ..node("H100", 8, 8, true) };
    let pools = fold(&[("a", node("H100", 8, 8, true)), ("b", silent), ("c", small)], &[]);
    assert_eq!(pools[0].memory_mib, 40960);
}

#[test]
fn a_node_without_gpus_is_no_pool() {
    assert_eq!(fold(&[("cpu", node("H100", 0, 0, true))], &[pod("cpu", 1)]), []);
}

#[test]
fn pods_hold_what_the_scheduler_counts() {
    let asks = |gpus: u32, sidecar: bool| ContainerRequest { requests: amounts(&[(GPU, gpus)]), sidecar };
    let table = [
        ("containers add up", vec![], vec![asks(1, false), asks(2, false)], 3),
        ("init containers do not", vec![asks(2, false), asks(1, false)], vec![asks(1, false)], 2),
        ("a smaller init changes nothing", vec![asks(1, false)], vec![asks(4, false)], 4),
        ("sidecars stay", vec![asks(1, true)], vec![asks(2, false)], 3),
        ("init after a sidecar", vec![asks(1, true), asks(4, false)], vec![asks(2, false)], 5),
        ("init before a sidecar", vec![asks(4, false), asks(1, true)], vec![asks(2, false)], 4),
    ];
    for (case, init, containers, expected) in table {
        assert_eq!(pod_requests(&init, &containers), amounts(&[(GPU, expected)]), "{case}");
    }
    assert_eq!(pod_requests(&[asks(0, false)], &[asks(0, false)]), Amounts::default(), "none is no entry");
}

fn any_node() -> impl Strategy<Value = GpuNode> {
    (prop::sample::select(vec!["H100", "L40S", "A100"]), 0u32..=16, 0u32..=16, any::<bool>()).prop_map(
        |(product, capacity, allocatable, usable)| node(product, capacity, allocatable.min(capacity), usable),
    )
}

proptest! {
    #[test]
    fn sums_agree(
        nodes in prop::collection::btree_map("[a-d]", any_node(), 0..5),
        pods in prop::collection::vec(("[a-f]", 0u32..=8), 0..12),
    ) {
        let pods: Vec<BoundPod> = pods.into_iter().map(|(node, gpus)| pod(&node, gpus)).collect();
        let (pools, _) = pools(&nodes, &pods, open);
        for pool in &pools {
            let from_histogram: u32 = pool.free_per_node.iter().map(|(free, nodes)| free * nodes).sum();
            prop_assert_eq!(pool.free, from_histogram);
            prop_assert_eq!(pool.nodes, pool.free_per_node.values().sum::<u32>());
            prop_assert!(pool.free <= pool.allocatable && pool.allocatable <= pool.capacity);
        }
        let capacity: u32 = nodes.values().map(|node| node.capacity[GPU]).sum();
        prop_assert_eq!(pools.iter().map(|pool| pool.capacity).sum::<u32>(), capacity);
    }

    #[test]
    fn one_more_pod_never_frees_a_gpu(
        nodes in prop::collection::btree_map("[a-d]", any_node(), 1..5),
        taken in prop::collection::vec(("[a-d]", 0u32..=8), 0..8),
    ) {
        let pods: Vec<BoundPod> = taken.into_iter().map(|(node, gpus)| pod(&node, gpus)).collect();
        let free = |pods: &[BoundPod]| pools(&nodes, pods, open).0.iter().map(|pool| pool.free).sum::<u32>();
        for end in 0..pods.len() {
            prop_assert!(free(&pods[..=end]) <= free(&pods[..end]));
        }
    }
}
