//! Objects without what may be secret: values of variables, proxies' passwords, and copies of whole manifests.

use serde_json::{Map, Value};

/// In the place of what is left out.
const REDACTED: &str = "(redacted)";
/// An annotation with a copy of the manifest, variables and all.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// The object as it is shown.
pub(super) fn object(mut object: Value) -> Value {
    if let Some(metadata) = object["metadata"].as_object_mut() {
        metadata.remove("managedFields");
        if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
            annotations.remove(LAST_APPLIED);
        }
    }
    below(&mut object);
    object
}

fn below(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            hide_variables(fields);
            fields.values_mut().for_each(below);
        }
        Value::Array(items) => items.iter_mut().for_each(below),
        Value::String(text) => {
            if let Some(hidden) = without_password(text) {
                *text = hidden;
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Of `env: [{name, value}]` the values; what is read from a Secret is named and stays.
fn hide_variables(fields: &mut Map<String, Value>) {
    let Some(Value::Array(variables)) = fields.get_mut("env") else { return };
    for variable in variables {
        if let Some(value) = variable.get_mut("value") {
            *value = Value::from(REDACTED);
        }
    }
}

/// `http://user:password@host` without user and password; none if there is nothing to hide.
fn without_password(text: &str) -> Option<String> {
    let (scheme, rest) = text.split_once("://")?;
    let authority = rest.split(['/', ' ', '?']).next().unwrap_or(rest);
    let (_, host) = authority.rsplit_once('@')?;
    let tail = &rest[authority.len()..];
    Some(format!("{scheme}://{REDACTED}@{host}{tail}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn nothing_that_may_be_secret_is_left() {
        let shown = object(json!({
            "metadata": {
                "name": "chat", "managedFields": [{"manager": "kubectl"}],
                "annotations": {LAST_APPLIED: "{\"hunter2\"}", "kept": "yes"},
            },
            "spec": {
                "env": [{"name": "TOKEN", "value": "hunter2"}, {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}],
                "template": {"spec": {"containers": [{"env": [{"name": "P", "value": "hunter2"}]}]}},
                "proxy": {"httpsProxy": "http://me:hunter2@proxy:3128/x"},
                "args": ["--hub-address=hub:7443", "http://plain:80/"],
            },
        }));
        let text = shown.to_string();
        assert!(!text.contains("hunter2") && !text.contains("managedFields"), "{text}");
        assert_eq!(shown["metadata"]["annotations"], json!({"kept": "yes"}));
        assert_eq!(shown["spec"]["env"][1]["valueFrom"]["secretKeyRef"]["name"], "s");
        assert_eq!(shown["spec"]["proxy"]["httpsProxy"], "http://(redacted)@proxy:3128/x");
        assert_eq!(shown["spec"]["args"], json!(["--hub-address=hub:7443", "http://plain:80/"]));
    }
}
