//! One Kubernetes cluster on loopback: a real API server, controllers and scheduler, with kwok as every node's kubelet.

mod applied;
pub mod audit;
pub(crate) mod authority;
mod backup;
pub mod gpu;
mod ground;
mod kubelet;
mod nodes;
mod stored;

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::json;
use tokio::time::{Instant, sleep};

pub use backup::Backup;
pub use ground::Ground;

use crate::command::{self, CommandError};
use crate::port::{self, NoFreePort};
use crate::process::{Process, ProcessError, Program, last_lines};
use audit::AuditLog;
use authority::AuthorityError;
use nodes::Node;

/// How long an API server may take until it is ready.
const READY_WITHIN: Duration = Duration::from_mins(2);
/// Who the tests' own requests come from (`system:masters`).
pub const ADMIN: &str = "admin";
/// Bearer token of [`ADMIN`].
const ADMIN_TOKEN: &str = "admin-token";

/// A cluster could not be started or spoken to.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// A program did not start.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// No port to listen on.
    #[error(transparent)]
    Port(#[from] NoFreePort),
    /// Keys or certificates could not be made.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// The programs could not be built.
    #[error(transparent)]
    Programs(#[from] crate::controlplane::BuildError),
    /// A file could not be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A definition or a policy is not in force in time.
    #[error("{cluster}: {definition} is not in force within a minute")]
    NotServed {
        /// Name of the cluster.
        cluster: String,
        /// Name of the definition or the policy.
        definition: String,
    },
    /// The API server refused or did not answer.
    #[error("{cluster}: {doing}: {source}")]
    Api {
        /// Name of the cluster.
        cluster: String,
        /// What was asked of it.
        doing: String,
        /// What came back.
        source: Box<kube::Error>,
    },
    /// A kubeconfig of ours is not one.
    #[error("kubeconfig: {0}")]
    Kubeconfig(String),
    /// The API server did not become ready.
    #[error("{cluster}: kube-apiserver was not ready after {READY_WITHIN:?}; its last words:\n{log}")]
    NotReady {
        /// Name of the cluster.
        cluster: String,
        /// The end of its log.
        log: String,
    },
    /// A GPU product whose memory is not known here.
    #[error("GPU product {0:?} is unknown: use one of {known}", known = gpu::KNOWN.map(|(name, _)| name).join(", "))]
    UnknownGpu(String),
}

/// What a cluster is to have.
#[derive(Debug, Clone, Default)]
pub struct Shape {
    nodes: Vec<Node>,
    audited: bool,
    logs: Option<PathBuf>,
    gates: Vec<&'static str>,
}

impl Shape {
    /// An API server and controllers; no node, so nothing runs.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds `nodes` nodes with `per_node` GPUs of `product` each (its name as GPU Feature Discovery writes it).
    #[must_use]
    pub fn gpus(mut self, product: &str, per_node: u32, nodes: u32) -> Self {
        self.nodes.extend((0..nodes).map(|_| Node::with_gpus(product, per_node)));
        self
    }

    /// Adds `nodes` nodes without GPUs.
    #[must_use]
    pub fn cpu_nodes(mut self, nodes: u32) -> Self {
        self.nodes.extend((0..nodes).map(|_| Node::without_gpus()));
        self
    }

    /// Keeps an audit log of every request.
    #[must_use]
    pub fn audited(mut self) -> Self {
        self.audited = true;
        self
    }

    /// Turns a feature gate of Kubernetes on.
    #[must_use]
    pub fn gate(mut self, name: &'static str) -> Self {
        self.gates.push(name);
        self
    }

    /// The value of `--feature-gates`; empty where all are as they are by themselves.
    fn feature_gates(&self) -> String {
        let gates: Vec<String> = self.gates.iter().map(|gate| format!("{gate}=true")).collect();
        gates.join(",")
    }

    /// What every container prints: the lines of this file.
    #[must_use]
    pub fn container_logs(mut self, text: impl Into<PathBuf>) -> Self {
        self.logs = Some(text.into());
        self
    }
}

/// A running cluster; dropping it ends its programs.
pub struct Cluster {
    etcd: String,
    name: String,
    folder: PathBuf,
    kubectl: PathBuf,
    address: SocketAddr,
    authority: PathBuf,
    api_program: Program,
    api_server: Mutex<Option<Process>>,
    workers: Vec<Process>,
    /// None where there are no nodes.
    scheduler: Option<Process>,
    client: Client,
}

impl Cluster {
    /// Starts a cluster and waits until its API server is ready and its nodes are registered.
    pub async fn start(ground: &Ground, name: &str, shape: &Shape) -> Result<Self, ClusterError> {
        let folder = ground.folder().join(name);
        fs::create_dir_all(&folder).map_err(at(&folder))?;
        let address = SocketAddr::from(([127, 0, 0, 1], port::free()?));
        let api_program = api_server(ground, name, &folder, address, shape)?;
        let authority = ground.authority().certificate.clone();
        let kubeconfig = kubeconfig(address, &authority, ADMIN_TOKEN);
        let client = client(&kubeconfig).await?;
        let mut cluster = Self {
            etcd: ground.etcd().to_owned(),
            name: name.to_owned(),
            folder,
            kubectl: ground.programs().path("kubectl"),
            address,
            authority,
            api_program,
            api_server: Mutex::new(None),
            workers: Vec::new(),
            scheduler: None,
            client,
        };
        write(&cluster.kubeconfig(), kubeconfig.to_string())?;
        cluster.start_api_server().await?;
        cluster.start_controllers(ground, shape)?;
        if !shape.nodes.is_empty() {
            kubelet::prepare(&cluster).await?;
            let program = kubelet::program(ground, &cluster, shape.logs.as_deref())?;
            cluster.workers.push(program.start()?);
            cluster.scheduler = Some(cluster.worker(ground, "kube-scheduler").start()?);
            nodes::register(&cluster, &shape.nodes).await?;
        }
        Ok(cluster)
    }

    /// The scheduler, whose pods wait without a word while it is frozen. None where there are no nodes.
    #[must_use]
    pub fn scheduler(&self) -> Option<&Process> {
        self.scheduler.as_ref()
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A client with every right (user [`ADMIN`]).
    #[must_use]
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// Runs kubectl with every right, `input` on its stdin; returns what it printed.
    pub async fn kubectl(&self, arguments: &[&str], input: Option<&str>) -> Result<String, CommandError> {
        let kubeconfig = self.kubeconfig();
        let kubeconfig = kubeconfig.to_string_lossy();
        command::run(&self.kubectl, &[&["--kubeconfig", &*kubeconfig], arguments].concat(), input).await
    }

    /// A kubeconfig file with every right.
    #[must_use]
    pub fn kubeconfig(&self) -> PathBuf {
        self.folder.join("kubeconfig")
    }

    /// Writes a kubeconfig file for the bearer of `token` and says where.
    pub fn kubeconfig_for(&self, user: &str, token: &str) -> Result<PathBuf, ClusterError> {
        let path = self.folder.join(format!("kubeconfig-{user}"));
        write(&path, kubeconfig(self.address, &self.authority, token).to_string())?;
        Ok(path)
    }

    /// Where its files and logs are.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where its API server listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The requests it was sent; empty unless the cluster was started audited.
    #[must_use]
    pub fn audit(&self) -> AuditLog {
        AuditLog::new(self.folder.join("audit.log"))
    }

    /// Every log file of the cluster's programs.
    #[must_use]
    pub fn logs(&self) -> Vec<PathBuf> {
        let mut logs: Vec<PathBuf> = fs::read_dir(&self.folder)
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| path.extension().is_some_and(|e| e == "log") && !path.ends_with("audit.log"))
            .collect();
        logs.sort();
        logs
    }

    /// Ends the API server, as an outage does; what is stored stays.
    pub fn kill_api_server(&self) {
        *self.api_server() = None;
    }

    /// Starts the API server (again, at the same address) and waits until it is ready.
    pub async fn start_api_server(&self) -> Result<(), ClusterError> {
        *self.api_server() = Some(self.api_program.start()?);
        let until = Instant::now() + READY_WITHIN;
        loop {
            let request = http::Request::get("/readyz").body(Vec::new()).unwrap_or_default();
            if self.client.request_text(request).await.is_ok_and(|answer| answer == "ok") {
                return Ok(());
            }
            let ended = self.api_server().as_mut().is_none_or(|server| server.ended().is_some());
            if ended || Instant::now() > until {
                let log = last_lines(self.api_program.log(), 20);
                return Err(ClusterError::NotReady { cluster: self.name.clone(), log });
            }
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// Processor time that its API server has used since it was started last, seconds; zero while it is down.
    pub fn api_server_cpu_seconds(&self) -> Result<f64, ClusterError> {
        Ok(self.api_server().as_ref().map(Process::cpu_seconds).transpose()?.unwrap_or_default())
    }

    fn api_server(&self) -> MutexGuard<'_, Option<Process>> {
        self.api_server.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn start_controllers(&mut self, ground: &Ground, shape: &Shape) -> Result<(), ClusterError> {
        let mut program = self
            .worker(ground, "kube-controller-manager")
            .flag("service-account-private-key-file", ground.authority().account_key.display())
            .flag("root-ca-file", ground.authority().certificate.display())
            .flag("use-service-account-credentials", false);
        if !shape.gates.is_empty() {
            program = program.flag("feature-gates", shape.feature_gates());
        }
        self.workers.push(program.start()?);
        Ok(())
    }

    /// A program of the control plane that works against the API server.
    fn worker(&self, ground: &Ground, name: &str) -> Program {
        Program::new(ground.programs().path(name), self.folder.join(format!("{name}.log")))
            .flag("kubeconfig", self.kubeconfig().display())
            .flag("leader-elect", false)
            .flag("kube-api-qps", 300)
            .flag("kube-api-burst", 500)
            .flag("secure-port", 0)
    }

    pub(crate) fn fault(&self, doing: &str) -> impl FnOnce(kube::Error) -> ClusterError {
        let (cluster, doing) = (self.name.clone(), doing.to_owned());
        move |source| ClusterError::Api { cluster, doing, source: Box::new(source) }
    }
}

fn api_server(
    ground: &Ground,
    name: &str,
    folder: &Path,
    address: SocketAddr,
    shape: &Shape,
) -> Result<Program, ClusterError> {
    let authority = ground.authority();
    let tokens = folder.join("tokens.csv");
    write(&tokens, format!("{ADMIN_TOKEN},{ADMIN},1,system:masters\n"))?;
    let mut program =
        Program::new(ground.programs().path("kube-apiserver"), folder.join("kube-apiserver.log"))
            .flag("etcd-servers", ground.etcd())
            .flag("etcd-prefix", format!("/{name}"))
            .flag("bind-address", address.ip())
            .flag("advertise-address", address.ip())
            .flag("secure-port", address.port())
            .flag("tls-cert-file", authority.serving_certificate.display())
            .flag("tls-private-key-file", authority.serving_key.display())
            .flag("service-account-issuer", "https://kubernetes.default.svc")
            .flag("service-account-key-file", authority.account_public_key.display())
            .flag("service-account-signing-key-file", authority.account_key.display())
            .flag("service-cluster-ip-range", "10.0.0.0/16")
            .flag("token-auth-file", tokens.display())
            .flag("authorization-mode", "RBAC")
            // Who passes requests on to aggregated APIs, and for whom.
            .flag("requestheader-client-ca-file", authority.certificate.display())
            .flag("requestheader-allowed-names", authority::FRONT_PROXY)
            .flag("requestheader-username-headers", "X-Remote-User")
            .flag("requestheader-group-headers", "X-Remote-Group")
            .flag("requestheader-extra-headers-prefix", "X-Remote-Extra-")
            .flag("proxy-client-cert-file", authority.proxy_certificate.display())
            .flag("proxy-client-key-file", authority.proxy_key.display())
            // Loopback addresses are no endpoints; trying fills the log.
            .flag("endpoint-reconciler-type", "none")
            .flag("allow-privileged", true);
    if !shape.gates.is_empty() {
        program = program.flag("feature-gates", shape.feature_gates());
    }
    if shape.audited {
        let policy = folder.join("audit-policy.json");
        write(&policy, audit::policy().to_string())?;
        program = program
            .flag("audit-policy-file", policy.display())
            .flag("audit-log-path", folder.join("audit.log").display());
    }
    Ok(program)
}

fn kubeconfig(address: SocketAddr, authority: &Path, token: &str) -> serde_json::Value {
    json!({
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "x",
        "clusters": [{"name": "x", "cluster": {
            "server": format!("https://{address}"),
            "certificate-authority": authority,
        }}],
        "users": [{"name": "x", "user": {"token": token}}],
        "contexts": [{"name": "x", "context": {"cluster": "x", "user": "x"}}],
    })
}

async fn client(kubeconfig: &serde_json::Value) -> Result<Client, ClusterError> {
    let broken = |error: &dyn std::fmt::Display| ClusterError::Kubeconfig(error.to_string());
    let parsed: Kubeconfig = serde_json::from_value(kubeconfig.clone()).map_err(|e| broken(&e))?;
    let mut config = Config::from_custom_kubeconfig(parsed, &KubeConfigOptions::default())
        .await
        .map_err(|e| broken(&e))?;
    config.default_retry = false;
    Client::try_from(config).map_err(|e| broken(&e))
}

fn write(path: &Path, text: impl AsRef<[u8]>) -> Result<(), ClusterError> {
    fs::write(path, text).map_err(at(path))
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> ClusterError {
    let path = path.to_owned();
    move |source| ClusterError::Io { path, source }
}
