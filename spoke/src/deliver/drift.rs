//! Is what was applied still there, and what is not? Defaults and additions of others are not drift; a changed or lost
//! field is.

use serde_json::Value;

use crate::operator::Difference;

/// Every field of `applied` that is otherwise in `live`.
///
/// Lists must be equal in length: the API server never adds items to a list of ours by itself.
pub(super) fn differences(live: &Value, applied: &Value) -> Vec<Difference> {
    let mut found = Vec::new();
    differ("", Some(live), applied, &mut found);
    found
}

fn differ(path: &str, live: Option<&Value>, applied: &Value, found: &mut Vec<Difference>) {
    let below = |key: &str| match path {
        "" => key.to_owned(),
        _ if key.contains(['.', '/']) => format!("{path}[{key}]"),
        _ => format!("{path}.{key}"),
    };
    match (live, applied) {
        (Some(Value::Object(live)), Value::Object(applied)) => {
            for (key, wanted) in applied {
                differ(&below(key), live.get(key), wanted, found);
            }
        }
        (Some(Value::Array(live)), Value::Array(applied)) if live.len() == applied.len() => {
            for (place, (live, applied)) in live.iter().zip(applied).enumerate() {
                differ(&format!("{path}[{place}]"), Some(live), applied, found);
            }
        }
        (Some(Value::Number(live)), Value::Number(applied)) if live.as_f64() == applied.as_f64() => {}
        // Null means "not set".
        (None, Value::Null) => {}
        (Some(live), applied) if live == applied => {}
        (live, applied) => found.push(Difference {
            path: path.to_owned(),
            wanted: applied.clone(),
            found: live.cloned().unwrap_or_default(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn table() {
        let applied = json!({"a": 1, "list": [{"name": "x"}], "none": null});
        let table = [
            ("same", json!({"a": 1, "list": [{"name": "x"}], "none": null}), true),
            ("defaults added", json!({"a": 1, "list": [{"name": "x", "protocol": "TCP"}], "b": 2}), true),
            ("number in other spelling", json!({"a": 1.0, "list": [{"name": "x"}]}), true),
            ("changed", json!({"a": 2, "list": [{"name": "x"}]}), false),
            ("lost", json!({"list": [{"name": "x"}]}), false),
            ("item added", json!({"a": 1, "list": [{"name": "x"}, {"name": "y"}]}), false),
            ("item changed", json!({"a": 1, "list": [{"name": "y"}]}), false),
            ("other type", json!({"a": "1", "list": [{"name": "x"}]}), false),
        ];
        for (case, live, expected) in table {
            let found = differences(&live, &applied);
            assert_eq!(found.is_empty(), expected, "{case}: {found:?}");
        }
    }

    #[test]
    fn a_difference_names_its_field_and_what_is_there() {
        let applied =
            json!({"spec": {"image": {"repository": "nvcr.io/a"}, "env": [{"name": "A", "value": "1"}]}});
        let live =
            json!({"spec": {"image": {"repository": "mirror/a"}, "env": [{"name": "A", "value": "2"}]}});
        let told: Vec<String> = differences(&live, &applied).iter().map(ToString::to_string).collect();
        let to = "is changed by this cluster's admission to";
        assert_eq!(
            told,
            [format!("spec.env[0].value {to} 2"), format!("spec.image.repository {to} mirror/a")]
        );
    }
}
