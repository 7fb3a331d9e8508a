//! Which clusters a placement counts on, with how many replicas of each, and what it says of one.

use std::time::Duration;

use crds::fleet::DecisionState;
use e2e::failure::Failure;
use e2e::fleet::Fleet;
use e2e::{objects, sample};
use serde_json::json;

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
