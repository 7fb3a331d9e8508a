//! `join`: the hub makes a token, and says how the spoke of a cluster is installed with it.

use std::process::Stdio;

use serde::{Deserialize, Serialize};
use tokio::process::Command;

use crate::args::{JoinArgs, Output};
use crate::failure::Failure;
use crate::print::{Printer, progress, to_stdout};
use crate::session::Session;

/// What `nimfleet-hub join-command` gives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Invitation {
    /// Where spokes dial the hub, `host:port`.
    address: String,
    /// What its CA hashes to.
    ca_hash: String,
    /// The single-use token.
    token: String,
    /// For whom it is.
    cluster: String,
}

/// Has the hub make a token, and prints what it says. Tokens are the hub's to make, in its pod: whoever may run commands there
/// (`pods/exec`) may invite clusters. kubectl runs it, with its own ways through proxies and its plugins for credentials.
pub(crate) async fn print(
    session: &Session,
    printer: Printer,
    output: Output,
    args: &JoinArgs,
) -> Result<(), Failure> {
    let mut kubectl = vec!["--namespace".to_owned(), session.installed_in().to_owned()];
    kubectl.extend(kubectl_flags(session));
    kubectl.extend(["exec", "deploy/nimfleet-hub", "--", "nimfleet-hub", "join-command"].map(str::to_owned));
    kubectl.push(args.cluster.clone());
    kubectl.extend(args.ttl.iter().flat_map(|ttl| ["--ttl".to_owned(), ttl.clone()]));
    kubectl.extend(args.charts.iter().flat_map(|charts| ["--charts".to_owned(), charts.clone()]));
    if output == Output::Json {
        kubectl.extend(["--output".to_owned(), "json".to_owned()]);
    }
    let said = run(&kubectl).await?;
    match output {
        Output::Table => {
            to_stdout(&said)?;
            progress(&format!(
                "run these in {name}; then let it in: kubectl nimfleet accept {name} --wait",
                name = args.cluster
            ));
            Ok(())
        }
        Output::Json => {
            let invitation: Invitation = serde_json::from_str(&said).map_err(|error| {
                Failure::Refused(format!(
                    "nimfleet-hub join-command printed something else than JSON: {error}"
                ))
            })?;
            printer.answer("Invitation", &invitation, |_| String::new())
        }
    }
}

/// The flags of kubectl that say which cluster is asked, and by whom.
fn kubectl_flags(session: &Session) -> Vec<String> {
    let target = session.target();
    let mut flags = Vec::new();
    let mut flag = |name: &str, value: String| flags.extend([name.to_owned(), value]);
    if let Some(path) = &target.kubeconfig {
        flag("--kubeconfig", path.display().to_string());
    }
    if let Some(context) = &target.context {
        flag("--context", context.clone());
    }
    if let Some(user) = &target.as_user {
        flag("--as", user.clone());
    }
    for group in &target.as_group {
        flag("--as-group", group.clone());
    }
    flags
}

async fn run(arguments: &[String]) -> Result<String, Failure> {
    let output =
        Command::new("kubectl").args(arguments).stdin(Stdio::null()).kill_on_drop(true).output().await;
    let output = output.map_err(|source| Failure::Io {
        what: "kubectl, which runs the command in the hub's pod: is it on the PATH?".to_owned(),
        source,
    })?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(Failure::Refused(format!("kubectl {}: {}", arguments.join(" "), said.trim())))
}
