//! Whether a GPU product is of the kind that an object runs on.

use crds::gpu_product::is_named;

use crate::need::GpuKind;

/// Whether the product is of every list of products.
pub(super) fn is_of_kind(product: &str, kind: &GpuKind) -> bool {
    kind.products.iter().all(|list| list.iter().any(|named| is_named(product, named)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_list_must_agree() {
        let kind = |lists: &[&[&str]]| GpuKind {
            products: lists.iter().map(|list| list.iter().map(|&name| name.to_owned()).collect()).collect(),
            min_memory_mib: 0,
        };
        assert!(is_of_kind("NVIDIA-L40S", &kind(&[])));
        assert!(is_of_kind("NVIDIA-L40S", &kind(&[&["h100", "l40s"], &["NVIDIA-L40S"]])));
        assert!(!is_of_kind("NVIDIA-L40S", &kind(&[&["l40s"], &["h100"]])));
    }
}
