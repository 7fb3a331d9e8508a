//! The rules of a NIMPipeline and of a NIMBuild: those of their own, and those of the NIMServices in a pipeline.

use serde_json::{Value, json};

use super::{Kind, Row, services, with};

/// A pipeline of these services, after one that is half written and not enabled.
fn row(number: &'static str, named: &'static str, broken: &Value, mended: &Value) -> Row {
    let pipeline = |services: &Value| {
        let mut all = vec![
            json!({"name": "draft", "enabled": false, "spec": {"image": {"repository": "", "tag": ""}}}),
        ];
        all.extend(services.as_array().into_iter().flatten().cloned());
        json!({"services": all})
    };
    Row {
        number,
        kind: Kind::Pipeline,
        stored: None,
        broken: pipeline(broken),
        mended: pipeline(mended),
        named,
    }
}

fn service(name: &str, more: &Value) -> Value {
    json!({"name": name, "enabled": true, "spec": with(services::base(), more)})
}

fn build(number: &'static str, named: &'static str, broken: &Value) -> Row {
    let base = json!({
        "nimCache": {"name": "llama"},
        "image": {"repository": "nvcr.io/nim/meta/llama-3.2-1b-instruct", "tag": "1.12.0"},
    });
    Row { number, kind: Kind::Build, stored: None, broken: with(base.clone(), broken), mended: base, named }
}

pub(super) fn rows() -> Vec<Row> {
    let plain = json!({});
    let no_tag = json!({"image": {"tag": ""}});
    let device = |count: u32| json!({"draResources": [{"claimCreationSpec": {"devices": [{"name": "gpu", "count": count}]}}]});
    vec![
        row("A3", "spec.services[1].name: ", &json!([service("", &plain)]), &json!([service("llm", &plain)])),
        row(
            "A4",
            "spec.services[1].name: Duplicate value: \"llm\"",
            &json!([service("llm", &plain), service("llm", &plain)]),
            &json!([service("llm", &plain), service("embed", &plain)]),
        ),
        row(
            "S2",
            "spec.services[2].spec.image.tag: ",
            &json!([service("llm", &plain), service("embed", &no_tag)]),
            &json!([service("llm", &plain), service("embed", &plain)]),
        ),
        row(
            "S6",
            "spec.services[1].spec.storage: Invalid value: 2",
            &json!([service("llm", &json!({"storage": {"hostPath": "/models"}}))]),
            &json!([service("llm", &plain)]),
        ),
        row(
            "S24",
            "spec.services[2].spec.draResources[0].claimCreationSpec.devices[0].count: Invalid value: 0",
            &json!([service("llm", &device(1)), service("embed", &device(0))]),
            &json!([service("llm", &device(1)), service("embed", &device(2))]),
        ),
        build("A5", "spec.nimCache.name: ", &json!({"nimCache": {"name": ""}})),
        build("A6", "spec.image.repository: ", &json!({"image": {"repository": ""}})),
        build("A7", "spec.image.tag: ", &no_tag),
    ]
}
