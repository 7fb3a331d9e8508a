//! Every message of both services, sent by somebody it does not become: refused, nothing changed, and logged.

use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ::hub::pki::{AUTHORITY_LIFE, Authority, SpokeKey, Subject};
use hub_core::identity::Family;
use hub_core::link::LinkEvent;
use jiff::{SignedDuration, Timestamp};
use proto::v1;
use proto::v1::enrollment_client::EnrollmentClient;
use proto::v1::fleet_sync_client::FleetSyncClient;
use proto::v1::hub_message::Message as FromHub;
use proto::v1::spoke_message::Message;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tonic::Code;
use tonic::transport::Channel;

use crate::desired;
use crate::hub_side::{Hub, OBJECT_UID};

/// How long the hub may take for one word.
const PATIENCE: Duration = Duration::from_secs(30);
const HOUR: SignedDuration = SignedDuration::from_hours(1);

/// Every call of the protocol. A new one has to be listed here with who may not make it.
const CALLS: [&str; 3] = ["Enrollment.Enroll", "Enrollment.Renew", "FleetSync.Connect"];

/// One of each message of a spoke, about an object of cluster `west`. A new one does not compile until it has a row.
fn messages() -> Vec<Message> {
    let object = v1::ObjectRef { uid: "of-west".into(), kind: "NIMService".into(), ..Default::default() };
    let held = v1::HeldObject { object: Some(object.clone()), generation: 1, hash: "1".into() };
    let gone = v1::result::Outcome::Gone(v1::Gone {});
    let result = v1::Result { uid: "of-west".into(), hash: String::new(), outcome: Some(gone) };
    let status = v1::ObjectStatus { object: Some(object), state: "Failed".into(), ..Default::default() };
    let one_of_each = vec![
        Message::Hello(v1::Hello { cluster: "west".into(), cluster_uid: "uid".into(), ..Default::default() }),
        Message::Index(v1::Index { held: vec![held], ..Default::default() }),
        Message::Ack(v1::Ack { delta_id: 1, results: vec![result] }),
        Message::Status(v1::StatusBatch { items: vec![status] }),
        Message::Capacity(v1::CapacityReport::default()),
        Message::Heartbeat(v1::Heartbeat::default()),
        Message::TrustTaken(v1::TrustTaken { trusted_authorities: vec!["sha256:00".into()] }),
    ];
    for message in &one_of_each {
        match message {
            Message::Hello(_)
            | Message::Index(_)
            | Message::Ack(_)
            | Message::Status(_)
            | Message::Capacity(_)
            | Message::Heartbeat(_)
            | Message::TrustTaken(_) => {}
        }
    }
    one_of_each
}

#[test]
fn every_call_and_every_message_of_the_protocol_is_listed() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../proto");
    let files = protox::compile(["fleet/v1/enrollment.proto", "fleet/v1/sync.proto"], [folder]).unwrap();
    let mut calls: Vec<String> = files
        .file
        .iter()
        .flat_map(|file| &file.service)
        .flat_map(|service| service.method.iter().map(|call| format!("{}.{}", service.name(), call.name())))
        .collect();
    calls.sort();
    assert_eq!(calls, CALLS);
    let of_spoke = files.file.iter().flat_map(|file| &file.message_type).find(|m| m.name() == "SpokeMessage");
    assert_eq!(of_spoke.unwrap().field.len(), messages().len(), "a message of a spoke has no row");
}

/// A key and a certificate (PEM) for it.
pub(crate) struct Held {
    pub(crate) key_pem: String,
    pub(crate) certificate_pem: String,
}

impl Held {
    pub(crate) fn of(authority: &Authority, cluster: &str, now: Timestamp) -> Self {
        let key = rcgen::KeyPair::generate().unwrap();
        let cluster = cluster.parse().unwrap();
        let subject =
            Subject { cluster: &cluster, cluster_uid: "uid", object_uid: OBJECT_UID, family: Family::new(1) };
        let spoke_key = SpokeKey::of_request(&csr(&key)).unwrap();
        let issued = authority.issue(&spoke_key, &subject, 1, now, HOUR).unwrap();
        Self { key_pem: key.serialize_pem(), certificate_pem: issued.certificate_pem }
    }

    fn csr(&self) -> String {
        csr(&rcgen::KeyPair::from_pem(&self.key_pem).unwrap())
    }
}

fn csr(key: &rcgen::KeyPair) -> String {
    rcgen::CertificateParams::default().serialize_request(key).unwrap().pem().unwrap()
}

/// What is logged on this thread.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn listen(&self) -> tracing::subscriber::DefaultGuard {
        let log = self.clone();
        let subscriber = tracing_subscriber::fmt().with_writer(move || log.clone()).with_ansi(false).finish();
        tracing::subscriber::set_default(subscriber)
    }

    fn take(&self) -> String {
        String::from_utf8(std::mem::take(&mut *self.0.lock().unwrap())).unwrap()
    }

    /// Waits until all these words have been logged, which may be after whoever is refused has heard of it.
    async fn until(&self, what: &str, words: &[&str]) {
        let (begun, mut seen) = (tokio::time::Instant::now(), String::new());
        loop {
            seen += &self.take();
            if words.iter().all(|word| seen.contains(word)) {
                return;
            }
            assert!(begun.elapsed() < PATIENCE, "{what}: {words:?} are not in: {seen}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Sends messages on a stream of their own until the hub ends it; gives the hub's last word.
async fn talk(channel: Channel, messages: Vec<Message>) -> Result<Option<FromHub>, tonic::Status> {
    let messages = messages.into_iter().map(|message| v1::SpokeMessage { message: Some(message) });
    // The stream stays open behind them: it is the hub that ends it.
    let outbound = futures::StreamExt::chain(futures::stream::iter(messages), futures::stream::pending());
    let mut inbound = FleetSyncClient::new(channel).connect(outbound).await?.into_inner();
    let mut last = None;
    while let Ok(Ok(Some(said))) = tokio::time::timeout(PATIENCE, inbound.message()).await {
        last = said.message;
        if matches!(last, Some(FromHub::GoAway(_))) {
            break;
        }
    }
    Ok(last)
}

fn enroll(cluster: &str, token: &str, csr_pem: String, expired: &str) -> v1::EnrollRequest {
    v1::EnrollRequest {
        cluster: cluster.into(),
        token: token.into(),
        csr_pem,
        cluster_uid: "uid".into(),
        expired_certificate_pem: expired.into(),
    }
}

#[tokio::test]
async fn who_shows_no_good_certificate_gets_no_message_through() {
    let log = Log::default();
    let _listening = log.listen();
    let mut hub = Hub::start().await;
    let trust = hub.authorities.current();
    let (now, long_ago) = (Timestamp::now(), Timestamp::now() - HOUR * 2);
    let foreign = Authority::generate("nimfleet-hub-ca", now, AUTHORITY_LIFE).unwrap();
    for held in [Held::of(&foreign, "east", now), Held::of(trust.signer(), "east", long_ago)] {
        let refused = hub.dial(Some((&held.certificate_pem, &held.key_pem))).await;
        assert!(refused.is_err(), "no message of either service has a way in");
        log.until("no good certificate", &["TLS handshake failed", "127.0.0.1"]).await;
    }
    for message in messages() {
        let refused = talk(hub.dial_without_certificate().await, vec![message.clone()]).await.unwrap_err();
        assert_eq!(refused.code(), Code::Unauthenticated, "{message:?}");
        log.until(&format!("{message:?}"), &["session refused"]).await;
    }
    let request =
        v1::RenewRequest { csr_pem: csr(&rcgen::KeyPair::generate().unwrap()), ..Default::default() };
    let refused = EnrollmentClient::new(hub.dial_without_certificate().await).renew(request).await;
    assert_eq!(refused.unwrap_err().code(), Code::Unauthenticated);
    log.until("no certificate", &["renewal refused"]).await;
    assert_eq!(hub.told(), []);
    assert_eq!(hub.counters.certificates.get() + hub.counters.sessions.get(), 0);
}

#[tokio::test]
async fn tls_1_2_is_not_spoken() {
    let log = Log::default();
    let _listening = log.listen();
    let hub = Hub::start().await;
    let mut tcp = tokio::net::TcpStream::connect(hub.address).await.unwrap();
    // A ClientHello of TLS 1.2: ECDHE-ECDSA with AES-128-GCM, and nothing that says it could do more.
    let mut hello = vec![0x03, 0x03];
    hello.extend([7; 32]);
    hello.extend([0, 0, 2, 0xc0, 0x2b, 1, 0]);
    let extensions = [0, 10, 0, 4, 0, 2, 0, 23, 0, 13, 0, 4, 0, 2, 4, 3];
    hello.extend([0, 16]);
    hello.extend(extensions);
    let length = u16::try_from(hello.len()).unwrap();
    let mut record = vec![0x16, 0x03, 0x01];
    record.extend((length + 4).to_be_bytes());
    record.extend([1, 0]);
    record.extend(length.to_be_bytes());
    record.extend(hello);
    tcp.write_all(&record).await.unwrap();
    let mut answer = [0; 7];
    tcp.read_exact(&mut answer).await.unwrap();
    assert_eq!((answer[0], answer[6]), (21, 70), "an alert, protocol_version: {answer:?}");
    log.until("TLS 1.2", &["TLS handshake failed"]).await;
}

#[tokio::test]
async fn another_clusters_name_is_refused_in_every_call() {
    let log = Log::default();
    let _listening = log.listen();
    let mut hub = Hub::start().await;
    let trust = hub.authorities.current();
    let (now, long_ago) = (Timestamp::now(), Timestamp::now() - SignedDuration::from_mins(90));
    let own = Held::of(trust.signer(), "east", now);
    let dial = || async { hub.dial(Some((&own.certificate_pem, &own.key_pem))).await.unwrap() };

    // Whatever comes first but a Hello, and a Hello with another name: prefixes and case are other names too.
    let mut first = messages();
    for name in ["EAST", "eas", "east2", "east.", " east", "east/../west", ""] {
        first.push(Message::Hello(v1::Hello {
            cluster: name.into(),
            cluster_uid: "uid".into(),
            ..Default::default()
        }));
    }
    for message in first {
        // What is about trust is taken for no session yet, and is no turn of its own.
        let quiet = matches!(message, Message::TrustTaken(_));
        let wrong = Message::Hello(v1::Hello {
            cluster: "west".into(),
            cluster_uid: "uid".into(),
            ..Default::default()
        });
        let words = if quiet { vec![message.clone(), wrong] } else { vec![message.clone()] };
        let last = talk(dial().await, words).await.unwrap();
        let Some(FromHub::GoAway(goodbye)) = last else { panic!("{message:?}: {last:?}") };
        assert_eq!(goodbye.reason(), v1::GoAwayReason::ProtocolError, "{message:?}");
        log.until(&format!("{message:?}"), &["session ended"]).await;
    }

    let other = Held::of(trust.signer(), "west", long_ago);
    let ours = Held::of(trust.signer(), "east", long_ago);
    let strange = Authority::generate("nimfleet-hub-ca", now, AUTHORITY_LIFE).unwrap();
    let strange = Held::of(&strange, "east", long_ago);
    let token = hub.join("west").await.token.to_string();
    let calls = [
        ("a token of west", enroll("east", &token, own.csr(), ""), "is for cluster west"),
        ("a certificate of west", enroll("east", "", other.csr(), &other.certificate_pem), "of cluster west"),
        (
            "another's certificate",
            enroll("west", "", own.csr(), &other.certificate_pem),
            "not signed by the key",
        ),
        ("our own, another's name", enroll("west", "", ours.csr(), &ours.certificate_pem), "of cluster east"),
        ("another CA's", enroll("east", "", strange.csr(), &strange.certificate_pem), "not of a CA"),
    ];
    for (case, request, words) in calls {
        let refused = EnrollmentClient::new(dial().await).enroll(request).await.unwrap_err();
        assert_eq!(refused.code(), Code::PermissionDenied, "{case}");
        assert!(refused.message().contains(words), "{case}: {}", refused.message());
        log.until(case, &["enrolment refused"]).await;
    }
    // A renewal names nobody: what comes back is of the cluster of the certificate.
    let request = v1::RenewRequest { csr_pem: own.csr(), cluster_uid: "uid".into() };
    let renewed = EnrollmentClient::new(dial().await).renew(request).await.unwrap().into_inner();
    let renewed = trust.once_issued(&renewed.certificate.unwrap().certificate_pem).unwrap();
    assert_eq!(renewed.cluster.as_str(), "east");
    assert_eq!(hub.told(), [], "nobody was told of anything");
    assert_eq!(hub.counters.sessions.get(), 0);
}

#[tokio::test]
async fn what_a_spoke_says_of_another_clusters_objects_changes_nothing_there() {
    let mut hub = Hub::start().await;
    hub.desired.set_desired(&"west".parse().unwrap(), desired("of-west", "1"));
    let own = Held::of(hub.authorities.current().signer(), "east", Timestamp::now());
    let hello =
        Message::Hello(v1::Hello { cluster: "east".into(), cluster_uid: "uid".into(), ..Default::default() });
    let index = Message::Index(v1::Index { last: true, ..Default::default() });
    for message in messages() {
        let channel = hub.dial(Some((&own.certificate_pem, &own.key_pem))).await.unwrap();
        let words = match &message {
            Message::Hello(_) => continue,
            Message::Index(_) => vec![hello.clone(), message.clone()],
            _ => vec![hello.clone(), index.clone(), message.clone()],
        };
        let last = tokio::time::timeout(Duration::from_millis(500), talk(channel, words)).await;
        assert!(!matches!(last, Ok(Ok(Some(FromHub::Desired(_))))), "{message:?}: it was sent the object");
        for event in hub.told() {
            assert_eq!(event.cluster().as_str(), "east", "{message:?}: {event:?}");
            let about_west = match &event {
                LinkEvent::Status { objects, .. } => objects.iter().any(|o| o.object.uid == "of-west"),
                LinkEvent::Results { results, .. } => results.iter().any(|r| r.uid == "of-west"),
                // That it holds one that was never wanted there is told, and only told.
                _ => false,
            };
            assert!(!about_west, "{message:?}: {event:?}");
        }
    }
    assert_eq!(hub.counters.upserts.get() + hub.counters.tombstones.get(), 0);
}
