//! The objects of the hub's cluster: GPUClusters, NIMServices and their placements.

use std::time::{Duration, Instant};

use crds::fleet::{GPUCluster, NIMPlacement};
use e2e::failure::Failure;
use e2e::objects;
use futures::StreamExt;
use kube::api::{DynamicObject, Patch, PatchParams, PostParams};
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client};
use serde_json::{Value, json};
use tokio::sync::mpsc;

/// Namespace of everything that is placed; it is always there.
const NAMESPACE: &str = "default";
const PATIENCE: Duration = Duration::from_mins(1);

/// NIMServices of the hub.
pub(super) fn services(client: &Client) -> Api<DynamicObject> {
    objects::services(client.clone(), NAMESPACE)
}

/// An accepted GPUCluster that has yet to connect; its uid.
pub(super) async fn accept(client: &Client, name: &str) -> Result<String, Failure> {
    let object = json!({
        "apiVersion": "nimfleet.io/v1alpha1", "kind": "GPUCluster",
        "metadata": {"name": name}, "spec": {"accepted": true},
    });
    let api = Api::<GPUCluster>::all(client.clone());
    let made = api.create(&posted(), &serde_json::from_value(object)?).await?;
    Ok(made.metadata.uid.unwrap_or_default())
}

/// One NIMService of one GPU, and what places it on so many clusters.
pub(super) async fn place(client: &Client, name: &str, clusters: u32) -> Result<(), Failure> {
    let service = json!({
        "apiVersion": "apps.nvidia.com/v1alpha1", "kind": "NIMService",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {
            "image": {"repository": "nvcr.io/nim/meta/llama-3.2-1b-instruct", "tag": "1.0.0"},
            "authSecret": "ngc-api-secret",
            "storage": {"emptyDir": {}},
            "replicas": 1,
            "resources": {"limits": {"nvidia.com/gpu": "1"}},
            "expose": {"service": {"type": "ClusterIP", "port": 8000}},
        },
    });
    services(client).create(&posted(), &serde_json::from_value(service)?).await?;
    let placement = json!({
        "apiVersion": "nimfleet.io/v1alpha1", "kind": "NIMPlacement",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {
            "numberOfClusters": clusters,
            "resourceSelectors": [{"kind": "NIMService", "name": name}],
        },
    });
    let placements: Api<NIMPlacement> = Api::namespaced(client.clone(), NAMESPACE);
    placements.create(&posted(), &serde_json::from_value(placement)?).await?;
    Ok(())
}

/// Gives a NIMService another image.
pub(super) async fn change(client: &Client, name: &str, tag: &str) -> Result<(), Failure> {
    let change = json!({"spec": {"image": {"tag": tag}}});
    services(client).patch(name, &PatchParams::default(), &Patch::Merge(&change)).await?;
    Ok(())
}

fn posted() -> PostParams {
    PostParams { field_manager: Some("kubectl".to_owned()), ..PostParams::default() }
}

/// The statuses of the hub's NIMServices, as they change.
pub(super) struct Told(mpsc::UnboundedReceiver<(Instant, String, Value)>);

impl Told {
    /// Returns when the watch has listed what there is.
    pub(super) async fn start(client: &Client) -> Result<Self, Failure> {
        let mut events = watcher(services(client), watcher::Config::default()).boxed();
        while !matches!(events.next().await.transpose()?, None | Some(Event::InitDone)) {}
        let (tell, told) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Some(Ok(event)) = events.next().await {
                if let Event::Apply(object) = event {
                    let name = object.metadata.name.unwrap_or_default();
                    let status = object.data.get("status").cloned().unwrap_or_default();
                    if tell.send((Instant::now(), name, status)).is_err() {
                        return;
                    }
                }
            }
        });
        Ok(Self(told))
    }

    /// When the status of an object first said a word.
    pub(super) async fn until(&mut self, name: &str, word: &str) -> Result<Instant, Failure> {
        let found = async {
            while let Some((at, object, status)) = self.0.recv().await {
                if object == name && status.to_string().contains(word) {
                    return Some(at);
                }
            }
            None
        };
        let found = tokio::time::timeout(PATIENCE, found).await.ok().flatten();
        found.ok_or_else(|| {
            Failure::new(format!("NIMService {name} does not say {word:?} after {PATIENCE:?}"))
        })
    }
}
