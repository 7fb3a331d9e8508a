//! Other products that NIM objects become objects of. Where their controllers are played by a test, [`install`] makes
//! definitions reduced to names and a free schema; [`lws`], [`kserve`], [`kueue`] and [`picker`] run the real ones, with their
//! own definitions and webhooks.

pub mod kserve;
pub mod kueue;
pub mod lws;
pub mod picker;
mod released;

pub use released::start;

use std::time::Duration;

use serde_json::json;

use crate::cluster::Cluster;
use crate::failure::Failure;
use crate::patience;

/// How long a definition may take until it is served.
const SERVED_WITHIN: Duration = Duration::from_mins(2);

/// Group, version, kind and plural of each.
pub const KINDS: [(&str, &str, &str, &str); 11] = [
    ("multicluster.x-k8s.io", "v1alpha1", "ClusterProfile", "clusterprofiles"),
    ("multicluster.x-k8s.io", "v1alpha1", "PlacementDecision", "placementdecisions"),
    ("leaderworkerset.x-k8s.io", "v1", "LeaderWorkerSet", "leaderworkersets"),
    ("serving.kserve.io", "v1beta1", "InferenceService", "inferenceservices"),
    ("gateway.networking.k8s.io", "v1", "HTTPRoute", "httproutes"),
    ("gateway.networking.k8s.io", "v1", "GRPCRoute", "grpcroutes"),
    ("inference.networking.k8s.io", "v1", "InferencePool", "inferencepools"),
    ("monitoring.coreos.com", "v1", "ServiceMonitor", "servicemonitors"),
    ("monitoring.coreos.com", "v1", "PodMonitor", "podmonitors"),
    ("monitoring.coreos.com", "v1", "PrometheusRule", "prometheusrules"),
    ("resource.nvidia.com", "v1beta1", "ComputeDomain", "computedomains"),
];

/// Installs the definitions of these kinds and waits until they are served.
pub async fn install(cluster: &Cluster, kinds: &[&str]) -> Result<(), Failure> {
    for (group, version, kind, plural) in KINDS.iter().filter(|known| kinds.contains(&known.2)) {
        let name = format!("{plural}.{group}");
        let definition = json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {
                "name": name,
                // Groups of Kubernetes' own demand the place where they were approved.
                "annotations": {"api-approved.kubernetes.io": "unapproved, for tests"},
            },
            "spec": {
                "group": group, "scope": "Namespaced",
                "names": {"kind": kind, "plural": plural, "singular": kind.to_lowercase()},
                "versions": [{
                    "name": version, "served": true, "storage": true, "subresources": {"status": {}},
                    "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}},
                }],
            },
        });
        cluster.kubectl(&["apply", "--server-side", "-f", "-"], Some(&definition.to_string())).await?;
        // kubectl fails on a definition that has no conditions yet.
        let established = || async {
            let wait = ["wait", "--for=condition=Established", "--timeout=10s", "crd", &name];
            cluster.kubectl(&wait, None).await.map(drop).map_err(Failure::from)
        };
        let what = format!("{name} is served");
        patience::eventually(&what, SERVED_WITHIN, established, || async { String::new() }).await?;
    }
    Ok(())
}
