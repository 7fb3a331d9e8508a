//! Is what was applied still there? Defaults and additions of others are not drift; a changed or lost field is.

use serde_json::Value;

/// Whether every field of `applied` is in `live` with the same value.
///
/// Lists must be equal in length: the API server never adds items to a list of ours by itself.
pub(super) fn holds(live: &Value, applied: &Value) -> bool {
    match (live, applied) {
        (Value::Object(live), Value::Object(applied)) => {
            applied.iter().all(|(key, wanted)| match live.get(key) {
                Some(found) => holds(found, wanted),
                // Null means "not set".
                None => wanted.is_null(),
            })
        }
        (Value::Array(live), Value::Array(applied)) => {
            live.len() == applied.len()
                && live.iter().zip(applied).all(|(live, applied)| holds(live, applied))
        }
        (Value::Number(live), Value::Number(applied)) => live.as_f64() == applied.as_f64(),
        (live, applied) => live == applied,
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
            assert_eq!(holds(&live, &applied), expected, "{case}");
        }
    }
}
