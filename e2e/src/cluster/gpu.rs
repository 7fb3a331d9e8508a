//! GPU products as GPU Feature Discovery names and measures them.

use spoke::facts::{NodeLabel, NodeSet, NodeSets};

/// Node Feature Discovery's label of nodes with a PCI device of vendor NVIDIA.
pub const NVIDIA_NODE: &str = "feature.node.kubernetes.io/pci-10de.present";

/// So many nodes with GPUs, all alike and without taints, as an agent tells them.
#[must_use]
pub fn node_sets(nodes: u32) -> NodeSets {
    let label = NodeLabel { key: NVIDIA_NODE.into(), value: "true".into(), sets: 1, partial: false };
    NodeSets { sets: vec![NodeSet { taints: vec![], nodes }], labels: vec![label], untold: vec![] }
}

/// Product name and memory per GPU, MiB, as the driver reports it.
pub const KNOWN: [(&str, u32); 6] = [
    ("NVIDIA-H200", 143_771),
    (H100, 81_559),
    ("NVIDIA-A100-SXM4-80GB", 81_920),
    ("NVIDIA-A100-SXM4-40GB", 40_960),
    (L40S, 46_068),
    ("NVIDIA-L4", 23_034),
];

/// An H100 of 80 GB.
pub const H100: &str = "NVIDIA-H100-80GB-HBM3";
/// An L40S of 48 GB.
pub const L40S: &str = "NVIDIA-L40S";

/// Memory of one GPU, MiB.
pub(super) fn memory_mib(product: &str) -> Option<u32> {
    KNOWN.iter().find(|(name, _)| *name == product).map(|(_, memory)| *memory)
}
