//! A hub and its spokes, as the processes and under the roles that the charts give them, on real clusters.
//!
//! ```text
//! let fleet = Fleet::new().cluster("east").gpus(H100, 8, 4).cluster("west").gpus(L40S, 4, 2).start().await?;
//! fleet.hub().kill();
//! fleet.cluster("east")?.link().cut().await;
//! ```

mod binaries;
mod daemon;
pub(crate) mod evidence;
mod hub;
pub(crate) mod install;
mod member;

use std::time::Duration;

use futures::future::try_join_all;
use serde_json::{Value, json};

pub use binaries::{Binaries, BinariesError, own_profile};
pub use daemon::{Daemon, DaemonError};
pub use hub::{Hub, Invitation};
pub use member::Member;

use crate::cluster::{ClusterError, Ground, Shape};
use crate::command::CommandError;
use crate::failure::Failure;
use crate::patience;
use crate::process::Program;

/// Namespace of hub and spokes, as in the README.
pub const NAMESPACE: &str = "nimfleet";
/// How long each step of joining may take on a busy machine.
const JOINED_WITHIN: Duration = Duration::from_mins(2);

/// A fleet could not be started or steered.
#[derive(Debug, thiserror::Error)]
pub enum FleetError {
    /// A cluster failed.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// kubectl, helm or a program of ours refused.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// Hub and spoke could not be built.
    #[error(transparent)]
    Binaries(#[from] BinariesError),
    /// Hub or spoke did not start.
    #[error(transparent)]
    Daemon(#[from] DaemonError),
    /// The proxy between a spoke and the hub could not listen.
    #[error("the link of {cluster}: {source}")]
    Link {
        /// Whose link.
        cluster: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The limits of a cluster could not be written down.
    #[error("the limits of {cluster}: {source}")]
    Limits {
        /// Whose limits.
        cluster: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// What `join-command` printed is not what it promises.
    #[error("join-command printed {printed:?}: {source}")]
    Invitation {
        /// What it printed.
        printed: String,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// What helm made of a chart is no YAML.
    #[error("helm template {chart}: {source}")]
    Chart {
        /// Which chart.
        chart: String,
        /// What is wrong with it.
        source: Box<serde_saphyr::Error>,
    },
    /// A cluster that the fleet does not have.
    #[error("the fleet has no cluster {0:?}")]
    NoSuchCluster(String),
}

/// Who operates the NIM objects of the clusters.
#[derive(Debug, Clone, Copy, Default)]
enum Mode {
    #[default]
    Native,
    Delegate,
}

/// Whether the hub's API server passes `query.nimfleet.io` on to the hub.
#[derive(Debug, Clone, Copy, Default)]
enum Questions {
    #[default]
    Unanswered,
    PassedOn,
}

/// What a fleet is to have.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    members: Vec<Planned>,
    audited: bool,
    standby: bool,
    mode: Mode,
    patient: bool,
    certificate_life: Option<String>,
    questions: Questions,
    manifest: Option<&'static str>,
}

#[derive(Debug, Clone)]
struct Planned {
    name: String,
    shape: Shape,
    limits: Value,
    joins: bool,
}

impl Plan {
    /// Adds a cluster; what follows says more about it.
    #[must_use]
    pub fn cluster(mut self, name: &str) -> Self {
        self.members.push(Planned {
            name: name.to_owned(),
            shape: Shape::new(),
            limits: json!({}),
            joins: true,
        });
        self
    }

    /// Gives the last cluster `nodes` nodes with `per_node` GPUs of `product` each.
    #[must_use]
    pub fn gpus(self, product: &str, per_node: u32, nodes: u32) -> Self {
        self.last(|planned| planned.shape = planned.shape.clone().gpus(product, per_node, nodes))
    }

    /// Gives the last cluster nodes without GPUs.
    #[must_use]
    pub fn cpu_nodes(self, nodes: u32) -> Self {
        self.last(|planned| planned.shape = planned.shape.clone().cpu_nodes(nodes))
    }

    /// Sets `limits` in the values of the last cluster's spoke; what is not said is as the chart has it.
    #[must_use]
    pub fn limits(self, limits: Value) -> Self {
        self.last(|planned| planned.limits = limits)
    }

    /// Leaves the last cluster outside the fleet: it has the CRDs and the roles, but no spoke runs yet.
    #[must_use]
    pub fn not_joined(self) -> Self {
        self.last(|planned| planned.joins = false)
    }

    /// Keeps an audit log on every cluster.
    #[must_use]
    pub fn audited(mut self) -> Self {
        self.audited = true;
        self
    }

    /// Runs a second hub that stands by; spokes reach both in turn, as through a Service.
    #[must_use]
    pub fn standby(mut self) -> Self {
        self.standby = true;
        self
    }

    /// Leaves the NIM objects of the clusters to an operator that is not started: spokes deliver and report only.
    #[must_use]
    pub fn delegating(mut self) -> Self {
        self.mode = Mode::Delegate;
        self
    }

    /// Leaves the hub the patience with silent clusters that it has where nothing else is said.
    #[must_use]
    pub fn patient(mut self) -> Self {
        self.patient = true;
        self
    }

    /// Lets the certificates of spokes live so long, for example `60s`.
    #[must_use]
    pub fn certificates(mut self, life: &str) -> Self {
        self.certificate_life = Some(life.to_owned());
        self
    }

    /// Lets the hub's API server pass `query.nimfleet.io` on to the hub.
    #[must_use]
    pub fn queried(mut self) -> Self {
        self.questions = Questions::PassedOn;
        self
    }

    /// Lets every image of the clusters have this model manifest, a file in `fixtures`.
    #[must_use]
    pub fn manifest(mut self, file: &'static str) -> Self {
        self.manifest = Some(file);
        self
    }

    /// Starts everything and waits until the hub sees every joined cluster as connected.
    pub async fn start(self) -> Result<Fleet, Failure> {
        let ground = Ground::prepare().await?;
        let binaries = tokio::task::spawn_blocking(Binaries::ready).await??;
        let audit = |shape: Shape| if self.audited { shape.audited() } else { shape };
        let link = hub::loopback()?;
        let second = self.standby.then(hub::loopback).transpose()?;
        let links: Vec<_> = std::iter::once(link).chain(second).collect();
        let links = &links[..];
        let hub_shape = audit(Shape::new());
        // In tests nobody shall wait for three heartbeats to see a cut.
        let unreachable_after = (!self.patient).then_some(("unreachable-after", "3s"));
        let certificate_life = self.certificate_life.as_deref().map(|life| ("certificate-life", life));
        let query = match self.questions {
            Questions::PassedOn => Some(hub::loopback()?),
            Questions::Unanswered => None,
        };
        let listen = query.map(|query| query.to_string());
        let query_listen = listen.as_deref().map(|listen| ("query-listen", listen));
        let flags: Vec<_> =
            unreachable_after.into_iter().chain(certificate_life).chain(query_listen).collect();
        let hub = Hub::start(&ground, &binaries, &hub_shape, links, &flags);
        let members = try_join_all(self.members.iter().map(|planned| {
            let manifest = self.manifest.unwrap_or("model_manifest.yaml");
            let logs = format!("{}/fixtures/{manifest}", env!("CARGO_MANIFEST_DIR"));
            let shape = audit(planned.shape.clone()).container_logs(logs);
            let (ground, binaries) = (&ground, &binaries);
            let mode = match self.mode {
                Mode::Native => "native",
                Mode::Delegate => "delegate",
            };
            async move {
                Member::start(ground, binaries, &planned.name, &shape, &planned.limits, links, mode).await
            }
        }));
        let (hub, members) = tokio::try_join!(hub, members)?;
        let fleet = Fleet { hub, members, ground };
        fleet.eventually("the hub is ready", JOINED_WITHIN, || fleet.hub.ready()).await?;
        if let Some(query) = query {
            install::query(fleet.hub.cluster(), query).await?;
        }
        if self.standby {
            fleet.hub.standby()?.start()?;
        }
        try_join_all(self.members.iter().filter(|p| p.joins).map(|planned| fleet.join(&planned.name)))
            .await?;
        Ok(fleet)
    }

    fn last(mut self, change: impl FnOnce(&mut Planned)) -> Self {
        if let Some(planned) = self.members.last_mut() {
            change(planned);
        }
        self
    }
}

/// A running fleet. Dropping it ends every process and removes every file of it.
pub struct Fleet {
    // Processes first, the ground under them last.
    hub: Hub,
    members: Vec<Member>,
    ground: Ground,
}

impl Fleet {
    /// A fleet of a hub alone; the plan's methods add clusters.
    #[allow(clippy::new_ret_no_self, reason = "a fleet is planned before it is started")]
    #[must_use]
    pub fn new() -> Plan {
        Plan::default()
    }

    /// The hub.
    #[must_use]
    pub fn hub(&self) -> &Hub {
        &self.hub
    }

    /// A cluster of the fleet.
    pub fn cluster(&self, name: &str) -> Result<&Member, FleetError> {
        self.members
            .iter()
            .find(|m| m.name() == name)
            .ok_or_else(|| FleetError::NoSuchCluster(name.to_owned()))
    }

    /// Every cluster of the fleet.
    #[must_use]
    pub fn clusters(&self) -> &[Member] {
        &self.members
    }

    /// What the fleet stands on.
    #[must_use]
    pub fn ground(&self) -> &Ground {
        &self.ground
    }

    /// Joins a cluster as the README says: token, spoke, acceptance; returns when the hub sees it connected and knows what it has.
    /// A placement that was decided earlier would say of this cluster that it has not reported.
    pub async fn join(&self, name: &str) -> Result<(), Failure> {
        let member = self.cluster(name)?;
        member.start_spoke(&self.hub.invite(name).await?)?;
        self.eventually(&format!("{name} knocks"), JOINED_WITHIN, || self.hub.accept(name)).await?;
        self.eventually(&format!("{name} is connected"), JOINED_WITHIN, || self.hub.connected(name)).await?;
        self.eventually(&format!("{name} has reported"), JOINED_WITHIN, || self.hub.reported(name)).await
    }

    /// Joins the hub's own cluster as `name`, as somebody does who installs the spoke's chart there; returns its process when the
    /// hub sees it connected.
    pub async fn join_hub(&self, name: &str) -> Result<Daemon, Failure> {
        const CHART: &str = "nimfleet-spoke";
        let cluster = self.hub.cluster();
        let binaries = tokio::task::spawn_blocking(Binaries::ready).await??;
        install::roles(&self.ground, cluster, CHART, None).await?;
        let kubeconfig = install::another_token(cluster, CHART, CHART).await?;
        let (invitation, admin) = (self.hub.invite(name).await?, hub::loopback()?);
        let program = Program::new(&binaries.spoke, cluster.folder().join("nimfleet-spoke.log"))
            .flag("kubeconfig", kubeconfig.display())
            .flag("namespace", NAMESPACE)
            .flag("metrics-addr", admin)
            .flag("log-format", "text")
            .flag("hub-address", self.hub.link())
            .flag("hub-ca-hash", &invitation.ca_hash)
            .flag("cluster-name", name)
            .env("NIMFLEET_HUB_TOKEN", &invitation.token)
            .env("NO_COLOR", "1");
        let spoke = Daemon::new(&format!("nimfleet-spoke of {name}"), program, admin);
        spoke.start()?;
        self.eventually(&format!("{name} knocks"), JOINED_WITHIN, || self.hub.accept(name)).await?;
        self.eventually(&format!("{name} is connected"), JOINED_WITHIN, || self.hub.connected(name)).await?;
        Ok(spoke)
    }

    /// Looks again and again until `check` succeeds and gives back what it found. After `within` it fails with what
    /// `check` last said and with everything that may tell why.
    pub async fn eventually<T, F, C>(&self, what: &str, within: Duration, check: F) -> Result<T, Failure>
    where
        F: FnMut() -> C,
        C: Future<Output = Result<T, Failure>>,
    {
        let evidence = || evidence::collect(self);
        patience::eventually(what, within, check, evidence).await
    }
}
