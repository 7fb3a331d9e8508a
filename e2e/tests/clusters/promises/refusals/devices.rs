//! The rules of `spec.draResources`.

use serde_json::{Value, json};

use super::services::base;
use super::{Kind, Row, with};

/// A service that claims devices so, and one that claims them so rightly.
fn row(number: &'static str, named: &'static str, broken: &Value, mended: &Value) -> Row {
    let claims = |claims: &Value| with(base(), &json!({"draResources": claims}));
    Row { number, kind: Kind::Service, stored: None, broken: claims(broken), mended: claims(mended), named }
}

/// The same with other fields of the spec.
fn row_with(more: &Value, row: Row) -> Row {
    Row { broken: with(row.broken, more), mended: with(row.mended, more), ..row }
}

/// One described device, after one that comes from a template.
fn device(more: &Value) -> Value {
    let device = with(json!({"name": "gpu", "count": 1, "deviceClassName": "gpu.nvidia.com"}), more);
    json!([{"resourceClaimTemplateName": "spare"}, {"claimCreationSpec": {"devices": [device]}}])
}

fn attribute(selector: &Value) -> Value {
    let selector = with(json!({"key": "index", "op": "Equal"}), selector);
    device(
        &json!({"attributeSelectors": [{"key": "architecture", "op": "Equal", "value": {"stringValue": "Hopper"}}, selector]}),
    )
}

fn capacity(selector: &Value) -> Value {
    device(&json!({"capacitySelectors": [with(json!({"key": "memory", "op": "Equal"}), selector)]}))
}

pub(super) fn rows() -> Vec<Row> {
    let claim = |name: &str| json!({"resourceClaimName": name});
    let template = json!({"resourceClaimTemplateName": "gpus"});
    let scaled = json!({"scale": {"enabled": true, "hpa": {"maxReplicas": 3}}});
    vec![
        row("S17", "spec.draResources[0]", &json!([{"requests": ["gpu"]}]), &json!([claim("a")])),
        row("S18", "spec.draResources[0]", &json!([with(claim("a"), &template)]), &json!([template])),
        row_with(
            &json!({"replicas": 2}),
            row(
                "S19",
                "spec.draResources[1].resourceClaimName: Forbidden: 2 replicas",
                &json!([template, claim("a")]),
                &json!([template]),
            ),
        ),
        row_with(
            &scaled,
            row("S20", "spec.draResources[0].resourceClaimName: ", &json!([claim("a")]), &json!([template])),
        ),
        row(
            "S21",
            "spec.draResources[1].resourceClaimName: Duplicate value: \"a\"",
            &json!([claim("b"), claim("a"), claim("a")]),
            &json!([claim("b"), claim("a"), template, template]),
        ),
        row(
            "S22",
            "spec.draResources[0].claimCreationSpec.devices: ",
            &json!([{"claimCreationSpec": {"devices": []}}]),
            &device(&json!({})),
        ),
        row("S23", "claimCreationSpec.devices[0].name", &device(&json!({"name": ""})), &device(&json!({}))),
        row(
            "S24",
            "spec.draResources[1].claimCreationSpec.devices[0].count: Invalid value: 0",
            &device(&json!({"count": 0})),
            &device(&json!({"count": 2})),
        ),
        row(
            "S25",
            "spec.draResources[1].claimCreationSpec.devices[0].deviceClassName: ",
            &device(&json!({"deviceClassName": ""})),
            &device(&json!({"deviceClassName": null})),
        ),
        row(
            "S26",
            "devices[0].driverName",
            &device(&json!({"driverName": ""})),
            &device(&json!({"driverName": "gpu.example.com"})),
        ),
        row(
            "S27",
            "spec.draResources[1].claimCreationSpec.devices[0]: Duplicate value",
            &device(&json!({
                "attributeSelectors": [{"key": "memory", "op": "Equal", "value": {"intValue": 1}}],
                "capacitySelectors": [{"key": "gpu.nvidia.com/memory", "op": "Equal", "value": "40Gi"}],
            })),
            &device(&json!({
                "driverName": "gpu.example.com",
                "attributeSelectors": [{"key": "memory", "op": "Equal", "value": {"intValue": 1}}],
                "capacitySelectors": [{"key": "gpu.nvidia.com/memory", "op": "Equal", "value": "40Gi"}],
            })),
        ),
        row(
            "S28",
            "attributeSelectors[1].op",
            &attribute(&json!({"op": "Like", "value": {"intValue": 1}})),
            &attribute(&json!({"op": "LessThan", "value": {"intValue": 1}})),
        ),
        row(
            "S29",
            "attributeSelectors[1].value: Invalid value: key \"index\"",
            &attribute(&json!({})),
            &attribute(&json!({"value": {"boolValue": false}})),
        ),
        row(
            "S29",
            "spec.draResources[1].claimCreationSpec.devices[0].attributeSelectors[1].value: ",
            &attribute(&json!({"value": {"boolValue": false, "intValue": 0}})),
            &attribute(&json!({"value": {"stringValue": ""}})),
        ),
        row(
            "S30",
            "attributeSelectors[1].value.versionValue: Invalid value: \"v1.2.3\"",
            &attribute(&json!({"value": {"versionValue": "v1.2.3"}})),
            &attribute(&json!({"value": {"versionValue": "1.2.3-rc.1+build.07"}})),
        ),
        row(
            "S31",
            "capacitySelectors[0].op",
            &capacity(&json!({"op": "Like", "value": "40Gi"})),
            &capacity(&json!({"op": "GreaterThan", "value": "40Gi"})),
        ),
        row("S32", "capacitySelectors[0].value", &capacity(&json!({})), &capacity(&json!({"value": "40Gi"}))),
    ]
}
