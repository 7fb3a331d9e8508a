//! Looking at a fleet through a fault: what runs, whether it was touched, and how long it took to converge.

use std::collections::BTreeMap;
use std::time::Duration;

use e2e::cluster::Cluster;
use e2e::failure::Failure;
use e2e::fleet::Fleet;
use e2e::{objects, sample};
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::time::Instant;

/// What a busy machine may take; what it does take is printed.
pub(super) const SOON: Duration = Duration::from_mins(1);
/// Both of our identities: system:serviceaccount:nimfleet:…
pub(super) const OURS: &str = "system:serviceaccount:nimfleet:";
/// What a fault must not touch.
const WORKLOADS: [&str; 6] =
    ["deployments", "nimservices", "nimcaches", "jobs", "services", "persistentvolumeclaims"];

/// uid and generation of every Deployment: one that was restarted or made anew has another.
pub(super) async fn deployments(cluster: &Cluster) -> Result<BTreeMap<String, (String, i64)>, Failure> {
    let found = objects::list(cluster, "Deployment", sample::NAMESPACE).await?;
    let known = found.iter().map(|one| {
        let text = |path: &str| one.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned();
        let generation = one["metadata"]["generation"].as_i64().unwrap_or_default();
        (text("/metadata/name"), (text("/metadata/uid"), generation))
    });
    Ok(known.collect())
}

/// Fails if anybody of ours has deleted anything since then, but for what it keeps for itself.
pub(super) fn nothing_deleted(cluster: &Cluster, since: Timestamp) -> Result<(), Failure> {
    let deleted: Vec<_> = cluster
        .audit()
        .writes_by(OURS, since)
        .into_iter()
        .filter(|request| {
            request.verb.starts_with("delete") && WORKLOADS.contains(&request.resource.as_str())
        })
        .collect();
    if deleted.is_empty() { Ok(()) } else { Err(Failure::new(format!("{}: {deleted:#?}", cluster.name()))) }
}

/// Changes an annotation of the service on the hub, which does not restart it, and gives back what the spoke is to show.
pub(super) async fn change(fleet: &Fleet, name: &str, mark: &str) -> Result<(), Failure> {
    let change = json!({"spec": {"annotations": {"autoscaling.knative.dev/mark": mark}}});
    objects::patch(fleet.hub().cluster(), "NIMService", sample::NAMESPACE, name, change).await
}

/// Waits until a cluster holds the change, and says how long that took.
pub(super) async fn arrived(
    fleet: &Fleet,
    cluster: &str,
    name: &str,
    mark: &str,
) -> Result<Duration, Failure> {
    let begun = Instant::now();
    fleet
        .eventually(&format!("{mark} arrives in {cluster}"), SOON, || async {
            let there = fleet.cluster(cluster)?.cluster();
            let found = objects::get(there, "NIMService", sample::NAMESPACE, name).await?;
            let is = &found["spec"]["annotations"]["autoscaling.knative.dev/mark"];
            if is == mark { Ok(()) } else { Err(Failure::new(format!("it is {is}"))) }
        })
        .await?;
    Ok(begun.elapsed())
}

/// A condition of a GPUCluster.
pub(super) async fn of_cluster(
    fleet: &Fleet,
    cluster: &str,
    kind: &str,
) -> Result<(String, String, String), Failure> {
    let found = objects::get(fleet.hub().cluster(), "GPUCluster", "", cluster).await?;
    objects::condition(&found, kind).ok_or_else(|| Failure::new(format!("{cluster} has no condition {kind}")))
}

/// Waits until a condition of a GPUCluster has this status and reason, and gives back its message.
pub(super) async fn says(
    fleet: &Fleet,
    cluster: &str,
    kind: &str,
    status: &str,
    reason: &str,
) -> Result<String, Failure> {
    fleet
        .eventually(&format!("{cluster}: {kind} is {status}, {reason}"), SOON, || async {
            match of_cluster(fleet, cluster, kind).await? {
                (s, r, message) if s == status && r == reason => Ok(message),
                other => Err(Failure::new(format!("{other:?}"))),
            }
        })
        .await
}

/// Waits until the hub shows this line among its metrics.
pub(super) async fn measures(fleet: &Fleet, line: &str) -> Result<(), Failure> {
    fleet
        .eventually(line, SOON, || async {
            let metrics = fleet.hub().daemon().metrics().await?;
            if metrics.contains(line) { Ok(()) } else { Err(Failure::new(metrics)) }
        })
        .await
}

/// Waits until the hub has told an event of this reason about an object of this kind.
pub(super) async fn told(fleet: &Fleet, kind: &str, reason: &str) -> Result<(), Failure> {
    let (about, because) = (format!("involvedObject.kind={kind}"), format!("reason={reason}"));
    let selector = format!("{about},{because}");
    let arguments = ["get", "events", "--all-namespaces", "--field-selector", &selector, "--output", "name"];
    fleet
        .eventually(&format!("an event {reason} about a {kind}"), SOON, || async {
            let printed = fleet.hub().cluster().kubectl(&arguments, None).await?;
            if printed.is_empty() { Err(Failure::new("there is none")) } else { Ok(()) }
        })
        .await
}
