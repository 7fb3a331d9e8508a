//! Watches the cluster and publishes its capacity whenever it has changed.

use std::fmt::Debug;
use std::time::Duration;

use futures::stream::BoxStream;
use futures::{FutureExt, Stream, StreamExt, stream};
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::api::resource::v1::{DeviceClass, ResourceClaim, ResourceSlice};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, DynamicObject};
use kube::core::{ApiResource, GroupVersionKind, PartialObjectMeta};
use kube::runtime::watcher::{Config, Event};
use runtime::panics::caught_call;
use runtime::watch::events;
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::optional::while_served;
use super::picture::{News, Picture};
use super::platforms::AUTOSCALER_STATUS;
use super::storage::{SlimCapacity, SlimClass};
use super::trimmed::{SlimNode, SlimPod};
use super::{CapacityReport, Free, Looks, Platform, platforms};
use crate::deliver::KINDS;
use crate::report::Outbox;

/// How long changes are gathered before they are published: a rollout moves many pods at once.
const GATHER: Duration = Duration::from_secs(1);

/// Platforms are read again at a change of a CRD, and at this interval in case that watch is not permitted.
const PLATFORM_REFRESH: Duration = Duration::from_mins(10);

/// Pods that hold something: bound and not finished. The API server leaves the others out.
const BOUND_PODS: &str = "spec.nodeName!=,status.phase!=Succeeded,status.phase!=Failed";

/// Observes until cancelled. `report` stays `None` until nodes and pods have been seen completely once.
///
/// `delivered` names the objects whose bound pods are told. Who asks `looks` is answered from all that has been seen, and what
/// is answered is published at once.
pub async fn observe(
    client: kube::Client,
    delivered: Outbox,
    mut looks: Looks,
    report: watch::Sender<Option<CapacityReport>>,
    cancel: CancellationToken,
) {
    let served = watch::Sender::new(Served::default());
    let mut news = std::pin::pin!(news(&client, &delivered, &served));
    let mut picture = Picture::default();
    let mut publish_at = None;
    loop {
        tokio::select! {
            biased;
            () = cancel.cancelled() => return,
            () = tokio::time::sleep_until(publish_at.unwrap_or_else(Instant::now)), if publish_at.is_some() => {
                publish_at = None;
                if picture.kinds_changed {
                    match read_platforms(&client).await {
                        Ok(found) => {
                            let now = Served::of(&found.1);
                            served.send_if_modified(|served| std::mem::replace(served, now.clone()) != now);
                            picture.set_platforms(found);
                        }
                        Err(error) => {
                            tracing::warn!(%error, "the platforms of this cluster cannot be read; tried again");
                            publish_at = Some(Instant::now() + 5 * GATHER);
                        }
                    }
                }
                tell(&picture, &delivered, &report);
            }
            Some(news) = news.next() => {
                // What one object says is that object's failure.
                let folded = caught_call(|| picture.fold(news));
                if let Err(panic) = &folded {
                    tracing::error!(%panic, "a fact of the cluster could not be taken in, and is passed over");
                }
                if folded == Ok(true) {
                    publish_at.get_or_insert_with(|| Instant::now() + GATHER);
                }
            }
            // After the news that is there.
            Some(answer) = looks.next() => {
                let free = tell(&picture, &delivered, &report);
                // Fails only if nobody waits any longer.
                drop(answer.send(free));
            }
        }
    }
}

/// Publishes what is known now, and says what is free by it; nothing while too little is known.
fn tell(
    picture: &Picture,
    delivered: &Outbox,
    report: &watch::Sender<Option<CapacityReport>>,
) -> Option<Free> {
    let now = picture.report(&delivered.uids(), jiff::Timestamp::now().as_millisecond())?;
    let pools = now.pools.clone();
    publish(report, now);
    let observed_at_ms = report.borrow().as_ref()?.observed_at_ms;
    Some(Free { observed_at_ms, pools, bound: picture.bound_pods() })
}

/// Everything to watch, as one stream. It never ends.
fn news(
    client: &kube::Client,
    delivered: &Outbox,
    served: &watch::Sender<Served>,
) -> impl Stream<Item = News> + use<> {
    let nodes = events(Api::<SlimNode>::all(client.clone()), Config::default(), "nodes").map(News::Node);
    let bound = Config::default().fields(BOUND_PODS);
    let pods = events(Api::<SlimPod>::all(client.clone()), bound, "pods").map(News::Pod);
    let crds: Api<PartialObjectMeta<CustomResourceDefinition>> = Api::all(client.clone());
    let crds = events(crds, Config::default(), "custom resource definitions").filter_map(|event| {
        let done = matches!(event, Event::InitDone | Event::Apply(_) | Event::Delete(_));
        std::future::ready(done.then_some(News::Kinds))
    });
    let refresh =
        stream::unfold((), |()| tokio::time::sleep(PLATFORM_REFRESH).map(|()| Some((News::Kinds, ()))));
    let caches = KINDS.into_iter().filter(|kind| kind.kind == "NIMCache").map(|kind| {
        let api: Api<DynamicObject> = Api::all_with(client.clone(), &kind.resource());
        events(api, Config::default(), "NIMCaches").map(News::Cache).boxed()
    });
    let members = stream::unfold(delivered.members(), |mut members| async move {
        members.changed().await.ok()?;
        Some((News::Delivered, members))
    });
    let others = [nodes.boxed(), pods.boxed(), crds.boxed(), refresh.boxed(), members.boxed()];
    let optional =
        storage_news(client).into_iter().chain(device_news(client, served)).chain(quota_news(client, served));
    stream::select_all(others.into_iter().chain(caches).chain(optional))
}

fn storage_news(client: &kube::Client) -> [BoxStream<'static, News>; 2] {
    let classes = events(Api::<SlimClass>::all(client.clone()), Config::default(), "storage classes");
    let capacities =
        events(Api::<SlimCapacity>::all(client.clone()), Config::default(), "storage capacities");
    [classes.map(News::StorageClass).boxed(), capacities.map(News::StorageCapacity).boxed()]
}

fn device_news(client: &kube::Client, served: &watch::Sender<Served>) -> [BoxStream<'static, News>; 3] {
    fn watched<K>(
        client: &kube::Client,
        served: &watch::Sender<Served>,
        what: &'static str,
    ) -> BoxStream<'static, Event<K>>
    where
        K: kube::Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + 'static,
    {
        let client = client.clone();
        let begin = move |()| events(Api::<K>::all(client.clone()), Config::default(), what).boxed();
        while_served(served.subscribe(), |served| served.devices.then_some(()), begin).boxed()
    }
    [
        watched::<DeviceClass>(client, served, "device classes").map(News::DeviceClass).boxed(),
        watched::<ResourceSlice>(client, served, "resource slices").map(News::Slice).boxed(),
        watched::<ResourceClaim>(client, served, "resource claims").map(News::Claim).boxed(),
    ]
}

fn quota_news(client: &kube::Client, served: &watch::Sender<Served>) -> [BoxStream<'static, News>; 2] {
    let watched = |kind: &'static str, what: &'static str| {
        let client = client.clone();
        let begin = move |version: String| {
            let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(KUEUE, &version, kind));
            events(Api::<DynamicObject>::all_with(client.clone(), &resource), Config::default(), what).boxed()
        };
        while_served(served.subscribe(), |served| served.kueue.clone(), begin)
    };
    [
        watched("ClusterQueue", "cluster queues").map(News::Queue).boxed(),
        watched("ResourceFlavor", "resource flavors").map(News::Flavor).boxed(),
    ]
}

/// API group of Kueue.
const KUEUE: &str = "kueue.x-k8s.io";

/// What is watched where it is served.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Served {
    /// resource.k8s.io/v1.
    devices: bool,
    /// The version of Kueue's API that the cluster prefers.
    kueue: Option<String>,
}

impl Served {
    fn of(platforms: &[Platform]) -> Self {
        let named = |name: &str| platforms.iter().find(|platform| platform.name == name);
        Self {
            devices: named("dra").is_some_and(|dra| dra.served.iter().any(|version| version == "v1")),
            kueue: named("kueue").map(|kueue| kueue.version.clone()),
        }
    }
}

/// The Kubernetes version and the platforms.
async fn read_platforms(client: &kube::Client) -> kube::Result<(String, Vec<Platform>)> {
    let version = client.apiserver_version().await?;
    let groups = client.list_api_groups().await?;
    let autoscaled = is_autoscaled(client).await?;
    Ok((version.git_version, platforms::platforms(&groups, autoscaled)))
}

/// Whether cluster-autoscaler tells its status here. Where that may not be read nothing is known of one.
async fn is_autoscaled(client: &kube::Client) -> kube::Result<bool> {
    let (namespace, name) = AUTOSCALER_STATUS;
    let status: Api<PartialObjectMeta<ConfigMap>> = Api::namespaced(client.clone(), namespace);
    match status.get_metadata_opt(name).await {
        Ok(status) => Ok(status.is_some()),
        Err(kube::Error::Api(refusal)) if refusal.code == 403 => Ok(false),
        Err(error) => Err(error),
    }
}

/// Publishes a report unless only its time differs from the last.
fn publish(to: &watch::Sender<Option<CapacityReport>>, now: CapacityReport) {
    to.send_if_modified(|last| {
        let same = last.as_ref().is_some_and(|last| {
            *last == CapacityReport { observed_at_ms: last.observed_at_ms, ..now.clone() }
        });
        if !same {
            *last = Some(now);
        }
        !same
    });
}

#[cfg(test)]
#[path = "observe/tests.rs"]
mod tests;
