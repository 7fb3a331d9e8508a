//! The command line of `nimfleet-hub`. Every flag has a variable `NIMFLEET_…` of the same meaning.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args as Flags, Parser, Subcommand, ValueEnum};
use runtime::LogFormat;

/// Where the project keeps its charts.
pub(crate) const CHARTS: &str = "oci://registry.nimfleet.io/charts";

/// The hub of a nimfleet: chooses clusters for NIM objects and keeps the fleet's status.
#[derive(Clone, Debug, Parser)]
#[command(name = "nimfleet-hub", version, about)]
pub struct Args {
    /// What holds for every command.
    #[command(flatten)]
    pub common: CommonArgs,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Flags of every command.
#[derive(Clone, Debug, Flags)]
pub struct CommonArgs {
    /// Kubeconfig of the hub's cluster [default: in-cluster, or the file KUBECONFIG names].
    #[arg(long, global = true, env = "NIMFLEET_KUBECONFIG", value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Namespace of the hub itself: its Secrets and its state.
    #[arg(long, global = true, env = "POD_NAMESPACE", default_value = "nimfleet")]
    pub namespace: String,
    /// host:port under which spokes reach the hub. Several, separated by commas, are all in its certificate; join commands name
    /// the first.
    #[arg(long, global = true, env = "NIMFLEET_ADVERTISE", value_delimiter = ',', value_name = "HOST:PORT")]
    pub advertise: Vec<String>,
    /// Name of this replica's pod. An earlier process of the same pod has ended, so its lease is taken over at once; the pod of
    /// the hub that leads is labelled nimfleet.io/leader; audit records of commands name it.
    #[arg(long, global = true, env = "POD_NAME", value_name = "NAME")]
    pub pod_name: Option<String>,
    /// Life of a CA that is made (10 years): of the first one, or of the next.
    #[arg(long, global = true, env = "NIMFLEET_CA_LIFE", default_value = "87600h", value_parser = duration, value_name = "DURATION")]
    pub ca_life: Duration,
    /// How log lines look.
    #[arg(long, global = true, env = "NIMFLEET_LOG_FORMAT", value_enum, default_value_t = LogFormat::Auto)]
    pub log_format: LogFormat,
}

/// What to do.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Run the hub.
    Serve(Box<ServeArgs>),
    /// Make a single-use token for one cluster and print the command that installs its spoke.
    JoinCommand(JoinArgs),
    /// Begin to replace the hub's CA by a new one, or say what that waits for.
    RotateCa(RotateArgs),
    /// Ask from outside whether a hub is ready and its link can be reached: what `helm test` runs.
    Check(CheckArgs),
    /// Raise the hub's term above one that a spoke has accepted and cannot prove: for a hub that was restored from a backup.
    RaiseTerm(RaiseTermArgs),
}

/// Flags of `serve`.
#[derive(Clone, Debug, Flags)]
pub struct ServeArgs {
    /// Where spokes connect. `[::]` takes IPv4 too, and is 0.0.0.0 on a node without IPv6.
    #[arg(long, env = "NIMFLEET_LISTEN", default_value = "[::]:7443", value_name = "ADDRESS:PORT")]
    pub listen: SocketAddr,
    /// Where /livez, /readyz and /metrics are served; `[::]` as for --listen.
    #[arg(long, env = "NIMFLEET_METRICS_ADDR", default_value = "[::]:8080", value_name = "ADDRESS:PORT")]
    pub metrics_addr: SocketAddr,
    /// Whether a ClusterProfile is written for each cluster and PlacementDecisions for each placement, once the API server
    /// knows these kinds of SIG Multicluster.
    #[arg(long, env = "NIMFLEET_STANDARDS", default_value_t = true, action = clap::ArgAction::Set, value_name = "BOOL")]
    pub standards: bool,
    /// Where the API server reaches the query API (an APIService) [default: nowhere].
    #[arg(long, env = "NIMFLEET_QUERY_LISTEN", value_name = "ADDRESS:PORT")]
    pub query_listen: Option<SocketAddr>,
    /// Name of the Service before the query API, in the hub's namespace.
    #[arg(long, env = "NIMFLEET_QUERY_SERVICE", default_value = "nimfleet-hub-query", value_name = "NAME")]
    pub query_service: String,
    /// Address of this replica's pod: where that Service leads while it leads.
    #[arg(long, env = "POD_IP", value_name = "ADDRESS")]
    pub pod_ip: Option<std::net::IpAddr>,
    /// A cluster without a session for this long is Connected=Unknown (three heartbeats).
    #[arg(long, env = "NIMFLEET_UNREACHABLE_AFTER", default_value = "30s", value_parser = duration, value_name = "DURATION")]
    pub unreachable_after: Duration,
    /// Life of a spoke's certificate; it is renewed when two thirds are over, so a third is how long the hub may be away
    /// before any ends.
    #[arg(long, env = "NIMFLEET_CERTIFICATE_LIFE", default_value = "72h", value_parser = duration, value_name = "DURATION")]
    pub certificate_life: Duration,
    /// A spoke whose certificate ended no longer ago than this (90 days) gets another by proof of its key; after that it
    /// needs a token.
    #[arg(long, env = "NIMFLEET_RETURN_WITHIN", default_value = "2160h", value_parser = duration, value_name = "DURATION")]
    pub return_within: Duration,
    /// Make anew what was lost, although clusters have joined with it; without this flag such a hub refuses to start. Restore
    /// it from a backup instead if you can. Give it for one start and take it away: while it is there no further loss is
    /// noticed. Can be several, separated by commas.
    #[arg(long, env = "NIMFLEET_BEGIN_ANEW", value_enum, value_delimiter = ',', value_name = "WHAT")]
    pub begin_anew: Vec<Keepsake>,
    /// What holds failovers back.
    #[command(flatten)]
    pub failover: FailoverArgs,
}

/// What clusters know a hub by, and a hub must not lose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Keepsake {
    /// The CA (Secret nimfleet-hub-ca): every cluster joins again with a new token and CA hash.
    Ca,
    /// Hub ID and term (ConfigMap nimfleet-hub-state): for every cluster this is another hub, which it refuses until its
    /// ConfigMap nimfleet-spoke-state is deleted.
    Identity,
    /// The salt of the hashes of Secrets (Secret nimfleet-hub-salt): every listed Secret is sent once more.
    Salt,
    /// The key that proves epochs (Secret nimfleet-hub-epoch-key): a cluster that has accepted a term above this hub's is let
    /// in after `nimfleet-hub raise-term`.
    EpochKey,
}

impl Keepsake {
    /// As the flag says it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ca => "ca",
            Self::Identity => "identity",
            Self::Salt => "salt",
            Self::EpochKey => "epoch-key",
        }
    }
}

/// Flags of `serve` about failovers.
#[derive(Clone, Copy, Debug, Flags)]
pub struct FailoverArgs {
    /// A cluster that came back from an outage, or whose link flaps, counts again when it has been connected this long.
    #[arg(long, env = "NIMFLEET_STABLE_AFTER", default_value = "60s", value_parser = duration, value_name = "DURATION")]
    pub stable_after: Duration,
    /// When more than this percentage of the clusters (and two at least) vanish within five minutes, none of them fails
    /// over until they are back or an admin confirms it; 100 never holds.
    #[arg(long, env = "NIMFLEET_FAILOVER_BRAKE", default_value = "30", value_parser = clap::value_parser!(u32).range(1..=100), value_name = "PERCENT")]
    pub failover_brake: u32,
    /// At most so many lost clusters are replaced in any minute, and apart from them as many clusters left that run, counted
    /// over all placements; namespaces share them fairly.
    #[arg(long, env = "NIMFLEET_FAILOVER_RATE", default_value = "10", value_parser = clap::value_parser!(u32).range(1..), value_name = "PER-MINUTE")]
    pub failover_rate: u32,
}

/// Flags of `rotate-ca`.
#[derive(Clone, Debug, Flags)]
pub struct RotateArgs {
    /// Do not wait for this cluster: it is left behind and joins anew with a token. Can be given several times.
    #[arg(long, value_name = "CLUSTER")]
    pub without: Vec<String>,
}

/// Arguments of `raise-term`.
#[derive(Clone, Copy, Debug, Flags)]
pub struct RaiseTermArgs {
    /// The term that the spoke says it has accepted (condition EpochProven of its GPUCluster), at most 9223372036854775807. The
    /// hub's becomes the next one, for all clusters; it never falls again.
    pub term: u64,
}

/// Flags of `check`.
#[derive(Clone, Debug, Flags)]
pub struct CheckArgs {
    /// The port of metrics whose /readyz has to answer 200.
    #[arg(long, value_name = "HOST:PORT")]
    pub ready: String,
    /// The port of the link, which has to accept every one of 20 connections.
    #[arg(long, value_name = "HOST:PORT")]
    pub link: String,
    /// How long to try.
    #[arg(long, default_value = "1m", value_parser = duration, value_name = "DURATION")]
    pub within: Duration,
}

/// Flags of `join-command`.
#[derive(Clone, Debug, Flags)]
pub struct JoinArgs {
    /// Name the cluster gets: a DNS label, at most 63 characters.
    pub cluster: String,
    /// How long the token can be used.
    #[arg(long, env = "NIMFLEET_JOIN_TTL", default_value = "1h", value_parser = duration, value_name = "DURATION")]
    pub ttl: Duration,
    /// Registry of the charts nimfleet-crds and nimfleet-spoke, or the folder that holds them, as the printed commands name it.
    #[arg(long, env = "NIMFLEET_CHARTS", default_value = CHARTS, value_name = "REGISTRY")]
    pub charts: String,
    /// What is printed.
    #[arg(short, long, value_enum, default_value_t = Output::Helm)]
    pub output: Output,
}

/// What `join-command` prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// The helm commands to paste.
    Helm,
    /// An object with address, caHash, token and cluster.
    Json,
}

/// Reads a duration such as `30s`, `5m` or `1h30m`; plain numbers are refused, since their unit is a guess.
fn duration(text: &str) -> Result<Duration, String> {
    let span: jiff::SignedDuration = text
        .parse()
        .map_err(|_| format!("{text:?} is not a duration: write for example 30s, 5m or 1h30m"))?;
    match Duration::try_from(span) {
        Ok(duration) if !duration.is_zero() => Ok(duration),
        _ => Err(format!("{text:?} is not above zero")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pki::{AUTHORITY_LIFE, CERTIFICATE_LIFE};

    fn span(duration: Duration) -> jiff::SignedDuration {
        duration.try_into().unwrap()
    }

    #[test]
    fn the_command_line_is_consistent() {
        <Args as clap::CommandFactory>::command().debug_assert();
    }

    #[test]
    fn durations_need_a_unit_and_a_positive_value() {
        for (text, seconds) in [("30s", 30), ("5m", 300), ("1h30m", 5400)] {
            assert_eq!(duration(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "30", "0s", "-5m", "soon"] {
            assert!(duration(text).is_err(), "{text:?} was taken");
        }
    }

    #[test]
    fn what_begins_anew_is_named_as_the_flag_says_it() {
        let all = [Keepsake::Ca, Keepsake::Identity, Keepsake::Salt, Keepsake::EpochKey];
        let flag = format!("--begin-anew={}", all.map(Keepsake::as_str).join(","));
        let args = Args::try_parse_from(["nimfleet-hub", "serve", &flag]).unwrap();
        let Command::Serve(serve) = args.command else { panic!("serve was asked for") };
        assert_eq!(serve.begin_anew, all);
    }

    #[test]
    fn several_addresses_are_advertised_by_commas_or_by_several_flags() {
        for flags in [&["--advertise=a:1,b:2"][..], &["--advertise=a:1", "--advertise=b:2"]] {
            let args = Args::try_parse_from([&["nimfleet-hub", "serve"], flags].concat()).unwrap();
            assert_eq!(args.common.advertise, ["a:1", "b:2"]);
        }
    }

    #[test]
    fn serve_has_defaults_for_everything() {
        let args = Args::try_parse_from(["nimfleet-hub", "serve"]).unwrap();
        let Command::Serve(serve) = args.command else { panic!("serve was asked for") };
        assert_eq!(serve.listen.port(), 7443);
        assert_eq!(args.common.advertise, Vec::<String>::new());
        assert_eq!(serve.unreachable_after, Duration::from_secs(30));
        assert_eq!(span(serve.certificate_life), CERTIFICATE_LIFE);
        assert_eq!(span(args.common.ca_life), AUTHORITY_LIFE);
        assert_eq!(serve.begin_anew, []);
    }
}
