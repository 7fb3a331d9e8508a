//! A spoke that never reads, reads a byte a second, floods or sends garbage harms itself alone: another's changes and
//! statuses stay prompt meanwhile, and the hub's memory stays flat.

use std::sync::Arc;
use std::time::{Duration, Instant};

use e2e::fault_proxy::{FaultProxy, Network};
use futures::{Stream, StreamExt};
use hub_core::link::{DesiredObject, LinkEvent};
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use proto::v1;
use proto::v1::fleet_sync_client::FleetSyncClient;
use proto::v1::spoke_message::Message;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tokio_rustls::client::TlsStream;
use tonic::transport::{Channel, Endpoint};
use tower::service_fn;

use crate::foreign::Held;
use crate::hub_side::Hub;
use crate::spoke_side::Spoke;
use crate::{EAST, connected, desired, spoke_side};

const WEST: &str = "west";
/// What is wanted of the hostile cluster: 100 MiB, which the hub holds once.
const OBJECTS: usize = 400;
const BYTES: usize = 256 << 10;
/// While it is hostile, so many changes and statuses of the other cluster are carried through, each within this time
/// on a busy machine. What waits for a spoke that does not read waits for ever.
const ROUNDS: usize = 25;
const PROMPT: Duration = Duration::from_secs(5);
/// The most by which the memory of hub, spoke and attacker, which are one process here, may grow: 4 MiB under way, 8 MiB
/// in the lanes, buffers of TLS and HTTP/2, and what allocators keep.
const FLAT_KIB: usize = 48 << 10;

/// Resident memory of this process, KiB.
fn resident_kib() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn said(message: Message) -> v1::SpokeMessage {
    v1::SpokeMessage { message: Some(message) }
}

/// The first words of a spoke that holds nothing.
fn hello() -> Vec<v1::SpokeMessage> {
    let hello = v1::Hello {
        cluster: WEST.into(),
        cluster_uid: "uid".into(),
        instance: "hostile".into(),
        ..v1::Hello::default()
    };
    let index = v1::Index { last: true, ..v1::Index::default() };
    vec![said(Message::Hello(hello)), said(Message::Index(index))]
}

/// Signs of life for ever.
fn alive() -> impl Stream<Item = v1::SpokeMessage> + Send {
    futures::stream::unfold((), |()| async {
        sleep(Duration::from_millis(500)).await;
        Some((said(Message::Heartbeat(v1::Heartbeat::default())), ()))
    })
}

/// A hub that wants much of the hostile cluster, and another cluster that is connected.
struct Bench {
    hub: Hub,
    spoke: Spoke,
    held: Held,
}

impl Bench {
    async fn new() -> Self {
        let (hub, spoke) = connected().await;
        let west = WEST.parse().unwrap();
        let payload: Arc<[u8]> = Arc::from(vec![b'x'; BYTES]);
        for number in 0..OBJECTS {
            let object = DesiredObject { payload: payload.clone(), ..desired(&format!("w{number:03}"), "1") };
            hub.desired.set_desired(&west, object);
        }
        let held = Held::of(hub.authorities.current().signer(), WEST, Timestamp::now());
        Self { hub, spoke, held }
    }

    async fn tls(&self, address: std::net::SocketAddr) -> TlsStream<TcpStream> {
        self.hub.tls(address, Some((&self.held.certificate_pem, &self.held.key_pem))).await.unwrap()
    }

    async fn channel(&self) -> Channel {
        self.hub.dial(Some((&self.held.certificate_pem, &self.held.key_pem))).await.unwrap()
    }

    /// Waits until the hostile spoke is welcome.
    async fn welcomed(&mut self) {
        let is_it = |event: &LinkEvent| matches!(event, LinkEvent::Connected { cluster, .. } if cluster.as_str() == WEST);
        self.hub.until("the hostile one is welcome", is_it).await;
    }

    /// Carries changes and statuses of the other cluster through while `attack` goes on.
    async fn endures(mut self, what: &str, attack: JoinHandle<()>) {
        let (east, before) = (EAST.parse().unwrap(), resident_kib());
        let (mut slowest, mut most) = (Duration::ZERO, before);
        for round in 0..ROUNDS {
            let (hash, begun) = (round.to_string(), Instant::now());
            self.hub.desired.set_desired(&east, desired("a", &hash));
            let accepted = |event: &LinkEvent| {
                matches!(event, LinkEvent::Results { cluster, results } if *cluster == east
                    && results.iter().any(|result| result.uid == "a" && result.hash == hash))
            };
            self.hub.until("the change is carried out", accepted).await;
            self.spoke.statuses.put(spoke_side::status("a", &format!("State{round}")));
            let told = |event: &LinkEvent| {
                matches!(event, LinkEvent::Status { cluster, objects } if *cluster == east
                    && objects.iter().any(|status| status.state == format!("State{round}")))
            };
            self.hub.until("the status is told", told).await;
            slowest = slowest.max(begun.elapsed());
            most = most.max(resident_kib());
            sleep(Duration::from_millis(100)).await;
        }
        attack.abort();
        eprintln!("{what}: the slowest round took {slowest:?}; memory {before} KiB, at most {most} KiB");
        assert!(slowest < PROMPT, "{what}: {slowest:?}");
        assert!(most - before < FLAT_KIB, "{what}: from {before} KiB to {most} KiB");
    }
}

#[tokio::test]
async fn a_spoke_that_never_reads_harms_itself_alone() {
    let mut bench = Bench::new().await;
    let mut client = FleetSyncClient::new(bench.channel().await);
    let outbound = futures::stream::iter(hello()).chain(alive());
    let attack = tokio::spawn(async move {
        let inbound = client.connect(outbound).await.unwrap();
        std::future::pending::<()>().await;
        drop(inbound);
    });
    bench.welcomed().await;
    bench.endures("never reads", attack).await;
}

#[tokio::test]
async fn a_spoke_that_answers_what_it_has_not_read_harms_itself_alone() {
    let mut bench = Bench::new().await;
    let mut client = FleetSyncClient::new(bench.channel().await);
    // One object fills one delta, and the hub counts them from one.
    let acks = (0..OBJECTS as u64).map(|number| {
        let outcome = Some(v1::result::Outcome::Accepted(v1::Accepted {}));
        let result = v1::Result { uid: format!("w{number:03}"), hash: "1".into(), outcome };
        said(Message::Ack(v1::Ack { delta_id: number + 1, results: vec![result] }))
    });
    let acks: Vec<_> = acks.collect();
    let paced = futures::stream::iter(acks).then(|ack| async {
        sleep(Duration::from_millis(5)).await;
        ack
    });
    let outbound = futures::stream::iter(hello()).chain(paced).chain(alive());
    let attack = tokio::spawn(async move {
        let inbound = client.connect(outbound).await.unwrap();
        std::future::pending::<()>().await;
        drop(inbound);
    });
    bench.welcomed().await;
    bench.endures("answers what it has not read", attack).await;
}

#[tokio::test]
async fn a_spoke_that_reads_a_byte_a_second_harms_itself_alone() {
    let mut bench = Bench::new().await;
    let any = "127.0.0.1:0".parse().unwrap();
    let proxy = FaultProxy::start(any, bench.hub.address).await.unwrap();
    let mut once = Some(TokioIo::new(bench.tls(proxy.address()).await));
    let connector = service_fn(move |_| {
        let tls = once.take();
        async move { tls.ok_or_else(|| std::io::Error::from(std::io::ErrorKind::NotConnected)) }
    });
    let channel = Endpoint::from_static("http://hub").connect_with_connector(connector).await.unwrap();
    let outbound = futures::stream::iter(hello()).chain(alive());
    let mut client = FleetSyncClient::new(channel);
    let attack = tokio::spawn(async move {
        let mut inbound = client.connect(outbound).await.unwrap().into_inner();
        proxy.set(Network::Rate(1));
        while let Ok(Some(_)) = inbound.message().await {}
        drop(proxy);
    });
    bench.welcomed().await;
    bench.endures("reads a byte a second", attack).await;
}

#[tokio::test]
async fn a_spoke_that_floods_harms_itself_alone() {
    let mut bench = Bench::new().await;
    let status = |number: usize| v1::ObjectStatus {
        object: Some(v1::ObjectRef { uid: format!("w{number:03}"), ..v1::ObjectRef::default() }),
        hash: "1".into(),
        state: "x".repeat(2000),
        conditions: vec![v1::Condition { message: "y".repeat(4000), ..v1::Condition::default() }],
        ..v1::ObjectStatus::default()
    };
    // Half of them of objects that nobody has heard of.
    let flood = said(Message::Status(v1::StatusBatch { items: (0..600).map(status).collect() }));
    let pool = v1::GpuPool { product: "z".repeat(1000), ..v1::GpuPool::default() };
    let report = v1::CapacityReport { pools: vec![pool; 1000], ..v1::CapacityReport::default() };
    let flood = futures::stream::iter(hello())
        .chain(futures::stream::iter(std::iter::repeat([flood, said(Message::Capacity(report))]).flatten()));
    let mut client = FleetSyncClient::new(bench.channel().await);
    let attack = tokio::spawn(async move {
        let mut inbound = client.connect(flood).await.unwrap().into_inner();
        while let Ok(Some(_)) = inbound.message().await {}
    });
    bench.welcomed().await;
    bench.endures("floods", attack).await;
}

#[tokio::test]
async fn a_spoke_that_sends_garbage_harms_itself_alone() {
    let bench = Bench::new().await;
    let address = bench.hub.address;
    let mut lines = Vec::new();
    for _ in 0..8 {
        lines.push(bench.tls(address).await);
    }
    let mut client = FleetSyncClient::new(bench.channel().await);
    let attack = tokio::spawn(async move {
        let garbage: Vec<u8> =
            (0..65_536_u32).map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect();
        // After the handshake, where HTTP/2 should be.
        for mut line in lines {
            drop(line.write_all(&garbage).await);
        }
        // Messages out of turn, again and again.
        let wrong =
            || futures::stream::iter([said(Message::Ack(v1::Ack::default())), v1::SpokeMessage::default()]);
        loop {
            if let Ok(inbound) = client.connect(wrong()).await {
                let mut inbound = inbound.into_inner();
                while let Ok(Some(_)) = inbound.message().await {}
            }
            // In place of a handshake.
            if let Ok(mut tcp) = TcpStream::connect(address).await {
                drop(tcp.write_all(&garbage).await);
            }
            sleep(Duration::from_millis(2)).await;
        }
    });
    bench.endures("sends garbage", attack).await;
}
