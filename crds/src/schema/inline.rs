//! References become what they refer to, since a structural schema has no references.

use serde_json::{Map, Value};

use super::SchemaError;

/// Puts the definitions in the place of all references to them. What stands beside a reference, such as a field's own
/// description, is kept over what the definition says.
pub(super) fn inline(
    schema: &mut Map<String, Value>,
    definitions: &Map<String, Value>,
) -> Result<(), SchemaError> {
    Inliner { definitions, open: Vec::new() }.schema(schema)
}

struct Inliner<'a> {
    definitions: &'a Map<String, Value>,
    /// The types on the way from the root to here.
    open: Vec<&'a str>,
}

impl<'a> Inliner<'a> {
    fn schema(&mut self, schema: &mut Map<String, Value>) -> Result<(), SchemaError> {
        let depth = self.open.len();
        while let Some(Value::String(reference)) = schema.remove("$ref") {
            for (keyword, value) in self.enter(&reference)? {
                schema.entry(keyword).or_insert_with(|| value.clone());
            }
        }
        schema.remove("title");
        for (keyword, value) in schema {
            match (keyword.as_str(), value) {
                ("properties", Value::Object(properties)) => self.each(properties.values_mut())?,
                ("allOf" | "anyOf" | "oneOf", Value::Array(choices)) => self.each(choices.iter_mut())?,
                ("items" | "additionalProperties" | "not", Value::Object(inner)) => self.schema(inner)?,
                _ => {}
            }
        }
        self.open.truncate(depth);
        Ok(())
    }

    fn each<'v>(&mut self, schemas: impl Iterator<Item = &'v mut Value>) -> Result<(), SchemaError> {
        schemas.filter_map(Value::as_object_mut).try_for_each(|schema| self.schema(schema))
    }

    fn enter(&mut self, reference: &str) -> Result<&'a Map<String, Value>, SchemaError> {
        let found = reference.strip_prefix("#/$defs/").and_then(|name| self.definitions.get_key_value(name));
        let Some((name, Value::Object(definition))) = found else {
            return Err(SchemaError::Reference { reference: reference.to_owned() });
        };
        if self.open.contains(&name.as_str()) {
            return Err(SchemaError::Recursive { type_name: name.clone() });
        }
        self.open.push(name);
        Ok(definition)
    }
}
