//! What schemars says about a type, in the words of Kubernetes: types keep their names, and nothing is nullable.

use kube::core::schema::StructuralSchemaRewriter;
use schemars::JsonSchema;
use schemars::Schema;
use schemars::generate::SchemaSettings;
use schemars::transform::{RecursiveTransform, ReplaceConstValue};
use serde_json::{Map, Value};

/// The schema of a type, with the named types it is made of in `$defs`.
///
/// kube's rewriter comes here, before any facts: it would empty the `anyOf` that tells numbers from text.
pub(super) fn schema<T: JsonSchema>() -> Map<String, Value> {
    let schema = SchemaSettings::draft2020_12()
        .with(|settings| settings.meta_schema = None)
        .with_transform(RecursiveTransform(drop_null))
        .with_transform(ReplaceConstValue::default())
        .with_transform(StructuralSchemaRewriter)
        .into_generator()
        .into_root_schema_for::<T>()
        .to_value();
    match schema {
        Value::Object(schema) => schema,
        _ => Map::new(),
    }
}

/// An `Option` becomes its inner type. With `nullable` an API server would store a null; without it, it drops the null
/// and sets the default.
fn drop_null(schema: &mut Schema) {
    let Some(schema) = schema.as_object_mut() else { return };
    schema.remove("nullable");
    if schema.get("default").is_some_and(Value::is_null) {
        schema.remove("default");
    }
    if let Some(Value::Array(values)) = schema.get_mut("enum") {
        values.retain(|value| !value.is_null());
    }
    if let Some(Value::Array(types)) = schema.get_mut("type") {
        types.retain(|name| name != "null");
        if let [only] = types.as_slice() {
            let only = only.clone();
            schema.insert("type".to_owned(), only);
        }
    }
    if let Some(Value::Array(choices)) = schema.get_mut("anyOf") {
        choices.retain(|choice| choice.get("type").is_none_or(|name| name != "null"));
        if let [Value::Object(only)] = choices.as_slice() {
            let only = only.clone();
            schema.remove("anyOf");
            for (keyword, value) in only {
                schema.entry(keyword).or_insert(value);
            }
        }
    }
}

/// Takes the descriptions out of Kubernetes' own types: `kubectl explain pod.spec` tells the same, and without them a
/// definition is a quarter of the size and small enough for `kubectl apply` to remember.
pub(super) fn drop_kubernetes_descriptions(definitions: &mut Map<String, Value>) {
    definitions
        .iter_mut()
        .filter(|(name, _)| name.starts_with("io.k8s."))
        .for_each(|(_, schema)| drop_descriptions(schema));
}

fn drop_descriptions(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.retain(|key, value| key != "description" || !value.is_string());
            members.values_mut().for_each(drop_descriptions);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_descriptions),
        _ => {}
    }
}
