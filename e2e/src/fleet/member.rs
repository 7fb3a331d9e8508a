//! A cluster of the fleet: its control plane, its spoke and its link to the hub.

use std::net::SocketAddr;

use serde_json::Value;

use super::daemon::{Daemon, DaemonError};
use super::hub::{Invitation, loopback};
use super::{Binaries, FleetError, NAMESPACE, install};
use crate::cluster::{Cluster, Ground, Shape};
use crate::command::CommandError;
use crate::fault_proxy::FaultProxy;
use crate::process::Program;

/// The chart of the spoke, and the name of its ServiceAccount.
const CHART: &str = "nimfleet-spoke";

/// What the chart mounts as the limits of the cluster's owner.
const LIMITS: &str = "limits.yaml";

/// The Secret with the spoke's key and certificate.
const IDENTITY: &str = "nimfleet-spoke-identity";

/// One GPU cluster.
pub struct Member {
    spoke: Daemon,
    /// How the spoke is started whatever it is told about a hub.
    program: Program,
    link: FaultProxy,
    cluster: Cluster,
}

impl Member {
    pub(super) async fn start(
        ground: &Ground,
        binaries: &Binaries,
        name: &str,
        shape: &Shape,
        limits: &Value,
        hubs: &[SocketAddr],
        mode: &str,
    ) -> Result<Self, FleetError> {
        let cluster = Cluster::start(ground, name, shape).await?;
        install::crds(ground, &cluster).await?;
        let kubeconfig = install::identity(ground, &cluster, CHART).await?;
        let link = FaultProxy::start_among(loopback()?, hubs.to_vec())
            .await
            .map_err(|source| FleetError::Link { cluster: name.to_owned(), source })?;
        let admin = loopback()?;
        let program = Program::new(&binaries.spoke, cluster.folder().join("nimfleet-spoke.log"))
            .flag("kubeconfig", kubeconfig.display())
            .flag("namespace", NAMESPACE)
            .flag("mode", mode)
            .flag("metrics-addr", admin)
            .flag("nemo-list-secrets", false)
            .flag("limits", cluster.folder().join(LIMITS).display())
            .flag("log-format", "text")
            .env("NO_COLOR", "1")
            .env("RUST_LOG", "info,spoke=debug");
        let spoke = Daemon::new(&format!("nimfleet-spoke of {name}"), program.clone(), admin);
        let member = Self { spoke, program, link, cluster };
        member.limit(ground, limits).await?;
        Ok(member)
    }

    /// The cluster's name, here and on the hub.
    #[must_use]
    pub fn name(&self) -> &str {
        self.cluster.name()
    }

    /// The cluster itself.
    #[must_use]
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// The spoke's process.
    #[must_use]
    pub fn spoke(&self) -> &Daemon {
        &self.spoke
    }

    /// The line between spoke and hub.
    #[must_use]
    pub fn link(&self) -> &FaultProxy {
        &self.link
    }

    /// Starts the spoke with what `join-command` gave, through this cluster's own link.
    pub fn start_spoke(&self, invitation: &Invitation) -> Result<&Daemon, DaemonError> {
        let program = self
            .program
            .clone()
            .flag("hub-address", self.link.address())
            .flag("hub-ca-hash", &invitation.ca_hash)
            .flag("cluster-name", &invitation.cluster)
            // A token on the command line could be read by everybody on the machine.
            .env("NIMFLEET_HUB_TOKEN", &invitation.token);
        self.spoke.start_as(program)?;
        Ok(&self.spoke)
    }

    /// Says what a hub may do here, as the chart's `limits` do; the spoke reads it at its next start.
    pub async fn limit(&self, ground: &Ground, limits: &Value) -> Result<(), FleetError> {
        install::roles(ground, &self.cluster, CHART, Some(limits)).await?;
        let file = self.cluster.folder().join(LIMITS);
        std::fs::write(file, limits.to_string())
            .map_err(|source| FleetError::Limits { cluster: self.name().to_owned(), source })
    }

    /// Kills the spoke's process, as a crash of its node would.
    pub fn kill_spoke(&self) {
        self.spoke.kill();
    }

    /// Starts the spoke's process again, told what it was told before.
    pub fn restart_spoke(&self) -> Result<(), DaemonError> {
        self.spoke.start()
    }

    /// Deletes the spoke's key and certificate, so that it has to join anew.
    pub async fn forget_identity(&self) -> Result<(), CommandError> {
        let arguments = ["delete", "secret", IDENTITY, "--namespace", NAMESPACE, "--ignore-not-found"];
        self.cluster.kubectl(&arguments, None).await.map(drop)
    }

    /// Starts the spoke as a NIM operator alone.
    pub fn start_operator(&self) -> Result<(), DaemonError> {
        self.spoke.start_as(self.program.clone().arg("--no-hub"))
    }
}
