//! GPU products of nodes: by the labels of GPU feature discovery, or else by those of the cloud.

/// What GPU feature discovery calls the product.
const DISCOVERED: &str = "nvidia.com/gpu.product";

/// Labels by which clouds and their autoscalers name the GPU of a node, the most exact first: GKE, Karpenter on AWS, EKS Auto
/// Mode, Karpenter on Azure, CoreWeave, DigitalOcean, the convention of cluster-autoscaler on AWS. AKS's
/// `kubernetes.azure.com/accelerator` says `nvidia` and names no product.
const BY_CLOUD: [&str; 8] = [
    "cloud.google.com/gke-accelerator",
    "karpenter.k8s.aws/instance-gpu-name",
    "eks.amazonaws.com/instance-gpu-name",
    "karpenter.azure.com/sku-gpu-name",
    "gpu.nvidia.com/model",
    "doks.digitalocean.com/gpu-model",
    "k8s.amazonaws.com/accelerator",
    "kubernetes.azure.com/accelerator",
];

/// Labels with the memory of one GPU, and MiB of one unit of each.
const MEMORY_BY_CLOUD: [(&str, u64); 3] = [
    ("karpenter.k8s.aws/instance-gpu-memory", 1),
    ("eks.amazonaws.com/instance-gpu-memory", 1),
    ("gpu.nvidia.com/vram", 1000),
];

/// Names that clouds give to products, without `nvidia-` and `tesla-`, with the product as GPU feature discovery labels it and
/// the MiB that it reports: the least where boards differ.
const KNOWN: [(&str, &str, u64); 25] = [
    ("k80", "Tesla-K80", 11_441),
    ("m60", "Tesla-M60", 7618),
    ("p4", "Tesla-P4", 7611),
    ("p100", "Tesla-P100-PCIE-16GB", 16_280),
    ("v100", "Tesla-V100-SXM2-16GB", 16_160),
    ("t4", "Tesla-T4", 15_109),
    ("t4g", "NVIDIA-T4G", 15_109),
    ("a10", "NVIDIA-A10", 22_731),
    ("a10g", "NVIDIA-A10G", 22_731),
    ("a100", "NVIDIA-A100-SXM4-40GB", 40_536),
    ("a100-40gb", "NVIDIA-A100-SXM4-40GB", 40_536),
    ("a100-80gb", "NVIDIA-A100-SXM4-80GB", 81_251),
    ("l4", "NVIDIA-L4", 22_731),
    ("l40s", "NVIDIA-L40S", 45_776),
    ("h100", "NVIDIA-H100-80GB-HBM3", 81_079),
    ("h100-80gb", "NVIDIA-H100-80GB-HBM3", 81_079),
    ("h100-mega-80gb", "NVIDIA-H100-80GB-HBM3", 81_079),
    ("h100-nvlink-80gb", "NVIDIA-H100-80GB-HBM3", 81_079),
    ("h200", "NVIDIA-H200", 143_167),
    ("h200-141gb", "NVIDIA-H200", 143_167),
    ("b200", "NVIDIA-B200", 182_642),
    ("gb200", "NVIDIA-GB200", 188_416),
    ("b300", "NVIDIA-B300", 274_432),
    ("gb300", "NVIDIA-GB300", 274_432),
    ("rtx-pro-6000", "NVIDIA-RTX-PRO-6000-Blackwell-Server-Edition", 97_251),
];

/// What a node's labels say of its GPUs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Product {
    /// As GPU feature discovery names it, or would; a name that is not known in capitals.
    pub name: String,
    /// MiB of one GPU, where a label of the cloud says it or the product is known; GPU feature discovery says it by resource.
    pub memory_mib: Option<u64>,
}

/// The product, by the labels of a node; none where no label names it.
pub(super) fn of<'a>(label: impl Fn(&str) -> Option<&'a str>) -> Option<Product> {
    if let Some(name) = label(DISCOVERED).filter(|name| !name.is_empty()) {
        return Some(Product { name: name.to_owned(), memory_mib: None });
    }
    let told = BY_CLOUD.into_iter().filter_map(&label).map(plain).find(|name| names_a_product(name))?;
    let known = KNOWN.iter().find(|(name, ..)| *name == told);
    let memory = MEMORY_BY_CLOUD.iter().find_map(|(key, unit)| {
        let amount: u64 = label(key)?.parse().ok().filter(|amount| *amount > 0)?;
        Some(amount.saturating_mul(*unit))
    });
    Some(Product {
        name: known.map_or_else(
            || format!("NVIDIA-{}", told.to_ascii_uppercase()),
            |(_, name, _)| (*name).to_owned(),
        ),
        memory_mib: memory.or(known.map(|(.., memory)| *memory)),
    })
}

/// `H100_NVLINK_80GB` and `nvidia-tesla-t4` as [`KNOWN`] spells them.
fn plain(name: &str) -> String {
    let name = name.to_ascii_lowercase().replace('_', "-");
    let name = name.strip_prefix("nvidia-").unwrap_or(&name);
    name.strip_prefix("tesla-").unwrap_or(name).to_owned()
}

/// Whether a label names more than the vendor, or that there is a GPU at all.
fn names_a_product(name: &str) -> bool {
    !matches!(name, "" | "nvidia" | "gpu" | "true" | "false" | "present" | "none")
}

#[cfg(test)]
mod tests {
    use crds::gpu_product::is_named;

    use super::*;

    #[test]
    fn clouds_name_products_where_gpu_feature_discovery_does_not_run() {
        let product = |labels: &[(&str, &str)]| {
            let labels: Vec<(String, String)> =
                labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
            of(|key| labels.iter().find(|(known, _)| known == key).map(|(_, value)| value.as_str()))
                .map(|product| (product.name, product.memory_mib))
        };
        let named = |name: &str, memory| Some((name.to_owned(), memory));
        let gke = "cloud.google.com/gke-accelerator";
        for (labels, expected) in [
            (vec![(gke, "nvidia-l4")], named("NVIDIA-L4", Some(22_731))),
            (vec![(gke, "nvidia-tesla-t4")], named("Tesla-T4", Some(15_109))),
            (vec![(gke, "nvidia-tesla-a100")], named("NVIDIA-A100-SXM4-40GB", Some(40_536))),
            (vec![(gke, "nvidia-h100-mega-80gb")], named("NVIDIA-H100-80GB-HBM3", Some(81_079))),
            (vec![(gke, "nvidia-x999-1tb")], named("NVIDIA-X999-1TB", None)),
            (
                vec![("k8s.amazonaws.com/accelerator", "nvidia-tesla-v100")],
                named("Tesla-V100-SXM2-16GB", Some(16_160)),
            ),
            (vec![("k8s.amazonaws.com/accelerator", "true")], None),
            (vec![("kubernetes.azure.com/accelerator", "nvidia")], None),
            (
                vec![
                    ("kubernetes.azure.com/accelerator", "nvidia"),
                    ("karpenter.azure.com/sku-gpu-name", "A100"),
                ],
                named("NVIDIA-A100-SXM4-40GB", Some(40_536)),
            ),
            (
                vec![
                    ("karpenter.k8s.aws/instance-gpu-name", "l4"),
                    ("karpenter.k8s.aws/instance-gpu-memory", "22888"),
                ],
                named("NVIDIA-L4", Some(22_888)),
            ),
            (
                vec![("gpu.nvidia.com/model", "H100_NVLINK_80GB"), ("gpu.nvidia.com/vram", "81")],
                named("NVIDIA-H100-80GB-HBM3", Some(81_000)),
            ),
            (vec![(gke, "nvidia-l4"), (DISCOVERED, "NVIDIA-L4")], named("NVIDIA-L4", None)),
            (vec![("accelerator", "nvidia")], None),
        ] {
            assert_eq!(product(&labels), expected, "{labels:?}");
        }
    }

    #[test]
    fn what_a_cloud_calls_a_product_names_it() {
        for (name, product, memory) in KNOWN {
            assert!(memory > 0 && plain(name) == name);
            let first = name.split('-').next().unwrap();
            assert!(is_named(product, first), "{name} {product}");
        }
    }
}
