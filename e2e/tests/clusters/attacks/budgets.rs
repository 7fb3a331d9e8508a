//! What one hostile spoke can make the hub hold, in memory and in the status of objects: as much as its budget, and no more.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use e2e::cluster::gpu::H100;
use e2e::failure::Failure;
use e2e::fleet::Fleet;
use e2e::objects;
use hyper_util::rt::TokioIo;
use prost::Message as _;
use proto::v1;
use proto::v1::enroll_response::Outcome;
use proto::v1::enrollment_client::EnrollmentClient;
use proto::v1::fleet_sync_client::FleetSyncClient;
use proto::v1::hub_message::Message as FromHub;
use proto::v1::spoke_message::Message as ToHub;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};
use tower::service_fn;

const SOON: Duration = Duration::from_mins(1);
const NAMESPACE: &str = "budgets";
const HOSTILE: &str = "mallory";
/// Model caches that are placed in the hostile cluster, and of whose status it says as much as one message takes.
const CACHES: usize = 10;
/// The largest message that a hub takes, with something left for what is around it.
const MESSAGE: usize = proto::MAX_MESSAGE_BYTES - (512 << 10);
/// A GPUCluster's status, a NIMPlacement's and a NIMCache's stay below this.
const MOST_STATUS: usize = 256 << 10;
/// By as much the hub's memory may grow: one report and ten statuses, several times over while they are worked on, and what
/// allocators keep of messages of 4 MiB.
const MOST_GROWTH: u64 = 80 << 20;

/// A word of so many bytes that no other has.
fn word(number: usize, bytes: usize) -> String {
    format!("{number:08}{}", "w".repeat(bytes.saturating_sub(8)))
}

/// The most of one list that fits into one message.
fn fill(report: &mut v1::CapacityReport, mut add: impl FnMut(&mut v1::CapacityReport, usize), most: usize) {
    for number in 0..most {
        add(report, number);
        if number % 64 == 63 && report.encoded_len() > MESSAGE {
            return;
        }
    }
}

/// One pool that placements could use, storage for caches, and nothing else.
fn plain() -> v1::CapacityReport {
    v1::CapacityReport {
        observed_at_ms: jiff::Timestamp::now().as_millisecond(),
        kubernetes_version: "v1.34.2".into(),
        pools: vec![v1::GpuPool {
            product: H100.into(),
            resource: "nvidia.com/gpu".into(),
            memory_mib: 81_559,
            nodes: 4,
            capacity: 32,
            allocatable: 32,
            free: 32,
            free_per_node: [(8, 4)].into(),
            ..v1::GpuPool::default()
        }],
        platforms: vec![v1::Platform { name: "standalone".into(), ..v1::Platform::default() }],
        storage: Some(v1::StorageClasses {
            classes: vec![v1::StorageClass { name: "fast".into(), is_default: true, ..Default::default() }],
        }),
        ..v1::CapacityReport::default()
    }
}

/// Reports that fill one message each: of one list, or of short rows in all of them.
fn reports() -> Vec<(&'static str, v1::CapacityReport)> {
    let tags = |count, bytes| (0..count).map(|tag| (word(tag, bytes), word(tag, bytes))).collect();
    let pool = |report: &mut v1::CapacityReport, number| {
        report.pools.push(v1::GpuPool {
            product: word(number, 250),
            resource: word(number, 30),
            capacity: 1,
            groups: vec![
                v1::NodeGroup {
                    free: 1,
                    nodes: 1,
                    free_millicores: u64::MAX,
                    free_mib: u64::MAX,
                    set: None
                };
                2
            ],
            ..v1::GpuPool::default()
        });
    };
    let class = |report: &mut v1::CapacityReport, number| {
        let storage = report.storage.get_or_insert_default();
        storage.classes.push(v1::StorageClass { name: word(number, 300), ..v1::StorageClass::default() });
    };
    let cache = |report: &mut v1::CapacityReport, number| {
        report.caches.push(v1::HeldCache {
            namespace: word(0, 60),
            name: word(number, 60),
            model: word(0, 300),
            tagged: vec![v1::CachedProfile { name: word(0, 60), tags: tags(8, 12) }; 4],
            ..v1::HeldCache::default()
        });
    };
    let device = |report: &mut v1::CapacityReport, number| {
        let devices = report.devices.get_or_insert_default();
        let (attributes, capacity) = (tags(8, 60), tags(8, 60));
        let class = word(number, 300);
        devices.groups.push(v1::DeviceGroup { class, attributes, capacity, ..v1::DeviceGroup::default() });
    };
    let bound = |report: &mut v1::CapacityReport, number| {
        report.bound.get_or_insert_default().pods.insert(word(number, 36), 1);
    };
    let label = |report: &mut v1::CapacityReport, number| {
        let (key, value) = (word(number, 60), word(0, 60));
        let nodes = report.node_sets.get_or_insert_default();
        nodes.labels.push(v1::NodeLabel { key, value, sets: 1, partial: false });
    };
    let of = |add: &dyn Fn(&mut v1::CapacityReport, usize), most| {
        let mut report = plain();
        fill(&mut report, add, most);
        report
    };
    let everything = |report: &mut v1::CapacityReport, number: usize| {
        for add in [&pool as &dyn Fn(&mut v1::CapacityReport, usize), &class, &cache, &device, &bound, &label]
        {
            add(report, number);
        }
        report.platforms.push(v1::Platform { name: word(number, 60), ..v1::Platform::default() });
    };
    vec![
        ("10000 products", of(&pool, 10_000)),
        ("10000 storage classes", of(&class, 10_000)),
        ("10000 caches", of(&cache, 10_000)),
        ("10000 kinds of devices", of(&device, 10_000)),
        ("objects with bound pods", of(&bound, 100_000)),
        ("10000 labels of nodes", of(&label, 10_000)),
        ("everything", of(&everything, 10_000)),
    ]
}

/// A status of as much as one message takes: profiles with tags, and conditions with long messages.
fn status(upsert: &v1::Upsert) -> v1::ObjectStatus {
    let mut status = v1::ObjectStatus {
        object: upsert.object.clone(),
        generation: upsert.generation,
        hash: upsert.hash.clone(),
        state: "NotReady".into(),
        observed_at_ms: jiff::Timestamp::now().as_millisecond(),
        ..v1::ObjectStatus::default()
    };
    let condition = |number: usize| v1::Condition {
        r#type: if number == 0 { "Ready".into() } else { word(number, 300) },
        status: "False".into(),
        reason: "Hostile".into(),
        message: word(number, 2000),
        ..v1::Condition::default()
    };
    status.conditions = (0..32).map(condition).collect();
    let tags: std::collections::HashMap<String, String> =
        (0..64).map(|tag| (word(tag, 40), word(tag, 40))).collect();
    for number in 0..600 {
        status.profiles.push(v1::CachedProfile { name: word(number, 60), tags: tags.clone() });
        if status.encoded_len() > MESSAGE {
            break;
        }
    }
    status
}

fn caches() -> String {
    let cache = |number: usize| {
        json!({
            "apiVersion": "apps.nvidia.com/v1alpha1", "kind": "NIMCache",
            "metadata": {"name": format!("c{number}"), "namespace": NAMESPACE, "labels": {"set": "budgets"}},
            "spec": {
                "source": {"ngc": {"modelPuller": "nvcr.io/nim/meta/llama:1.0", "pullSecret": "ngc-secret",
                                   "authSecret": "ngc-api-secret"}},
                "storage": {"pvc": {"create": true, "size": "50Gi", "volumeAccessMode": "ReadWriteOnce"}},
            },
        })
        .to_string()
    };
    (0..CACHES).map(cache).collect::<Vec<_>>().join("\n---\n")
}

fn placement(name: &str, selector: &Value, cluster: &str) -> String {
    json!({
        "apiVersion": "nimfleet.io/v1alpha1", "kind": "NIMPlacement",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {"resourceSelectors": [selector], "clusterAffinity": {"clusterNames": [cluster]}},
    })
    .to_string()
}

/// A service that no cluster can run: what is refused names what the clusters have.
fn impossible() -> String {
    json!({
        "apiVersion": "apps.nvidia.com/v1alpha1", "kind": "NIMService",
        "metadata": {"name": "impossible", "namespace": NAMESPACE},
        "spec": {
            "image": {"repository": "nvcr.io/nim/meta/llama-3.1-8b-instruct", "tag": "1.8"},
            "authSecret": "ngc-api-secret", "replicas": 1,
            "storage": {"pvc": {"create": true, "storageClass": "nowhere", "size": "50Gi",
                                "volumeAccessMode": "ReadWriteOnce"}},
            "resources": {"limits": {"nvidia.com/gpu": 1}},
        },
    })
    .to_string()
}

/// A connection to the hub; without a certificate it is good for enrolling alone.
async fn dial(
    fleet: &Fleet,
    ca_pem: &str,
    client: Option<(&str, &rcgen::KeyPair)>,
) -> Result<Channel, Failure> {
    let mut roots = rustls::RootCertStore::empty();
    for ca in CertificateDer::pem_slice_iter(ca_pem.as_bytes()) {
        roots.add(ca?)?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots);
    let mut config = match client {
        None => config.with_no_client_auth(),
        Some((certificate, key)) => config.with_client_auth_cert(
            vec![CertificateDer::from_pem_slice(certificate.as_bytes())?],
            PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes())?,
        )?,
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    let (config, link) = (Arc::new(config), fleet.hub().link());
    let connector = service_fn(move |_| {
        let config = config.clone();
        async move {
            let tcp = TcpStream::connect(link).await?;
            let name = ServerName::try_from("localhost").map_err(std::io::Error::other)?;
            TlsConnector::from(config).connect(name, tcp).await.map(TokioIo::new)
        }
    });
    Ok(Endpoint::from_static("http://hub").connect_with_connector(connector).await?)
}

/// Enrols the hostile cluster, which an admin accepts, and connects it.
async fn joined(fleet: &Fleet) -> Result<Channel, Failure> {
    let hub = fleet.hub();
    let secret = objects::get(hub.cluster(), "Secret", e2e::fleet::NAMESPACE, "nimfleet-hub-ca").await?;
    let encoded = secret["data"]["tls.crt"].as_str().unwrap_or_default();
    let ca_pem = String::from_utf8(STANDARD.decode(encoded)?)?;
    let (key, invitation) = (rcgen::KeyPair::generate()?, hub.invite(HOSTILE).await?);
    let request = v1::EnrollRequest {
        cluster: HOSTILE.into(),
        token: invitation.token,
        csr_pem: rcgen::CertificateParams::default().serialize_request(&key)?.pem()?,
        cluster_uid: "uid".into(),
        ..v1::EnrollRequest::default()
    };
    let channel = dial(fleet, &ca_pem, None).await?;
    let certificate = fleet
        .eventually("it is certified", SOON, || async {
            let answer = EnrollmentClient::new(channel.clone()).enroll(request.clone()).await?.into_inner();
            match answer.outcome {
                Some(Outcome::Certificate(certificate)) => Ok(certificate.certificate_pem),
                other => {
                    hub.accept(HOSTILE).await?;
                    Err(Failure::new(format!("{other:?}")))
                }
            }
        })
        .await?;
    dial(fleet, &ca_pem, Some((&certificate, &key))).await
}

fn hello() -> v1::Hello {
    v1::Hello {
        cluster: HOSTILE.into(),
        cluster_uid: "uid".into(),
        instance: "hostile".into(),
        instance_started_ms: jiff::Timestamp::now().as_millisecond(),
        ..v1::Hello::default()
    }
}

async fn say(send: &mpsc::Sender<v1::SpokeMessage>, message: ToHub) -> Result<(), Failure> {
    let message = v1::SpokeMessage { message: Some(message) };
    send.send(message).await.map_err(|_| Failure::new("the hub has ended the session"))
}

/// Waits until an object of the hub is as `is` says, and that its status is not too large at any time meanwhile.
async fn until(
    fleet: &Fleet,
    kind: &str,
    name: &str,
    what: &str,
    is: impl Fn(&Value) -> bool,
) -> Result<Value, Failure> {
    let namespace = if kind == "GPUCluster" { "" } else { NAMESPACE };
    let check = || async {
        let found = objects::get(fleet.hub().cluster(), kind, namespace, name).await?;
        let bytes = found["status"].to_string().len();
        assert!(bytes < MOST_STATUS, "the status of {kind} {name} has {bytes} bytes");
        if is(&found) { Ok(found) } else { Err(Failure::new(found["status"].to_string())) }
    };
    fleet.eventually(&format!("{kind} {name}: {what}"), SOON, check).await
}

// The spoke gives its signs of life from another thread than the one on which messages of megabytes are made.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_spoke_that_reports_the_most_it_may_fills_its_own_budget_and_no_status() -> Result<(), Failure> {
    let fleet = Fleet::new().cluster("east").cpu_nodes(1).queried().start().await?;
    let hub = fleet.hub();
    let connection = joined(&fleet).await?;
    let (send, outbound) = mpsc::channel(4);
    say(&send, ToHub::Hello(hello())).await?;
    say(&send, ToHub::Index(v1::Index { last: true, ..v1::Index::default() })).await?;
    say(&send, ToHub::Capacity(plain())).await?;
    let mut client = FleetSyncClient::new(connection);
    let mut inbound = client.connect(ReceiverStream::new(outbound)).await?.into_inner();
    let alive = send.clone();
    tokio::spawn(async move {
        let heartbeat = || v1::SpokeMessage { message: Some(ToHub::Heartbeat(v1::Heartbeat::default())) };
        while alive.send(heartbeat()).await.is_ok() {
            sleep(Duration::from_secs(2)).await;
        }
    });
    fleet.eventually("it is connected", SOON, || hub.connected(HOSTILE)).await?;

    objects::apply(hub.cluster(), &caches()).await?;
    let labelled = json!({"kind": "NIMCache", "labelSelector": {"matchLabels": {"set": "budgets"}}});
    objects::apply(hub.cluster(), &placement("caches", &labelled, HOSTILE)).await?;
    let mut wanted: BTreeMap<String, v1::Upsert> = BTreeMap::new();
    while wanted.len() < CACHES {
        let message = timeout(SOON, inbound.message()).await??.ok_or_else(|| Failure::new("it has ended"))?;
        if let Some(FromHub::Desired(delta)) = message.message {
            let named = |upsert: v1::Upsert| (upsert.object.clone().unwrap_or_default().name, upsert);
            wanted.extend(delta.upserts.into_iter().map(named));
        }
    }
    let before = hub.daemon().resident_bytes()?;

    for (what, report) in reports() {
        say(&send, ToHub::Capacity(report)).await?;
        let seen =
            |found: &Value| objects::condition(found, "ReportTruncated").is_some_and(|told| told.0 == "True");
        until(&fleet, "GPUCluster", HOSTILE, what, seen).await?;
    }
    let told = |found: &Value, words: &str| {
        objects::condition(found, "ReportTruncated").is_some_and(|(_, _, message)| message.contains(words))
    };
    for words in ["256 of 10001 GPU products", "of 10001 storage classes", "model caches", "kinds of devices"]
    {
        until(&fleet, "GPUCluster", HOSTILE, words, |found| told(found, words)).await?;
    }

    // All that is kept is asked for.
    let (_, of_classes) = reports().swap_remove(1);
    say(&send, ToHub::Capacity(of_classes)).await?;
    let shown = until(&fleet, "GPUCluster", HOSTILE, "it shows the first classes", |found| {
        found["status"]["counts"]["storageClasses"].as_u64() > Some(100)
    })
    .await?;
    let rows = |status: &Value| status["storageClasses"].as_array().map_or(0, Vec::len);
    let ask = ["get", "clustercapacities", HOSTILE, "--output", "json"];
    let asked = || async { Ok(hub.cluster().kubectl(&ask, None).await?) };
    let whole = fleet.eventually("the API server passes questions on", SOON, asked).await?;
    let whole: Value = serde_json::from_str(&whole)?;
    assert_eq!(Some(rows(&whole["status"]) as u64), shown["status"]["counts"]["storageClasses"].as_u64());
    assert!(rows(&shown["status"]) > 0 && rows(&shown["status"]) < rows(&whole["status"]));

    // What others are told of this cluster is short as well, and is told.
    objects::apply(hub.cluster(), &impossible()).await?;
    let named = json!({"kind": "NIMService", "name": "impossible"});
    objects::apply(hub.cluster(), &placement("impossible", &named, HOSTILE)).await?;
    let refused = |found: &Value| found["status"]["refusals"].to_string().contains("StorageClassMissing");
    until(&fleet, "NIMPlacement", "impossible", "it says why", refused).await?;

    for upsert in wanted.values() {
        say(&send, ToHub::Status(v1::StatusBatch { items: vec![status(upsert)] })).await?;
    }
    for name in wanted.keys() {
        let has = |found: &Value| !found["status"]["profiles"].as_array().is_none_or(Vec::is_empty);
        until(&fleet, "NIMCache", name, "its profiles are shown", has).await?;
    }
    until(&fleet, "NIMPlacement", "caches", "it is told of", |found| !found["status"]["decisions"].is_null())
        .await?;
    // On a busy machine a sign of life of either may be late for a moment.
    fleet.eventually("east is connected", SOON, || hub.connected("east")).await?;

    let after = hub.daemon().resident_bytes()?;
    let growth = after.saturating_sub(before);
    println!("the hub's memory grew by {} MiB, from {} MiB", growth >> 20, before >> 20);
    assert!(growth < MOST_GROWTH, "the hub's memory grew by {} MiB", growth >> 20);
    Ok(())
}
