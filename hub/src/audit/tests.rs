//! The records as they are written, in JSON.

use hub_core::audit::{Action, Actor};
use hub_scheduler::fleet::{ObjectRef, PlacementKey};
use runtime::logs::captured;
use serde_json::{Value, json};

use super::*;

/// What is written, line by line, without the time.
pub(crate) fn written(write: impl FnOnce()) -> Vec<Value> {
    let parse = |line: String| {
        let mut line: Value = serde_json::from_str(&line).unwrap();
        line.as_object_mut().unwrap().remove("timestamp");
        line
    };
    captured(write).into_iter().map(parse).collect()
}

#[test]
fn there_is_one_record_per_act_with_actor_and_cause() {
    hub_is("nimfleet-hub-0");
    let cluster: ClusterName = "east".parse().unwrap();
    let placement = PlacementKey { namespace: "models".into(), name: "llama".into() };
    let object = ObjectRef {
        uid: "u1".into(),
        api_version: "v1".into(),
        kind: "Secret".into(),
        namespace: "models".into(),
        name: "ngc".into(),
    };
    let in_full = |action, actor| {
        Act::new(action, actor, "why")
            .cluster(&cluster)
            .placement(&placement)
            .object(&object)
            .hash("h")
            .serial("01")
            .term(7)
            .count(3)
            .at("then")
    };
    let actors = [
        (Actor::Admin(Some("kubectl-edit".to_owned())), json!("admin"), json!("kubectl-edit")),
        (Actor::Admin(None), json!("admin"), Value::Null),
        (Actor::Token, json!("token"), Value::Null),
        (Actor::Spoke("0a0b".to_owned()), json!("spoke"), json!("0a0b")),
        (Actor::Hub, json!("hub"), json!("nimfleet-hub-0")),
        (Actor::Command(Some("nimfleet-hub-1".to_owned())), json!("command"), json!("nimfleet-hub-1")),
        (Actor::Command(None), json!("command"), Value::Null),
    ];
    for action in Action::ALL {
        for (actor, kind, subject) in &actors {
            let lines = written(|| in_full(action, actor.clone()).record());
            let mut expected = json!({
                "level": "INFO", "target": "audit", "action": action.as_str(), "actor": kind, "cause": "why",
                "cluster": "east", "placement": "models/llama", "kind": "Secret", "namespace": "models", "name": "ngc",
                "uid": "u1", "hash": "h", "serial": "01", "term": 7, "count": 3, "at": "then",
            });
            if !subject.is_null() {
                expected["subject"] = subject.clone();
            }
            assert_eq!(lines, [expected]);
        }
    }
}

#[test]
fn what_does_not_belong_to_an_act_is_left_out() {
    let lines = written(|| Act::new(Action::Token, Actor::Command(None), "join-command").record());
    let expected = json!({"level": "INFO", "target": "audit", "action": "token", "actor": "command", "cause": "join-command"});
    assert_eq!(lines, [expected]);
}

/// Every line of target `audit` is written here: elsewhere the fields would drift apart.
#[test]
fn nobody_else_writes_records() {
    fn files(folder: &std::path::Path, found: &mut Vec<std::path::PathBuf>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                files(&path, found);
            } else {
                found.push(path);
            }
        }
    }
    let source = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut all = Vec::new();
    files(&source, &mut all);
    let own = source.join("audit");
    let words = ["target", ": \"audit\""].concat();
    let strays: Vec<_> = all
        .into_iter()
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .filter(|path| *path != source.join("audit.rs") && !path.starts_with(&own))
        .filter(|path| std::fs::read_to_string(path).unwrap().contains(&words))
        .collect();
    assert!(strays.is_empty(), "{strays:?}");
}
