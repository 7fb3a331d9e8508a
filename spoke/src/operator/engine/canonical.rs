//! A spec in the one form that children are rendered from: amounts as text, profiles with an empty name left out.
//!
//! NVIDIA's operator stores this form in the object. Here it lives in memory alone, because a field that an operator
//! owns conflicts with the next server-side apply of its author.

use serde_json::{Map, Value};

/// Maps below which every value is an amount.
const AMOUNTS: &[&str] = &["limits", "requests"];

/// Text fields in which nothing means the same as absence.
const UNNAMED: &[&str] = &["profile"];
/// The same of NeMo kinds. The storage class of a NIM kind stays: upstream's webhook calls its storage immutable.
const UNNAMED_IN_NEMO: &[&str] = &["storageClass"];

/// The canonical form of a NIM kind's spec.
pub(crate) fn canonical(spec: &Value) -> Value {
    form(spec, UNNAMED)
}

/// The canonical form of a NeMo kind's spec. Where telemetry goes is written as an empty part, in which the API server
/// shows the defaults: it does not while there is none.
pub(crate) fn canonical_of_nemo(spec: &Value) -> Value {
    let mut form = form(spec, UNNAMED_IN_NEMO);
    if let Some(telemetry) = form.get_mut("otel").and_then(Value::as_object_mut) {
        telemetry.entry("exporterConfig").or_insert_with(|| Value::Object(Map::new()));
    }
    form
}

fn form(spec: &Value, unnamed: &[&str]) -> Value {
    match spec {
        Value::Object(fields) => {
            let kept =
                fields.iter().filter(|(key, value)| !(unnamed.contains(&key.as_str()) && *value == ""));
            let fields = kept.map(|(key, value)| match value {
                Value::Object(amounts) if AMOUNTS.contains(&key.as_str()) => (key.clone(), as_text(amounts)),
                _ => (key.clone(), form(value, unnamed)),
            });
            Value::Object(fields.collect())
        }
        Value::Array(items) => items.iter().map(|item| form(item, unnamed)).collect(),
        other => other.clone(),
    }
}

fn as_text(amounts: &Map<String, Value>) -> Value {
    let text = |amount: &Value| match amount {
        Value::Number(number) => Value::from(number.to_string()),
        other => other.clone(),
    };
    Value::Object(amounts.iter().map(|(name, amount)| (name.clone(), text(amount))).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn amounts_are_text_and_nothing_else_changes() {
        let spec = json!({
            "replicas": 1,
            "storage": {"nimCache": {"name": "c", "profile": ""}, "pvc": {"storageClass": ""}},
            "resources": {"limits": {"nvidia.com/gpu": 1, "cpu": "4"}, "requests": {}},
            "services": [{"spec": {"resources": {"limits": {"nvidia.com/gpu": 2}}}}],
            "env": [{"name": "A", "value": ""}],
        });
        let expected = json!({
            "replicas": 1,
            "storage": {"nimCache": {"name": "c"}, "pvc": {"storageClass": ""}},
            "resources": {"limits": {"nvidia.com/gpu": "1", "cpu": "4"}, "requests": {}},
            "services": [{"spec": {"resources": {"limits": {"nvidia.com/gpu": "2"}}}}],
            "env": [{"name": "A", "value": ""}],
        });
        assert_eq!(canonical(&spec), expected);
    }

    #[test]
    fn a_storage_class_that_is_none_is_left_out_of_nemo_kinds_alone() {
        let spec = json!({"pvc": {"storageClass": "", "size": "1Gi"}});
        assert_eq!(canonical_of_nemo(&spec), json!({"pvc": {"size": "1Gi"}}));
        assert_eq!(canonical(&spec), spec);
    }

    #[test]
    fn where_telemetry_goes_is_shown_of_nemo_kinds_that_have_any() {
        let spec = json!({"otel": {"enabled": true}});
        let form = canonical_of_nemo(&spec);
        assert_eq!(form, json!({"otel": {"enabled": true, "exporterConfig": {}}}));
        assert_eq!(canonical_of_nemo(&form), form, "a second time changes nothing");
        let said = json!({"otel": {"exporterConfig": {"logsExporter": "none"}}});
        assert_eq!((canonical_of_nemo(&said), canonical_of_nemo(&json!({}))), (said, json!({})));
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![any::<i32>().prop_map(Value::from), "[a-z]{0,2}".prop_map(Value::from)];
        leaf.prop_recursive(4, 24, 4, |inner| {
            let key = prop_oneof![Just("limits".to_owned()), Just("profile".to_owned()), "[a-c]"];
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
                prop::collection::btree_map(key, inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn canonical_is_final(spec in any_json()) {
            let once = canonical(&spec);
            prop_assert_eq!(canonical(&once), once);
        }
    }
}
