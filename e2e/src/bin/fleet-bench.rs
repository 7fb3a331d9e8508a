//! `fleet-bench`: how long a NIMService takes from the hub to a Deployment and back, and what hub and spoke weigh.
//!
//! Both ways are watched, never polled, through watches that stand before the clock starts. All of it shares one
//! machine with the API servers, so the numbers hold their work too.

#![allow(clippy::print_stdout, reason = "what it prints is the product")]

use std::fs;
use std::time::{Duration, Instant};

use clap::Parser;
use e2e::cluster::Cluster;
use e2e::cluster::gpu::H100;
use e2e::failure::Failure;
use e2e::fleet::{Binaries, Fleet};
use e2e::objects;
use futures::StreamExt;
use kube::Api;
use kube::api::DynamicObject;
use kube::core::{ApiResource, GroupVersionKind};
use kube::runtime::watcher::{self, Event, watcher};
use serde_json::{Value, json};
use tokio::sync::mpsc;

/// Measures a hub with one cluster on this machine; the last line of stdout is the result as JSON.
#[derive(Parser)]
struct Args {
    /// How many NIMServices are measured, one after the other; each takes one GPU.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=MOST_TRIES))]
    tries: u32,
}

/// The only cluster.
const CLUSTER: &str = "east";
/// Namespace of everything that is applied.
const NAMESPACE: &str = "fleet-bench";
/// Nodes of the cluster, with eight GPUs each: every try finds room without anything being deleted.
const NODES: u32 = 16;
/// One GPU of the cluster is left for the try that warms up.
const MOST_TRIES: i64 = 8 * NODES as i64 - 1;
/// No step takes seconds; this is for a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);
const MEBIBYTE: f64 = 1024.0 * 1024.0;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let args = Args::parse();
    eprintln!("building hub and spoke, starting a hub and a cluster of {} GPUs", 8 * NODES);
    let binaries = tokio::task::spawn_blocking(Binaries::ready).await??;
    let fleet = Fleet::new().cluster(CLUSTER).gpus(H100, 8, NODES).start().await?;
    let member = fleet.cluster(CLUSTER)?;
    let mut deployments = Watch::start(member.cluster(), "apps", "v1", "Deployment").await?;
    let mut services =
        Watch::start(fleet.hub().cluster(), "apps.nvidia.com", "v1alpha1", "NIMService").await?;

    // The first one makes the namespace on the cluster and fills every cache on the way: it is not counted.
    measure(&fleet, &mut deployments, &mut services, "warm-up").await?;
    let (mut down, mut up) = (Vec::new(), Vec::new());
    for number in 0..args.tries {
        let name = format!("try-{number}");
        let (to_deployment, to_hub) = measure(&fleet, &mut deployments, &mut services, &name).await?;
        eprintln!("{name}: apply to Deployment {to_deployment:?}, status to hub {to_hub:?}");
        down.push(to_deployment);
        up.push(to_hub);
    }
    println!(
        "{}",
        json!({
            "apply_to_deployment_ms": spread(down),
            "status_to_hub_ms": spread(up),
            "hub_rss_mib": mebibytes(fleet.hub().daemon().resident_bytes()?),
            "spoke_rss_mib": mebibytes(member.spoke().resident_bytes()?),
            "hub_binary_mib": mebibytes(fs::metadata(&binaries.hub)?.len()),
            "spoke_binary_mib": mebibytes(fs::metadata(&binaries.spoke)?.len()),
            "tries": args.tries,
            "profile": if cfg!(debug_assertions) { "debug" } else { "release" },
        })
    );
    Ok(())
}

/// One NIMService under a placement that awaits it: the time from the start of its apply on the hub until its
/// Deployment is seen on the cluster, and from that Deployment being seen available until the hub is seen to say Ready.
async fn measure(
    fleet: &Fleet,
    deployments: &mut Watch,
    services: &mut Watch,
    name: &str,
) -> Result<(Duration, Duration), Failure> {
    let hub = fleet.hub().cluster();
    objects::apply(hub, &placement(name).to_string()).await?;
    fleet
        .eventually(&format!("the hub knows placement {name}"), PATIENCE, || async {
            let found = objects::get(hub, "NIMPlacement", NAMESPACE, name).await?;
            objects::condition(&found, "Scheduled").map(drop).ok_or_else(|| Failure::new("no condition yet"))
        })
        .await?;
    let service = service(name).to_string();
    let begun = Instant::now();
    objects::apply(hub, &service).await?;
    let existed = deployments.until(name, |_| true).await?;
    let available = deployments.until(name, is_available).await?;
    let ready = services
        .until(name, |object| {
            objects::condition(object, "Ready").is_some_and(|(status, ..)| status == "True")
        })
        .await?;
    Ok((existed - begun, ready - available))
}

/// Selects by label what [`service`] will be.
fn placement(name: &str) -> Value {
    json!({
        "apiVersion": "nimfleet.io/v1alpha1", "kind": "NIMPlacement",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {"resourceSelectors": [
            {"kind": "NIMService", "labelSelector": {"matchLabels": {"fleet-bench": name}}},
        ]},
    })
}

/// A NIMService of one GPU that waits for no cache.
fn service(name: &str) -> Value {
    json!({
        "apiVersion": "apps.nvidia.com/v1alpha1", "kind": "NIMService",
        "metadata": {"name": name, "namespace": NAMESPACE, "labels": {"fleet-bench": name}},
        "spec": {
            "image": {"repository": "nvcr.io/nim/meta/llama-3.2-1b-instruct", "tag": "1.12.0"},
            "authSecret": "ngc-api-secret",
            "storage": {"emptyDir": {}},
            "replicas": 1,
            "resources": {"limits": {"nvidia.com/gpu": 1}},
            "expose": {"service": {"type": "ClusterIP", "port": 8000}},
        },
    })
}

fn is_available(deployment: &Value) -> bool {
    objects::condition(deployment, "Available").is_some_and(|(status, ..)| status == "True")
}

/// A watch of one kind in [`NAMESPACE`] that runs by itself, so that a moment is noted when it comes and not when
/// somebody asks for it.
struct Watch {
    kind: &'static str,
    seen: mpsc::UnboundedReceiver<(Instant, Value)>,
}

impl Watch {
    /// Returns when the watch has listed what there is.
    async fn start(
        cluster: &Cluster,
        group: &str,
        version: &str,
        kind: &'static str,
    ) -> Result<Self, Failure> {
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
        let api: Api<DynamicObject> = Api::namespaced_with(cluster.client(), NAMESPACE, &resource);
        let mut events = watcher(api, watcher::Config::default()).boxed();
        while !matches!(events.next().await.transpose()?, None | Some(Event::InitDone)) {}
        let (tell, seen) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Some(event) = events.next().await {
                let at = Instant::now();
                // The watcher itself tries again after an error; what never comes is missed by whoever waits for it.
                if let Ok(Event::Apply(object) | Event::InitApply(object)) = event
                    && let Ok(object) = serde_json::to_value(object)
                    && tell.send((at, object)).is_err()
                {
                    return;
                }
            }
        });
        Ok(Self { kind, seen })
    }

    /// When the object `name` was next seen so that `check` holds.
    async fn until(&mut self, name: &str, check: impl Fn(&Value) -> bool) -> Result<Instant, Failure> {
        let found = async {
            while let Some((at, object)) = self.seen.recv().await {
                if object["metadata"]["name"] == name && check(&object) {
                    return Some(at);
                }
            }
            None
        };
        match tokio::time::timeout(PATIENCE, found).await {
            Ok(Some(at)) => Ok(at),
            Ok(None) => Err(Failure::new(format!("the watch of {} ended", self.kind))),
            Err(_) => Err(Failure::new(format!("{} {name} not as awaited within {PATIENCE:?}", self.kind))),
        }
    }
}

/// Milliseconds.
fn spread(mut times: Vec<Duration>) -> Value {
    times.sort();
    let middle = times.len() / 2;
    let median = if times.len() % 2 == 1 { times[middle] } else { (times[middle - 1] + times[middle]) / 2 };
    let ms = |time: Duration| tenths(time.as_secs_f64() * 1000.0);
    json!({"median": ms(median), "min": ms(times[0]), "max": ms(times[times.len() - 1])})
}

#[allow(clippy::cast_precision_loss, reason = "sizes are far below 2^52 bytes")]
fn mebibytes(bytes: u64) -> f64 {
    tenths(bytes as f64 / MEBIBYTE)
}

fn tenths(number: f64) -> f64 {
    (number * 10.0).round() / 10.0
}
