//! Schemas of small types, facts that fit and facts that do not.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{ConfigMapKeySelector, ContainerPort};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use serde::{Deserialize, Serialize};

use super::facts::{apply, parse};
use super::*;

/// A shelf of things.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Shelf {
    /// Where the label hangs.
    label: Option<ConfigMapKeySelector>,
    doors: Option<Vec<ContainerPort>>,
    loads: BTreeMap<String, Quantity>,
    finish: Option<Finish>,
    /// How wide it is.
    #[schemars(range(min = 1, max = 9))]
    width: Option<i32>,
}

#[derive(Serialize, Deserialize, JsonSchema)]
enum Finish {
    /// It shines.
    Gloss,
    /// It does not.
    Matt,
}

#[derive(Serialize, Deserialize, JsonSchema)]
struct Nested {
    inner: Vec<Nested>,
}

fn without_descriptions(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.retain(|key, value| key != "description" || !value.is_string());
            members.values_mut().for_each(without_descriptions);
        }
        Value::Array(items) => items.iter_mut().for_each(without_descriptions),
        _ => {}
    }
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(object) => object,
        other => panic!("{other} is not an object"),
    }
}

#[test]
fn a_type_becomes_a_schema_without_names_and_nulls_and_with_the_facts() {
    let schema = structural(raw::schema::<Shelf>(), &[facts::KUBERNETES]).unwrap();
    assert_eq!(
        schema["properties"]["label"]["description"],
        json!("Where the label hangs."),
        "a field's own description is kept over its type's"
    );
    let mut schema = Value::Object(schema);
    without_descriptions(&mut schema);
    let quantity = &schema["properties"]["loads"]["additionalProperties"];
    assert!(quantity["pattern"].as_str().unwrap().starts_with(r"^(\+|-)?"));
    let port = &schema["properties"]["doors"]["items"]["properties"];
    assert_eq!(port["protocol"], json!({ "type": "string", "default": "TCP" }));
    let expected = json!({
        "type": "object",
        "required": ["loads"],
        "properties": {
            "label": {
                "type": "object",
                "required": ["key"],
                "x-kubernetes-map-type": "atomic",
                "properties": {
                    "key": { "type": "string" },
                    "name": { "type": "string", "default": "" },
                    "optional": { "type": "boolean" },
                },
            },
            "doors": {
                "type": "array",
                "items": { "type": "object", "required": ["containerPort"], "properties": port },
            },
            "loads": {
                "type": "object",
                "additionalProperties": {
                    "x-kubernetes-int-or-string": true,
                    "anyOf": [{ "type": "integer" }, { "type": "string" }],
                    "pattern": quantity["pattern"],
                },
            },
            "finish": { "type": "string", "enum": ["Gloss", "Matt"] },
            "width": { "type": "integer", "format": "int32", "minimum": 1, "maximum": 9 },
        },
    });
    assert_eq!(schema, expected);
}

#[test]
fn a_fact_is_merged_into_its_type_and_into_nothing_else() {
    let facts =
        parse("# why\n\nA . {\"required\": [\"x\"]}\nA x {\"default\": 1}\nB y {\"default\": 2}\n").unwrap();
    let mut definitions = object(json!({
        "A": { "required": ["x", "y"], "properties": { "x": { "type": "integer" }, "y": {} } },
        "C": { "properties": { "x": {} } },
    }));
    apply(&facts, &mut definitions).unwrap();
    let expected = json!({
        "A": { "required": ["x"], "properties": { "x": { "type": "integer", "default": 1 }, "y": {} } },
        "C": { "properties": { "x": {} } },
    });
    assert_eq!(Value::Object(definitions), expected);
}

#[test]
fn a_fact_about_a_vanished_property_is_an_error() {
    let facts = parse("\nA gone {\"default\": 1}").unwrap();
    let mut definitions = object(json!({ "A": { "properties": { "x": {} } } }));
    let error = apply(&facts, &mut definitions).unwrap_err();
    assert_eq!(error.to_string(), "line 2 of the facts: A has no property gone: correct or remove the line");
}

#[test]
fn a_line_that_is_no_fact_is_named() {
    for text in ["A x", "A x 5", "A x {", "A"] {
        let error = parse(&format!("# fine\n{text}")).unwrap_err();
        assert!(matches!(&error, SchemaError::Fact { line: 2, text: t } if t == text), "{error}");
    }
}

#[test]
fn what_cannot_be_inlined_is_an_error() {
    let error = structural(raw::schema::<Nested>(), &[facts::KUBERNETES]).unwrap_err();
    assert!(matches!(error, SchemaError::Recursive { .. } | SchemaError::Reference { .. }), "{error}");

    let circle = object(json!({
        "$ref": "#/$defs/A",
        "$defs": { "A": { "properties": { "b": { "$ref": "#/$defs/B" } } }, "B": { "items": { "$ref": "#/$defs/A" } } },
    }));
    let error = structural(circle, &[]).unwrap_err();
    assert!(matches!(&error, SchemaError::Recursive { type_name } if type_name == "A"), "{error}");

    let error =
        structural(object(json!({ "properties": { "a": { "$ref": "#/$defs/A" } } })), &[]).unwrap_err();
    assert!(matches!(&error, SchemaError::Reference { reference } if reference == "#/$defs/A"), "{error}");
}

#[test]
fn a_type_may_be_used_twice_and_a_property_may_be_called_title() {
    let mut schema = object(json!({
        "title": "Twice",
        "properties": { "title": { "$ref": "#/$defs/A" }, "b": { "anyOf": [{ "$ref": "#/$defs/A" }] } },
        "$defs": { "A": { "title": "A", "type": "string" } },
    }));
    schema = structural(schema, &[]).unwrap();
    let expected =
        json!({ "properties": { "title": { "type": "string" }, "b": { "anyOf": [{ "type": "string" }] } } });
    assert_eq!(Value::Object(schema), expected);
}
