//! The hub of a fleet: its cluster and its process.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use crds::fleet::GPUCluster;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde::Deserialize;
use serde_json::json;

use super::daemon::{Daemon, DaemonError};
use super::{Binaries, FleetError, NAMESPACE, install};
use crate::cluster::{Cluster, ClusterError, Ground, Shape};
use crate::command;
use crate::failure::Failure;
use crate::port;
use crate::process::Program;

/// The chart of the hub, and the name of its ServiceAccount.
const CHART: &str = "nimfleet-hub";

/// How long a cluster that came back is watched.
const STABLE_AFTER: &str = "3s";

/// What `nimfleet-hub join-command` gives to one cluster.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Invitation {
    /// Where the hub is reached.
    pub address: String,
    /// What its CA hashes to.
    pub ca_hash: String,
    /// The single-use token.
    pub token: String,
    /// For whom it is.
    pub cluster: String,
}

/// A hub.
pub struct Hub {
    daemon: Daemon,
    standby: Option<Daemon>,
    cluster: Cluster,
    program: PathBuf,
    kubeconfig: PathBuf,
    link: SocketAddr,
}

impl Hub {
    pub(super) async fn start(
        ground: &Ground,
        binaries: &Binaries,
        shape: &Shape,
        links: &[SocketAddr],
        flags: &[(&str, &str)],
    ) -> Result<Self, FleetError> {
        let cluster = Cluster::start(ground, "hub", shape).await?;
        install::crds(ground, &cluster).await?;
        let kubeconfig = install::identity(ground, &cluster, CHART).await?;
        let link = links[0];
        let daemon = replica(0, &binaries.hub, &cluster, &kubeconfig, link, flags)?;
        daemon.start()?;
        let standby = match links.get(1) {
            Some(link) => {
                // A token of its own, so that an audit log tells the two apart.
                let own = install::another_token(&cluster, CHART, "nimfleet-hub-1").await?;
                Some(replica(1, &binaries.hub, &cluster, &own, *link, flags)?)
            }
            None => None,
        };
        Ok(Self { daemon, standby, cluster, program: binaries.hub.clone(), kubeconfig, link })
    }

    /// The hub's cluster.
    #[must_use]
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// The hub's process.
    #[must_use]
    pub fn daemon(&self) -> &Daemon {
        &self.daemon
    }

    /// The process of the second hub, where the fleet was planned with one. It starts when the first one leads.
    pub fn standby(&self) -> Result<&Daemon, DaemonError> {
        self.standby.as_ref().ok_or_else(|| DaemonError::NotRunning("the standby".to_owned()))
    }

    /// Kills the hub's process, as a crash of its machine would.
    pub fn kill(&self) {
        self.daemon.kill();
    }

    /// Starts the hub's process again.
    pub fn restart(&self) -> Result<(), DaemonError> {
        self.daemon.start()
    }

    /// Starts the hub's process again with one more flag for good.
    pub fn restart_with(&self, flag: &str, value: &str) -> Result<(), DaemonError> {
        self.daemon.start_as(self.daemon.program().flag(flag, value))
    }

    /// Succeeds when the hub says that it leads and is ready.
    pub async fn ready(&self) -> Result<(), Failure> {
        Self::leads(&self.daemon).await
    }

    /// Succeeds when a hub's process says that it leads and is ready.
    pub async fn leads(daemon: &Daemon) -> Result<(), Failure> {
        if !daemon.metrics().await?.contains("\nnimfleet_hub_leading 1\n") {
            return Err(Failure::new("it stands by"));
        }
        Ok(daemon.ready().await?)
    }

    /// Where spokes reach it.
    #[must_use]
    pub fn link(&self) -> SocketAddr {
        self.link
    }

    /// Its program.
    #[must_use]
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// Its own kubeconfig.
    #[must_use]
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// Makes a token for one cluster, as an admin does.
    pub async fn invite(&self, cluster: &str) -> Result<Invitation, FleetError> {
        self.invite_for(cluster, "1h").await
    }

    /// Makes a token for one cluster that can be used for `ttl`, for example `1s`.
    pub async fn invite_for(&self, cluster: &str, ttl: &str) -> Result<Invitation, FleetError> {
        let kubeconfig = self.kubeconfig.to_string_lossy();
        let link = self.link.to_string();
        let arguments = [
            "join-command",
            cluster,
            "--ttl",
            ttl,
            "--output",
            "json",
            "--kubeconfig",
            &kubeconfig,
            "--namespace",
            NAMESPACE,
            "--advertise",
            &link,
        ];
        let printed = command::run(&self.program, &arguments, None).await?;
        serde_json::from_str(&printed).map_err(|source| FleetError::Invitation { printed, source })
    }

    /// Begins to replace the hub's CA, or asks what that waits for; what is printed.
    pub async fn rotate_ca(&self, without: &[&str]) -> Result<String, FleetError> {
        let kubeconfig = self.kubeconfig.to_string_lossy();
        let mut arguments = vec!["rotate-ca", "--kubeconfig", &kubeconfig, "--namespace", NAMESPACE];
        arguments.extend(without.iter().flat_map(|cluster| ["--without", cluster]));
        Ok(command::run(&self.program, &arguments, None).await?)
    }

    /// Asks for a term above one that a spoke says it has accepted; what is printed.
    pub async fn raise_term(&self, term: u64) -> Result<String, FleetError> {
        let kubeconfig = self.kubeconfig.to_string_lossy();
        let arguments =
            ["raise-term", &term.to_string(), "--kubeconfig", &kubeconfig, "--namespace", NAMESPACE];
        Ok(command::run(&self.program, &arguments, None).await?)
    }

    /// The admin's half of joining; fails while the cluster has not shown up.
    pub async fn accept(&self, cluster: &str) -> Result<(), Failure> {
        let yes = json!({"spec": {"accepted": true}});
        self.gpu_clusters().patch(cluster, &PatchParams::default(), &Patch::Merge(&yes)).await?;
        Ok(())
    }

    /// Succeeds when the hub says that the cluster is connected.
    pub async fn connected(&self, cluster: &str) -> Result<(), Failure> {
        self.says(cluster, "Connected").await
    }

    /// Succeeds when the hub knows what the cluster has: the first report comes after the session is up.
    pub async fn reported(&self, cluster: &str) -> Result<(), Failure> {
        self.says(cluster, "CapacityFresh").await
    }

    /// Succeeds when a condition of the GPUCluster is True.
    async fn says(&self, cluster: &str, kind: &str) -> Result<(), Failure> {
        let found = self.gpu_clusters().get(cluster).await?;
        let conditions = found.status.map(|status| status.conditions).unwrap_or_default();
        match conditions.iter().find(|c| c.type_ == kind) {
            Some(c) if c.status == "True" => Ok(()),
            Some(c) => Err(Failure::new(format!("{kind} is {}: {}: {}", c.status, c.reason, c.message))),
            None => Err(Failure::new(format!("no condition {kind}"))),
        }
    }

    fn gpu_clusters(&self) -> Api<GPUCluster> {
        Api::all(self.cluster.client())
    }
}

/// One process of the hub, not yet started.
fn replica(
    number: usize,
    program: &Path,
    cluster: &Cluster,
    kubeconfig: &Path,
    link: SocketAddr,
    flags: &[(&str, &str)],
) -> Result<Daemon, FleetError> {
    let admin = loopback()?;
    let log = if number == 0 { "nimfleet-hub.log".to_owned() } else { format!("nimfleet-hub-{number}.log") };
    let program = Program::new(program, cluster.folder().join(log))
        .arg("serve")
        .flag("kubeconfig", kubeconfig.display())
        .flag("namespace", NAMESPACE)
        .flag("listen", link)
        .flag("advertise", link)
        .flag("metrics-addr", admin)
        .flag("stable-after", STABLE_AFTER)
        .flag("log-format", "text")
        // As in a pod: a process that is started again takes over from the one before it at once.
        .env("POD_NAME", format!("{CHART}-{number}"))
        // A proxy that is not there: the hub's own API server is asked past it.
        .env("HTTPS_PROXY", "http://127.0.0.1:1")
        .env("NO_COLOR", "1")
        .env("RUST_LOG", "info,hub=debug");
    let program = flags.iter().fold(program, |program, (flag, value)| program.flag(flag, value));
    Ok(Daemon::new(&format!("{CHART}-{number}"), program, admin))
}

pub(super) fn loopback() -> Result<SocketAddr, ClusterError> {
    Ok(SocketAddr::from(([127, 0, 0, 1], port::free()?)))
}
