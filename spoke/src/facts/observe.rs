//! Watches the cluster and publishes its capacity whenever it has changed.

use std::time::Duration;

use futures::{FutureExt, Stream, StreamExt, stream};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, DynamicObject};
use kube::core::PartialObjectMeta;
use kube::runtime::watcher::{Config, Event};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::gpus::{GpuNode, GpuPod, pools};
use super::locality::{Whereabouts, common};
use super::seen::Seen;
use super::trimmed::{SlimNode, SlimPod};
use super::{CapacityReport, HeldCache, Platform, caches, platforms};
use crate::deliver::KINDS;
use crate::watch::events;

/// How long changes are gathered before they are published: a rollout moves many pods at once.
const GATHER: Duration = Duration::from_secs(1);

/// Platforms are read again at a change of a CRD, and at this interval in case that watch is not permitted.
const PLATFORM_REFRESH: Duration = Duration::from_mins(10);

/// Pods that hold something: bound and not finished. The API server leaves the others out.
const BOUND_PODS: &str = "spec.nodeName!=,status.phase!=Succeeded,status.phase!=Failed";

/// What has happened in the cluster.
enum News {
    Node(Event<SlimNode>),
    Pod(Event<SlimPod>),
    Cache(Event<DynamicObject>),
    Kinds,
}

/// Observes until cancelled. `report` stays `None` until nodes and pods have been seen completely once.
pub async fn observe(
    client: kube::Client,
    report: watch::Sender<Option<CapacityReport>>,
    cancel: CancellationToken,
) {
    let mut news = std::pin::pin!(news(&client));
    let mut picture = Picture::default();
    let mut publish_at = None;
    loop {
        tokio::select! {
            () = cancel.cancelled() => return,
            Some(news) = news.next() => {
                if picture.fold(news) {
                    publish_at.get_or_insert_with(|| Instant::now() + GATHER);
                }
            }
            () = tokio::time::sleep_until(publish_at.unwrap_or_else(Instant::now)), if publish_at.is_some() => {
                publish_at = None;
                if picture.kinds_changed {
                    match read_platforms(&client).await {
                        Ok(found) => picture.set_platforms(found),
                        Err(error) => {
                            tracing::warn!(%error, "the platforms of this cluster cannot be read; tried again");
                            publish_at = Some(Instant::now() + 5 * GATHER);
                        }
                    }
                }
                if let Some(now) = picture.report(jiff::Timestamp::now().as_millisecond()) {
                    publish(&report, now);
                }
            }
        }
    }
}

/// Everything to watch, as one stream. It never ends.
fn news(client: &kube::Client) -> impl Stream<Item = News> + use<> {
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
        let api = crate::watch::everywhere(client, &kind.resource());
        events(api, Config::default(), "NIMCaches").map(News::Cache).boxed()
    });
    let others = [nodes.boxed(), pods.boxed(), crds.boxed(), refresh.boxed()];
    stream::select_all(others.into_iter().chain(caches))
}

/// All that is known of the cluster.
struct Picture {
    nodes: Seen<(GpuNode, Whereabouts)>,
    pods: Seen<GpuPod>,
    caches: Seen<HeldCache>,
    platforms: Option<(String, Vec<Platform>)>,
    kinds_changed: bool,
}

impl Default for Picture {
    fn default() -> Self {
        Self {
            nodes: Seen::default(),
            pods: Seen::default(),
            caches: Seen::default(),
            platforms: None,
            kinds_changed: true,
        }
    }
}

impl Picture {
    /// Takes news in and says whether the report may have changed.
    fn fold(&mut self, news: News) -> bool {
        match news {
            News::Node(event) => self.nodes.fold(event, |node| Some((node.gpus(), node.whereabouts()))),
            News::Pod(event) => self.pods.fold(event, SlimPod::gpus),
            News::Cache(event) => self.caches.fold(event, caches::held),
            News::Kinds => {
                self.kinds_changed = true;
                true
            }
        }
    }

    fn set_platforms(&mut self, found: (String, Vec<Platform>)) {
        self.platforms = Some(found);
        self.kinds_changed = false;
    }

    /// `None` while half a picture would mislead the hub's scheduler.
    fn report(&self, observed_at_ms: i64) -> Option<CapacityReport> {
        let (kubernetes_version, platforms) = self.platforms.clone()?;
        if !self.nodes.is_complete() || !self.pods.is_complete() {
            return None;
        }
        let place = common(self.nodes.now().values().map(|(_, whereabouts)| whereabouts));
        let nodes = self.nodes.now().iter().map(|(name, (gpus, _))| (name, gpus));
        Some(CapacityReport {
            observed_at_ms,
            kubernetes_version,
            region: place.region,
            zone: place.zone,
            provider: place.provider,
            pools: pools(nodes, self.pods.now().values()),
            platforms,
            caches: self.caches.now().values().cloned().collect(),
        })
    }
}

/// The Kubernetes version and the platforms.
async fn read_platforms(client: &kube::Client) -> kube::Result<(String, Vec<Platform>)> {
    let version = client.apiserver_version().await?;
    let groups = client.list_api_groups().await?;
    Ok((version.git_version, platforms::platforms(&groups)))
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
