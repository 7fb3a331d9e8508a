//! The controllers as a whole, over an API server that is played: what one object can do to the others, and how much is
//! remembered of a fleet that lives for long.

use std::sync::atomic::{AtomicU32, Ordering};

use axum::body::{Body, to_bytes};
use http::{Method, Request, Response};
use hub_core::identity::SpokeCertificate;
use hub_scheduler::fleet::{Agent, Capacity};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::*;
use crate::link::Counters;
use crate::pki::{AUTHORITY_LIFE, Authorities, memory::Memory};

/// An API server that holds what it was made with whatever is written.
#[derive(Clone, Default)]
struct Played {
    /// By plural.
    objects: Arc<HashMap<&'static str, Vec<Value>>>,
    /// Whoever writes to this path panics.
    broken: &'static str,
    at_broken: Arc<AtomicU32>,
    /// Paths and bodies of writes.
    written: Arc<Mutex<Vec<(String, Value)>>>,
    /// The first watch of it is told that it is too old, so that it is listed again.
    stale: &'static str,
    /// How often that was listed.
    stale_lists: Arc<AtomicU32>,
}

impl Played {
    fn client(&self) -> Client {
        let played = self.clone();
        let service = tower::service_fn(move |request: Request<kube::client::Body>| {
            let played = played.clone();
            async move { Ok::<_, kube::Error>(played.answer(request).await) }
        });
        Client::new(service, "nimfleet")
    }

    async fn answer(&self, request: Request<kube::client::Body>) -> Response<Body> {
        let (path, query) =
            (request.uri().path().to_owned(), request.uri().query().unwrap_or_default().to_owned());
        if request.method() == Method::GET {
            let is_stale = !self.stale.is_empty() && path.ends_with(self.stale);
            if query.contains("watch=true") {
                if is_stale && self.stale_lists.load(Ordering::Relaxed) == 1 {
                    let gone =
                        json!({"kind": "Status", "code": 410, "reason": "Expired", "message": "too old"});
                    return Response::new(Body::from(
                        json!({"type": "ERROR", "object": gone}).to_string() + "\n",
                    ));
                }
                return Response::new(
                    Body::from_stream(futures::stream::pending::<Result<String, String>>()),
                );
            }
            self.stale_lists.fetch_add(u32::from(is_stale), Ordering::Relaxed);
            let plural = path.rsplit('/').next().unwrap_or_default();
            let items = self.objects.get(plural).cloned().unwrap_or_default();
            let list = json!({"kind": "List", "apiVersion": "v1", "metadata": {"resourceVersion": "1"}, "items": items});
            return Response::new(Body::from(list.to_string()));
        }
        if !self.broken.is_empty() && path.ends_with(self.broken) {
            self.at_broken.fetch_add(1, Ordering::Relaxed);
            panic!("{path} breaks whoever touches it");
        }
        let body = to_bytes(Body::new(request.into_body()), usize::MAX).await.unwrap();
        let body: Value = serde_json::from_slice(&body).unwrap_or_default();
        let mut parts = path.trim_end_matches("/status").rsplit('/');
        let (name, plural) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let held =
            self.objects.get(plural).into_iter().flatten().find(|object| object["metadata"]["name"] == name);
        let answer = held.unwrap_or(&body).to_string();
        self.written.lock().unwrap().push((path, body));
        Response::new(Body::from(answer))
    }
}

async fn setup(played: &Played) -> (Setup, Metrics, Authorities<Memory>) {
    let memory = Memory::default();
    let authorities =
        Authorities::load_or_create(memory.clone(), Timestamp::now(), AUTHORITY_LIFE).await.unwrap();
    let metrics = Metrics::new(&Counters::default());
    let setup = Setup {
        client: played.client(),
        desired: DesiredState::default(),
        metrics: metrics.clone(),
        salt: Salt::load_or_create(&memory).await.unwrap(),
        unreachable_after: SignedDuration::from_secs(30),
        limits: Limits::default(),
        trust: authorities.subscribe(),
        return_within: SignedDuration::MAX,
        namespace: "nimfleet".into(),
        standards: false,
        health: Health::default(),
    };
    (setup, metrics, authorities)
}

async fn until(what: &str, mut check: impl FnMut() -> bool) {
    let patience = Instant::now() + Duration::from_mins(1);
    while !check() {
        assert!(Instant::now() < patience, "not within a minute: {what}");
        sleep(Duration::from_millis(50)).await;
    }
}

fn named(name: &str) -> [Value; 2] {
    let metadata = json!({"name": name, "namespace": "ns", "uid": format!("uid-{name}"), "generation": 1, "resourceVersion": "1"});
    [
        json!({"apiVersion": "apps.nvidia.com/v1alpha1", "kind": "NIMService", "metadata": metadata, "spec": {}}),
        json!({"apiVersion": "nimfleet.io/v1alpha1", "kind": "NIMPlacement", "metadata": metadata,
            "spec": {"resourceSelectors": [{"kind": "NIMService", "name": name}]}}),
    ]
}

#[tokio::test(start_paused = true)]
async fn a_panic_over_one_placement_is_its_own_failure_and_backs_off() {
    let objects = [named("good"), named("bad")];
    let [services, placements] = [0, 1].map(|at| objects.iter().map(|pair| pair[at].clone()).collect());
    let played = Played {
        objects: Arc::new([("nimservices", services), ("nimplacements", placements)].into()),
        broken: "/nimservices/bad",
        ..Played::default()
    };
    let (setup, metrics, _authorities) = setup(&played).await;
    let health = setup.health.clone();
    let (tasks, mut endings) = Tasks::new(health.clone());
    let (_events, heard) = mpsc::channel(16);
    let hub = run(setup, heard, &tasks, &CancellationToken::new());
    assert!(
        health.missing().iter().any(|line| line.starts_with("first decisions")),
        "{:?}",
        health.missing()
    );
    until("the hub is ready", || health.missing().is_empty()).await;

    let wrote =
        |path: &str| played.written.lock().unwrap().iter().any(|(written, _)| written.ends_with(path));
    until("the good one is told of", || wrote("/nimplacements/good/status")).await;
    let begun = Instant::now();
    for _ in 0..120 {
        hub.placements.add(PlacementKey { namespace: "ns".into(), name: "bad".into() });
        sleep(Duration::from_millis(500)).await;
    }
    // 1 s apart four times, then 2, 4, 8 and 16 s, since it is woken all the time.
    let panics = played.at_broken.load(Ordering::Relaxed);
    assert!((6..=12).contains(&panics), "{panics} panics in {:?}", begun.elapsed());
    let text = metrics.encode().unwrap();
    let line = "nimfleet_hub_reconcile_faults_total{controller=\"placement\",fault=\"Panic\"} ";
    assert!(text.contains(line), "{text}");
    until("it is told on the placement", || {
        let written = played.written.lock().unwrap();
        written.iter().any(|(path, body)| {
            path.contains("/events") && body["reason"] == "Panic" && body["regarding"]["name"] == "bad"
        })
    })
    .await;
    assert!(futures::poll!(std::pin::pin!(endings.next())).is_pending(), "a task has ended");
    assert!(health.stuck().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_cluster_that_is_listed_again_is_counted_once() {
    let east = json!({"apiVersion": "nimfleet.io/v1alpha1", "kind": "GPUCluster", "spec": {"accepted": true},
        "metadata": {"name": "east", "uid": "uid-east", "generation": 1, "resourceVersion": "1"}});
    let played = Played {
        objects: Arc::new([("gpuclusters", vec![east])].into()),
        stale: "/gpuclusters",
        ..Played::default()
    };
    let (setup, metrics, _authorities) = setup(&played).await;
    let health = setup.health.clone();
    let (tasks, _endings) = Tasks::new(health.clone());
    let (_events, heard) = mpsc::channel(16);
    let _hub = run(setup, heard, &tasks, &CancellationToken::new());
    until("it is listed again", || played.stale_lists.load(Ordering::Relaxed) == 2).await;
    until("the hub is ready", || health.missing().is_empty()).await;
    sleep(Duration::from_secs(1)).await;
    let text = metrics.encode().unwrap();
    assert!(text.contains("nimfleet_hub_accepted_clusters 1\n"), "{text}");
}

/// A number from the environment: a whole week of a large fleet is run by hand,
/// `SIMULATED_CLUSTERS=10000 SIMULATED_HOURS=168 cargo test --release -p hub --lib a_simulated`.
fn of_environment(name: &str, default: u32) -> u32 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Bytes that this process holds.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.split_whitespace().next().unwrap().parse::<u64>().unwrap() * 1024
}

fn entries(hub: &Hub) -> usize {
    hub.placements.len() + hub.reports.len() + hub.clusters.len() + hub.quotas.len() + hub.outages.len()
}

fn bytes(hub: &Hub) -> usize {
    hub.placements.bytes() + hub.reports.bytes() + hub.clusters.bytes() + hub.outages.bytes()
}

#[tokio::test(start_paused = true)]
async fn a_simulated_week_of_heartbeats_renewals_reports_and_flapping_is_remembered_once_per_cluster() {
    let (clusters, hours) = (of_environment("SIMULATED_CLUSTERS", 60), of_environment("SIMULATED_HOURS", 4));
    let heartbeat = Duration::from_secs(u64::from((clusters / 100).max(10)));
    let names: Vec<ClusterName> = (0..clusters).map(|at| format!("c{at}").parse().unwrap()).collect();
    let stored = names.iter().map(|name| {
        json!({"apiVersion": "nimfleet.io/v1alpha1", "kind": "GPUCluster", "metadata": {
            "name": name.as_str(), "uid": name.as_str(), "generation": 1, "resourceVersion": "1"},
            "spec": {"accepted": true}})
    });
    let played =
        Played { objects: Arc::new([("gpuclusters", stored.collect())].into()), ..Played::default() };
    let (setup, _metrics, authorities) = setup(&played).await;
    let health = setup.health.clone();
    let (tasks, _endings) = Tasks::new(health.clone());
    let (events, heard) = mpsc::channel(1024);
    let hub = run(setup, heard, &tasks, &CancellationToken::new());
    until("the hub is ready", || health.missing().is_empty()).await;

    let authority = authorities.current().coming().clone();
    let ends = Timestamp::now().checked_add(SignedDuration::from_hours(72)).unwrap();
    let begins = |cluster: &ClusterName, renewals: u32| {
        let certificate = SpokeCertificate {
            cluster: cluster.clone(),
            cluster_uid: Some(cluster.to_string()),
            object_uid: Some(cluster.to_string()),
            serial: format!("{renewals:x}"),
            authority: authority.clone(),
            expires: ends,
            key_hash: [0; 32],
        };
        let agent = Agent { cluster_uid: cluster.to_string(), version: "0.1.0".into(), ..Agent::default() };
        [
            LinkEvent::Connected { cluster: cluster.clone(), agent, certificate_expiry: ends },
            LinkEvent::Identified { cluster: cluster.clone(), certificate, trusted: vec![authority.clone()] },
            LinkEvent::Capacity { cluster: cluster.clone(), capacity: Box::default() },
        ]
    };
    for event in names.iter().flat_map(|name| begins(name, 0)) {
        events.send(event).await.unwrap();
    }
    let (begun, mut rounds, mut after_a_while) = (Instant::now(), 0_u32, None);
    while begun.elapsed() < Duration::from_hours(u64::from(hours)) {
        rounds += 1;
        for (at, name) in (0_u32..).zip(&names) {
            let minutes = rounds.wrapping_mul(u32::try_from(heartbeat.as_secs()).unwrap()) / 60;
            // One in a hundred comes and goes all the time, and each has a session of its own age and a new certificate a day.
            let ends = (at % 100 == 7 && rounds.is_multiple_of(3)) || (minutes + at).is_multiple_of(9 * 60);
            if ends {
                events.send(LinkEvent::Disconnected { cluster: name.clone() }).await.unwrap();
                for event in begins(name, minutes / (24 * 60)) {
                    events.send(event).await.unwrap();
                }
            } else if (minutes + at).is_multiple_of(10) {
                let capacity = Capacity {
                    observed_at: Timestamp::from_second(minutes.into()).unwrap(),
                    ..Capacity::default()
                };
                let capacity = Box::new(capacity);
                events.send(LinkEvent::Capacity { cluster: name.clone(), capacity }).await.unwrap();
            } else {
                events.send(LinkEvent::Alive { cluster: name.clone() }).await.unwrap();
            }
        }
        played.written.lock().unwrap().clear();
        sleep(heartbeat).await;
        let a_while = Duration::from_hours(u64::from(hours)) / 7;
        if after_a_while.is_none() && begun.elapsed() >= a_while {
            after_a_while = Some((bytes(&hub), resident()));
            println!("after {a_while:?}: {} keys, {:?}", entries(&hub), after_a_while);
        }
    }
    let (bytes_then, _) = after_a_while.unwrap();
    println!(
        "{clusters} clusters, {hours} h: {} keys, {} bytes, {} resident",
        entries(&hub),
        bytes(&hub),
        resident()
    );
    assert!(entries(&hub) <= names.len() + 1, "{} keys for {clusters} clusters", entries(&hub));
    assert!(
        bytes(&hub) <= bytes_then + bytes_then / 20,
        "{} bytes, {bytes_then} after a seventh",
        bytes(&hub)
    );
}

#[test]
fn the_more_there_is_to_look_at_the_longer_nobody_looks() {
    let table = [(1, 4, 12), (100, 1000, 300_000), (100, 10_000, 3_000_000), (1000, 10_000, 5_000_000)];
    for (waiting, clusters, micros) in table {
        assert_eq!(pause(waiting, clusters), Duration::from_micros(micros), "{waiting} × {clusters}");
    }
}
