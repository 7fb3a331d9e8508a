//! What one object can do to the others of its kind.

use std::collections::BTreeMap;
use std::sync::Mutex;

use axum::body::{Body, to_bytes};
use axum::http::{Method, Request, Response};
use kube::Client;
use kube::core::ApiResource;
use kube::runtime::reflector::store::Writer;
use kube::runtime::watcher::Event;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::super::world::Cache;
use super::*;
use crate::operator::cluster::ClusterFacts;
use crate::operator::nimpipeline::NimPipelines;

type Writes = Arc<Mutex<Vec<(String, Value)>>>;

/// An API server whose answer is what was asked, and that panics at whoever patches this path.
fn client(broken: &'static str, writes: &Writes) -> Client {
    let writes = writes.clone();
    let service = tower::service_fn(move |request: Request<kube::client::Body>| {
        let writes = writes.clone();
        async move {
            let path = request.uri().path().to_owned();
            let patched = *request.method() == Method::PATCH;
            let body = to_bytes(Body::new(request.into_body()), usize::MAX).await.unwrap();
            let body: Value = serde_json::from_slice(&body).unwrap_or_default();
            writes.lock().unwrap().push((path.clone(), body));
            assert!(!(patched && path.ends_with(broken)), "{path} breaks whoever touches it");
            let name = path.trim_end_matches("/status").rsplit('/').next().unwrap_or_default().to_owned();
            Ok::<_, kube::Error>(Response::new(Body::from(pipeline(&name).to_string())))
        }
    });
    Client::new(service, "ns")
}

fn pipeline(name: &str) -> Value {
    json!({
        "apiVersion": "apps.nvidia.com/v1alpha1", "kind": "NIMPipeline",
        "metadata": {"name": name, "namespace": "ns", "uid": name, "generation": 1, "resourceVersion": "1"},
        "spec": {"services": []},
    })
}

#[tokio::test(start_paused = true)]
async fn a_panic_over_one_object_is_its_own_failure_and_is_told_on_it() {
    let resource: ApiResource = NimPipelines::resource();
    let mut stored = Writer::new(resource.clone());
    for name in ["good", "bad"] {
        stored.apply_watcher_event(&Event::Apply(serde_json::from_value(pipeline(name)).unwrap()));
    }
    let cache = Cache::new(resource, stored.as_reader());
    cache.filled.cancel();
    let (waker, mut queues) = super::super::wake::Waker::new([NimPipelines::KIND].into_iter());
    let (writes, nodes_seen) = (Writes::default(), CancellationToken::new());
    nodes_seen.cancel();
    let api = client("/nimpipelines/bad", &writes);
    let world = World {
        client: api.clone(),
        children: Arc::default(),
        pods: crate::operator::diagnosis::Pods::seen(&[], &[]),
        events: crate::operator::diagnosis::Events::new(api),
        claims: cache.clone(),
        group_pods: cache.clone(),
        subjects: Arc::new(BTreeMap::from([(NimPipelines::KIND, cache)])),
        facts: watch::channel(ClusterFacts::default()).1,
        namespaces: crate::operator::namespaces::Namespaces::of(&[]),
        nodes_seen,
        rival: watch::channel(Rival::None).1,
        models: crate::operator::models::Models::default(),
        references: crate::operator::references::References::default(),
        judge: None,
        mutations: crate::operator::Mutations::default(),
        images: crate::operator::registry::Images::default(),
        waker: waker.clone(),
    };
    let stop = CancellationToken::new();
    let queue = queues.remove(NimPipelines::KIND).unwrap();
    let running = tokio::spawn(Shell::<NimPipelines>::new(world).run(queue, stop.clone()));
    let begun = Instant::now();
    for name in ["good", "bad"] {
        waker.wake_edited(NimPipelines::KIND, "ns", name);
    }
    while begun.elapsed() < Duration::from_mins(1) {
        waker.wake(NimPipelines::KIND, "ns", "bad");
        sleep(Duration::from_millis(200)).await;
    }
    waker.wake(NimPipelines::KIND, "ns", "good");
    sleep(Duration::from_secs(1)).await;
    assert!(!running.is_finished(), "the kind is not run any more");
    stop.cancel();
    running.await.unwrap();

    let writes = writes.lock().unwrap();
    let of = |path: &str| writes.iter().filter(|(written, _)| written.ends_with(path)).collect::<Vec<_>>();
    let tries = of("/nimpipelines/bad").len();
    assert!((6..=12).contains(&tries), "{tries} tries in a minute of 300 events");
    let told = of("/nimpipelines/bad/status");
    assert!(told[0].1.to_string().contains("breaks whoever touches it"), "{told:?}");
    assert!(!of("/nimpipelines/good/status").is_empty(), "the other one is told of: {writes:?}");
}
