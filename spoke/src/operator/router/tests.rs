//! Whom a change wakes.

use std::time::Duration;

use kube::Client;
use kube::client::Body;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::super::engine::wake::Waker;
use super::super::engine::world::Cache;
use super::*;

/// Objects of one kind, in a namespace `ns`: names and what they hold besides.
type Stored<'a> = (&'static str, &'a [(&'a str, Value)]);

/// What is woken, as `Kind name`, when `changed` has changed.
async fn woken(stored: &[Stored<'_>], changed: Value) -> Vec<String> {
    let resource = |kind: &str| {
        let gvk = kube::core::GroupVersionKind::gvk(GROUP, "v1alpha1", kind);
        kube::core::ApiResource::from_gvk(&gvk)
    };
    let kinds = ["NIMService", "NIMCache", "NIMPipeline", "NIMBuild"];
    let (waker, queues) = Waker::new(kinds.into_iter());
    let cache = |kind: &'static str| {
        let mut writer = kube::runtime::reflector::store::Writer::new(resource(kind));
        for (name, data) in stored.iter().filter(|s| s.0 == kind).flat_map(|s| s.1) {
            let mut object = data.clone();
            object["apiVersion"] = json!("apps.nvidia.com/v1alpha1");
            object["kind"] = json!(kind);
            object["metadata"]["name"] = json!(name);
            object["metadata"]["namespace"] = json!("ns");
            let object: DynamicObject = serde_json::from_value(object).unwrap();
            writer.apply_watcher_event(&kube::runtime::watcher::Event::Apply(object));
        }
        Cache::new(resource(kind), writer.as_reader())
    };
    let service = tower::service_fn(|_: axum::http::Request<Body>| async {
        Ok::<_, kube::Error>(axum::http::Response::new(Body::empty()))
    });
    let client = Client::new(service, "ns");
    let world = World {
        client: client.clone(),
        children: std::sync::Arc::default(),
        pods: crate::operator::diagnosis::Pods::default(),
        events: crate::operator::diagnosis::Events::new(client),
        claims: cache("NIMService"),
        group_pods: cache("NIMService"),
        subjects: std::sync::Arc::new(kinds.map(|kind| (kind, cache(kind))).into()),
        facts: watch::channel(ClusterFacts::default()).1,
        namespaces: crate::operator::namespaces::Namespaces::of(&[]),
        nodes_seen: CancellationToken::new(),
        rival: watch::channel(Rival::None).1,
        models: crate::operator::models::Models::default(),
        references: crate::operator::references::References::default(),
        judge: None,
        mutations: crate::operator::Mutations::default(),
        images: crate::operator::registry::Images::default(),
        waker,
    };
    let object: DynamicObject = serde_json::from_value(changed).unwrap();
    Router { world }.route(&object);
    let mut woken = Vec::new();
    for (kind, queue) in &queues {
        while let Ok(key) = tokio::time::timeout(Duration::from_millis(100), queue.take()).await {
            queue.done(&key, runtime::Ending::Done);
            woken.push(format!("{kind} {}", key.name));
        }
    }
    woken
}

fn nim(kind: &str, name: &str, owners: &[Value]) -> Value {
    json!({"apiVersion": "apps.nvidia.com/v1alpha1", "kind": kind,
        "metadata": {"name": name, "namespace": "ns", "ownerReferences": owners}})
}

#[tokio::test(start_paused = true)]
async fn a_cache_wakes_those_who_use_it() {
    let uses = |name: &str| json!({"spec": {"storage": {"nimCache": {"name": name}}}});
    let services = [("a", uses("c")), ("b", uses("other"))];
    let builds = [("d", json!({"spec": {"nimCache": {"name": "c"}}}))];
    let stored = [("NIMService", services.as_slice()), ("NIMBuild", builds.as_slice())];
    assert_eq!(woken(&stored, nim("NIMCache", "c", &[])).await, ["NIMBuild d", "NIMCache c", "NIMService a"]);
}

#[tokio::test(start_paused = true)]
async fn a_service_wakes_its_pipeline_and_the_caches_that_wait_to_go() {
    let caches =
        [("stays", json!({})), ("goes", json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}))];
    let owner =
        json!({"apiVersion": "apps.nvidia.com/v1alpha1", "kind": "NIMPipeline", "name": "p", "uid": "u"});
    let changed = nim("NIMService", "a", &[owner]);
    let woken = woken(&[("NIMCache", &caches)], changed).await;
    assert_eq!(woken, ["NIMCache goes", "NIMPipeline p", "NIMService a"]);
}

#[tokio::test(start_paused = true)]
async fn children_wake_their_owner_and_claims_those_who_claim() {
    let child = |kind: &str, owner: Value| json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": "x", "namespace": "ns", "ownerReferences": [owner]}});
    let service =
        json!({"apiVersion": "apps.nvidia.com/v1alpha1", "kind": "NIMService", "name": "a", "uid": "u"});
    assert_eq!(woken(&[], child("Service", service)).await, ["NIMService a"]);
    let group = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "a-lws-0-1", "namespace": "ns", "labels": {SET_NAME: "a-lws"}},
    });
    assert_eq!(woken(&[], group).await, ["NIMService a"], "a worker of a group");
    let autoscaler = json!({
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "keda-hpa-a", "namespace": "ns"},
        "spec": {"scaleTargetRef": {"kind": "Deployment", "name": "a"}},
    });
    let contested = [(
        "b",
        json!({"status": {"conditions": [{
            "type": "ReplicasContested", "status": "True", "reason": "ReplicasContested", "message": "",
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        }]}}),
    )];
    let woke = woken(&[("NIMService", &contested)], autoscaler).await;
    assert!(
        woke.contains(&"NIMService a".to_owned()) && woke.contains(&"NIMService b".to_owned()),
        "{woke:?}"
    );
    let job = json!({"apiVersion": "batch/v1", "kind": "Job", "name": "c-job", "uid": "u"});
    assert_eq!(woken(&[], child("Pod", job)).await, ["NIMCache c"]);
    let foreign =
        json!({"apiVersion": "apps.nvidia.community/v1", "kind": "NIMService", "name": "a", "uid": "u"});
    assert!(woken(&[], child("Service", foreign)).await.is_empty());
    let services =
        [("claims", json!({"spec": {"draResources": [{"resourceClaimName": "r"}]}})), ("not", json!({}))];
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u"});
    assert_eq!(woken(&[("NIMService", &services)], child("ResourceClaim", pod)).await, ["NIMService claims"]);
}
