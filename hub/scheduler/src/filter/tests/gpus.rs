//! GPUs: what they are, how many are free together, and what goes with them.

use super::*;
use crate::{
    fleet::{NodeGroup, Pool, Sharing},
    need::GpuNeed,
};

#[test]
fn gpu_kind() {
    let none = Fleet::default().joined("east", Vec::new());
    expect(&none, &fitting(), Reason::NoGPU, &["no GPU"]);

    let mut mig = fitting();
    mig.workloads[0].need.gpu =
        Some(GpuNeed { resource: "nvidia.com/mig-1g.10gb".into(), per_pod: 1, pods: 1 });
    expect(&h100(), &mig, Reason::NoGPU, &["nvidia.com/mig-1g.10gb", "only nvidia.com/gpu"]);

    let mut cached = fitting();
    cached.workloads[0].need.kind.products = vec![vec!["l40s".into(), "a100".into()]];
    expect(&h100(), &cached, Reason::GPUProductMismatch, &["l40s or a100", H100]);
    cached.workloads[0].need.kind.products[0].push("h100".into());
    accept(&h100(), &cached);

    let mut picky = fitting();
    picky.policy.gpu.products = vec![L40S.into()];
    expect(&h100(), &picky, Reason::GPUProductMismatch, &[L40S, H100]);

    let mut large = fitting();
    large.policy.gpu.min_memory_mib = Some(81_920);
    expect(&h100(), &large, Reason::GPUMemoryTooSmall, &["81920", "81559"]);
    large.policy.gpu.min_memory_mib = Some(81_559);
    accept(&h100(), &large);
}

#[test]
fn a_cache_needs_gpu_nodes_but_no_free_gpu() {
    let mut cache = service("weights", 0, 0);
    cache.need.gpu_nodes = true;
    let wants = request("cache", vec![cache]);
    accept(&Fleet::default().joined("east", vec![pool(H100, 81_559, &[(0, 1)], 8)]), &wants);
    expect(&Fleet::default().joined("east", Vec::new()), &wants, Reason::NoGPU, &["no GPU"]);
}

#[test]
fn jobs_need_gpus_that_are_there_free_or_not() {
    let mut customizer = service("tune", 0, 1);
    customizer.need.gpu_nodes = true;
    customizer.need.jobs = Some(GpuNeed { resource: "nvidia.com/gpu".into(), per_pod: 8, pods: 1 });
    let wants = request("tune", vec![customizer]);
    let busy =
        |allocatable| Fleet::default().joined("east", vec![pool(H100, 81_559, &[(0, 1)], allocatable)]);
    accept(&busy(8), &wants);
    let words = ["jobs of NIMService tune take 8 GPUs on one node; the cluster has 4 of one product"];
    expect(&busy(4), &wants, Reason::InsufficientGPUs, &words);
    expect(&Fleet::default().joined("east", Vec::new()), &wants, Reason::NoGPU, &["no GPU"]);
}

#[test]
fn free_blocks() {
    let l40s = |blocks: &[(u32, u32)]| Fleet::default().joined("east", vec![pool(L40S, 46_068, blocks, 4)]);
    let wants = |gpus, replicas| request("chat", vec![service("llm", gpus, replicas)]);
    let words = ["NIMService llm needs 8 GPUs on one node; largest free block is 4 (NVIDIA-L40S, 2 nodes)"];
    expect(&l40s(&[(4, 2)]), &wants(8, 1), Reason::InsufficientGPUs, &words);
    // Six are free, but no node has three.
    expect(&l40s(&[(2, 3)]), &wants(3, 1), Reason::InsufficientGPUs, &["largest free block is 2"]);
    accept(&l40s(&[(2, 2), (3, 1)]), &wants(3, 1));
    let words = ["3 replicas of 2 GPUs on one node; room for 2, with 5 suitable GPUs free"];
    expect(&l40s(&[(4, 1), (1, 1)]), &wants(2, 3), Reason::InsufficientGPUs, &words);
    accept(&l40s(&[(4, 1), (2, 1)]), &wants(2, 3));
}

#[test]
fn small_pods_do_not_break_large_blocks() {
    let fleet = Fleet::default().joined("east", vec![pool(H100, 81_559, &[(8, 1), (2, 1)], 8)]);
    accept(&fleet, &request("chat", vec![service("embed", 1, 2), service("llm", 8, 1)]));
}

#[test]
fn a_multi_node_replica_stays_within_one_product() {
    let pools = || vec![pool(H100, 81_559, &[(8, 1)], 8), pool(L40S, 46_068, &[(8, 1)], 8)];
    let mut wants = request("chat", vec![service("llm", 8, 1)]);
    wants.workloads[0].need.gpu.as_mut().unwrap().pods = 2;
    let fleet = Fleet::default().joined("east", pools());
    let words = [
        "needs 2 × 8 GPUs per replica, each on one node, of one product; largest fit is 1 × 8 (NVIDIA-H100-80GB-HBM3)",
    ];
    expect(&fleet, &wants, Reason::InsufficientGPUs, &words);
    accept(&h100(), &wants);
}

#[test]
fn sixteen_gpus_seat_a_service_of_two_nodes_as_two_eights_alone() {
    let of = |blocks: &[(u32, u32)]| Fleet::default().joined("east", vec![pool(H100, 81_559, blocks, 8)]);
    let mut wants = request("chat", vec![service("llm", 8, 1)]);
    wants.workloads[0].need.gpu.as_mut().unwrap().pods = 2;
    accept(&of(&[(8, 2)]), &wants);
    expect(&of(&[(1, 16)]), &wants, Reason::InsufficientGPUs, &["largest free block is 1"]);
    let words = ["largest fit is 1 × 8"];
    expect(&of(&[(8, 1), (4, 2)]), &wants, Reason::InsufficientGPUs, &words);
}

#[test]
fn processor_and_memory_go_with_the_gpus() {
    let of = |groups: &[NodeGroup]| {
        let blocks: Vec<_> = groups.iter().map(|group| (group.free, group.nodes)).collect();
        let groups = groups.to_vec();
        Fleet::default().joined("east", vec![Pool { groups, ..pool(H100, 81_559, &blocks, 8) }])
    };
    let group = |free, cores: u64, gib: u64| NodeGroup {
        free,
        millicores: cores * 1000,
        memory_mib: gib * 1024,
        nodes: 1,
        set: 0,
    };
    let mut wants = request("chat", vec![service("llm", 4, 1)]);
    wants.workloads[0].need.millicores = 32_000;
    wants.workloads[0].need.memory_mib = 256 * 1024;
    accept(&of(&[group(4, 32, 256)]), &wants);
    let words =
        ["4 GPUs on one node", "32000m CPU and 262144 MiB", "the best has 16000m CPU and 524288 MiB free"];
    expect(&of(&[group(0, 128, 1024), group(4, 16, 512)]), &wants, Reason::InsufficientNodeResources, &words);
    expect(&of(&[group(2, 128, 1024)]), &wants, Reason::InsufficientGPUs, &["largest free block is 2"]);
    // The number is that of a node that has no pod yet of those for which there is room.
    wants.workloads[0].need.replicas = 2;
    let words = [
        "2 replicas of 4 GPUs",
        "room for 1: of the nodes that then have enough GPUs the best has 8000m CPU",
    ];
    expect(&of(&[group(8, 40, 512)]), &wants, Reason::InsufficientNodeResources, &words);
    // Where GPUs are missing as well, they are spoken of alone: a processor makes none of them good.
    let words = ["needs 2 replicas of 4 GPUs on one node; room for 1, with 4 suitable GPUs free"];
    expect(&of(&[group(4, 16, 512)]), &wants, Reason::InsufficientGPUs, &words);
}

#[test]
fn no_pool_makes_good_what_another_one_lacks() {
    let small = pool(H100, 40_960, &[(8, 2)], 8);
    let shared = Pool { sharing: Sharing::Mps, ..pool(H100, 81_559, &[(16, 1)], 16) };
    let fleet = |pools: &[Pool]| Fleet::default().joined("east", pools.to_vec());
    let mut wants = request("chat", vec![service("llm", 2, 1)]);
    wants.policy.gpu.min_memory_mib = Some(81_559);
    // Whole GPUs that are too small, and large ones that are cut: it is no matter of how many are free.
    expect(&fleet(&[small.clone(), shared.clone()]), &wants, Reason::GPUsShared, &["NVIDIA-H100", "by MPS"]);
    accept(&fleet(&[small.clone(), shared.clone(), pool(H100, 81_559, &[(2, 1)], 8)]), &wants);

    let mut customizer = service("tune", 0, 1);
    customizer.need.jobs = Some(GpuNeed { resource: "nvidia.com/gpu".into(), per_pod: 2, pods: 1 });
    wants.workloads = vec![customizer];
    let words = ["jobs of NIMService tune take 2 GPUs; the cluster's are cut into parts", "by MPS"];
    expect(&fleet(&[small, shared.clone()]), &wants, Reason::GPUsShared, &words);
    let part = Pool { resource: "nvidia.com/mig-1g.10gb".into(), ..pool(H100, 81_559, &[(7, 1)], 7) };
    expect(&fleet(&[part.clone(), shared.clone()]), &wants, Reason::GPUsShared, &["by MPS"]);
    expect(&fleet(&[part]), &wants, Reason::NoGPU, &["needs nvidia.com/gpu", "only nvidia.com/mig-1g.10gb"]);
    accept(&fleet(&[shared, pool(H100, 81_559, &[(0, 1)], 8)]), &wants);
}

#[test]
fn parts_of_gpus_are_not_counted_together() {
    let of = |sharing| {
        let shared = Pool { sharing, ..pool("NVIDIA-L40S-SHARED", 46_068, &[(16, 1)], 16) };
        Fleet::default().joined("east", vec![shared])
    };
    let wants = |gpus| request("chat", vec![service("llm", gpus, 1)]);
    accept(&of(Sharing::TimeSlicing), &wants(1));
    let words = ["needs 2 GPUs per replica", "NVIDIA-L40S-SHARED by time slices"];
    expect(&of(Sharing::TimeSlicing), &wants(2), Reason::GPUsShared, &words);
    expect(&of(Sharing::Mig), &wants(2), Reason::GPUsShared, &["by MIG"]);
    accept(&of(Sharing::Whole), &wants(2));
}

#[test]
fn gpus_under_a_quota_count_as_it_says() {
    let of = |quota_left| {
        Fleet::default().joined("east", vec![Pool { quota_left, ..pool(H100, 81_559, &[(8, 2)], 8) }])
    };
    let wants = request("chat", vec![service("llm", 4, 2)]);
    for quota in [None, Some(8), Some(100)] {
        accept(&of(quota), &wants);
    }
    // What is free and what the quota leaves of it are two things, and only one of them can be repaired by more nodes.
    let words = ["room for 1, with 7 suitable GPUs free; 9 more free and not within the quotas of Kueue"];
    expect(&of(Some(7)), &wants, Reason::InsufficientGPUs, &words);
    let words = ["largest free block is 0", "; 16 more free and not within the quotas of Kueue"];
    expect(&of(Some(0)), &wants, Reason::InsufficientGPUs, &words);
}
