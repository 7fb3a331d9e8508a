//! Canonical JSON: one value, one sequence of bytes.

use std::collections::BTreeMap;
use std::io;

use serde_json::Value;

/// Compact JSON with the members of every object sorted by name, whatever order the map keeps.
pub(super) fn bytes(value: &Value) -> Vec<u8> {
    let mut text = String::new();
    write(value, &mut text);
    text.into_bytes()
}

/// How many bytes that is, without making them.
pub(super) fn size(value: &Value) -> usize {
    struct Count(usize);
    impl io::Write for Count {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 = self.0.saturating_add(bytes.len());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut count = Count(0);
    // A JSON value is always written, and counting never fails.
    let _ = serde_json::to_writer(&mut count, value);
    count.0
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
        assert_eq!(size(&value), bytes(&value).len());
    }
}
