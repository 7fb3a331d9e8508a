//! Nothing that users write to the fleet's kinds is without bound: lists, maps and texts say how much they take.

#![allow(clippy::unwrap_used, reason = "a test's own functions are tests too")]

use serde_json::Value;

/// Paths below `schema` of what has no bound.
fn unbounded(path: &str, schema: &Value, found: &mut Vec<String>) {
    // Any JSON: its size is judged where patches are applied.
    if schema["x-kubernetes-preserve-unknown-fields"] == true {
        return;
    }
    let lacks = |keyword: &str| schema.get(keyword).is_none();
    let is_text = schema["type"] == "string" || schema["x-kubernetes-int-or-string"] == true;
    if is_text && lacks("maxLength") && lacks("enum") {
        found.push(format!("{path}: no maxLength"));
    }
    if schema["type"] == "array" {
        if lacks("maxItems") {
            found.push(format!("{path}: no maxItems"));
        }
        unbounded(&format!("{path}[]"), &schema["items"], found);
    }
    if let Some(values) = schema.get("additionalProperties") {
        if lacks("maxProperties") {
            found.push(format!("{path}: no maxProperties"));
        }
        unbounded(&format!("{path}{{}}"), values, found);
    }
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        unbounded(&format!("{path}.{name}"), property, found);
    }
}

#[test]
fn every_list_map_and_text_of_a_spec_has_a_bound() {
    let mut looked = 0;
    for crd in crds::all().unwrap() {
        let kind = crd.spec.names.kind.as_str();
        if !["NIMPlacement", "GPUCluster", "GPUQuota"].contains(&kind) {
            continue;
        }
        looked += 1;
        let schema = serde_json::to_value(&crd.spec.versions[0].schema).unwrap();
        let mut found = Vec::new();
        unbounded("spec", &schema["openAPIV3Schema"]["properties"]["spec"], &mut found);
        assert!(found.is_empty(), "{kind}:\n{}", found.join("\n"));
    }
    assert_eq!(looked, 3);
}

#[test]
fn what_has_no_bound_is_found() {
    let schema = serde_json::json!({"type": "object", "properties": {
        "list": {"type": "array", "items": {"type": "string", "maxLength": 3}},
        "map": {"type": "object", "additionalProperties": {"type": "string", "enum": ["a"]}},
        "text": {"type": "string"}, "number": {"type": "integer"},
        "amount": {"x-kubernetes-int-or-string": true},
    }});
    let mut found = Vec::new();
    unbounded("spec", &schema, &mut found);
    found.sort();
    let expected = [
        "spec.amount: no maxLength",
        "spec.list: no maxItems",
        "spec.map: no maxProperties",
        "spec.text: no maxLength",
    ];
    assert_eq!(found, expected);
}
