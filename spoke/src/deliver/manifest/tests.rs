//! What is applied for a payload.

use super::*;
use crate::deliver::ObjectRef;

fn object() -> ObjectRef {
    ObjectRef {
        uid: "u-1".into(),
        api_version: "apps.nvidia.com/v1alpha1".into(),
        kind: "NIMService".into(),
        namespace: "models".into(),
        name: "llm".into(),
    }
}

fn payload() -> Vec<u8> {
    json!({
        "apiVersion": "apps.nvidia.com/v1alpha1",
        "kind": "NIMService",
        "metadata": {
            "name": "llm",
            "namespace": "models",
            "uid": "u-1",
            "resourceVersion": "7",
            "ownerReferences": [{"name": "someone"}],
            "finalizers": ["nimfleet.io/fleet"],
            "labels": {"team": "red", "nimfleet.io/placement": "p"},
        },
        "spec": {"replicas": 1},
        "status": {"state": "Ready"},
    })
    .to_string()
    .into_bytes()
}

fn marks(payload: &[u8]) -> Marks {
    Marks {
        uid: "u-1".into(),
        generation: 4,
        hash: sha256(payload),
        hub_id: "hub".into(),
        epoch: "2.abc".into(),
        gang: Some(Box::new(Gang {
            resource: "nvidia.com/gpu".into(),
            gpus_per_node: 8,
            nodes: 2,
            ..Gang::default()
        })),
    }
}

fn meta(value: &Value) -> ObjectMeta {
    serde_json::from_value(value["metadata"].clone()).unwrap()
}

#[test]
fn only_what_belongs_here_is_applied() {
    let payload = payload();
    let made = manifest(&object(), &payload, &marks(&payload)).unwrap();
    let mut metadata = made["metadata"].clone();
    metadata["annotations"].as_object_mut().unwrap().retain(|key, _| key == "nimfleet.io/generation");
    assert_eq!(
        metadata,
        json!({
            "name": "llm",
            "namespace": "models",
            "labels": {"team": "red", "nimfleet.io/delivered": "true"},
            "annotations": {"nimfleet.io/generation": "4"},
        })
    );
    assert_eq!(made["spec"], json!({"replicas": 1}));
    assert_eq!(made.get("status"), None);
}

#[test]
fn marks_and_payload_are_read_back() {
    let payload = payload();
    let marks = marks(&payload);
    let meta = meta(&manifest(&object(), &payload, &marks).unwrap());
    assert_eq!(marks_of(&meta), Some(marks.clone()));
    assert_eq!(payload_of(&meta, &marks), Some(payload));
}

#[test]
fn a_payload_that_was_edited_here_is_not_trusted() {
    let payload = payload();
    let marks = marks(&payload);
    let mut meta = meta(&manifest(&object(), &payload, &marks).unwrap());
    meta.annotations.as_mut().unwrap().insert(PAYLOAD_ANNOTATION.to_owned(), "{}".to_owned());
    assert_eq!(payload_of(&meta, &marks), None);
}

#[test]
fn labels_that_are_null_do_not_harm() {
    let payload = br#"{"apiVersion":"apps.nvidia.com/v1alpha1","kind":"NIMService","metadata":{"name":"llm","namespace":"models","labels":null},"spec":{}}"#;
    let made = manifest(&object(), payload, &marks(payload)).unwrap();
    assert_eq!(made["metadata"]["labels"], json!({"nimfleet.io/delivered": "true"}));
}

#[test]
fn a_payload_that_is_not_the_announced_object_is_refused() {
    let other_name = String::from_utf8(payload()).unwrap().replace("\"llm\"", "\"other\"").into_bytes();
    let table = [
        (other_name, "at /metadata/name, expected \"llm\""),
        (b"not json".to_vec(), "is not JSON"),
        (b"[]".to_vec(), "at /apiVersion"),
        (vec![0xff], "utf-8"),
    ];
    for (payload, telling) in table {
        let problem = manifest(&object(), &payload, &marks(&payload)).unwrap_err();
        assert!(problem.contains(telling), "{problem}");
    }
    let problem = manifest(&object(), &payload(), &marks(b"other")).unwrap_err();
    assert!(problem.contains("the hub announced"), "{problem}");
}

#[test]
fn a_released_object_has_no_marks_but_one() {
    let payload = payload();
    let mut live = manifest(&object(), &payload, &marks(&payload)).unwrap();
    let patch = release(&meta(&live), "hub");
    for field in ["labels", "annotations"] {
        for (key, value) in patch["metadata"][field].as_object().unwrap() {
            let target = live["metadata"][field].as_object_mut().unwrap();
            if value.is_null() {
                assert!(target.remove(key).is_some(), "{key} was no mark");
            } else {
                target.insert(key.clone(), value.clone());
            }
        }
    }
    let meta = meta(&live);
    assert_eq!(marks_of(&meta), None);
    assert_eq!(
        meta.annotations.unwrap().into_iter().collect::<Vec<_>>(),
        [("nimfleet.io/retained-by".to_owned(), "hub".to_owned())]
    );
    assert_eq!(meta.labels.unwrap().into_iter().collect::<Vec<_>>(), [("team".to_owned(), "red".to_owned())]);
}
