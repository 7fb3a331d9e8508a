//! `completion`: scripts for shells, and what kubectl asks a plugin while a command line is written.

use clap::{Arg, Command, CommandFactory};
use crds::fleet::{GPUCluster, NIMPlacement};
use kube::ResourceExt;

use crate::args::{Args, CompletionArgs, Target};
use crate::failure::Failure;
use crate::print::to_stdout;
use crate::session::Session;

/// What kubectl runs to complete `kubectl nimfleet …`.
const FOR_KUBECTL: &str = "\
#!/usr/bin/env sh
# Save as kubectl_complete-nimfleet in a folder of the PATH, and make it executable.
exec kubectl nimfleet __complete -- \"$@\"
";
/// kubectl's word for: these are all candidates, do not look for files.
const NO_FILES: &str = ":4";

/// Prints the script.
pub(crate) fn print(args: CompletionArgs) -> Result<(), Failure> {
    let Some(shell) = args.shell.shell() else { return to_stdout(FOR_KUBECTL) };
    let mut script = Vec::new();
    // The programs' own name: kubectl completes the other spelling.
    let mut command = Args::command().bin_name("kubectl-nimfleet");
    clap_complete::generate(shell, &mut command, "kubectl-nimfleet", &mut script);
    to_stdout(&String::from_utf8_lossy(&script))
}

/// Prints candidates for the last of the words, one a line, and the directive that ends them.
pub(crate) async fn complete(target: &Target, words: &[String]) -> Result<(), Failure> {
    let mut lines = candidates(target, words).await;
    lines.push(NO_FILES.to_owned());
    to_stdout(&format!("{}\n", lines.join("\n")))
}

async fn candidates(target: &Target, words: &[String]) -> Vec<String> {
    let root = Args::command();
    let (last, before) = words.split_last().map_or(("", &[][..]), |(last, before)| (last.as_str(), before));
    let place = Place::of(&root, before);
    let mut found = match place.awaited {
        Some(argument) => values(target, before, argument).await,
        None if last.starts_with('-') => flags(&root, place.command),
        None => match place.command {
            None => subcommands(&root),
            Some(command) => match command.get_positionals().nth(place.positionals) {
                Some(argument) => values(target, before, argument).await,
                None => Vec::new(),
            },
        },
    };
    found.retain(|candidate| candidate.starts_with(last));
    found
}

/// Where on the command line the words have come to.
struct Place<'a> {
    command: Option<&'a Command>,
    /// Positional arguments of the command that are there.
    positionals: usize,
    /// The flag whose value comes next.
    awaited: Option<&'a Arg>,
}

impl<'a> Place<'a> {
    fn of(root: &'a Command, words: &[String]) -> Self {
        let mut place = Place { command: None, positionals: 0, awaited: None };
        for word in words {
            if place.awaited.take().is_some() {
                continue;
            }
            if word.starts_with('-') {
                place.awaited = named(root, place.command, word).filter(|flag| takes_value(flag));
            } else if place.command.is_none() {
                place.command = root.find_subcommand(word);
            } else {
                place.positionals += 1;
            }
        }
        place
    }
}

/// Whether the value of a flag is the next word.
fn takes_value(flag: &Arg) -> bool {
    flag.get_action().takes_values() && !flag.is_require_equals_set()
}

/// The flag that a word spells out.
fn named<'a>(root: &'a Command, command: Option<&'a Command>, word: &str) -> Option<&'a Arg> {
    let all = root.get_arguments().chain(command.into_iter().flat_map(Command::get_arguments));
    let mut all = all.into_iter();
    all.find(|flag| {
        let long = flag.get_long().is_some_and(|long| word.strip_prefix("--") == Some(long));
        let short = flag.get_short().is_some_and(|short| word.strip_prefix('-') == Some(&short.to_string()));
        long || short
    })
}

fn flags(root: &Command, command: Option<&Command>) -> Vec<String> {
    let all = root.get_arguments().chain(command.into_iter().flat_map(Command::get_arguments));
    all.filter_map(|flag| flag.get_long().map(|long| format!("--{long}"))).collect()
}

fn subcommands(root: &Command) -> Vec<String> {
    let shown = root.get_subcommands().filter(|command| !command.is_hide_set());
    shown.map(|command| command.get_name().to_owned()).collect()
}

/// Values that an argument can have: those that it lists, or names of objects that the caller may see.
async fn values(target: &Target, before: &[String], argument: &Arg) -> Vec<String> {
    let listed: Vec<String> =
        argument.get_possible_values().iter().map(|value| value.get_name().to_owned()).collect();
    if !listed.is_empty() {
        return listed;
    }
    let Ok(session) = Session::open(&with_namespace(target, before)).await else { return Vec::new() };
    match argument.get_id().as_str() {
        "cluster" | "without_cluster" => {
            let names = |all: Vec<GPUCluster>| all.iter().map(ResourceExt::name_any).collect();
            session.clusters().await.map(|seen| names(seen.items)).unwrap_or_default()
        }
        "placement" => {
            let names = |all: Vec<NIMPlacement>| all.iter().map(ResourceExt::name_any).collect();
            session.list().await.map(|seen| names(seen.items)).unwrap_or_default()
        }
        _ => Vec::new(),
    }
}

/// What the words before say about the cluster and the namespace that are asked.
fn with_namespace(target: &Target, before: &[String]) -> Target {
    let value = |flags: [&str; 2]| {
        let pairs = before.windows(2);
        pairs.filter(|pair| flags.contains(&pair[0].as_str())).map(|pair| pair[1].clone()).next_back()
    };
    Target {
        namespace: value(["-n", "--namespace"]).or_else(|| target.namespace.clone()),
        context: value(["--context", "--context"]).or_else(|| target.context.clone()),
        kubeconfig: value(["--kubeconfig", "--kubeconfig"])
            .map(Into::into)
            .or_else(|| target.kubeconfig.clone()),
        ..target.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn complete(words: &[&str]) -> Vec<String> {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        // A file that is not there: names of objects are not known.
        let target = Target { kubeconfig: Some("/nonexistent".into()), ..Target::default() };
        candidates(&target, &words).await
    }

    #[tokio::test]
    async fn commands_flags_and_listed_values_are_completed() {
        assert_eq!(complete(&["co"]).await, ["cordon", "confirm", "completion"]);
        assert!(!complete(&[""]).await.contains(&"__complete".to_owned()));
        assert_eq!(complete(&["confirm", "east", ""]).await, ["deletions", "failover", "orphan-removal"]);
        assert_eq!(complete(&["-n", "nim", "doctor", "s"]).await, ["spoke"]);
        assert_eq!(complete(&["drain", "--ti"]).await, ["--timeout"]);
        assert_eq!(complete(&["status", "--output", ""]).await, ["table", "json"]);
        assert!(complete(&["why", ""]).await.is_empty(), "no cluster can be asked");
    }
}
