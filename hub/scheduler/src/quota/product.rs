//! Whether a product is one of those that a limit names.

use crds::gpu_product::is_named;

/// `*` is every product; a pattern with `*` is held against the whole name without case; anything else names the product
/// as it does everywhere: `h100` is `NVIDIA-H100-80GB-HBM3`.
pub(super) fn is_of(product: &str, named: &str) -> bool {
    if !named.contains('*') {
        return is_named(product, named);
    }
    let (product, named) = (product.to_ascii_lowercase(), named.to_ascii_lowercase());
    let mut parts = named.split('*');
    let Some(mut rest) = product.strip_prefix(parts.next().unwrap_or_default()) else { return false };
    let mut parts: Vec<&str> = parts.collect();
    let last = parts.pop().unwrap_or_default();
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_name_products_by_pattern_or_by_words() {
        for (product, named, is) in [
            ("NVIDIA-H100-80GB-HBM3", "*", true),
            ("NVIDIA-H100-80GB-HBM3", "NVIDIA-H100*", true),
            ("NVIDIA-H100-80GB-HBM3", "nvidia-h100*hbm3", true),
            ("NVIDIA-H100-80GB-HBM3", "*80GB*", true),
            ("NVIDIA-H100-80GB-HBM3", "*40GB*", false),
            ("NVIDIA-H100-80GB-HBM3", "H100*", false),
            ("NVIDIA-H100-80GB-HBM3", "*HBM2", false),
            ("NVIDIA-H100-80GB-HBM3", "h100", true),
            ("NVIDIA-L40S", "l4", false),
        ] {
            assert_eq!(is_of(product, named), is, "{product} {named}");
        }
    }
}
