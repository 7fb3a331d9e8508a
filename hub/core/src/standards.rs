//! What the fleet is in the words of SIG Multicluster: a `ClusterProfile` per GPUCluster and `PlacementDecision`s per
//! placement, for programs that know those kinds and not ours. Rendered from what is on our own objects already.

use crds::condition;
use crds::fleet::{GPUCluster, GPUClusterStatus, NIMPlacement};
use kube::{Resource, ResourceExt};
use serde_json::{Value, json};

/// Group and version of the kinds.
pub const API_VERSION: &str = "multicluster.x-k8s.io/v1alpha1";
/// Who writes them, as they say it.
pub const MANAGER: &str = "nimfleet";
/// Most clusters of one PlacementDecision: the kind allows no more.
const SLICE: usize = 100;

/// The profile of a cluster: the object, and its status. None while the cluster has no uid to be owned by.
#[must_use]
pub fn cluster_profile(
    cluster: &GPUCluster,
    status: &GPUClusterStatus,
    namespace: &str,
) -> Option<(Value, Value)> {
    let name = cluster.name_any();
    let head = json!({
        "apiVersion": API_VERSION, "kind": "ClusterProfile",
        "metadata": {
            "name": name, "namespace": namespace,
            "labels": {"x-k8s.io/cluster-manager": MANAGER},
            "ownerReferences": [owner(cluster)?],
        },
        "spec": {"displayName": name, "clusterManager": {"name": MANAGER}},
    });
    let mut told = json!({"properties": properties(status)});
    if let Some(version) = &status.kubernetes_version {
        told["version"] = json!({"kubernetes": version});
    }
    // Connected is as much as the hub knows of the control plane: the spoke speaks to it.
    if let Some(connected) = condition::find(&status.conditions, "Connected") {
        told["conditions"] = json!([{
            "type": "ControlPlaneHealthy", "status": connected.status, "reason": connected.reason,
            "message": connected.message, "lastTransitionTime": connected.last_transition_time,
        }]);
    }
    Some((head, told))
}

/// Facts by name, in their order.
fn properties(status: &GPUClusterStatus) -> Vec<Value> {
    let places = [
        ("topology.kubernetes.io/region", &status.region),
        ("topology.kubernetes.io/zone", &status.zone),
        ("nimfleet.io/provider", &status.provider),
    ];
    let places = places.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value.clone()?)));
    let pools = status.gpus.iter().flat_map(|pool| {
        let of = |what: &str, count: i32| (format!("nimfleet.io/{what}.{}", named(pool)), count.to_string());
        [of("gpus", pool.allocatable), of("gpus-free", pool.free)]
    });
    places.chain(pools).map(|(name, value)| json!({"name": name, "value": value})).collect()
}

/// Product, and the resource where it is not the usual one.
fn named(pool: &crds::fleet::GPUPool) -> String {
    match pool.resource.as_str() {
        "nvidia.com/gpu" => pool.product.clone(),
        resource => format!("{}.{resource}", pool.product),
    }
}

/// What was decided for a placement, in slices; none where nothing was.
pub fn placement_decisions<'a>(
    placement: &NIMPlacement,
    rows: impl Iterator<Item = (&'a str, &'a str)>,
    profiles: &str,
) -> Vec<Value> {
    let (Some(owner), Some(namespace)) = (owner(placement), placement.namespace()) else { return Vec::new() };
    let rows: Vec<Value> = rows
        .map(|(cluster, reason)| {
            json!({"clusterProfileRef": {"name": cluster, "namespace": profiles}, "reason": reason})
        })
        .collect();
    let slice = |(index, rows): (usize, &[Value])| {
        json!({
            "apiVersion": API_VERSION, "kind": "PlacementDecision",
            "metadata": {
                "name": slice_name(&placement.name_any(), index), "namespace": namespace,
                "labels": {
                    "multicluster.x-k8s.io/decision-key": placement.name_any(),
                    "multicluster.x-k8s.io/decision-index": index.to_string(),
                    "multicluster.x-k8s.io/placement-key": placement.name_any(),
                },
                "ownerReferences": [owner],
            },
            "schedulerName": MANAGER,
            "decisions": rows,
        })
    };
    rows.chunks(SLICE).enumerate().map(slice).collect()
}

/// Name of a slice: another scheduler's of the same placement has another.
#[must_use]
pub fn slice_name(placement: &str, index: usize) -> String {
    format!("{placement}-{MANAGER}-{index}")
}

fn owner<K: Resource<DynamicType = ()>>(object: &K) -> Option<Value> {
    serde_json::to_value(object.owner_ref(&())?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cluster() -> GPUCluster {
        serde_json::from_value(json!({
            "apiVersion": "nimfleet.io/v1alpha1", "kind": "GPUCluster", "metadata": {"name": "east", "uid": "u"},
            "status": {
                "kubernetesVersion": "v1.34.2", "region": "eu",
                "gpus": [
                    {"product": "NVIDIA-H100", "resource": "nvidia.com/gpu", "allocatable": 16, "free": 8},
                    {"product": "NVIDIA-H100", "resource": "nvidia.com/mig-1g.10gb", "allocatable": 7, "free": 7},
                ],
                "conditions": [{"type": "Connected", "status": "True", "reason": "Connected", "message": "a session is up",
                                "lastTransitionTime": "2026-01-01T00:00:00Z"}],
            },
        }))
        .unwrap()
    }

    #[test]
    fn a_profile_holds_the_facts_of_its_cluster() {
        let (head, status) = cluster_profile(&cluster(), &cluster().status.unwrap(), "nimfleet").unwrap();
        insta::assert_yaml_snapshot!(json!([head, status]));
    }

    #[test]
    fn decisions_come_in_slices_that_name_profiles() {
        let placement: NIMPlacement = serde_json::from_value(json!({
            "apiVersion": "nimfleet.io/v1alpha1", "kind": "NIMPlacement",
            "metadata": {"name": "llm", "namespace": "nim", "uid": "p"},
            "spec": {"resourceSelectors": [{"kind": "NIMService", "name": "llm"}]},
        }))
        .unwrap();
        let names: Vec<String> = (0..101).map(|number| format!("c{number}")).collect();
        let rows = names.iter().map(|name| (name.as_str(), "Placed"));
        let slices = placement_decisions(&placement, rows, "nimfleet");
        assert_eq!(slices.len(), 2);
        assert_eq!(slices[0]["decisions"].as_array().unwrap().len(), 100);
        assert_eq!(slices[1]["metadata"]["name"], "llm-nimfleet-1");
        assert_eq!(
            slices[1]["decisions"][0]["clusterProfileRef"],
            json!({"name": "c100", "namespace": "nimfleet"})
        );
        assert!(placement_decisions(&placement, std::iter::empty(), "nimfleet").is_empty());
    }
}
