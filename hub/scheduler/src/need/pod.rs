//! Processor and memory of one pod, from its resources.

use crds::quantity;
use serde_json::Value;

use super::{NeedError, text};

/// Thousandths of a processor and MiB that the resources at a JSON pointer ask for. Requests count; where there are none
/// Kubernetes takes the limits for them.
pub(super) fn of(object: &Value, resources: &str) -> Result<(u64, u64), NeedError> {
    let millicores = amount(object, resources, "cpu", quantity::millis_asked, "4 or 500m")?;
    let memory_mib = amount(object, resources, "memory", quantity::mebibytes_asked, "16Gi")?;
    Ok((millicores, memory_mib))
}

fn amount(
    object: &Value,
    resources: &str,
    name: &str,
    read: fn(&str) -> Option<u64>,
    example: &'static str,
) -> Result<u64, NeedError> {
    for path in ["requests", "limits"].map(|part| format!("{resources}/{part}/{name}")) {
        match object.pointer(&path) {
            None | Some(Value::Null) => {}
            Some(value) => return of_value(object, &path, value, read, example),
        }
    }
    Ok(0)
}

/// An amount, as JSON number or text, at a JSON pointer.
pub(super) fn of_value(
    object: &Value,
    pointer: &str,
    value: &Value,
    read: fn(&str) -> Option<u64>,
    example: &'static str,
) -> Result<u64, NeedError> {
    let plain = match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    read(&plain).ok_or_else(|| NeedError::Quantity {
        kind: text(object, "/kind").to_owned(),
        name: text(object, "/metadata/name").to_owned(),
        path: pointer.replace('/', ".").trim_start_matches('.').to_owned(),
        value: value.to_string(),
        example,
    })
}
