//! Who is woken when something that is referred to changes.

use std::sync::Mutex as Lock;
use std::time::Duration;

use axum::http::{Request, Response};
use kube::Client;
use kube::client::Body;
use serde_json::json;

use super::follow::{ROUND, TICK, is_due};
use super::*;
use crate::operator::engine::wake::Queue;

const KIND: &str = "NemoGuardrail";

fn owner(name: &str) -> Owner {
    Owner {
        api_version: "apps.nvidia.com/v1alpha1".into(),
        kind: KIND.into(),
        namespace: "ns".into(),
        name: name.into(),
        uid: name.into(),
        generation: 1,
    }
}

fn reference(thing: Thing, name: &str) -> Reference {
    Reference { thing, namespace: "ns".into(), name: name.into() }
}

fn references() -> (References, Queue) {
    let (waker, mut queues) = Waker::new([KIND].into_iter());
    (References::new(waker), queues.remove(KIND).unwrap())
}

async fn woken(queue: &Queue) -> Vec<String> {
    let mut names = Vec::new();
    while let Ok(key) = tokio::time::timeout(Duration::from_millis(100), queue.take()).await {
        queue.done(&key, runtime::Ending::Done);
        names.push(key.name);
    }
    names
}

#[tokio::test(start_paused = true)]
async fn those_are_woken_who_were_rendered_from_another_version() {
    let (references, queue) = references();
    let secret = reference(Thing::Secret, "s");
    references.hold(&owner("old"), [(secret.clone(), Some("1".into()))]);
    references.hold(&owner("new"), [(secret.clone(), Some("2".into()))]);
    references.noticed(&secret, &Some("2".into()));
    assert_eq!(woken(&queue).await, ["old"]);
    references.noticed(&secret, &Some("2".into()));
    assert_eq!(woken(&queue).await, Vec::<String>::new(), "once is enough");
    references.noticed(&secret, &None);
    assert_eq!(woken(&queue).await, ["new", "old"], "it has gone");
    references.noticed(&reference(Thing::ConfigMap, "s"), &Some("3".into()));
    assert_eq!(woken(&queue).await, Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn what_is_only_named_is_missed_once_it_has_been_asked_for() {
    let (references, queue) = references();
    let (secret, other) = (reference(Thing::Secret, "s"), reference(Thing::Secret, "o"));
    let (named, another) = (std::slice::from_ref(&secret), std::slice::from_ref(&other));
    assert_eq!(references.missing(&owner("a"), named), [], "nobody has asked yet");
    assert_eq!(references.listed(|_| true), [(secret.clone(), true)], "it is asked for at the next tick");
    references.noticed(&secret, &None);
    assert_eq!(woken(&queue).await, ["a"]);
    assert_eq!(references.missing(&owner("a"), named), named);
    assert_eq!(references.missing(&owner("b"), named), named, "as others know it");
    references.noticed(&secret, &Some("1".into()));
    assert_eq!(woken(&queue).await, ["a", "b"]);
    assert_eq!(references.missing(&owner("a"), named), []);
    assert_eq!(references.missing(&owner("c"), another), []);
    references.noticed(&other, &Some("1".into()));
    assert_eq!(woken(&queue).await, Vec::<String>::new(), "as it was taken to be");
    references.missing(&owner("a"), &[]);
    references.release(&owner("b"));
    assert_eq!(references.listed(|_| true), [(other, false)]);
}

#[test]
fn what_nobody_refers_to_is_forgotten() {
    let (references, _queue) = references();
    let (one, other) = (reference(Thing::Secret, "one"), reference(Thing::Secret, "other"));
    references.hold(&owner("a"), [(one.clone(), None), (other.clone(), Some("1".into()))]);
    references.hold(&owner("b"), [(other.clone(), Some("1".into()))]);
    references.hold(&owner("a"), [(one.clone(), Some("1".into()))]);
    assert_eq!(references.listed(|_| true), [(one, false), (other, false)]);
    references.release(&owner("a"));
    references.release(&owner("b"));
    assert_eq!(references.listed(|_| true), []);
}

#[test]
fn a_secret_has_its_turn_once_a_round_and_the_turns_are_spread() {
    let turns = |name: &str| -> Vec<u64> {
        (0..ROUND).filter(|tick| is_due(&reference(Thing::Secret, name), false, *tick)).collect()
    };
    let names = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"];
    assert!(names.iter().all(|name| turns(name).len() == 1));
    assert!(names.iter().any(|name| turns(name) != turns("a")), "all at once");
    let due = |thing: Thing, missed: bool| {
        (0..ROUND).filter(|tick| is_due(&reference(thing, "a"), missed, *tick)).count()
    };
    let asked = [Thing::Service, Thing::Definition, Thing::Secret].map(|thing| due(thing, true));
    assert_eq!(asked, [1, 1, 6], "what an object waits for is asked for at every tick");
    assert_eq!(due(Thing::Service, false), 0);
}

/// A client of an API server that has these Secrets, by name and version, and notes what it is asked.
fn server(secrets: &Arc<Lock<BTreeMap<String, String>>>) -> (Client, Arc<Lock<Vec<String>>>) {
    let asked = Arc::new(Lock::new(Vec::new()));
    let (seen, secrets) = (Arc::clone(&asked), Arc::clone(secrets));
    let service = tower::service_fn(move |request: Request<Body>| {
        let accept = format!("{:?}", request.headers().get("accept"));
        assert!(accept.contains("PartialObjectMetadata"), "content is asked for: {accept}");
        let path = request.uri().path().to_owned();
        let name = path.rsplit('/').next().unwrap_or_default().to_owned();
        seen.lock().unwrap().push(path);
        let (code, body) = match secrets.lock().unwrap().get(&name) {
            Some(version) => (200, json!({"metadata": {"name": name, "resourceVersion": version}})),
            None => (
                404,
                json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 404,
                "reason": "NotFound", "message": "", "metadata": {}}),
            ),
        };
        let body = Body::from(body.to_string().into_bytes());
        std::future::ready(Ok::<_, kube::Error>(Response::builder().status(code).body(body).unwrap()))
    });
    (Client::new(service, "ns"), asked)
}

#[tokio::test(start_paused = true)]
async fn a_changed_secret_is_noticed_within_a_minute_and_a_missing_one_within_ten_seconds() {
    let (references, queue) = references();
    let secrets = Arc::new(Lock::new(BTreeMap::from([("there".to_owned(), "1".to_owned())])));
    let (client, asked) = server(&secrets);
    references.hold(&owner("a"), [(reference(Thing::Secret, "there"), Some("1".into()))]);
    references.hold(&owner("b"), [(reference(Thing::Secret, "missing"), None)]);
    tokio::spawn(references.clone().follow(client));
    tokio::time::sleep(TICK * 12 + TICK / 2).await;
    assert_eq!(woken(&queue).await, Vec::<String>::new());
    let of_there = asked.lock().unwrap().iter().filter(|path| path.ends_with("/secrets/there")).count();
    assert!((2..=3).contains(&of_there), "asked {of_there} times in two minutes");
    assert!(asked.lock().unwrap().iter().all(|path| path.starts_with("/api/v1/namespaces/ns/secrets/")));

    secrets.lock().unwrap().insert("missing".into(), "5".into());
    tokio::time::sleep(TICK).await;
    assert_eq!(woken(&queue).await, ["b"]);
    secrets.lock().unwrap().insert("there".into(), "2".into());
    tokio::time::sleep(TICK * 6).await;
    assert_eq!(woken(&queue).await, ["a"]);
}
