//! Kubernetes' quantities: what they amount to, and how Kubernetes itself writes them.

use serde_json::Value;

/// One in the unit that amounts are counted in, the smallest that Kubernetes knows: a billionth.
const ONE: i128 = 1_000_000_000;

/// 2²⁰ of them.
const MEBIBYTE: i128 = ONE << 20;

const DECIMAL: &[(&str, i32)] = &[
    ("E", 18),
    ("P", 15),
    ("T", 12),
    ("G", 9),
    ("M", 6),
    ("k", 3),
    ("", 0),
    ("m", -3),
    ("u", -6),
    ("n", -9),
];
const BINARY: &[(&str, u32)] = &[("Ei", 60), ("Pi", 50), ("Ti", 40), ("Gi", 30), ("Mi", 20), ("Ki", 10)];

/// How the amount was written, which is how it is written again.
enum Format {
    Decimal,
    Binary,
    Exponent,
}

/// The canonical text: `1.5` → `1500m`, `1024Mi` → `1Gi`. `None` when it is no quantity.
#[must_use]
pub fn canonical(text: &str) -> Option<String> {
    let (billionths, format) = parse(text)?;
    Some(match format {
        Format::Binary if billionths.abs() >= 1024 * ONE && billionths % ONE == 0 => {
            let whole = billionths / ONE;
            let (unit, bits) = BINARY.iter().find(|(_, bits)| whole % (1 << bits) == 0).unwrap_or(&("", 0));
            format!("{}{unit}", whole >> bits)
        }
        Format::Exponent => {
            let (number, _, power) = decimal(billionths);
            if power == 0 { number.to_string() } else { format!("{number}e{power}") }
        }
        Format::Binary | Format::Decimal => {
            let (number, unit, _) = decimal(billionths);
            format!("{number}{unit}")
        }
    })
}

/// The whole number below an amount, as for `nvidia.com/gpu: 1e3`; 0 for less than none. `None` when it is no quantity.
#[must_use]
pub fn whole(text: &str) -> Option<u64> {
    in_units(text, ONE, i128::div_euclid)
}

/// Thousandths, rounded down: what a node has of its processors. `None` when it is no quantity.
#[must_use]
pub fn millis_there(text: &str) -> Option<u64> {
    in_units(text, ONE / 1000, i128::div_euclid)
}

/// Thousandths, rounded up: what somebody asks for of processors. `None` when it is no quantity.
#[must_use]
pub fn millis_asked(text: &str) -> Option<u64> {
    in_units(text, ONE / 1000, ceil)
}

/// MiB, rounded down: what a node has of memory. `None` when it is no quantity.
#[must_use]
pub fn mebibytes_there(text: &str) -> Option<u64> {
    in_units(text, MEBIBYTE, i128::div_euclid)
}

/// MiB, rounded up: what somebody asks for of memory. `None` when it is no quantity.
#[must_use]
pub fn mebibytes_asked(text: &str) -> Option<u64> {
    in_units(text, MEBIBYTE, ceil)
}

/// The amount of a quantity, in billionths: of its text, or of the number that a manifest may give instead. `None` when it is
/// no quantity.
#[must_use]
pub fn amount(value: &Value) -> Option<i128> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => return None,
    };
    Some(parse(&text)?.0)
}

/// How two amounts compare. `None` when one of them is no quantity.
#[must_use]
pub fn compare(one: &str, other: &str) -> Option<std::cmp::Ordering> {
    Some(parse(one.trim())?.0.cmp(&parse(other.trim())?.0))
}

fn in_units(text: &str, unit: i128, round: fn(i128, i128) -> i128) -> Option<u64> {
    let (billionths, _) = parse(text.trim())?;
    u64::try_from(round(billionths.max(0), unit)).ok()
}

fn ceil(amount: i128, unit: i128) -> i128 {
    amount.div_euclid(unit) + i128::from(amount.rem_euclid(unit) != 0)
}

/// The largest decimal unit that leaves a whole number.
fn decimal(billionths: i128) -> (i128, &'static str, i32) {
    let of = |power: i32| u32::try_from(power + 9).map_or(1, |power| 10_i128.pow(power));
    let fits = |(_, power): &&(&str, i32)| billionths != 0 && billionths % of(*power) == 0;
    let (unit, power) = DECIMAL.iter().find(fits).copied().unwrap_or(("", 0));
    (billionths / of(power), unit, power)
}

fn parse(text: &str) -> Option<(i128, Format)> {
    let end = text.find(|c: char| !c.is_ascii_digit() && !matches!(c, '.' | '-' | '+')).unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let (negative, digits) = match number.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, number.strip_prefix('+').unwrap_or(number)),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let only_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() && fraction.is_empty() || !only_digits(whole) || !only_digits(fraction) {
        return None;
    }
    let mantissa: i128 = format!("{whole}{fraction}").parse().ok()?;
    let places = i32::try_from(fraction.len()).ok()?;
    let (power, bits, format) = if let Some((_, bits)) = BINARY.iter().find(|(unit, _)| *unit == suffix) {
        (0, *bits, Format::Binary)
    } else if let Some((_, power)) = DECIMAL.iter().find(|(unit, _)| *unit == suffix) {
        (*power, 0, Format::Decimal)
    } else {
        let power: i32 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
        (power, 0, Format::Exponent)
    };
    let scaled = mantissa.checked_mul(1 << bits)?;
    let shift = power.checked_add(9)?.checked_sub(places)?;
    let ten = 10_i128.checked_pow(shift.unsigned_abs())?;
    let billionths = if shift >= 0 {
        scaled.checked_mul(ten)?
    } else {
        // Kubernetes rounds up what is finer than it can tell.
        scaled / ten + i128::from(scaled % ten != 0)
    };
    Some((if negative { -billionths } else { billionths }, format))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_table_of_quantities() {
        for (text, expected) in [
            ("1.5", "1500m"),
            ("40Gi", "40Gi"),
            ("1024Mi", "1Gi"),
            ("0.5Gi", "512Mi"),
            ("1.5Gi", "1536Mi"),
            ("1500Mi", "1500Mi"),
            ("0.5Ki", "512"),
            ("1.1Ki", "1126400m"),
            ("1000", "1k"),
            ("1000k", "1M"),
            ("1234", "1234"),
            ("100000m", "100"),
            ("0", "0"),
            ("0Gi", "0"),
            ("1e3", "1e3"),
            ("12e2", "1200"),
            ("-1.5", "-1500m"),
            ("+3", "3"),
            ("0.0000000001", "1n"),
            ("1E", "1E"),
        ] {
            assert_eq!(canonical(text).as_deref(), Some(expected), "{text}");
        }
        for text in ["", "Gi", "1.2.3", "1 Gi", "ten", "1Zi", "--1", "1-2", "1e999999999"] {
            assert_eq!(canonical(text), None, "{text}");
        }
    }

    #[test]
    fn amounts_are_rounded_to_the_safe_side() {
        for (text, expected) in [
            ("8", Some(8)),
            ("20k", Some(20_000)),
            ("1e3", Some(1000)),
            ("2500m", Some(2)),
            ("0", Some(0)),
            ("-1", Some(0)),
            ("many", None),
            ("", None),
        ] {
            assert_eq!(whole(text), expected, "{text}");
        }
        assert_eq!((millis_there("1.0005"), millis_asked("1.0005")), (Some(1000), Some(1001)));
        assert_eq!((millis_there("16"), millis_asked("500m")), (Some(16_000), Some(500)));
        assert_eq!((mebibytes_there("1048577"), mebibytes_asked("1048577")), (Some(1), Some(2)));
        assert_eq!((mebibytes_there("80G"), mebibytes_asked("80G")), (Some(76_293), Some(76_294)));
        assert_eq!(compare("80Gi", "80G"), Some(std::cmp::Ordering::Greater));
        assert_eq!(compare("1", "one"), None);
        assert_eq!(mebibytes_asked("1.5Gi"), Some(1536));
        for (one, other) in [(json!("500m"), json!(0.5)), (json!("5e3"), json!("5k")), (json!(2), json!("2"))]
        {
            assert!(amount(&one).is_some() && amount(&one) == amount(&other), "{one} {other}");
        }
        assert_eq!(
            (amount(&json!("1")), amount(&json!("one")), amount(&json!(null))),
            (Some(ONE), None, None)
        );
        assert_eq!(mebibytes_asked("99999999999999999999999999999999999999Pi"), None);
    }

    proptest! {
        #[test]
        fn the_canonical_text_is_its_own(text in "[-+]?[0-9]{1,9}(\\.[0-9]{1,6})?(|m|k|M|G|Ki|Mi|Gi|Ti|e3|e-2)") {
            let once = canonical(&text).unwrap();
            prop_assert_eq!(canonical(&once), Some(once.clone()), "{}", text);
        }

        #[test]
        fn no_text_breaks_it(text in ".{0,24}") {
            let _ = canonical(&text);
        }
    }
}
