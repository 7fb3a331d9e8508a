//! What is asked of the API server for one object, against an API server that answers from a table.

use std::collections::BTreeMap;
use std::sync::Mutex;

use axum::http::{Request, Response};
use kube::Client;
use kube::client::Body;
use kube::runtime::reflector::store::Writer;
use kube::runtime::watcher::Event;
use serde_json::json;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::operator::cluster::ClusterFacts;
use crate::operator::engine::child::{DESIRED_HASH, MANAGED_BY};
use crate::operator::engine::decide::tests::owner;
use crate::operator::engine::wake::Waker;
use crate::operator::engine::world::Cache;
use crate::operator::rival::Rival;

mod workloads;

/// Verb, kind, name and body of each request.
type Asked = Arc<Mutex<Vec<(String, Value)>>>;

/// A client of an API server that answers a request, `PATCH services/n` or `TRY services/n` where nothing is to be stored,
/// as the function says: a status and a body.
fn server(answer: impl Fn(&str, &Value) -> (u16, Value) + Send + Sync + 'static) -> (Client, Asked) {
    let asked = Asked::default();
    let (seen, answer) = (Arc::clone(&asked), Arc::new(answer));
    let service = tower::service_fn(move |request: Request<Body>| {
        let (seen, answer) = (Arc::clone(&seen), Arc::clone(&answer));
        async move {
            let (parts, body) = request.into_parts();
            let bytes = body.collect_bytes().await?;
            let body: Value = serde_json::from_slice(&bytes).unwrap_or_default();
            let path = parts.uri.path().rsplit("/namespaces/ns/").next().unwrap_or_default();
            let tried = parts.uri.query().is_some_and(|query| query.contains("dryRun"));
            let line = if tried { format!("TRY {path}") } else { format!("{} {path}", parts.method) };
            let (code, answer) = answer(&line, &body);
            seen.lock().unwrap().push((line, body));
            Ok::<_, kube::Error>(
                Response::builder().status(code).body(Body::from(answer.to_string().into_bytes())).unwrap(),
            )
        }
    });
    (Client::new(service, "ns"), asked)
}

fn refusal(code: u16, reason: &str, message: &str) -> (u16, Value) {
    let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code,
        "reason": reason, "message": message, "metadata": {}});
    (code, status)
}

/// A world whose caches hold these.
fn world(client: Client, live: &[(ChildKind, Value)]) -> World {
    let cache = |resource: kube::core::ApiResource, objects: Vec<Value>| {
        let mut writer = Writer::new(resource.clone());
        writer.apply_watcher_event(&Event::Init);
        for object in objects {
            let mut object: DynamicObject = serde_json::from_value(object).unwrap();
            trim(&mut object);
            writer.apply_watcher_event(&Event::InitApply(object));
        }
        writer.apply_watcher_event(&Event::InitDone);
        Cache::new(resource, writer.as_reader())
    };
    let of = |kind: ChildKind| live.iter().filter(|l| l.0 == kind).map(|l| l.1.clone()).collect();
    let children: BTreeMap<_, _> =
        ChildKind::ALL.iter().map(|kind| (*kind, cache(kind.resource(), of(*kind)))).collect();
    let claims = cache(ChildKind::Pod.resource(), Vec::new());
    let group_pods = claims.clone();
    let (facts, seen) = watch::channel(ClusterFacts::default());
    drop(facts);
    World {
        client: client.clone(),
        children: Arc::new(children),
        pods: crate::operator::diagnosis::Pods::default(),
        events: crate::operator::diagnosis::Events::new(client),
        claims,
        group_pods,
        subjects: Arc::default(),
        facts: seen,
        namespaces: crate::operator::namespaces::Namespaces::of(&[("ns", "baseline")]),
        nodes_seen: CancellationToken::new(),
        rival: watch::channel(Rival::None).1,
        models: crate::operator::models::Models::default(),
        references: crate::operator::references::References::default(),
        judge: None,
        mutations: crate::operator::Mutations::default(),
        images: crate::operator::registry::Images::default(),
        waker: Waker::default(),
    }
}

fn child(kind: ChildKind, keep: Keep, spec: &Value) -> Child {
    let resource = kind.resource();
    let body = json!({
        "apiVersion": resource.api_version, "kind": resource.kind,
        "metadata": {"name": "n", "namespace": "ns", "labels": {MANAGED_BY.0: MANAGED_BY.1}}, "spec": spec,
    });
    Child::new(kind, "n", keep, &body)
}

/// A child as it is stored.
fn stored(child: &Child) -> Value {
    let mut body = child.stamped(&owner()).body;
    body["metadata"]["uid"] = json!("c1");
    body["metadata"]["resourceVersion"] = json!("7");
    body
}

async fn applied(world: &World, children: Vec<Child>) -> Outcome {
    let outcome = once(world, &children).await;
    if outcome.unfinished { once(world, &children).await } else { outcome }
}

async fn once(world: &World, children: &[Child]) -> Outcome {
    let children = children.to_vec();
    let rendered = Rendered {
        children,
        remove: Vec::new(),
        complete: true,
        notes: Vec::new(),
        amendments: Vec::new(),
        verdict: (),
    };
    let (settled, owner, inputs) = (Settled::default(), owner(), Inputs::default());
    applier(world, &settled, &owner, &inputs).apply(&rendered, &[]).await
}

fn applier<'a>(world: &'a World, settled: &'a Settled, owner: &'a Owner, inputs: &'a Inputs) -> Applier<'a> {
    Applier { world, settled, owner, inputs, recorded: None, told: "", local: true }
}

fn lines(asked: &Asked) -> Vec<String> {
    asked.lock().unwrap().iter().map(|(line, _)| line.clone()).collect()
}

#[tokio::test]
async fn what_was_made_is_not_made_again_while_its_watch_lags() {
    let (client, asked) = server(|_, body| {
        let mut made = body.clone();
        made["metadata"]["uid"] = json!("c1");
        made["metadata"]["resourceVersion"] = json!("7");
        (201, made)
    });
    let world = world(client, &[]);
    for _ in 0..2 {
        let service = child(ChildKind::Service, Keep::Owned, &json!({"ports": [{"port": 8000}]}));
        assert!(applied(&world, vec![service]).await.failure.is_none());
    }
    assert_eq!(lines(&asked), ["POST services"]);
}

#[tokio::test]
async fn each_child_of_a_new_object_costs_one_request_and_a_binding_follows_its_role() {
    let (client, asked) = server(|_, body| (201, body.clone()));
    let outcome = applied(&world(client, &[]), workloads::service()).await;
    assert_eq!((outcome.failure, outcome.live.len()), (None, 6));
    let lines = lines(&asked);
    let at = |line: &str| lines.iter().position(|asked| asked == line).unwrap();
    assert_eq!(lines.len(), 6, "{lines:?}");
    assert!(
        at("POST rolebindings") > at("POST roles") && at("POST rolebindings") > at("POST serviceaccounts")
    );
    assert!(lines.contains(&"PATCH deployments/n".to_owned()) && lines.contains(&"POST services".to_owned()));
}

#[tokio::test]
async fn a_failure_does_not_stop_the_others_and_the_first_rendered_is_told() {
    let (client, asked) = server(|line, body| match line {
        "POST services" | "POST roles" => refusal(403, "Forbidden", line),
        _ => (201, body.clone()),
    });
    let kinds = [ChildKind::Service, ChildKind::Role, ChildKind::LeaderWorkerSet, ChildKind::Deployment];
    let children = kinds.map(|kind| child(kind, Keep::Owned, &json!({}))).to_vec();
    let outcome = applied(&world(client, &[]), children).await;
    assert_eq!(outcome.failure.unwrap().reason, "ServiceFailed");
    assert!(outcome.live.contains_key(&(ChildKind::Deployment, "n".into())));
    assert_eq!(lines(&asked).len(), 3, "nothing is asked about a kind that the cluster lacks");
}

#[tokio::test]
async fn nemo_b30_a_definition_that_is_missing_holds_up_nothing_else() {
    let (client, asked) = server(|_, body| (201, body.clone()));
    let kinds = [ChildKind::HttpRoute, ChildKind::ServiceMonitor, ChildKind::Deployment];
    let children = kinds.map(|kind| child(kind, Keep::Owned, &json!({}))).to_vec();
    let outcome = applied(&world(client, &[]), children).await;
    assert_eq!(outcome.failure.unwrap().reason, "HTTPRouteUnavailable");
    assert_eq!(lines(&asked), ["PATCH deployments/n"]);
}

#[tokio::test]
async fn a_secret_that_is_no_longer_rendered_is_removed_if_it_is_ours() {
    let ours = stored(&child(ChildKind::Secret, Keep::Owned, &json!({})));
    let mut foreign = ours.clone();
    foreign["metadata"]["ownerReferences"][0]["uid"] = json!("u2");
    for (live, expected) in
        [(ours, &["GET secrets/n", "DELETE secrets/n"][..]), (foreign, &["GET secrets/n"][..])]
    {
        let (client, asked) = server(move |_, _| (200, live.clone()));
        let remove = vec![(ChildKind::Secret, "n".to_owned())];
        let rendered = Rendered {
            children: Vec::new(),
            remove,
            complete: true,
            notes: Vec::new(),
            amendments: Vec::new(),
            verdict: (),
        };
        let (world, settled, owner) = (world(client, &[]), Settled::default(), owner());
        let inputs = Inputs::default();
        let outcome = applier(&world, &settled, &owner, &inputs).apply(&rendered, &[]).await;
        assert_eq!(outcome.failure, None);
        assert_eq!(lines(&asked), expected);
        let deleted = asked.lock().unwrap().get(1).map(|(_, body)| body["preconditions"]["uid"].clone());
        assert_eq!(deleted, (expected.len() > 1).then(|| json!("c1")));
    }
}

#[tokio::test]
async fn b16_a_foreign_object_that_the_cache_does_not_show_is_never_written() {
    let (client, asked) = server(|line, _| match line {
        "POST services" => refusal(409, "AlreadyExists", "services n already exists"),
        _ => (200, json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "n", "uid": "x"}})),
    });
    let outcome =
        applied(&world(client, &[]), vec![child(ChildKind::Service, Keep::Owned, &json!({}))]).await;
    assert_eq!(outcome.failure.unwrap().reason, "ServiceConflict");
    assert_eq!(lines(&asked), ["POST services", "GET services/n"]);
}

#[tokio::test]
async fn a_foreign_workload_that_the_cache_does_not_show_is_never_written() {
    let deployment = || vec![child(ChildKind::Deployment, Keep::Owned, &json!({"template": {}}))];
    let (client, asked) = server(|line, _| match line {
        "PATCH deployments/n" => refusal(409, "Conflict", "the object has been modified"),
        _ => (
            200,
            json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "n", "uid": "x"}}),
        ),
    });
    let outcome = applied(&world(client, &[]), deployment()).await;
    assert_eq!(outcome.failure.unwrap().reason, "DeploymentConflict");
    assert_eq!(lines(&asked), ["PATCH deployments/n", "GET deployments/n"]);
    assert_eq!(asked.lock().unwrap()[0].1["metadata"]["resourceVersion"], "1", "that of no object");

    // It has gone when it is looked for, or the API server makes nothing of a version that no object has.
    let (client, asked) = server(|line, body| match line {
        "PATCH deployments/n" => refusal(409, "Conflict", "the object has been modified"),
        "GET deployments/n" => refusal(404, "NotFound", "no"),
        _ => (201, body.clone()),
    });
    let outcome = applied(&world(client, &[]), deployment()).await;
    assert_eq!((outcome.failure, outcome.live.len()), (None, 1));
    assert_eq!(lines(&asked), ["PATCH deployments/n", "GET deployments/n", "POST deployments"]);
    assert!(asked.lock().unwrap()[2].1["metadata"]["resourceVersion"].is_null());
}

#[tokio::test]
async fn a_change_is_applied_to_the_very_object_that_was_seen() {
    let before = child(ChildKind::Service, Keep::Owned, &json!({"type": "ClusterIP"}));
    let after = child(ChildKind::Service, Keep::Owned, &json!({"type": "NodePort"}));
    let (client, asked) = server(|line, body| match line {
        "PATCH services/n" => refusal(409, "Conflict", "uid mismatch: no existing object was found"),
        "GET services/n" => refusal(404, "NotFound", "no"),
        _ => (201, body.clone()),
    });
    let outcome = applied(&world(client, &[(ChildKind::Service, stored(&before))]), vec![after]).await;
    assert_eq!(outcome.failure, None);
    assert_eq!(lines(&asked), ["PATCH services/n", "GET services/n", "POST services"]);
    assert_eq!(asked.lock().unwrap()[0].1["metadata"]["uid"], "c1");
}

#[tokio::test]
async fn ownership_is_taken_over_before_the_first_change_and_only_then() {
    let before = child(ChildKind::Service, Keep::Owned, &json!({"type": "ClusterIP"}));
    let after = child(ChildKind::Service, Keep::Owned, &json!({}));
    let mut live = stored(&before);
    live["metadata"]["managedFields"] = json!([{"manager": MANAGER, "operation": "Update", "apiVersion": "v1",
        "fieldsType": "FieldsV1", "fieldsV1": {"f:spec": {"f:type": {}}}}]);
    let whole = live.clone();
    let (client, asked) = server(move |_, _| (200, whole.clone()));
    let seen = world(client, &[(ChildKind::Service, live.clone())]);
    assert_eq!(applied(&seen, vec![before.clone()]).await.failure, None);
    assert_eq!(lines(&asked), Vec::<String>::new(), "nothing is written while nothing changes");
    assert_eq!(applied(&seen, vec![after.clone()]).await.failure, None);
    assert_eq!(lines(&asked), ["GET services/n", "PATCH services/n", "PATCH services/n"]);
    let owners = asked.lock().unwrap()[1].1[1]["value"].clone();
    assert_eq!(owners.as_array().unwrap().len(), 1);
    assert_eq!((&owners[0]["manager"], &owners[0]["operation"]), (&json!(MANAGER), &json!("Apply")));

    live["metadata"]["managedFields"][0]["operation"] = json!("Apply");
    let whole = live.clone();
    let (client, asked) = server(move |_, _| (200, whole.clone()));
    assert_eq!(applied(&world(client, &[(ChildKind::Service, live)]), vec![after]).await.failure, None);
    assert_eq!(lines(&asked), ["PATCH services/n"]);
}

#[tokio::test]
async fn b01_an_object_whose_spec_may_not_change_is_made_anew() {
    let before = child(ChildKind::Service, Keep::Replaced, &json!({"type": "a"}));
    let after = child(ChildKind::Service, Keep::Replaced, &json!({"type": "b"}));
    let (client, asked) = server(|line, body| match line {
        "PATCH services/n" => refusal(422, "Invalid", "spec: Invalid value: field is immutable"),
        _ => (200, body.clone()),
    });
    let seen = world(client, &[(ChildKind::Service, stored(&before))]);
    let outcome = applied(&seen, vec![after]).await;
    assert_eq!(outcome.failure, None);
    assert_eq!(lines(&asked), ["PATCH services/n", "DELETE services/n", "POST services"]);
    assert_eq!(asked.lock().unwrap()[1].1["preconditions"]["uid"], "c1");
    let made = &outcome.live[&(ChildKind::Service, "n".to_owned())];
    assert!(made.metadata.annotations.as_ref().unwrap().contains_key(DESIRED_HASH));
}

#[tokio::test]
async fn b01_it_is_waited_for_while_the_old_one_goes() {
    let before = child(ChildKind::Service, Keep::Replaced, &json!({"type": "a"}));
    let after = child(ChildKind::Service, Keep::Replaced, &json!({"type": "b"}));
    let mut going = stored(&before);
    going["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    let (client, _) = server(move |line, body| match line {
        "PATCH services/n" => refusal(422, "Invalid", "A computeDomain.spec is immutable"),
        "POST services" => refusal(409, "AlreadyExists", "object is being deleted"),
        "GET services/n" => (200, going.clone()),
        _ => (200, body.clone()),
    });
    let seen = world(client, &[(ChildKind::Service, stored(&before))]);
    let outcome = applied(&seen, vec![after]).await;
    assert_eq!((outcome.failure, outcome.waits.unwrap().reason), (None, "ServiceTerminating".to_owned()));
}

#[test]
fn pods_that_print_a_manifest_are_given_no_time_to_end_and_builds_their_own() {
    let grace = |kind, name: &str| by_uid(kind, name, None).grace_period_seconds;
    assert_eq!(grace(ChildKind::Pod, "llama-pod"), Some(0));
    assert_eq!(grace(ChildKind::Pod, "llama-local-manifest-pod"), Some(0));
    assert_eq!(grace(ChildKind::Pod, "llama-engine-build-pod"), None);
    assert_eq!(grace(ChildKind::Job, "llama-job"), None);
}
