//! What devices must have, as the CEL expressions of a request. The expressions are not compiled here: the API server
//! compiles them and refuses a template with a bad one, which shows as the failure of the service.

use crds::nim::{DRAAttributeSelector, DRAAttributeSelectorValue, DRACapacitySelector, DRADeviceSpec};
use crds::quantity::canonical;

use super::version::is_strict;

/// Driver of devices where none is given.
const DRIVER: &str = "gpu.nvidia.com";

/// All expressions of one request: the driver's first. An error names what is wrong, below the device.
pub(super) fn expressions(device: &DRADeviceSpec) -> Result<Vec<String>, String> {
    let driver = device.driver_name.as_deref().filter(|name| !name.is_empty()).unwrap_or(DRIVER);
    let mut all = vec![format!("device.driver == {}", quoted(driver))];
    all.extend(device.cel_expressions.iter().flatten().cloned());
    for (index, one) in device.attribute_selectors.iter().flatten().enumerate() {
        let built = attribute(driver, one);
        all.push(built.map_err(|(field, why)| format!("attributeSelectors[{index}].{field}: {why}"))?);
    }
    for (index, one) in device.capacity_selectors.iter().flatten().enumerate() {
        let built = capacity(driver, one);
        all.push(built.map_err(|(field, why)| format!("capacitySelectors[{index}].{field}: {why}"))?);
    }
    Ok(all)
}

type Wrong = (&'static str, String);

fn attribute(driver: &str, wanted: &DRAAttributeSelector) -> Result<String, Wrong> {
    let place = place("attributes", driver, &wanted.key);
    let operator = operator(&wanted.op)?;
    let equality = |literal: String, of: &str| match operator {
        "==" | "!=" => Ok(format!("{place} {operator} {literal}")),
        _ => Err(("op", format!("{} does not apply to {of}; use Equal or NotEqual", wanted.op))),
    };
    let value = wanted.value.as_ref().ok_or_else(missing)?;
    match value {
        DRAAttributeSelectorValue {
            bool_value: Some(truth),
            int_value: None,
            string_value: None,
            version_value: None,
        } => equality(truth.to_string(), "a boolValue"),
        DRAAttributeSelectorValue {
            bool_value: None,
            int_value: Some(number),
            string_value: None,
            version_value: None,
        } => Ok(format!("{place} {operator} {number}")),
        DRAAttributeSelectorValue {
            bool_value: None,
            int_value: None,
            string_value: Some(text),
            version_value: None,
        } => equality(quoted(text), "a stringValue"),
        DRAAttributeSelectorValue {
            bool_value: None,
            int_value: None,
            string_value: None,
            version_value: Some(version),
        } => {
            if !is_strict(version) {
                let why = format!("{version:?} is not a version like 1.2.3 of semver.org");
                return Err(("value.versionValue", why));
            }
            Ok(format!("({place}).compareTo(semver({})) {operator} 0", quoted(version)))
        }
        _ => Err(missing()),
    }
}

fn missing() -> Wrong {
    ("value", "exactly one of boolValue, intValue, stringValue, versionValue must be set".to_owned())
}

fn capacity(driver: &str, wanted: &DRACapacitySelector) -> Result<String, Wrong> {
    let place = place("capacity", driver, &wanted.key);
    let operator = operator(&wanted.op)?;
    let Some(amount) = canonical(&wanted.value.0) else {
        return Err(("value", format!("{:?} is not a quantity such as 40Gi", wanted.value.0)));
    };
    Ok(format!("({place}).compareTo(quantity({})) {operator} 0", quoted(&amount)))
}

/// Where a key is looked up: `domain/name`, or the name in the driver's own domain.
fn place(map: &str, driver: &str, key: &str) -> String {
    let (domain, name) = key.split_once('/').unwrap_or((driver, key));
    format!("device.{map}[{}].{name}", quoted(domain))
}

fn operator(word: &str) -> Result<&'static str, Wrong> {
    Ok(match word {
        "Equal" => "==",
        "NotEqual" => "!=",
        "GreaterThan" => ">",
        "GreaterThanOrEqual" => ">=",
        "LessThan" => "<",
        "LessThanOrEqual" => "<=",
        _ => return Err(("op", format!("{word:?} is none of the known comparisons, such as Equal"))),
    })
}

/// A literal of CEL; its escapes are those of JSON.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
#[allow(clippy::needless_pass_by_value, reason = "literals are handed over as they are written")]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn built(selectors: Value) -> Result<Vec<String>, String> {
        let mut device = json!({"name": "gpu", "count": 1, "deviceClassName": "gpu.nvidia.com"});
        for (key, value) in selectors.as_object().unwrap() {
            device[key] = value.clone();
        }
        expressions(&serde_json::from_value(device).unwrap())
    }

    #[test]
    fn selectors_become_expressions() {
        for (attribute, expected) in [
            (
                json!({"key": "architecture", "op": "Equal", "value": {"stringValue": "Ampere"}}),
                r#"device.attributes["gpu.nvidia.com"].architecture == "Ampere""#,
            ),
            (
                json!({"key": "a.b/c", "op": "NotEqual", "value": {"boolValue": true}}),
                r#"device.attributes["a.b"].c != true"#,
            ),
            (
                json!({"key": "n", "op": "LessThanOrEqual", "value": {"intValue": -3}}),
                r#"device.attributes["gpu.nvidia.com"].n <= -3"#,
            ),
            (
                json!({"key": "s", "op": "Equal", "value": {"stringValue": "a\"b\\"}}),
                r#"device.attributes["gpu.nvidia.com"].s == "a\"b\\""#,
            ),
            (
                json!({"key": "v", "op": "GreaterThan", "value": {"versionValue": "1.2.3"}}),
                r#"(device.attributes["gpu.nvidia.com"].v).compareTo(semver("1.2.3")) > 0"#,
            ),
        ] {
            let all = built(json!({"attributeSelectors": [attribute]})).unwrap();
            assert_eq!(all, [r#"device.driver == "gpu.nvidia.com""#, expected]);
        }
        for (amount, expected) in [("40Gi", "40Gi"), ("1.5", "1500m")] {
            let capacity = json!({"key": "memory", "op": "GreaterThanOrEqual", "value": amount});
            let all = built(json!({"driverName": "d", "capacitySelectors": [capacity]})).unwrap();
            let expected = format!(r#"(device.capacity["d"].memory).compareTo(quantity("{expected}")) >= 0"#);
            assert_eq!(all, [r#"device.driver == "d""#.to_owned(), expected]);
        }
        let own = built(json!({"celExpressions": ["a: b # c"]})).unwrap();
        assert_eq!(own[1], "a: b # c", "an expression is taken as it is");
    }

    #[test]
    fn b04_a_selector_without_a_value_is_named_not_a_crash() {
        for (attribute, field) in [
            (json!({"key": "k", "op": "Equal"}), "attributeSelectors[0].value: "),
            (json!({"key": "k", "op": "Equal", "value": {}}), "attributeSelectors[0].value: "),
            (
                json!({"key": "k", "op": "Equal", "value": {"intValue": 1, "boolValue": true}}),
                "attributeSelectors[0].value: ",
            ),
            (
                json!({"key": "k", "op": "GreaterThan", "value": {"boolValue": true}}),
                "attributeSelectors[0].op: GreaterThan",
            ),
            (
                json!({"key": "k", "op": "LessThan", "value": {"stringValue": "x"}}),
                "attributeSelectors[0].op: LessThan",
            ),
            (
                json!({"key": "k", "op": "Like", "value": {"stringValue": "x"}}),
                "attributeSelectors[0].op: \"Like\"",
            ),
            (
                json!({"key": "k", "op": "Equal", "value": {"versionValue": "v1"}}),
                "attributeSelectors[0].value.versionValue: \"v1\"",
            ),
        ] {
            let why = built(json!({"attributeSelectors": [attribute]})).unwrap_err();
            assert!(why.starts_with(field), "{why}");
        }
        let capacity = json!({"key": "memory", "op": "Equal", "value": "much"});
        let why = built(json!({"capacitySelectors": [capacity]})).unwrap_err();
        assert!(why.starts_with("capacitySelectors[0].value: \"much\""), "{why}");
    }
}
