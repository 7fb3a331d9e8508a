//! `accept`, `cordon`, `uncordon` and `drain`: the admin's words about one cluster.

use std::time::Duration;

use crds::condition;
use crds::fleet::{GPUCluster, Taint, TaintEffect};
use futures::{StreamExt, pin_mut};
use kube::api::{Patch, PatchParams};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, watch_object};
use kube::{Api, ResourceExt};
use runtime::chain;
use serde::Serialize;
use serde_json::{Value, json};

use crate::args::{AcceptArgs, ClusterArgs, DrainArgs, Waiting};
use crate::failure::Failure;
use crate::print::{Printer, progress};
use crate::session::{Session, call};
use crate::table::{Tone, paint};

/// Key of the taint by which `cordon` keeps placements away.
pub(crate) const CORDON: &str = "nimfleet.io/cordoned";
/// So often a change is based anew on what somebody else has written meanwhile.
const ATTEMPTS: usize = 5;

/// What was done to a cluster, and how it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Outcome {
    cluster: String,
    /// `accepted`, `cordoned`, `uncordoned`, `draining` or `drained`.
    state: &'static str,
    /// Whether anything had to be written.
    changed: bool,
    /// What the hub says about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
}

impl Outcome {
    fn print(&self, printer: Printer) -> Result<(), Failure> {
        printer.answer("ClusterChange", self, |outcome| {
            let Self { cluster, state, changed, message } = outcome;
            let state = if *changed { paint(state, Tone::Good) } else { format!("{state} already") };
            let message = message.as_ref().map(|message| format!(": {message}")).unwrap_or_default();
            format!("gpucluster/{cluster} {state}{message}\n")
        })
    }
}

/// Lets a cluster take part.
pub(crate) async fn accept(session: &Session, printer: Printer, args: &AcceptArgs) -> Result<(), Failure> {
    let cluster = &args.cluster;
    let changed =
        change(session, cluster, |found| (!found.spec.accepted).then(|| json!({"accepted": true}))).await?;
    let mut outcome = Outcome { cluster: cluster.clone(), state: "accepted", changed, message: None };
    if args.wait {
        let ready = |found: &GPUCluster| current(found, "Ready");
        outcome.message = Some(wait(session, cluster, &args.waiting, ready).await?);
    }
    outcome.print(printer)
}

/// Keeps new placements away.
pub(crate) async fn cordon(session: &Session, printer: Printer, args: &ClusterArgs) -> Result<(), Failure> {
    let cluster = &args.cluster;
    let changed = change(session, cluster, |found| {
        let mut taints = found.spec.taints.clone();
        if taints.iter().any(|taint| taint.key == CORDON) {
            return None;
        }
        taints.push(Taint { key: CORDON.to_owned(), value: None, effect: TaintEffect::NoSchedule });
        Some(json!({ "taints": taints }))
    })
    .await?;
    Outcome { cluster: cluster.clone(), state: "cordoned", changed, message: None }.print(printer)
}

/// Lets placements come again.
pub(crate) async fn uncordon(session: &Session, printer: Printer, args: &ClusterArgs) -> Result<(), Failure> {
    let cluster = &args.cluster;
    let changed = change(session, cluster, |found| {
        let mut taints = found.spec.taints.clone();
        taints.retain(|taint| taint.key != CORDON);
        (found.spec.drain || taints.len() < found.spec.taints.len())
            .then(|| json!({"taints": taints, "drain": false}))
    })
    .await?;
    Outcome { cluster: cluster.clone(), state: "uncordoned", changed, message: None }.print(printer)
}

/// Empties a cluster, and tells what has yet to leave it.
pub(crate) async fn drain(session: &Session, printer: Printer, args: &DrainArgs) -> Result<(), Failure> {
    let cluster = &args.cluster;
    let changed =
        change(session, cluster, |found| (!found.spec.drain).then(|| json!({"drain": true}))).await?;
    let mut outcome = Outcome { cluster: cluster.clone(), state: "draining", changed, message: None };
    if args.wait {
        let drained = |found: &GPUCluster| {
            if !found.spec.drain {
                return Err(format!("gpucluster/{cluster}: spec.drain was taken back by somebody"));
            }
            current(found, "Drained")
        };
        outcome.message = Some(wait(session, cluster, &args.waiting, drained).await?);
        outcome.state = "drained";
    }
    outcome.print(printer)
}

/// What a condition says of the object as it is now.
enum Condition {
    /// It is True; with its message.
    Holds(String),
    /// It is not, or is about an earlier generation.
    Awaited(String),
}

#[expect(clippy::unnecessary_wraps, reason = "the form of what is waited for")]
fn current(found: &GPUCluster, kind: &str) -> Result<Condition, String> {
    let conditions = found.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    let Some(known) = condition::find(conditions, kind) else {
        return Ok(Condition::Awaited("the hub has yet to look at it".to_owned()));
    };
    // What the hub said before it saw the change says nothing about it.
    if known.observed_generation < found.metadata.generation {
        return Ok(Condition::Awaited("the hub has yet to see the change".to_owned()));
    }
    let message = known.message.clone();
    Ok(if known.status == "True" { Condition::Holds(message) } else { Condition::Awaited(message) })
}

/// Changes the spec of a cluster as it is at that moment; says whether there was anything to change.
async fn change(
    session: &Session,
    name: &str,
    change: impl Fn(&GPUCluster) -> Option<Value>,
) -> Result<bool, Failure> {
    let api: Api<GPUCluster> = Api::all(session.client());
    let doing = || format!("GPUCluster {name}");
    let mut attempt = 0;
    loop {
        let found = call(doing(), api.get(name)).await?;
        let Some(spec) = change(&found) else { return Ok(false) };
        let patch = json!({"metadata": {"resourceVersion": found.resource_version()}, "spec": spec});
        let params =
            PatchParams { field_manager: Some("kubectl-nimfleet".to_owned()), ..PatchParams::default() };
        match call(doing(), api.patch(name, &params, &Patch::Merge(&patch))).await {
            Ok(_) => return Ok(true),
            Err(Failure::Call { error, .. }) if error.is_conflict() && attempt < ATTEMPTS => attempt += 1,
            Err(failure) => return Err(failure),
        }
    }
}

/// Waits until `reached` holds of the cluster, and says on the way what it waits for, each time that it is another thing.
async fn wait(
    session: &Session,
    name: &str,
    waiting: &Waiting,
    reached: impl Fn(&GPUCluster) -> Result<Condition, String>,
) -> Result<String, Failure> {
    let mut told = String::new();
    let looking = async {
        let api: Api<GPUCluster> = Api::all(session.client());
        let seen = watch_object(api, name).default_backoff();
        pin_mut!(seen);
        while let Some(found) = seen.next().await {
            let now = match found {
                Ok(Some(found)) => reached(&found).map_err(Failure::Refused)?,
                Ok(None) => return Err(Failure::Refused(format!("GPUCluster {name} was deleted meanwhile"))),
                Err(watcher::Error::InitialListFailed(error) | watcher::Error::WatchStartFailed(error))
                    if is_forbidden(&error) =>
                {
                    return Err(Failure::Refused(format!(
                        "GPUCluster {name}: {}: waiting takes the verbs list and watch on gpuclusters",
                        chain(&error)
                    )));
                }
                // The watch begins anew by itself.
                Err(error) => {
                    Condition::Awaited(format!("the API server does not answer: {}", chain(&error)))
                }
            };
            match now {
                Condition::Holds(message) => return Ok(message),
                Condition::Awaited(message) if message != told => {
                    progress(&format!("gpucluster/{name}: {message}"));
                    told = message;
                }
                Condition::Awaited(_) => {}
            }
        }
        Err(Failure::Refused(format!("GPUCluster {name}: the watch ended")))
    };
    if waiting.timeout == Duration::ZERO {
        return looking.await;
    }
    match tokio::time::timeout(waiting.timeout, looking).await {
        Ok(outcome) => outcome,
        Err(_) => Err(Failure::Timeout(format!(
            "gpucluster/{name}: not reached within {:?}: {told}: what was asked for goes on; wait longer with --timeout",
            waiting.timeout
        ))),
    }
}

fn is_forbidden(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 403)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition as Stored, Time};

    use super::*;

    #[test]
    fn a_word_about_an_earlier_generation_does_not_count() {
        let mut cluster = GPUCluster::new("east", crds::fleet::GPUClusterSpec::default());
        cluster.metadata.generation = Some(3);
        let words = |cluster: &GPUCluster| match current(cluster, "Drained") {
            Ok(Condition::Holds(message)) => (true, message),
            Ok(Condition::Awaited(message)) => (false, message),
            Err(problem) => panic!("{problem}"),
        };
        assert_eq!(words(&cluster), (false, "the hub has yet to look at it".to_owned()));
        let drained = |generation| Stored {
            type_: "Drained".to_owned(),
            status: "True".to_owned(),
            reason: "Drained".to_owned(),
            message: "no placement runs here any more".to_owned(),
            observed_generation: Some(generation),
            last_transition_time: Time(jiff::Timestamp::UNIX_EPOCH),
        };
        cluster.status =
            Some(crds::fleet::GPUClusterStatus { conditions: vec![drained(2)], ..Default::default() });
        assert_eq!(words(&cluster), (false, "the hub has yet to see the change".to_owned()));
        cluster.status =
            Some(crds::fleet::GPUClusterStatus { conditions: vec![drained(3)], ..Default::default() });
        assert_eq!(words(&cluster), (true, "no placement runs here any more".to_owned()));
    }
}
