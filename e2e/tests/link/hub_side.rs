//! A hub's link with memory in place of its API server.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hub::epoch::Epoch;
use hub::fleet::ClusterName;
use hub::link::{Admission, Counters, EpochStore, Fleetbox, LinkEvent, PortError, Server, Standing};
use hub::pki::{Authority, DEFAULT_TTL, JoinLine, SecretError, Secrets, Stored, Tokens};
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};
use tower::service_fn;

const PATIENCE: Duration = Duration::from_secs(20);

/// What outlives a hub: its Secrets, its epoch, and what its admin says.
#[derive(Clone)]
pub(crate) struct World {
    secrets: Memory,
    state: Arc<Mutex<State>>,
}

struct State {
    epoch: Epoch,
    standing: Standing,
}

impl World {
    pub(crate) fn new() -> Self {
        let epoch = Epoch { hub_id: "hub".to_owned(), term: 1, incarnation: "i1".to_owned() };
        let state = State { epoch, standing: Standing::Accepted };
        Self { secrets: Memory::default(), state: Arc::new(Mutex::new(state)) }
    }

    pub(crate) fn stand(&self, standing: Standing) {
        self.state.lock().unwrap().standing = standing;
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
    async fn ask(&self, _: &ClusterName, _: &str) -> Result<Standing, PortError> {
        Ok(self.state.lock().unwrap().standing.clone())
    }

    async fn standing(&self, _: &ClusterName) -> Result<Standing, PortError> {
        Ok(self.state.lock().unwrap().standing.clone())
    }
}

impl EpochStore for World {
    fn current(&self) -> Epoch {
        self.epoch()
    }

    async fn raise_above(&self, term: u64) -> Result<Epoch, PortError> {
        self.raise_to(term + 1);
        Ok(self.epoch())
    }
}

#[derive(Clone, Default)]
struct Memory(Arc<Mutex<BTreeMap<String, Stored>>>);

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
    pub(crate) fleetbox: Fleetbox,
    pub(crate) counters: Counters,
    authority: Arc<Authority>,
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
        hub.fleetbox.open();
        hub
    }

    pub(crate) async fn start_closed(world: World, address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let authority = Arc::new(Authority::load_or_create(&world.secrets, Timestamp::now()).await.unwrap());
        let (told, events) = mpsc::channel(16);
        let (fleetbox, counters, stop) = (Fleetbox::default(), Counters::default(), CancellationToken::new());
        let server = Server {
            fleetbox: fleetbox.clone(),
            events: told,
            admission: Arc::new(world.clone()),
            epochs: Arc::new(world.clone()),
            authority: authority.clone(),
            tokens: Tokens::new(world.secrets.clone()),
            names: vec![],
            heartbeat: Duration::from_secs(2),
            counters: counters.clone(),
        };
        let serving = server.serve(listener, stop.clone());
        let task = tokio::spawn(async move { serving.await.unwrap() });
        Self { world, address, fleetbox, counters, authority, events, stop, task }
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
        JoinLine { address: self.address.to_string(), ca_hash: self.authority.hash(), token, cluster }
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
        let mut roots = rustls::RootCertStore::empty();
        roots.add(self.authority.certificate().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec()];
        let tcp = TcpStream::connect(self.address).await.unwrap();
        let name = "localhost".try_into().unwrap();
        let tls = TlsConnector::from(Arc::new(config)).connect(name, tcp).await.unwrap();
        let mut once = Some(TokioIo::new(tls));
        let connector = service_fn(move |_| {
            let tls = once.take();
            async move { tls.ok_or_else(|| std::io::Error::from(std::io::ErrorKind::NotConnected)) }
        });
        Endpoint::from_static("http://hub").connect_with_connector(connector).await.unwrap()
    }
}
