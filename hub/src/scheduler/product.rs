//! Whether a GPU product is the one that somebody named.

use crate::need::GpuKind;

/// Whether `named` (`h100`, `A100-SXM4`, `NVIDIA-L40S`) names `product`, a value of node label
/// `nvidia.com/gpu.product` (`NVIDIA-H100-80GB-HBM3`). Compared word by word without case, so that `L4` never
/// means `L40S`, and `rtx6000` is `RTX-6000`. A part of a GPU (`NVIDIA-A100-SXM4-40GB-MIG-1g.5gb`) is only what names
/// the part.
pub(crate) fn is_named(product: &str, named: &str) -> bool {
    let names_part = || words(named).any(|word| word.eq_ignore_ascii_case(PART));
    if words(product).any(|word| word.eq_ignore_ascii_case(PART)) && !names_part() {
        return false;
    }
    let mut rest = words(product);
    loop {
        if begins(rest.clone(), words(named)) {
            return true;
        }
        if rest.next().is_none() {
            return false;
        }
    }
}

/// The word in the product of an instance that is part of a GPU.
const PART: &str = "MIG";

/// Whether the first words of a product, joined, are the words of a name, joined.
fn begins<'a>(mut product: impl Iterator<Item = &'a str>, named: impl Iterator<Item = &'a str>) -> bool {
    let mut named = named.flat_map(str::bytes).peekable();
    if named.peek().is_none() {
        return false;
    }
    while named.peek().is_some() {
        let Some(word) = product.next() else { return false };
        for byte in word.bytes() {
            if named.next().is_none_or(|wanted| !wanted.eq_ignore_ascii_case(&byte)) {
                return false;
            }
        }
    }
    true
}

/// Whether the product is of every list of products.
pub(super) fn is_of_kind(product: &str, kind: &GpuKind) -> bool {
    kind.products.iter().all(|list| list.iter().any(|named| is_named(product, named)))
}

fn words(text: &str) -> impl Iterator<Item = &str> + Clone {
    text.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_words_count_in_any_case() {
        for (product, named, same) in [
            ("NVIDIA-H100-80GB-HBM3", "NVIDIA-H100-80GB-HBM3", true),
            ("NVIDIA-H100-80GB-HBM3", "h100", true),
            ("NVIDIA-H100-80GB-HBM3", "H100_80GB", true),
            ("NVIDIA-H100-80GB-HBM3", "h200", false),
            ("NVIDIA-H100-80GB-HBM3", "h100-hbm3", false),
            ("NVIDIA-GH200-480GB", "h200", false),
            ("NVIDIA-L40S", "l4", false),
            ("NVIDIA-L40S", "l40s", true),
            ("NVIDIA-L4", "l4", true),
            ("NVIDIA-RTX-6000-Ada-Generation", "rtx6000-ada", true),
            ("NVIDIA-A10G", "a10", false),
            ("NVIDIA-A100-SXM4-40GB-MIG-1g.5gb", "a100", false),
            ("NVIDIA-A100-SXM4-40GB-MIG-1g.5gb", "NVIDIA-A100-SXM4-40GB-MIG-1g.5gb", true),
            ("NVIDIA-A100-SXM4-40GB-MIG-1g.5gb", "mig-1g.5gb", true),
            ("NVIDIA-A10G", "", false),
            ("", "a10", false),
        ] {
            assert_eq!(is_named(product, named), same, "{product} {named}");
        }
    }

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
