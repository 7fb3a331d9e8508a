//! What the operator knows of its cluster: the GPUs its nodes name and the platform it runs on.

use std::collections::BTreeSet;

use futures::StreamExt;
use k8s_openapi::api::core::v1::Node;
use kube::core::PartialObjectMeta;
use kube::runtime::reflector::store::Writer;
use kube::runtime::watcher::{Config, Event};
use kube::{Api, Client};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::engine::child::ChildKind;
use super::settings::Settings;

/// GPU Feature Discovery's name of a node's GPU.
const PRODUCT: &str = "nvidia.com/gpu.product";

/// Node labels that tell the platform, in the order in which they count.
const PLATFORMS: &[(&str, Platform)] = &[
    ("node.vmware.com/tkg", Platform::Tkgs),
    ("vsphere-tanzu", Platform::Tkgs),
    ("node.openshift.io/os_id", Platform::OpenShift),
    ("cloud.google.com/gke-nodepool", Platform::Gke),
    ("eks.amazonaws.com/nodegroup", Platform::Eks),
    ("kubernetes.azure.com/cluster", Platform::Aks),
    ("oke.oraclecloud.com/cluster", Platform::Oke),
    ("ezmeral.hpe.com/cluster", Platform::Ezmeral),
    ("rke.cattle.io/version", Platform::Rke),
];

/// Who runs the cluster. Only two change what is rendered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Platform {
    /// Pods get the seccomp profile RuntimeDefault.
    Tkgs,
    /// Pods name their security context constraints.
    OpenShift,
    Gke,
    Eks,
    Aks,
    Oke,
    Ezmeral,
    Rke,
    #[default]
    Kubernetes,
}

/// Facts that rendering depends on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ClusterFacts {
    /// Distinct GPU products of all nodes.
    pub(crate) products: BTreeSet<String>,
    pub(crate) platform: Platform,
    /// Kinds of children that a cluster may lack and this one has, with their caches filled.
    pub(crate) installed: BTreeSet<ChildKind>,
    /// The API server's version as it says it, such as `v1.34.1`; empty until it is known.
    pub(crate) kubernetes: String,
    /// What the owner of the cluster says.
    pub(crate) settings: Settings,
}

impl ClusterFacts {
    /// From the labels of all nodes. Pure.
    pub(crate) fn of<'a>(
        nodes: impl Iterator<Item = &'a std::collections::BTreeMap<String, String>>,
    ) -> Self {
        let mut facts = Self::default();
        let mut best = PLATFORMS.len();
        for labels in nodes {
            facts.products.extend(labels.get(PRODUCT).cloned());
            if let Some(found) = PLATFORMS.iter().position(|(label, _)| labels.contains_key(*label)) {
                best = best.min(found);
            }
        }
        facts.platform = PLATFORMS.get(best).map_or(Platform::Kubernetes, |(_, platform)| *platform);
        facts
    }

    /// Notes that a kind came or went; true when that is new.
    pub(crate) fn note(&mut self, kind: Option<ChildKind>, installed: bool) -> bool {
        match kind {
            Some(kind) if installed => self.installed.insert(kind),
            Some(kind) => self.installed.remove(&kind),
            None => false,
        }
    }
}

/// Keeps what nodes tell up to date, for ever; `known` is cancelled once they have been seen. Of nodes only the labels
/// named above are kept.
pub(crate) async fn observe(client: Client, facts: watch::Sender<ClusterFacts>, known: CancellationToken) {
    let api: Api<PartialObjectMeta<Node>> = Api::all(client);
    let mut writer = Writer::<PartialObjectMeta<Node>>::default();
    let store = writer.as_reader();
    let mut events = runtime::watch::events(api, Config::default(), "Node").boxed();
    let mut ready = false;
    while let Some(event) = events.next().await {
        ready |= matches!(event, Event::InitDone);
        writer.apply_watcher_event(&event.modify(trim));
        if ready {
            let nodes = store.state();
            let seen = ClusterFacts::of(nodes.iter().filter_map(|node| node.metadata.labels.as_ref()));
            facts.send_if_modified(|facts| {
                let changed = facts.platform != seen.platform || facts.products != seen.products;
                facts.platform = seen.platform;
                facts.products = seen.products;
                changed
            });
            known.cancel();
        }
    }
}

fn trim(node: &mut PartialObjectMeta<Node>) {
    node.metadata.annotations = None;
    if let Some(labels) = &mut node.metadata.labels {
        labels.retain(|key, _| key == PRODUCT || PLATFORMS.iter().any(|(label, _)| label == key));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn node(labels: &[(&str, &str)]) -> BTreeMap<String, String> {
        labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn products_are_distinct_and_the_platform_is_the_first_that_counts() {
        let nodes = [
            node(&[(PRODUCT, "NVIDIA-H100-80GB-HBM3"), ("eks.amazonaws.com/nodegroup", "a")]),
            node(&[(PRODUCT, "NVIDIA-H100-80GB-HBM3"), ("node.openshift.io/os_id", "rhcos")]),
            node(&[(PRODUCT, "NVIDIA-L40S")]),
            node(&[]),
        ];
        let facts = ClusterFacts::of(nodes.iter());
        assert_eq!(facts.products.len(), 2);
        assert_eq!(facts.platform, Platform::OpenShift);
        assert_eq!(ClusterFacts::of([].iter()), ClusterFacts::default());
    }
}
