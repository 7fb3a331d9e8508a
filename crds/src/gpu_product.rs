//! Names of GPU products: as node labels, NIM profiles and people spell them, compared as names and not as substrings.

/// The word in the product of an instance that is part of a GPU.
const PART: &str = "MIG";
/// A word of the product line that NIM profiles leave out: `rtx6000_blackwell_sv` is an RTX PRO 6000.
const LINE: &str = "PRO";
/// Short forms in the `gpu` tag of NIM profiles, and the word of the product that each stands for.
const SHORT_FORMS: [(&str, &str); 3] = [("sv", "Server"), ("ws", "Workstation"), ("wk", "Workstation")];

/// Whether `named` (`h100`, `A100-SXM4`, `NVIDIA-L40S`, `rtx6000_blackwell_sv`) names `product`: a value of node label
/// `nvidia.com/gpu.product` (`NVIDIA-H100-80GB-HBM3`), a `productName` of a ResourceSlice, or the `gpu` tag of a NIM
/// profile.
///
/// Every word of the name must be in the product, in any order and without case, so that `L4` never means `L40S` and
/// `h100_hbm3_80gb` is `H100-80GB-HBM3`. Words may be written together: `rtx6000` is `RTX-6000`. A part of a GPU
/// (`NVIDIA-A100-SXM4-40GB-MIG-1g.5gb`) is named only by a name that has the word `MIG`.
#[must_use]
pub fn is_named(product: &str, named: &str) -> bool {
    let has_part = |text: &str| words(text).any(|word| word.eq_ignore_ascii_case(PART));
    if has_part(product) && !has_part(named) {
        return false;
    }
    let mut rest = words(named);
    if rest.clone().next().is_none() {
        return false;
    }
    while rest.clone().next().is_some() {
        let longest = rest.clone().count();
        let Some(taken) = (1..=longest).find(|taken| has_run(product, &rest.clone().take(*taken))) else {
            return false;
        };
        rest.nth(taken - 1);
    }
    true
}

/// Whether the words, written together, are words of the product that follow each other.
fn has_run<'a>(product: &str, named: &(impl Iterator<Item = &'a str> + Clone)) -> bool {
    let mut alone = named.clone();
    if let (Some(word), None) = (alone.next(), alone.next())
        && let Some((_, long)) = SHORT_FORMS.iter().find(|(short, _)| word.eq_ignore_ascii_case(short))
        && words(product).any(|word| word.eq_ignore_ascii_case(long))
    {
        return true;
    }
    let mut rest = words(product);
    loop {
        if begins(rest.clone(), named.clone()) {
            return true;
        }
        if rest.next().is_none() {
            return false;
        }
    }
}

/// Whether the first words of a product, written together, are the words of a name, written together.
fn begins<'p, 'n>(product: impl Iterator<Item = &'p str>, named: impl Iterator<Item = &'n str>) -> bool {
    let mut named = named.flat_map(str::bytes).peekable();
    for (place, word) in product.enumerate() {
        if named.peek().is_none() {
            return place > 0;
        }
        if place > 0 && word.eq_ignore_ascii_case(LINE) && named.peek().is_some_and(u8::is_ascii_digit) {
            continue;
        }
        for byte in word.bytes() {
            if named.next().is_none_or(|wanted| !wanted.eq_ignore_ascii_case(&byte)) {
                return false;
            }
        }
    }
    named.peek().is_none()
}

fn words(text: &str) -> impl Iterator<Item = &str> + Clone {
    text.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_words_count_in_any_case_and_order() {
        for (product, named, same) in [
            ("NVIDIA-H100-80GB-HBM3", "NVIDIA-H100-80GB-HBM3", true),
            ("NVIDIA-H100-80GB-HBM3", "h100", true),
            ("NVIDIA-H100-80GB-HBM3", "H100_80GB", true),
            ("NVIDIA-H100-80GB-HBM3", "h200", false),
            ("NVIDIA-H100-80GB-HBM3", "h100-hbm3", true),
            ("NVIDIA-H100-80GB-HBM3", "h100_hbm3_80gb", true),
            ("NVIDIA-H100-80GB-HBM3", "h100_hbm3_94gb", false),
            ("NVIDIA H100 80GB HBM3", "h100_hbm3_80gb", true),
            ("NVIDIA-GH200-480GB", "h200", false),
            ("NVIDIA-GH200-480GB", "gh200_480gb", true),
            ("NVIDIA-GB200", "b200", false),
            ("NVIDIA-L40S", "l4", false),
            ("NVIDIA-L40S", "l40s", true),
            ("NVIDIA-L4", "l4", true),
            ("NVIDIA-RTX-6000-Ada-Generation", "rtx6000-ada", true),
            ("NVIDIA-RTX-6000-Ada-Generation", "rtx6000_blackwell_sv", false),
            ("NVIDIA-RTX-6000-Ada-Generation", "rtx-pro-6000", false),
            ("NVIDIA-RTX-PRO-6000-Blackwell-Server-Edition", "rtx6000_blackwell_sv", true),
            ("NVIDIA-RTX-PRO-6000-Blackwell-Server-Edition", "rtxpro6000_blackwell_sv", true),
            ("NVIDIA-RTX-PRO-6000-Blackwell-Server-Edition", "rtx6000_blackwell_ws", false),
            ("NVIDIA-RTX-PRO-6000-Blackwell-Workstation-Edition", "rtx6000_blackwell_sv", false),
            ("NVIDIA-RTX-PRO-6000-Blackwell-Workstation-Edition", "rtx6000_blackwell_wk", true),
            ("NVIDIA-A10G", "a10", false),
            ("NVIDIA-A100-SXM4-80GB", "a100_sxm4_40gb", false),
            ("NVIDIA-A100-SXM4-80GB", "a100_sxm4_80gb", true),
            ("NVIDIA-A100-SXM4-40GB-MIG-1g.5gb", "a100", false),
            ("NVIDIA-A100-SXM4-40GB-MIG-1g.5gb", "NVIDIA-A100-SXM4-40GB-MIG-1g.5gb", true),
            ("NVIDIA-A100-SXM4-40GB-MIG-1g.5gb", "mig-1g.5gb", true),
            ("rtx6000_blackwell_sv", "rtx6000_blackwell_sv", true),
            ("NVIDIA-GH200-480GB", "gh 200", true),
            ("NVIDIA-A10G", "", false),
            ("", "a10", false),
        ] {
            assert_eq!(is_named(product, named), same, "{product} {named}");
        }
    }
}
