//! What is written down when something awaited did not happen: the objects and last words of every cluster.

use std::fmt::Write;
use std::path::Path;

use super::Fleet;
use crate::cluster::Cluster;
use crate::process::last_lines;

/// Objects shown in full.
const IN_FULL: &str =
    "gpuclusters,nimplacements,nimplacementdecisions,nimservices,nimcaches,nimpipelines,nimbuilds";
/// Objects shown as rows.
const AS_ROWS: &str = "deployments,jobs,pods,persistentvolumeclaims";
/// Events shown per cluster, the latest.
const EVENTS: usize = 30;
/// Lines of our own processes' logs.
const OWN_LINES: usize = 60;
/// Lines of the control plane's logs.
const THEIR_LINES: usize = 5;

pub(super) async fn collect(fleet: &Fleet) -> String {
    let mut told = of_cluster(fleet.hub().cluster()).await;
    for member in fleet.clusters() {
        told += &of_cluster(member.cluster()).await;
    }
    told
}

pub(crate) async fn of_cluster(cluster: &Cluster) -> String {
    let mut told = format!("=== cluster {}\n", cluster.name());
    for (what, arguments) in [
        ("objects", vec!["get", IN_FULL, "--all-namespaces", "--output=yaml"]),
        ("workloads", vec!["get", AS_ROWS, "--all-namespaces", "--output=wide"]),
    ] {
        let _ = writeln!(told, "--- {what}\n{}", kubectl(cluster, &arguments).await);
    }
    let events =
        kubectl(cluster, &["get", "events", "--all-namespaces", "--sort-by=.metadata.creationTimestamp"])
            .await;
    let events: Vec<&str> = events.lines().collect();
    let _ = writeln!(told, "--- events\n{}", events[events.len().saturating_sub(EVENTS)..].join("\n"));
    for log in cluster.logs() {
        let name = log.file_name().unwrap_or_default().display();
        let _ = writeln!(told, "--- {name}\n{}", last_lines(&log, lines_of(&log)));
    }
    told
}

async fn kubectl(cluster: &Cluster, arguments: &[&str]) -> String {
    match cluster.kubectl(arguments, None).await {
        Ok(printed) => printed,
        Err(error) => error.to_string(),
    }
}

fn lines_of(log: &Path) -> usize {
    let own = log.file_name().is_some_and(|name| name.to_string_lossy().starts_with("nimfleet-"));
    if own { OWN_LINES } else { THEIR_LINES }
}
