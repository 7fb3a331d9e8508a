//! GPUs of one pod, from its resources.

use crds::quantity;
use serde_json::Value;

use super::{NeedError, text};

/// What a NIM asks for unless it says otherwise.
pub(super) const DEFAULT_RESOURCE: &str = "nvidia.com/gpu";

/// Largest number of GPUs or replicas that is believed: far above any real one, far below overflow.
const MOST: u32 = 100_000;

/// Resource and number of GPUs that the resources at a JSON pointer ask for. Limits win over requests: Kubernetes wants
/// them equal for extended resources.
pub(super) fn of(object: &Value, resources: &str) -> Result<Option<(String, u32)>, NeedError> {
    for path in ["limits", "requests"].map(|part| format!("{resources}/{part}")) {
        let Some(amounts) = object.pointer(&path).and_then(Value::as_object) else { continue };
        let path = path.replace('/', ".").trim_start_matches('.').to_owned();
        let mut found: Option<(String, u32)> = None;
        for (name, quantity) in amounts.iter().filter(|(name, _)| is_gpu(name)) {
            let count = whole(object, &format!("{path}.{name}"), quantity, 0)?;
            if count == 0 {
                continue;
            }
            if let Some((first, _)) = &found {
                return Err(NeedError::TwoResources {
                    kind: text(object, "/kind").to_owned(),
                    name: text(object, "/metadata/name").to_owned(),
                    path,
                    first: first.clone(),
                    second: name.clone(),
                });
            }
            found = Some((name.clone(), count));
        }
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

/// Whether the user said anything about `nvidia.com/gpu`, even 0: then nothing is assigned for them.
pub(super) fn is_stated(object: &Value) -> bool {
    ["/spec/resources/limits", "/spec/resources/requests"].iter().any(|path| {
        object
            .pointer(path)
            .and_then(Value::as_object)
            .is_some_and(|resources| resources.contains_key(DEFAULT_RESOURCE))
    })
}

/// `nvidia.com/gpu`, its shared form, MIG slices such as `nvidia.com/mig-1g.10gb`, and GPUs that are passed through to virtual
/// machines, as confidential containers have them.
fn is_gpu(resource: &str) -> bool {
    resource.strip_prefix("nvidia.com/").is_some_and(|name| {
        matches!(name, "gpu" | "pgpu") || name.starts_with("gpu.") || name.starts_with("mig-")
    })
}

/// A whole number, as JSON number or text, from `least` up.
pub(super) fn whole(object: &Value, path: &str, value: &Value, least: u32) -> Result<u32, NeedError> {
    let number = match value {
        Value::Number(number) => number.as_u64(),
        Value::String(text) => {
            let text = text.trim();
            let is_it = |whole: &u64| {
                quantity::compare(text, &whole.to_string()).is_some_and(std::cmp::Ordering::is_eq)
            };
            text.parse().ok().or_else(|| quantity::whole(text).filter(is_it))
        }
        _ => None,
    };
    number
        .and_then(|number| u32::try_from(number).ok())
        .filter(|number| (least..=MOST).contains(number))
        .ok_or_else(|| NeedError::Number {
            kind: text(object, "/kind").to_owned(),
            name: text(object, "/metadata/name").to_owned(),
            path: path.to_owned(),
            value: value.to_string(),
            least,
            most: MOST,
        })
}

/// A whole number at a JSON pointer, if there is something.
pub(super) fn number(object: &Value, pointer: &str, least: u32) -> Result<Option<u32>, NeedError> {
    match object.pointer(pointer) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => {
            whole(object, pointer.replace('/', ".").trim_start_matches('.'), value, least).map(Some)
        }
    }
}
