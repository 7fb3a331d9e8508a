//! How a NIMCache's source and claim are read.

use serde_json::{Value, json};

use super::NIMCacheSpec;

fn spec(source: &Value, pvc: &Value) -> NIMCacheSpec {
    serde_json::from_value(json!({ "source": source, "storage": { "pvc": pvc } })).unwrap()
}

fn ngc(more: &Value) -> Value {
    let mut ngc =
        json!({ "authSecret": "ngc-api", "modelPuller": "nvcr.io/nim/meta/llama:1", "pullSecret": "ngc" });
    ngc.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({ "ngc": ngc })
}

fn hub(kind: &str, what: &str) -> Value {
    json!({ kind: {
        "endpoint": "https://hub/v1/hf", "namespace": "meta", what: "llama",
        "authSecret": "hf-api", "modelPuller": "nvcr.io/puller:1", "pullSecret": "",
    } })
}

#[test]
fn a_source_tells_how_its_model_is_fetched() {
    // source: optimized, universal, as from the Hugging Face hub, URI, auth secret, pull secret
    let cases = [
        (ngc(&json!({})), (true, false, false), None, Some("ngc-api"), Some("ngc")),
        (
            ngc(&json!({ "model": { "profiles": ["all"] } })),
            (true, false, false),
            None,
            Some("ngc-api"),
            Some("ngc"),
        ),
        (
            ngc(&json!({ "modelEndpoint": "nim/m:1" })),
            (false, true, false),
            None,
            Some("ngc-api"),
            Some("ngc"),
        ),
        (ngc(&json!({ "authSecret": null })), (true, false, false), None, None, Some("ngc")),
        (ngc(&json!({ "authSecret": "" })), (true, false, false), None, None, Some("ngc")),
        (hub("hf", "modelName"), (false, true, true), Some("hf://meta/llama"), Some("hf-api"), None),
        (hub("hf", "datasetName"), (false, true, true), None, Some("hf-api"), None),
        (hub("dataStore", "modelName"), (false, true, true), Some("hf://meta/llama"), Some("hf-api"), None),
        (json!({}), (false, false, false), None, None, None),
    ];
    for (source, kinds, uri, auth, pull) in cases {
        let source_of = spec(&source, &json!({})).source;
        let found = (source_of.is_optimized(), source_of.is_universal(), source_of.is_hugging_face());
        assert_eq!(found, kinds, "{source}");
        assert_eq!(source_of.hugging_face_uri().as_deref(), uri, "{source}");
        assert_eq!((source_of.auth_secret(), source_of.pull_secret()), (auth, pull), "{source}");
        assert_eq!(source_of.model_puller().is_some(), source != json!({}), "{source}");
    }
}

#[test]
fn b22_the_address_of_a_model_names_its_revision() {
    let mut source = json!({"endpoint": "https://huggingface.co", "namespace": "meta", "modelName": "llama",
        "authSecret": "a", "modelPuller": "p", "pullSecret": "s"});
    for (revision, uri) in
        [(None, "hf://meta/llama"), (Some("v2"), "hf://meta/llama:v2"), (Some(""), "hf://meta/llama")]
    {
        source["revision"] = json!(revision);
        let source = spec(&json!({"hf": source}), &json!({})).source;
        assert_eq!(source.hugging_face_uri().as_deref(), Some(uri));
    }
}

#[test]
fn a_claim_is_named_as_given_or_after_the_cache() {
    for (pvc, name, created) in [
        (json!({}), "llama-pvc", false),
        (json!({ "create": true, "name": "" }), "llama-pvc", true),
        (json!({ "name": "models" }), "models", false),
    ] {
        let spec = spec(&json!({}), &pvc);
        assert_eq!(spec.claim_name("llama"), name, "{pvc}");
        assert_eq!(spec.storage.pvc.is_some_and(|pvc| pvc.is_created()), created, "{pvc}");
    }
    assert_eq!(NIMCacheSpec::default().claim_name("llama"), "llama-pvc");
    assert_eq!((NIMCacheSpec::default().user(), NIMCacheSpec::default().group()), (1000, 2000));
}

#[test]
fn no_node_selector_is_not_an_empty_one() {
    let read = |spec: Value| serde_json::from_value::<NIMCacheSpec>(spec).unwrap().node_selector;
    assert_eq!(read(json!({ "source": {}, "storage": {} })), None);
    assert!(
        read(json!({ "source": {}, "storage": {}, "nodeSelector": {} })).is_some_and(|map| map.is_empty())
    );
}
