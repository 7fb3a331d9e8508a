//! A CustomResourceDefinition as lines, one per fact, so that two can be compared without their descriptions.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

/// Path → what is said there, as compact JSON. Paths: `a.b` a property, `a[]` an item, `a{}` a value of a map.
pub(crate) type Digest = BTreeMap<String, String>;

/// All facts of a definition: its names, columns and subresources, and every path of its schema.
pub(crate) fn of(crd: &Value) -> Digest {
    let spec = &crd["spec"];
    let mut digest = Digest::new();
    let mut say =
        |what: &str, value: &Value| digest.insert(format!("#{what}"), sorted(what, value).to_string());
    say("name", &crd["metadata"]["name"]);
    say("group", &spec["group"]);
    say("names", &spec["names"]);
    say("scope", &spec["scope"]);
    let versions = spec["versions"].as_array().map(Vec::as_slice).unwrap_or_default();
    say("versions", &json!(versions.iter().map(|v| &v["name"]).collect::<Vec<_>>()));
    let version = versions.first().unwrap_or(&Value::Null);
    for part in ["served", "storage", "subresources"] {
        say(part, &version[part]);
    }
    for (at, column) in version["additionalPrinterColumns"].as_array().into_iter().flatten().enumerate() {
        say(&format!("column {at}"), &without_descriptions(column));
    }
    walk("", &version["schema"]["openAPIV3Schema"], &mut digest);
    digest
}

fn walk(path: &str, schema: &Value, digest: &mut Digest) {
    let Some(keywords) = schema.as_object() else { return };
    let mut said = Map::new();
    for (keyword, value) in keywords {
        match keyword.as_str() {
            "properties" => {
                for (name, inner) in value.as_object().into_iter().flatten() {
                    walk(&format!("{path}.{name}"), inner, digest);
                }
            }
            "items" => walk(&format!("{path}[]"), value, digest),
            "additionalProperties" if value.is_object() => walk(&format!("{path}{{}}"), value, digest),
            "description" | "title" => {}
            _ => {
                said.insert(keyword.clone(), sorted(keyword, value));
            }
        }
    }
    digest.insert(
        if path.is_empty() { ".".to_owned() } else { path.to_owned() },
        Value::Object(said).to_string(),
    );
}

/// Lists whose order says nothing, in order; numbers that say the same, the same.
fn sorted(keyword: &str, value: &Value) -> Value {
    match value {
        Value::Array(items) if matches!(keyword, "required" | "enum" | "x-kubernetes-validations") => {
            let mut items = items.clone();
            items.sort_by_key(Value::to_string);
            Value::Array(items)
        }
        Value::Number(number) if keyword != "default" => {
            number.as_f64().map_or_else(|| value.clone(), |number| json!(number))
        }
        other => other.clone(),
    }
}

fn without_descriptions(column: &Value) -> Value {
    let mut column = column.clone();
    if let Some(column) = column.as_object_mut() {
        column.remove("description");
    }
    column
}

/// The digest as a text, one line per path.
pub(crate) fn write(digest: &Digest) -> String {
    digest.iter().flat_map(|(path, said)| [path, "\t", said, "\n"]).collect()
}

/// Reads what [`write`] wrote; lines that begin with `//` are comments.
pub(crate) fn read(text: &str) -> Digest {
    text.lines()
        .filter(|line| !line.starts_with("//"))
        .filter_map(|line| line.split_once('\t'))
        .map(|(path, said)| (path.to_owned(), said.to_owned()))
        .collect()
}
