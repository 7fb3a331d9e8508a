//! Amounts as Kubernetes writes them.

/// Suffixes of a Kubernetes quantity with the bytes they stand for.
const UNITS: [(&str, u64); 10] = [
    ("Ki", 1 << 10),
    ("Mi", 1 << 20),
    ("Gi", 1 << 30),
    ("Ti", 1 << 40),
    ("Pi", 1 << 50),
    ("k", 1_000),
    ("M", 1_000_000),
    ("G", 1_000_000_000),
    ("T", 1_000_000_000_000),
    ("P", 1_000_000_000_000_000),
];

/// An amount of memory in MiB, rounded up. At most three decimals count, which is what a quantity keeps.
pub(crate) fn mebibytes(quantity: &str) -> Option<u64> {
    let quantity = quantity.trim();
    let (number, unit) = UNITS
        .iter()
        .find_map(|(suffix, bytes)| Some((quantity.strip_suffix(suffix)?, *bytes)))
        .unwrap_or((quantity, 1));
    let (whole, decimals) = number.split_once('.').unwrap_or((number, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(decimals) || decimals.len() > 3 {
        return None;
    }
    let thousandths: u128 = format!("{whole}{decimals:0<3}").parse().ok()?;
    let bytes = thousandths.checked_mul(u128::from(unit))?.div_ceil(1000);
    u64::try_from(bytes.div_ceil(1 << 20)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_rounded_up_to_mebibytes() {
        for (quantity, expected) in [
            ("80Gi", Some(81_920)),
            ("80G", Some(76_294)),
            ("1.5Gi", Some(1536)),
            ("1048577", Some(2)),
            ("512Mi", Some(512)),
            ("", None),
            ("Gi", None),
            ("-1Gi", None),
            ("1.2.3Gi", None),
            ("99999999999999999999999999999999999999Pi", None),
        ] {
            assert_eq!(mebibytes(quantity), expected, "{quantity}");
        }
    }
}
