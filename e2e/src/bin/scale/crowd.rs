//! All spokes of the fleet: started and stopped as one.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use e2e::cluster::gpu::node_sets;
use e2e::failure::Failure;
use e2e::fleet::NAMESPACE;
use hub::pki::{AUTHORITY_LIFE, Authorities, CERTIFICATE_LIFE, KubeSecrets, SpokeKey, Subject};
use hub_core::identity::Family;
use jiff::Timestamp;
use rcgen::{CertificateParams, KeyPair};
use spoke::facts::{CapacityReport, GpuPool, Platform};
use spoke::link::{Counters, Enrolled, Identity, KEEPALIVE, Link, LinkState, Proxy, Settings};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::board::Board;
use super::light::{Light, Signed};
use super::relay::Relay;

/// Spokes whose traffic is counted.
pub(super) const COUNTED: usize = 20;
/// Nodes of eight GPUs in every cluster: more than is ever placed on one.
const NODES: u32 = 64;
/// All are in sync within this time, or never.
const PATIENCE: Duration = Duration::from_mins(10);
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// All spokes.
pub(super) struct Crowd {
    pub(super) spokes: Vec<Spoke>,
    pub(super) relay: Relay,
    running: Option<(CancellationToken, JoinSet<()>)>,
    starts: i64,
}

/// One of them.
pub(super) struct Spoke {
    pub(super) name: String,
    pub(super) cluster: Arc<Light>,
    identity: Signed,
    address: SocketAddr,
    ca_hash: String,
    state: watch::Receiver<LinkState>,
}

/// Name of the spoke of that number, and of its cluster.
pub(super) fn name(number: u32) -> String {
    format!("spoke-{number}")
}

impl Crowd {
    /// Makes one for each GPUCluster (name and uid), with a key of its own and a certificate of the hub's CA; none is started.
    pub(super) async fn sign(
        client: kube::Client,
        hub: SocketAddr,
        clusters: Vec<(String, String)>,
        board: &Arc<Board>,
    ) -> Result<Self, Failure> {
        let secrets = KubeSecrets::new(client, NAMESPACE);
        let now = Timestamp::now();
        let trust = Authorities::load_or_create(secrets, now, AUTHORITY_LIFE).await?.current();
        let authority = trust.signer();
        let relay = Relay::start(hub).await?;
        let sign = |(number, (name, object_uid)): (usize, (String, String))| -> Result<Spoke, Failure> {
            let key = KeyPair::generate()?;
            let request = CertificateParams::default().serialize_request(&key)?.pem()?;
            let (cluster, cluster_uid) = (name.parse()?, uid_of(&name));
            let family = Family::new(number as u64);
            let subject =
                Subject { cluster: &cluster, cluster_uid: &cluster_uid, object_uid: &object_uid, family };
            let key_of_request = SpokeKey::of_request(&request)?;
            let issued = authority.issue(&key_of_request, &subject, 1, now, CERTIFICATE_LIFE)?;
            let enrolled = Enrolled {
                key_pem: key.serialize_pem(),
                certificate_pem: issued.certificate_pem,
                ca_pem: trust.bundle_pem(),
            };
            let identity = Identity { enrolled: Some(enrolled), ..Identity::default() };
            Ok(Spoke {
                name,
                cluster: Arc::new(Light::new(board.clone())),
                identity: Signed(identity),
                address: if number < COUNTED { relay.address } else { hub },
                ca_hash: authority.hash().to_string(),
                state: watch::channel(LinkState::Connecting { problem: String::new() }).1,
            })
        };
        let spokes = clusters.into_iter().enumerate().map(sign).collect::<Result<_, _>>()?;
        Ok(Self { spokes, relay, running: None, starts: 0 })
    }

    /// Starts all at the same moment.
    pub(super) fn start(&mut self) -> Result<(), Failure> {
        let (stop, mut tasks) = (CancellationToken::new(), JoinSet::new());
        self.starts += 1;
        for spoke in &mut self.spokes {
            tasks.spawn(spoke.link(self.starts)?.run(stop.clone()));
        }
        self.running = Some((stop, tasks));
        Ok(())
    }

    /// Stops all, and waits until they have stopped.
    pub(super) async fn stop(&mut self) {
        if let Some((stop, mut tasks)) = self.running.take() {
            stop.cancel();
            while tasks.join_next().await.is_some() {}
        }
    }

    /// When the last has a session.
    pub(super) async fn connected(&self) -> Result<Instant, Failure> {
        let until = Instant::now() + PATIENCE;
        loop {
            let away = self.spokes.iter().filter(|spoke| !spoke.state.borrow().is_connected());
            let mut away = away.peekable();
            let Some(first) = away.peek() else { return Ok(Instant::now()) };
            if Instant::now() > until {
                let state = first.state.borrow().clone();
                return Err(Failure::new(format!(
                    "{} spokes away after {PATIENCE:?}: {state:?}",
                    away.count()
                )));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

fn uid_of(name: &str) -> String {
    format!("uid-of-{name}")
}

impl Spoke {
    fn link(&mut self, starts: i64) -> Result<Link<Light, Signed>, Failure> {
        let (state, shown) = watch::channel(LinkState::Connecting { problem: String::new() });
        self.state = shown;
        Ok(Link {
            settings: Settings {
                address: self.address.to_string().parse()?,
                ca_hash: self.ca_hash.parse()?,
                cluster: self.name.clone(),
                token: None,
                cluster_uid: uid_of(&self.name),
                capabilities: ["NIMService", "NIMCache"]
                    .map(|kind| format!("apps.nvidia.com/v1alpha1/{kind}"))
                    .into(),
                limits: String::new(),
                instance: (format!("{}-{starts}", self.name), starts),
                proxy: Proxy::default(),
                keepalive: KEEPALIVE,
            },
            identity: self.identity.clone(),
            deliver: self.cluster.clone(),
            statuses: self.cluster.statuses.clone(),
            capacity: watch::channel(Some(capacity())).1,
            state,
            counters: Counters::default(),
        })
    }
}

fn capacity() -> CapacityReport {
    let gpus = NODES * 8;
    CapacityReport {
        observed_at_ms: Timestamp::now().as_millisecond(),
        kubernetes_version: "v1.36.3".to_owned(),
        region: "loopback".to_owned(),
        zone: "here".to_owned(),
        provider: "memory".to_owned(),
        pools: vec![GpuPool {
            product: "NVIDIA-H100-80GB-HBM3".to_owned(),
            resource: "nvidia.com/gpu".to_owned(),
            memory_mib: 81_559,
            nodes: NODES,
            capacity: gpus,
            allocatable: gpus,
            free: gpus,
            free_per_node: BTreeMap::from([(8, NODES)]),
            ..GpuPool::default()
        }],
        platforms: vec![Platform {
            name: "standalone".to_owned(),
            version: "v1".to_owned(),
            ..Platform::default()
        }],
        node_sets: node_sets(NODES),
        ..CapacityReport::default()
    }
}
