//! The rules of a NIMCache.

use serde_json::{Value, json};

use super::{Kind, Row, with};

fn base() -> Value {
    json!({
        "source": {"ngc": {"authSecret": "ngc-api-secret", "modelPuller": "nvcr.io/nim/meta/llama:1.12.0"}},
        "storage": {"pvc": {"create": true, "size": "50Gi", "volumeAccessMode": "ReadWriteOnce"}},
    })
}

fn row(number: &'static str, named: &'static str, broken: &Value, mended: &Value) -> Row {
    Row {
        number,
        kind: Kind::Cache,
        stored: None,
        broken: with(base(), broken),
        mended: with(base(), mended),
        named,
    }
}

/// A row of what a model may not say beside its profiles.
fn beside(number: &'static str, named: &'static str, field: &Value) -> Row {
    let model = |model: Value| json!({"source": {"ngc": {"model": model}}});
    row(
        number,
        named,
        &model(with(json!({"profiles": ["a"]}), field)),
        &model(with(json!({"profiles": []}), field)),
    )
}

fn proxy(number: &'static str, named: &'static str, broken: &Value, mended: &Value) -> Row {
    row(number, named, &json!({"proxy": broken}), &json!({"proxy": mended}))
}

/// A row of a change, and of one that changes nothing but how emptiness is written.
fn change(named: &'static str, stored: &Value, broken: &Value, mended: &Value) -> Row {
    let stored = with(base(), stored);
    let (broken, mended) = (with(stored.clone(), broken), with(stored.clone(), mended));
    Row { stored: Some(stored), broken, mended, ..row("K18", named, &json!({}), &json!({})) }
}

pub(super) fn rows() -> Vec<Row> {
    let ngc = |ngc: Value| json!({"source": {"ngc": ngc}});
    let direct = "example.com, .example.com,10.0.0.1,10.0.0.1:80,10.0.0.0/8,[2001:db8::1],[2001:db8::1]:443,[2001:db8::]/32,";
    vec![
        row("K2", "spec.source.ngc.modelPuller: ", &ngc(json!({"modelPuller": ""})), &json!({})),
        row(
            "K3",
            "spec.source.ngc.model.profiles: Invalid value: [a, all]",
            &ngc(json!({"model": {"profiles": ["a", "all"]}})),
            &ngc(json!({"model": {"profiles": ["all"]}})),
        ),
        beside("K4", "spec.source.ngc.model.precision: ", &json!({"precision": "fp8"})),
        beside("K5", "spec.source.ngc.model.engine: ", &json!({"engine": "vllm"})),
        beside("K6", "spec.source.ngc.model.tensorParallelism: ", &json!({"tensorParallelism": "8"})),
        beside("K7", "spec.source.ngc.model.qosProfile: ", &json!({"qosProfile": "latency"})),
        beside("K8", "spec.source.ngc.model.gpus: ", &json!({"gpus": [{"product": "h100"}]})),
        beside("K9", "spec.source.ngc.model.lora: ", &json!({"lora": false})),
        beside("K10", "spec.source.ngc.model.buildable: ", &json!({"buildable": false})),
        row(
            "K11",
            "spec.source.ngc.model.qosProfile: Unsupported value: \"speed\"",
            &ngc(json!({"model": {"qosProfile": "speed"}})),
            &ngc(json!({"model": {"qosProfile": "throughput"}})),
        ),
        row(
            "K12",
            "spec.storage: ",
            &json!({"storage": {"pvc": null, "hostPath": "/models"}}),
            &json!({"storage": {"hostPath": "/models"}}),
        ),
        row(
            "K13",
            "spec.storage.pvc.name: ",
            &json!({"storage": {"pvc": {"create": false}}}),
            &json!({"storage": {"pvc": {"create": false, "name": "models"}}}),
        ),
        row(
            "K14",
            "spec.storage.pvc.volumeAccessMode: Invalid value: \"RWX\"",
            &json!({"storage": {"pvc": {"volumeAccessMode": "RWX"}}}),
            &json!({"storage": {"pvc": {"volumeAccessMode": "ReadWriteMany"}}}),
        ),
        proxy(
            "K15",
            "spec.proxy.noProxy[1]: Invalid value: \"*\"",
            &json!({"noProxy": "localhost, *"}),
            &json!({"noProxy": direct}),
        ),
        proxy("K15", "spec.proxy.noProxy[0]: ", &json!({"noProxy": "2001:db8::1"}), &json!({"noProxy": ""})),
        proxy("K15", "spec.proxy.noProxy[0]: ", &json!({"noProxy": "localhost:80"}), &json!({})),
        proxy(
            "K16",
            "spec.proxy.httpsProxy: Invalid value: \"proxy:3128\"",
            &json!({"httpsProxy": "proxy:3128"}),
            &json!({"httpsProxy": "https://proxy:3128"}),
        ),
        proxy(
            "K17",
            "spec.proxy.httpProxy: ",
            &json!({"httpProxy": "ftp://proxy"}),
            &json!({"httpProxy": "http://proxy:3128", "httpsProxy": ""}),
        ),
    ]
}

/// What may not change: everything, however emptiness is written.
pub(super) fn changes() -> Vec<Row> {
    let ngc = |ngc: Value| json!({"source": {"ngc": ngc}});
    vec![
        change(
            "spec.source: ",
            &json!({"source": {"ngc": {"pullSecret": ""}}}),
            &ngc(json!({"pullSecret": "other"})),
            &ngc(json!({"pullSecret": null})),
        ),
        change(
            "spec.source: ",
            &ngc(json!({"model": {"profiles": ["a"]}})),
            &ngc(json!({"model": {"profiles": ["b"]}})),
            &ngc(json!({"model": {"gpus": [], "engine": ""}})),
        ),
        change(
            "spec.storage: ",
            &json!({}),
            &json!({"storage": {"pvc": {"size": "60Gi"}}}),
            &json!({"storage": {"pvc": {"annotations": {}, "name": ""}}}),
        ),
        change(
            "spec.resources: ",
            &json!({"resources": {"cpu": "1", "memory": "0"}}),
            &json!({"resources": {"cpu": "2"}}),
            &json!({"resources": {"cpu": "1000m", "memory": null}}),
        ),
        change(
            "spec.env: ",
            &json!({"env": [{"name": "A", "value": ""}]}),
            &json!({"env": [{"name": "A", "value": "1"}]}),
            &json!({"env": [{"name": "A"}]}),
        ),
        change(
            "spec.tolerations: ",
            &json!({"tolerations": [{"key": "gpu", "operator": "Exists", "value": ""}]}),
            &json!({"tolerations": [{"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}]}),
            &json!({"tolerations": [{"key": "gpu", "operator": "Exists"}]}),
        ),
        change(
            "spec.proxy: ",
            &json!({"proxy": {"httpProxy": "http://proxy"}}),
            &json!({"proxy": {"httpProxy": "http://other"}}),
            &json!({"proxy": {"noProxy": ""}}),
        ),
        change(
            "spec: Forbidden: is immutable",
            &json!({}),
            &json!({"nodeSelector": {"gpu": "h100"}}),
            &json!({"nodeSelector": {}, "tolerations": [], "runtimeClassName": ""}),
        ),
    ]
}

/// What is taken with a warning.
pub(super) fn warnings() -> Vec<Row> {
    let size = |size: &str| json!({"storage": {"pvc": {"size": size}}});
    let key = |secret: Value| json!({"source": {"ngc": {"authSecret": secret}}});
    vec![
        row("K1", "spec.source.ngc.authSecret: ", &key(json!("")), &key(json!("ngc-api-secret"))),
        row("K1", "spec.source.ngc.authSecret: ", &key(Value::Null), &json!({})),
        row("A2", "spec.storage.pvc.size: Invalid value: \"-5Gi\"", &size("-5Gi"), &size("500M")),
    ]
}
