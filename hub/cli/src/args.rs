//! The command line of `kubectl nimfleet`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args as Flags, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

/// What `--help` ends with.
const EXIT_STATUS: &str = "\
Exit status:
  0  done; for doctor: nothing is wrong; for simulate: everything would be placed
  1  the API server, or a program that was run, refused or did not answer
  2  the command line cannot be used
  3  the answer is no: doctor found something wrong, simulate left something without a cluster
  4  --timeout was over before what was waited for

Everything that this command does is possible with kubectl alone; docs/kubectl-nimfleet.md says how.";

/// The fleet of a nimfleet hub on a terminal: where models run, why there, and what is wrong.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "kubectl-nimfleet",
    bin_name = "kubectl nimfleet",
    version,
    after_help = EXIT_STATUS,
    disable_help_subcommand = true
)]
pub struct Args {
    /// Which cluster is asked, by whom, and about which namespaces.
    #[command(flatten)]
    pub target: Target,
    /// What is printed: a table, or JSON in the shapes of docs/kubectl-nimfleet.md.
    #[arg(short, long, global = true, value_enum, default_value_t)]
    pub output: Output,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Which cluster is asked, by whom, and about which namespaces; the flags are kubectl's.
#[derive(Clone, Debug, Default, Flags)]
pub struct Target {
    /// Kubeconfig [default: as for kubectl: the files of KUBECONFIG, or ~/.kube/config].
    #[arg(long, global = true, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig [default: its current one].
    #[arg(long, global = true, value_name = "NAME")]
    pub context: Option<String>,
    /// Namespace of placements and NIM objects [default: that of the context].
    #[arg(short, long, global = true, value_name = "NAME")]
    pub namespace: Option<String>,
    /// All namespaces.
    #[arg(short = 'A', long, global = true, conflicts_with = "namespace")]
    pub all_namespaces: bool,
    /// User to ask as; needs the right to impersonate.
    #[arg(long = "as", global = true, value_name = "USER")]
    pub as_user: Option<String>,
    /// Group to ask as, beside --as. Can be given several times.
    #[arg(long, global = true, requires = "as_user", value_name = "GROUP")]
    pub as_group: Vec<String>,
    /// Namespace in which the hub or the spoke is installed.
    #[arg(long, global = true, env = "NIMFLEET_NAMESPACE", default_value = "nimfleet", value_name = "NAME")]
    pub installed_in: String,
}

/// What is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// Tables and sentences, as kubectl prints them.
    #[default]
    Table,
    /// One JSON object.
    Json,
}

/// What to do.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// The fleet at a glance: clusters, placements, and what is wrong with them.
    Status,
    /// Where a placement runs, why there, and why not elsewhere, with the numbers.
    Why(WhyArgs),
    /// What would be decided for manifests that nobody has applied, or with clusters gone; nothing is stored.
    Simulate(SimulateArgs),
    /// Have the hub make a join token, and print the commands that install the spoke of a cluster.
    Join(JoinArgs),
    /// Let a cluster take part in the fleet.
    Accept(AcceptArgs),
    /// Keep new placements away from a cluster; what runs there stays.
    Cordon(ClusterArgs),
    /// Let placements come to a cluster again: undoes cordon and drain.
    Uncordon(ClusterArgs),
    /// Empty a cluster: what runs there moves as soon as it is ready elsewhere.
    Drain(DrainArgs),
    /// Show what waits for the fleet admin's word about a cluster, or give the word.
    Confirm(ConfirmArgs),
    /// Events of the fleet's objects, the newest last.
    Events(EventsArgs),
    /// Objects in the clusters that run them, as far as the hub knows.
    Get(GetArgs),
    /// One object in each cluster that runs it, with all that the hub knows.
    Describe(DescribeArgs),
    /// Look for what is wrong with this cluster's hub or spoke, and say what to do.
    Doctor(DoctorArgs),
    /// Serve a page on this machine's loopback that shows the fleet, and follows it, with your own rights.
    Ui(UiArgs),
    /// Write what a bug report needs into an archive; Secrets are never read.
    MustGather(MustGatherArgs),
    /// Print a completion script.
    Completion(CompletionArgs),
    /// Candidates for the last of the words, as kubectl asks plugins for them.
    #[command(name = "__complete", hide = true, disable_help_flag = true)]
    Complete {
        /// The words of the command line so far.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<String>,
    },
}

/// Arguments of `why`.
#[derive(Clone, Debug, Flags)]
pub struct WhyArgs {
    /// Name of the NIMPlacement.
    pub placement: String,
}

/// Arguments of `simulate`.
#[derive(Clone, Debug, Flags)]
#[command(group = clap::ArgGroup::new("what").required(true).multiple(true).args(["filename", "placement"]))]
pub struct SimulateArgs {
    /// File of manifests, YAML or JSON, `-` for stdin: NIM objects, and one NIMPlacement at most. Can be given several times.
    #[arg(short, long, value_name = "FILE")]
    pub filename: Vec<PathBuf>,
    /// NIMPlacement of the namespace that is supposed to be changed, or to lose clusters.
    #[arg(long, value_name = "NAME")]
    pub placement: Option<String>,
    /// Cluster that is supposed to be gone. Several: separated by commas, or the flag several times.
    #[arg(long, value_delimiter = ',', value_name = "CLUSTER")]
    pub without_cluster: Vec<String>,
}

/// Arguments of `join`.
#[derive(Clone, Debug, Flags)]
pub struct JoinArgs {
    /// Name that the cluster gets: a DNS label, at most 63 characters.
    pub cluster: String,
    /// How long the token can be used, for example 30m [default: 1h].
    #[arg(long, value_name = "DURATION", value_parser = duration_as_given)]
    pub ttl: Option<String>,
    /// Registry or folder of the charts, as the printed commands name it [default: as the hub's chart says].
    #[arg(long, value_name = "REGISTRY")]
    pub charts: Option<String>,
}

/// How long to wait.
#[derive(Clone, Copy, Debug, Flags)]
pub struct Waiting {
    /// How long to wait; 0 is as long as it takes.
    #[arg(long, default_value = "5m", value_parser = patience, value_name = "DURATION")]
    pub timeout: Duration,
}

/// Arguments of `accept`.
#[derive(Clone, Debug, Flags)]
pub struct AcceptArgs {
    /// Name of the GPUCluster.
    pub cluster: String,
    /// Wait until placements may come.
    #[arg(long)]
    pub wait: bool,
    /// How long.
    #[command(flatten)]
    pub waiting: Waiting,
}

/// A cluster.
#[derive(Clone, Debug, Flags)]
pub struct ClusterArgs {
    /// Name of the GPUCluster.
    pub cluster: String,
}

/// Arguments of `drain`.
#[derive(Clone, Debug, Flags)]
pub struct DrainArgs {
    /// Name of the GPUCluster.
    pub cluster: String,
    /// Whether to wait until nothing of the fleet runs there.
    #[arg(
        long,
        action = clap::ArgAction::Set,
        num_args = 0..=1,
        require_equals = true,
        default_value_t = true,
        default_missing_value = "true",
        value_name = "BOOL"
    )]
    pub wait: bool,
    /// How long.
    #[command(flatten)]
    pub waiting: Waiting,
}

/// Arguments of `confirm`.
#[derive(Clone, Debug, Flags)]
pub struct ConfirmArgs {
    /// Name of the GPUCluster.
    pub cluster: String,
    /// What to confirm [default: show what waits].
    #[arg(value_enum, requires = "word")]
    pub what: Option<Held>,
    /// The word that `confirm CLUSTER` shows for it; another word confirms nothing.
    pub word: Option<String>,
}

/// What waits for an admin's word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Held {
    /// Deletions that the spoke holds back, since they are many.
    Deletions,
    /// The failover of a cluster that vanished together with many others.
    Failover,
    /// The removal of objects that the hub does not know.
    OrphanRemoval,
}

/// Arguments of `events`.
#[derive(Clone, Debug, Flags)]
pub struct EventsArgs {
    /// Only of this object, as KIND/NAME, for example gpucluster/east.
    #[arg(long = "for", value_name = "KIND/NAME")]
    pub about: Option<String>,
    /// Go on and print events as they come.
    #[arg(short, long)]
    pub watch: bool,
}

/// Arguments of `get`.
#[derive(Clone, Debug, Flags)]
pub struct GetArgs {
    /// Kind, for example nimservice, or KIND/NAME [default: all that placements have].
    pub kind: Option<String>,
    /// Name of the object.
    pub name: Option<String>,
    /// Only in this cluster.
    #[arg(long, value_name = "CLUSTER")]
    pub cluster: Option<String>,
}

/// Arguments of `describe`.
#[derive(Clone, Debug, Flags)]
pub struct DescribeArgs {
    /// Kind, for example nimservice, or KIND/NAME.
    pub kind: String,
    /// Name of the object.
    pub name: Option<String>,
    /// Only in this cluster.
    #[arg(long, value_name = "CLUSTER")]
    pub cluster: Option<String>,
}

/// Arguments of `doctor`.
#[derive(Clone, Copy, Debug, Flags)]
pub struct DoctorArgs {
    /// What this cluster has [default: what is found].
    #[arg(value_enum)]
    pub side: Option<Side>,
}

/// What a cluster has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// The hub.
    Hub,
    /// A spoke.
    Spoke,
}

/// Arguments of `ui`.
#[derive(Clone, Copy, Debug, Flags)]
pub struct UiArgs {
    /// Port of 127.0.0.1 [default: one that is free].
    #[arg(long, default_value_t = 0, hide_default_value = true, value_name = "PORT")]
    pub port: u16,
}

/// Arguments of `must-gather`.
#[derive(Clone, Debug, Flags)]
pub struct MustGatherArgs {
    /// The archive [default: nimfleet-must-gather-TIME.tar.gz in this folder].
    #[arg(long, value_name = "FILE")]
    pub to: Option<PathBuf>,
    /// The most of the end of each container's log, MiB.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1024), value_name = "MIB")]
    pub log_limit: u32,
}

/// Arguments of `completion`.
#[derive(Clone, Copy, Debug, Flags)]
pub struct CompletionArgs {
    /// For which shell; `kubectl` is the script that kubectl itself asks, which knows names of clusters and placements.
    #[arg(value_enum)]
    pub shell: CompletionFor,
}

/// Who completes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum CompletionFor {
    /// kubectl, for `kubectl nimfleet`: save the script as `kubectl_complete-nimfleet` on the PATH.
    Kubectl,
    /// bash, for `kubectl-nimfleet`.
    Bash,
    /// elvish, for `kubectl-nimfleet`.
    Elvish,
    /// fish, for `kubectl-nimfleet`.
    Fish,
    /// PowerShell, for `kubectl-nimfleet`.
    Powershell,
    /// zsh, for `kubectl-nimfleet`.
    Zsh,
}

impl CompletionFor {
    /// The shell; none for kubectl.
    #[must_use]
    pub const fn shell(self) -> Option<Shell> {
        match self {
            Self::Kubectl => None,
            Self::Bash => Some(Shell::Bash),
            Self::Elvish => Some(Shell::Elvish),
            Self::Fish => Some(Shell::Fish),
            Self::Powershell => Some(Shell::PowerShell),
            Self::Zsh => Some(Shell::Zsh),
        }
    }
}

/// Reads a duration such as `30s`, `5m` or `1h30m`; plain numbers but 0 are refused, since their unit is a guess.
fn patience(text: &str) -> Result<Duration, String> {
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let span: Option<jiff::SignedDuration> = text.parse().ok();
    span.and_then(|span| Duration::try_from(span).ok())
        .ok_or_else(|| format!("{text:?} is not a duration: write for example 30s, 5m or 1h30m"))
}

/// The same, kept as text for the program that it is passed on to.
fn duration_as_given(text: &str) -> Result<String, String> {
    match patience(text)? {
        Duration::ZERO => Err(format!("{text:?} is not above zero")),
        _ => Ok(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn parse(words: &[&str]) -> Result<Args, clap::Error> {
        Args::try_parse_from(std::iter::once(&"kubectl-nimfleet").chain(words))
    }

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn flags_of_the_target_stand_before_or_behind_the_command() {
        for words in [["-n", "nim", "status"], ["status", "--namespace", "nim"]] {
            assert_eq!(parse(&words).unwrap().target.namespace.as_deref(), Some("nim"), "{words:?}");
        }
        assert!(parse(&["status", "-n", "nim", "-A"]).is_err());
        assert!(parse(&["status", "--as-group", "g"]).is_err(), "a group without a user");
    }

    #[test]
    fn a_drain_waits_unless_it_is_told_not_to() {
        for (words, waits) in [
            (&["drain", "east"][..], true),
            (&["drain", "east", "--wait"], true),
            (&["drain", "east", "--wait=false"], false),
        ] {
            let Command::Drain(drain) = parse(words).unwrap().command else { panic!("{words:?}") };
            assert_eq!((drain.wait, drain.waiting.timeout), (waits, Duration::from_mins(5)), "{words:?}");
        }
    }

    #[test]
    fn what_is_confirmed_needs_its_word() {
        assert!(parse(&["confirm", "east"]).is_ok());
        assert!(parse(&["confirm", "east", "deletions"]).is_err());
        assert!(parse(&["confirm", "east", "orphan-removal", "3"]).is_ok());
    }

    #[test]
    fn a_simulation_needs_something_to_decide() {
        assert!(parse(&["simulate"]).is_err());
        assert!(parse(&["simulate", "--without-cluster", "east"]).is_err());
        let args = parse(&["simulate", "--placement", "chat", "--without-cluster", "a,b"]).unwrap();
        let Command::Simulate(simulate) = args.command else { panic!("simulate was asked for") };
        assert_eq!(simulate.without_cluster, ["a", "b"]);
    }

    #[test]
    fn durations_need_a_unit() {
        assert_eq!(patience("1h30m"), Ok(Duration::from_mins(90)));
        assert_eq!(patience("0"), Ok(Duration::ZERO));
        assert!(patience("30").is_err() && patience("-5m").is_err() && duration_as_given("0").is_err());
    }
}
