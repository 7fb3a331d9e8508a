//! Canonical JSON: one value, one sequence of bytes.

use std::collections::BTreeMap;

use serde_json::Value;

/// Compact JSON with the members of every object sorted by name, whatever order the map keeps.
pub(super) fn bytes(value: &Value) -> Vec<u8> {
    let mut text = String::new();
    write(value, &mut text);
    text.into_bytes()
}

fn write(value: &Value, out: &mut String) {
    match value {
        Value::Object(members) => {
            let sorted: BTreeMap<&String, &Value> = members.iter().collect();
            out.push('{');
            for (i, (name, member)) in sorted.into_iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                out.push_str(&Value::from(name.as_str()).to_string());
                out.push(':');
                write(member, out);
            }
            out.push('}');
        }
        Value::Array(items) => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                write(item, out);
            }
            out.push(']');
        }
        scalar => out.push_str(&scalar.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn members_are_sorted_at_every_depth_and_text_is_escaped() {
        let value = json!({"b": [{"d": 1, "c": null}], "a\"": "x\ny", "aa": 1.5});
        assert_eq!(
            String::from_utf8(bytes(&value)).unwrap(),
            r#"{"a\"":"x\ny","aa":1.5,"b":[{"c":null,"d":1}]}"#
        );
    }
}
