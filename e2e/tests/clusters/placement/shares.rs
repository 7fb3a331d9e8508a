//! Which clusters a placement counts on, with how many replicas of each, and what it says of one.

use std::time::Duration;

use crds::fleet::DecisionState;
use e2e::failure::Failure;
use e2e::fleet::Fleet;
use e2e::{objects, sample};
use serde_json::{Value, json};

/// What a busy machine may take.
pub(super) const SOON: Duration = Duration::from_mins(1);

/// Clusters with their replicas, in the rows that count.
async fn shares(fleet: &Fleet, name: &str) -> Result<Vec<(String, i32)>, Failure> {
    let mut shares = Vec::new();
    for decision in sample::decisions(fleet, name).await? {
        if decision.state == DecisionState::Placed {
            let replicas = decision.objects.iter().filter_map(|object| object.replicas).sum();
            shares.extend(decision.clusters.into_iter().map(|cluster| (cluster.name, replicas)));
        }
    }
    shares.sort();
    Ok(shares)
}

/// Succeeds when the shares are these.
pub(super) async fn are_shares(fleet: &Fleet, name: &str, expected: &[(&str, i32)]) -> Result<(), Failure> {
    let is = shares(fleet, name).await?;
    let same =
        is.iter().map(|(cluster, replicas)| (cluster.as_str(), *replicas)).eq(expected.iter().copied());
    if same { Ok(()) } else { Err(Failure::new(format!("the shares of {name} are {is:?}"))) }
}

/// Waits until the shares are these.
pub(super) async fn until_shares(fleet: &Fleet, name: &str, expected: &[(&str, i32)]) -> Result<(), Failure> {
    let what = format!("the shares of {name} are {expected:?}");
    fleet.eventually(&what, SOON, || are_shares(fleet, name, expected)).await
}

/// Waits until what the placement says of a cluster has this reason, and gives back the words.
pub(super) async fn says_of(
    fleet: &Fleet,
    name: &str,
    cluster: &str,
    reason: &str,
) -> Result<String, Failure> {
    fleet
        .eventually(&format!("{name} in {cluster} is {reason}"), SOON, || async {
            let placement = sample::placed(fleet, name).await?;
            let rows = placement["status"]["decisions"].as_array().cloned().unwrap_or_default();
            let row = rows.into_iter().find(|row| row["clusterName"] == cluster).unwrap_or_default();
            if row["reason"] != reason {
                return Err(Failure::new(row.to_string()));
            }
            Ok(row["message"].as_str().unwrap_or_default().to_owned())
        })
        .await
}

/// Has the placement decided once more, as any change of it does, and waits until it is.
pub(super) async fn decided_anew(fleet: &Fleet, name: &str, priority: i32) -> Result<(), Failure> {
    let change = json!({"spec": {"priority": priority}});
    objects::patch(fleet.hub().cluster(), "NIMPlacement", sample::NAMESPACE, name, change).await?;
    fleet
        .eventually(&format!("{name} is decided anew"), SOON, || async {
            let placement = sample::placed(fleet, name).await?;
            let (status, generation) = (&placement["status"], &placement["metadata"]["generation"]);
            let is_told = status["observedGeneration"] == *generation;
            if is_told { Ok(()) } else { Err(Failure::new(status.to_string())) }
        })
        .await
}

/// Changes the spec of a GPUCluster as its admin, and waits until the hub has seen it: clusters and placements are watched apart,
/// so a placement that is applied afterwards could be decided by what was before.
pub(super) async fn admin_says(fleet: &Fleet, cluster: &str, spec: Value) -> Result<(), Failure> {
    let hub = fleet.hub().cluster();
    objects::patch(hub, "GPUCluster", "", cluster, json!({ "spec": spec })).await?;
    fleet
        .eventually(&format!("the hub has seen the change of {cluster}"), SOON, || async {
            let known = objects::get(hub, "GPUCluster", "", cluster).await?;
            let (seen, is) = (&known["status"]["observedGeneration"], &known["metadata"]["generation"]);
            if seen == is { Ok(()) } else { Err(Failure::new(format!("{seen}, not {is}"))) }
        })
        .await
}

/// Waits until the hub knows that a cluster has this platform.
pub(super) async fn has_platform(fleet: &Fleet, cluster: &str, platform: &str) -> Result<(), Failure> {
    fleet
        .eventually(&format!("the hub knows of {platform} in {cluster}"), SOON, || async {
            let known = objects::get(fleet.hub().cluster(), "GPUCluster", "", cluster).await?;
            let platforms = known["status"]["platforms"].to_string();
            if platforms.contains(platform) { Ok(()) } else { Err(Failure::new(platforms)) }
        })
        .await
}

/// Waits until the hub knows the labels that the nodes of a cluster have now. No status tells them; so the nodes are given a region
/// last, which is told in the same report.
pub(super) async fn knows_labels(fleet: &Fleet, cluster: &str) -> Result<(), Failure> {
    const REGION: &str = "labelled";
    let label = format!("topology.kubernetes.io/region={REGION}");
    let arguments = ["label", "node", "--all", "--overwrite", &label];
    fleet.cluster(cluster)?.cluster().kubectl(&arguments, None).await?;
    fleet
        .eventually(&format!("the hub knows the labels of {cluster}"), SOON, || async {
            let known = objects::get(fleet.hub().cluster(), "GPUCluster", "", cluster).await?;
            let region = &known["status"]["region"];
            if region == REGION { Ok(()) } else { Err(Failure::new(format!("its region is {region}"))) }
        })
        .await
}

/// A label of which agents do not tell the hub: it describes a machine in detail.
const SLOT: &str = "feature.node.kubernetes.io/cpu-slot";

/// The sample with so many replicas, which run on nodes with the label [`SLOT`] alone: the hub does not know, each
/// cluster's scheduler does.
pub(super) fn in_good_slots(replicas: u32) -> String {
    let chosen = format!("  replicas: {replicas}\n  nodeSelector: {{{SLOT}: good}}\n");
    sample::MANIFEST.replace("  replicas: 1\n", &chosen)
}

/// Makes a node one of those.
pub(super) async fn good_slot(fleet: &Fleet, cluster: &str, node: &str) -> Result<(), Failure> {
    slot(fleet, cluster, node, "good").await
}

/// Gives a node the label, with that value. The hub knows that a cluster has no such node where none has the label at all.
pub(super) async fn slot(fleet: &Fleet, cluster: &str, node: &str, value: &str) -> Result<(), Failure> {
    let label = json!({"metadata": {"labels": {SLOT: value}}});
    objects::patch(fleet.cluster(cluster)?.cluster(), "Node", "", node, label).await
}
