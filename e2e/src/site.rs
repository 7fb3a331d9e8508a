//! One cluster with a spoke that is a NIM operator alone, under the roles of its chart.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::cluster::{Cluster, Ground, Shape};
use crate::failure::Failure;
use crate::fleet::{Binaries, Daemon, NAMESPACE, evidence, install};
use crate::process::Program;
use crate::{foreign, patience, port};

/// The chart of the spoke, and the name of its ServiceAccount.
const CHART: &str = "nimfleet-spoke";
/// How the operator's requests are signed in the audit log.
pub const IDENTITY: &str = "system:serviceaccount:nimfleet:nimfleet-spoke";
/// How long the operator may take until it is ready.
const READY_WITHIN: Duration = Duration::from_mins(1);

/// What a site is to have.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    shape: Shape,
    foreign: Vec<&'static str>,
}

impl Plan {
    /// Nodes with GPUs, as [`Shape::gpus`] says.
    #[must_use]
    pub fn gpus(mut self, product: &str, per_node: u32, nodes: u32) -> Self {
        self.shape = self.shape.gpus(product, per_node, nodes);
        self
    }

    /// Nodes without GPUs.
    #[must_use]
    pub fn cpu_nodes(mut self, nodes: u32) -> Self {
        self.shape = self.shape.cpu_nodes(nodes);
        self
    }

    /// Turns a feature gate of Kubernetes on.
    #[must_use]
    pub fn gate(mut self, name: &'static str) -> Self {
        self.shape = self.shape.gate(name);
        self
    }

    /// Keeps an audit log.
    #[must_use]
    pub fn audited(mut self) -> Self {
        self.shape = self.shape.audited();
        self
    }

    /// Installs the definitions of kinds of other products ([`foreign::KINDS`]).
    #[must_use]
    pub fn with(mut self, kinds: &[&'static str]) -> Self {
        self.foreign.extend(kinds);
        self
    }

    /// Starts the cluster; the operator is installed and not yet started.
    pub async fn prepare(self) -> Result<Site, Failure> {
        let ground = Ground::prepare().await?;
        let binaries = tokio::task::spawn_blocking(Binaries::ready).await??;
        let logs = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/model_manifest.yaml");
        let cluster = Cluster::start(&ground, "site", &self.shape.container_logs(logs)).await?;
        install::crds(&ground, &cluster).await?;
        let kubeconfig = install::identity(&ground, &cluster, CHART).await?;
        foreign::install(&cluster, &self.foreign).await?;
        let admin = SocketAddr::from(([127, 0, 0, 1], port::free()?));
        let program = Program::new(&binaries.spoke, cluster.folder().join("nimfleet-spoke.log"))
            .arg("--no-hub")
            .flag("kubeconfig", kubeconfig.display())
            .flag("namespace", NAMESPACE)
            .flag("metrics-addr", admin)
            .flag("nemo-list-secrets", false)
            .flag("log-format", "text")
            .env("NO_COLOR", "1")
            .env("RUST_LOG", "info");
        let operator = Daemon::new("nimfleet-spoke", program, admin);
        Ok(Site { operator, kubeconfig, cluster, ground })
    }

    /// Starts everything and waits until the operator is ready.
    pub async fn start(self) -> Result<Site, Failure> {
        let site = self.prepare().await?;
        site.start_operator().await?;
        Ok(site)
    }
}

/// A running site. Dropping it ends every process and removes every file of it.
pub struct Site {
    // Processes first, the ground under them last.
    operator: Daemon,
    kubeconfig: PathBuf,
    cluster: Cluster,
    ground: Ground,
}

impl Site {
    /// A site without nodes and foreign kinds; the plan's methods add to it.
    #[allow(clippy::new_ret_no_self, reason = "a site is planned before it is started")]
    #[must_use]
    pub fn new() -> Plan {
        Plan::default()
    }

    /// The cluster.
    #[must_use]
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// What its cluster stands on.
    #[must_use]
    pub fn ground(&self) -> &Ground {
        &self.ground
    }

    /// The operator's process.
    #[must_use]
    pub fn operator(&self) -> &Daemon {
        &self.operator
    }

    /// The operator's own kubeconfig.
    #[must_use]
    pub fn kubeconfig(&self) -> &PathBuf {
        &self.kubeconfig
    }

    /// Starts the operator (again) and waits until it is ready.
    pub async fn start_operator(&self) -> Result<(), Failure> {
        self.operator.start()?;
        self.eventually("the operator is ready", READY_WITHIN, || async { Ok(self.operator.ready().await?) })
            .await
    }

    /// Looks again and again until `check` succeeds; see [`patience::eventually`].
    pub async fn eventually<T, F, C>(&self, what: &str, within: Duration, check: F) -> Result<T, Failure>
    where
        F: FnMut() -> C,
        C: Future<Output = Result<T, Failure>>,
    {
        patience::eventually(what, within, check, || evidence::of_cluster(&self.cluster)).await
    }
}
