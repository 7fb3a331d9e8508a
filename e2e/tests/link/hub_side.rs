//! A hub's link with memory in place of its API server.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hub::link::{
    Admission, Counters, DesiredState, EpochStore, MemberIdentity, Membership, PortError, Server,
};
use hub::pki::{
    AUTHORITY_LIFE, Authorities, CERTIFICATE_LIFE, DEFAULT_TTL, JoinLine, SecretError, Secrets, Stored,
    Tokens,
};
use hub_core::epoch::Epoch;
use hub_core::identity::{CaHash, EpochKey, Member, SpokeCertificate, is_revoked};
use hub_core::link::LinkEvent;
use hub_scheduler::fleet::ClusterName;
use hyper_util::rt::TokioIo;
use jiff::{SignedDuration, Timestamp};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use tokio::io::AsyncBufReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};
use tower::service_fn;

const PATIENCE: Duration = Duration::from_mins(1);
/// Of the GPUCluster of every cluster.
pub(crate) const OBJECT_UID: &str = "object";

/// A cluster that is accepted, whichever it is: that is asked of the certificate.
pub(crate) fn accepted() -> Membership {
    Membership::Accepted(MemberIdentity { object_uid: OBJECT_UID.to_owned(), cluster_uid: String::new() })
}

/// What outlives a hub: its Secrets, its epoch, and what its admin says.
#[derive(Clone)]
pub(crate) struct World {
    secrets: Memory,
    state: Arc<Mutex<State>>,
}

struct State {
    epoch: Epoch,
    standing: Membership,
    certificate_life: SignedDuration,
    return_within: SignedDuration,
    heartbeat: Duration,
    revoked: Vec<String>,
}

impl World {
    pub(crate) fn new() -> Self {
        let epoch = Epoch { hub_id: "hub".to_owned(), term: 1, incarnation: "i1".to_owned() };
        let state = State {
            epoch,
            standing: accepted(),
            certificate_life: CERTIFICATE_LIFE,
            return_within: SignedDuration::from_hours(1),
            heartbeat: Duration::from_secs(2),
            revoked: Vec::new(),
        };
        Self { secrets: Memory::default(), state: Arc::new(Mutex::new(state)) }
    }

    pub(crate) fn stand(&self, standing: Membership) {
        self.state.lock().unwrap().standing = standing;
    }

    /// Certificates live so long.
    pub(crate) fn certify_for(&self, life: SignedDuration) {
        self.state.lock().unwrap().certificate_life = life;
    }

    /// A certificate that ended no longer ago is replaced by proof of its key.
    pub(crate) fn return_within(&self, time: SignedDuration) {
        self.state.lock().unwrap().return_within = time;
    }

    /// Both sides give a sign of life so often.
    pub(crate) fn beat_every(&self, heartbeat: Duration) {
        self.state.lock().unwrap().heartbeat = heartbeat;
    }

    /// As the admin does by `spec.revokedCertificates`.
    pub(crate) fn revoke(&self, certificate: &str) {
        self.state.lock().unwrap().revoked.push(certificate.to_owned());
    }

    pub(crate) fn epoch(&self) -> Epoch {
        self.state.lock().unwrap().epoch.clone()
    }

    /// As a hub does when it starts.
    pub(crate) fn raise(&self) {
        let term = self.epoch().term;
        self.raise_to(term + 1);
    }

    fn raise_to(&self, term: u64) {
        let epoch = Epoch { hub_id: "hub".to_owned(), term, incarnation: format!("i{term}") };
        self.state.lock().unwrap().epoch = epoch;
    }
}

impl Admission for World {
    async fn ask(&self, _: &ClusterName, _: &str) -> Result<Membership, PortError> {
        Ok(self.state.lock().unwrap().standing.clone())
    }

    async fn membership(&self, certificate: &SpokeCertificate) -> Result<Membership, PortError> {
        let state = self.state.lock().unwrap();
        if is_revoked(&certificate.serial, &state.revoked) {
            return Ok(Membership::Revoked("the certificate is revoked".to_owned()));
        }
        Ok(match (&state.standing, &certificate.cluster_uid) {
            (Membership::Accepted(membership), Some(uid)) => {
                Membership::Accepted(MemberIdentity { cluster_uid: uid.clone(), ..membership.clone() })
            }
            (other, _) => other.clone(),
        })
    }

    async fn returning(&self, certificate: &SpokeCertificate, _: &str) -> Result<Membership, PortError> {
        self.membership(certificate).await
    }

    fn members(&self) -> Vec<Member> {
        // Holds what the hub would do by itself: tests lead the rollover.
        let cluster = "held".parse().unwrap();
        vec![Member { cluster, trusted: Vec::new(), authority: None, connected: false }]
    }
}

impl EpochStore for World {
    fn current(&self) -> Epoch {
        self.epoch()
    }

    fn key(&self) -> EpochKey {
        EpochKey::new([1; 32])
    }

    async fn raise_above(&self, term: u64) -> Result<Epoch, PortError> {
        self.raise_to(term + 1);
        Ok(self.epoch())
    }
}

#[derive(Clone, Default)]
pub(crate) struct Memory(Arc<Mutex<BTreeMap<String, Stored>>>);

impl Secrets for Memory {
    async fn get(&self, name: &str) -> Result<Option<Stored>, SecretError> {
        Ok(self.0.lock().unwrap().get(name).cloned())
    }

    async fn create(
        &self,
        name: &str,
        _: Option<(&str, &str)>,
        data: BTreeMap<String, Vec<u8>>,
    ) -> Result<bool, SecretError> {
        let stored = Stored { name: name.to_owned(), version: "1".to_owned(), data };
        Ok(self.0.lock().unwrap().insert(name.to_owned(), stored).is_none())
    }

    async fn update(
        &self,
        old: &Stored,
        _: Option<(&str, &str)>,
        data: BTreeMap<String, Vec<u8>>,
    ) -> Result<bool, SecretError> {
        let stored = Stored { data, ..old.clone() };
        Ok(self.0.lock().unwrap().insert(old.name.clone(), stored).is_some())
    }

    async fn list(&self, _: (&str, &str)) -> Result<Vec<Stored>, SecretError> {
        Ok(Vec::new())
    }

    async fn delete(&self, name: &str) -> Result<(), SecretError> {
        self.0.lock().unwrap().remove(name);
        Ok(())
    }
}

/// A hub that listens.
pub(crate) struct Hub {
    pub(crate) world: World,
    pub(crate) address: SocketAddr,
    pub(crate) desired: DesiredState,
    pub(crate) counters: Counters,
    pub(crate) authorities: Arc<Authorities<Memory>>,
    events: mpsc::Receiver<LinkEvent>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Hub {
    pub(crate) async fn start() -> Self {
        Self::start_with(World::new(), SocketAddr::from(([127, 0, 0, 1], 0))).await
    }

    pub(crate) async fn start_with(world: World, address: SocketAddr) -> Self {
        let hub = Self::start_closed(world, address).await;
        hub.desired.open();
        hub
    }

    pub(crate) async fn start_closed(world: World, address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let authorities =
            Authorities::load_or_create(world.secrets.clone(), Timestamp::now(), AUTHORITY_LIFE)
                .await
                .unwrap();
        let authorities = Arc::new(authorities);
        let (told, events) = mpsc::channel(16);
        let (desired, counters, stop) =
            (DesiredState::default(), Counters::default(), CancellationToken::new());
        let (certificate_life, return_within, heartbeat) = {
            let state = world.state.lock().unwrap();
            (state.certificate_life, state.return_within, state.heartbeat)
        };
        let server = Server {
            desired: desired.clone(),
            events: told,
            admission: Arc::new(world.clone()),
            epochs: Arc::new(world.clone()),
            authorities: authorities.clone(),
            certificate_life,
            return_within,
            tokens: Tokens::new(world.secrets.clone()),
            names: vec![],
            heartbeat,
            counters: counters.clone(),
        };
        let serving = server.serve(listener, stop.clone());
        let task = tokio::spawn(async move { serving.await.unwrap() });
        Self { world, address, desired, counters, authorities, events, stop, task }
    }

    /// Ends as on SIGTERM, and leaves what outlives it.
    pub(crate) async fn stop(mut self) -> World {
        self.stop.cancel();
        self.events.close();
        tokio::time::timeout(PATIENCE, self.task).await.expect("the hub stops").unwrap();
        self.world
    }

    pub(crate) async fn join(&self, cluster: &str) -> JoinLine {
        let cluster: ClusterName = cluster.parse().unwrap();
        let tokens = Tokens::new(self.world.secrets.clone());
        let token = tokens.create(&cluster, DEFAULT_TTL, Timestamp::now()).await.unwrap();
        let (charts, address) = ("charts".to_owned(), self.address.to_string());
        JoinLine { charts, address, ca_hash: self.ca_hash(), token, cluster }
    }

    fn ca_hash(&self) -> CaHash {
        self.authorities.current().signer().hash().clone()
    }

    /// What has been told and not been looked at yet.
    pub(crate) fn told(&mut self) -> Vec<LinkEvent> {
        std::iter::from_fn(|| self.events.try_recv().ok()).collect()
    }

    /// The first event of that kind from now on.
    pub(crate) async fn until(&mut self, what: &str, is_it: impl Fn(&LinkEvent) -> bool) -> LinkEvent {
        let mut seen = Vec::new();
        let found = tokio::time::timeout(PATIENCE, async {
            loop {
                let event = self.events.recv().await.expect("the hub lives");
                if is_it(&event) {
                    return event;
                }
                seen.push(event);
            }
        });
        let found = found.await;
        found.unwrap_or_else(|_| panic!("not within {PATIENCE:?}: {what}; seen: {seen:#?}"))
    }

    pub(crate) async fn dial_without_certificate(&self) -> Channel {
        self.dial(None).await.unwrap()
    }

    /// Dials with a certificate and its key, PEM; an error where the hub does not take it.
    pub(crate) async fn dial(&self, identity: Option<(&str, &str)>) -> std::io::Result<Channel> {
        let mut once = Some(TokioIo::new(self.tls(self.address, identity).await?));
        let connector = service_fn(move |_| {
            let tls = once.take();
            async move { tls.ok_or_else(|| std::io::Error::from(std::io::ErrorKind::NotConnected)) }
        });
        Ok(Endpoint::from_static("http://hub").connect_with_connector(connector).await.unwrap())
    }

    /// A connection to the hub by way of `address` that has shaken hands, and on which nothing has been said.
    pub(crate) async fn tls(
        &self,
        address: SocketAddr,
        identity: Option<(&str, &str)>,
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(self.authorities.current().signer().certificate().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_root_certificates(roots);
        let mut config = match identity {
            None => config.with_no_client_auth(),
            Some((certificate, key)) => {
                let certificate = CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap();
                let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
                config.with_client_auth_cert(vec![certificate], key).unwrap()
            }
        };
        config.alpn_protocols = vec![b"h2".to_vec()];
        let tcp = TcpStream::connect(address).await.unwrap();
        let name = "localhost".try_into().unwrap();
        let mut tls = TlsConnector::from(Arc::new(config)).connect(name, tcp).await?;
        // Whether the hub takes the certificate is known from its first word.
        if tls.fill_buf().await?.is_empty() {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        Ok(tls)
    }
}
