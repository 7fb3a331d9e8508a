//! The command line of `nimfleet-spoke`. Every flag has a variable `NIMFLEET_…` of the same meaning.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::builder::NonEmptyStringValueParser;
use clap::{Parser, ValueEnum};
use runtime::LogFormat;

use crate::operator::WAIT_FOR_POSTGRES_IMAGE;

/// The agent and NIM operator of one cluster.
#[derive(Clone, Debug, Parser)]
#[command(name = "nimfleet-spoke", version, about)]
pub struct Args {
    /// Kubeconfig of this cluster [default: in-cluster, or the file KUBECONFIG names].
    #[arg(long, env = "NIMFLEET_KUBECONFIG", value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Namespace of the spoke itself: its identity and its state.
    #[arg(long, env = "POD_NAMESPACE", default_value = "nimfleet")]
    pub namespace: String,
    /// Name of this process's pod: an earlier process of the same pod has ended, so its lease is taken over at once.
    #[arg(long, env = "POD_NAME", value_name = "NAME")]
    pub pod_name: Option<String>,
    /// Where /livez, /readyz and /metrics are served. `[::]` takes IPv4 too, and is 0.0.0.0 on a node without IPv6.
    #[arg(long, env = "NIMFLEET_METRICS_ADDR", default_value = "[::]:8080", value_name = "ADDRESS:PORT")]
    pub metrics_addr: SocketAddr,
    /// How log lines look.
    #[arg(long, env = "NIMFLEET_LOG_FORMAT", value_enum, default_value_t = LogFormat::Auto)]
    pub log_format: LogFormat,
    /// Who operates the NIM objects of this cluster.
    #[arg(long, env = "NIMFLEET_MODE", value_enum, default_value_t = Mode::Native)]
    pub mode: Mode,
    /// Image whose `sh` and `nc` wait for the database of a NeMo microservice.
    #[arg(
        long,
        env = "NIMFLEET_WAIT_FOR_POSTGRES_IMAGE",
        value_name = "IMAGE",
        default_value = WAIT_FOR_POSTGRES_IMAGE,
        value_parser = NonEmptyStringValueParser::new()
    )]
    pub wait_for_postgres_image: String,
    /// File with the CAs, PEM, that https endpoints of models are known by [default: public ones].
    #[arg(long, env = "NIMFLEET_MODEL_CA", value_name = "FILE")]
    pub model_ca: Option<PathBuf>,
    /// Whether the role of a NemoEvaluator may list Secrets, as NVIDIA's operator lets it; false leaves it get and create.
    #[arg(
        long,
        env = "NIMFLEET_NEMO_LIST_SECRETS",
        value_name = "true|false",
        action = clap::ArgAction::Set,
        default_value_t = true
    )]
    pub nemo_list_secrets: bool,
    /// Ask from outside whether the spoke whose metrics are served there is ready, and end: what `helm test` runs.
    #[arg(long, value_name = "HOST:PORT")]
    pub check: Option<String>,
    /// Run the NIM operator alone, without a hub.
    #[arg(long, env = "NIMFLEET_NO_HUB", conflicts_with_all = ["hub_address", "hub_ca_hash", "hub_token", "cluster_name"])]
    pub no_hub: bool,
    /// Where the hub listens.
    #[arg(long, env = "NIMFLEET_HUB_ADDRESS", value_name = "HOST:PORT", required_unless_present_any = ["no_hub", "check"])]
    pub hub_address: Option<String>,
    /// What the hub's CA hashes to, as join-command prints it.
    #[arg(long, env = "NIMFLEET_HUB_CA_HASH", value_name = "sha256:HEX", required_unless_present_any = ["no_hub", "check"])]
    pub hub_ca_hash: Option<String>,
    /// Join token; needed until this cluster has its certificate.
    #[arg(long, env = "NIMFLEET_HUB_TOKEN", value_name = "TOKEN", hide_env_values = true)]
    pub hub_token: Option<String>,
    /// What the owner of this cluster lets the hub do here, YAML [default: that of the chart's values].
    #[arg(long, env = "NIMFLEET_LIMITS", value_name = "FILE")]
    pub limits: Option<PathBuf>,
    /// This cluster's name on the hub.
    #[arg(long, env = "NIMFLEET_CLUSTER_NAME", value_name = "NAME", required_unless_present_any = ["no_hub", "check"])]
    pub cluster_name: Option<String>,
}

/// Who operates the NIM objects of a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// This process, and nobody beside it.
    Native,
    /// NVIDIA's NIM Operator, installed by itself; this process delivers and reports only.
    Delegate,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        <Args as clap::CommandFactory>::command().debug_assert();
    }

    #[test]
    fn a_hub_or_none_has_to_be_named() {
        let parse = |flags: &[&str]| Args::try_parse_from(std::iter::once(&"nimfleet-spoke").chain(flags));
        assert!(parse(&["--no-hub"]).is_ok());
        assert!(parse(&["--check", "nimfleet-spoke-metrics:8080"]).is_ok());
        assert!(parse(&[]).is_err());
        assert!(parse(&["--no-hub", "--hub-address", "h:1"]).is_err());
        let hub = ["--hub-address", "h:1", "--hub-ca-hash", "sha256:00", "--cluster-name", "c"];
        assert!(parse(&hub).is_ok(), "a token is not needed once there is a certificate");
    }
}
