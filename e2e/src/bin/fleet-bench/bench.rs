//! The fleet that is measured: one object at a time, and many at once.

use std::collections::{BTreeMap, HashSet};
use std::time::{Duration, Instant};

use e2e::cluster::gpu::H100;
use e2e::failure::Failure;
use e2e::fleet::{Fleet, Member};
use e2e::objects;
use futures::future::try_join_all;
use futures::stream::{self, StreamExt, TryStreamExt};
use kube::api::{DynamicObject, PostParams};
use serde_json::{Value, json};
use tokio::time::sleep;

use super::figures::Figures;
use super::watched::{NAMESPACE, Watched, services};
use super::{Args, Mode};

/// Between two tries: whatever the last one set off has ended.
const REST: Duration = Duration::from_secs(2);
/// After a burst: what is written late has been written.
const SETTLED: Duration = Duration::from_secs(20);
/// Connections that post a burst.
const POSTERS: usize = 8;
/// GPUs of each of a cluster's nodes, and nodes: each NIMService takes one GPU, and nothing is deleted.
const GPUS: (u32, u32) = (999, 4);
const MEBIBYTE: f64 = 1024.0 * 1024.0;

/// A hub and its clusters, watched.
pub(super) struct Bench {
    pub(super) fleet: Fleet,
    hub: Watched,
    pub(super) members: Vec<Watched>,
}

impl Bench {
    /// Starts everything and has one NIMService delivered, so that namespaces are there and connections are open.
    pub(super) async fn start(args: &Args) -> Result<Self, Failure> {
        eprintln!("building hub and spoke, starting a hub and {} clusters", args.clusters);
        let mut plan = Fleet::new().patient();
        for number in 0..args.clusters {
            plan = plan.cluster(&format!("c{number}")).gpus(H100, GPUS.0, GPUS.1);
        }
        let plan = if args.mode == Mode::Delegate { plan.delegating() } else { plan };
        let fleet = plan.start().await?;
        let hub = Watched::start(fleet.hub().cluster()).await?;
        let members =
            try_join_all(fleet.clusters().iter().map(|member| Watched::start(member.cluster()))).await?;
        let mut bench = Self { fleet, hub, members };
        objects::apply(bench.fleet.hub().cluster(), &placement("standing", bench.members.len()).to_string())
            .await?;
        bench.create("warm-up", "standing").await?;
        sleep(REST).await;
        Ok(bench)
    }

    /// Creates, changes and reports one NIMService after the other.
    pub(super) async fn one_by_one(&mut self, tries: u32, figures: &mut Figures) -> Result<(), Failure> {
        figures.add("hub_idle_rss_mib", [mebibytes(self.fleet.hub().daemon().resident_bytes()?)]);
        figures.add("spoke_idle_rss_mib", self.spokes_rss()?);
        for number in 0..tries {
            sleep(REST).await;
            let name = format!("one-{number}");
            let begun = Instant::now();
            objects::apply(self.fleet.hub().cluster(), &placement(&name, self.members.len()).to_string())
                .await?;
            figures.add("create_p50_ms", [ms(self.create_since(begun, &name, &name).await?)]);
            sleep(REST).await;
            let name = format!("under-{number}");
            figures.add("create_under_standing_p50_ms", [ms(self.create(&name, "standing").await?)]);
            sleep(REST).await;
            figures.add("update_p50_ms", [ms(self.update(&name, &format!("2.0.{number}")).await?)]);
            sleep(REST).await;
            figures.add("status_p50_ms", [ms(self.status(&name, &format!("told-{number}")).await?)]);
        }
        Ok(())
    }

    /// Creates many at once, and looks at what they weigh.
    pub(super) async fn bursts(
        &mut self,
        bursts: u32,
        objects: u32,
        figures: &mut Figures,
    ) -> Result<(), Failure> {
        for number in 0..bursts {
            let label = format!("burst-{number}");
            objects::apply(self.fleet.hub().cluster(), &placement(&label, self.members.len()).to_string())
                .await?;
            sleep(REST).await;
            let stored = self.fleet.ground().stored("hub").await?;
            let cpu = self.fleet.hub().cluster().api_server_cpu_seconds()?;
            let hub_cpu = self.fleet.hub().daemon().cpu_seconds()?;
            figures.add("burst_s", [self.burst(&label, objects).await?.as_secs_f64()]);
            sleep(SETTLED).await;
            let used = self.fleet.hub().cluster().api_server_cpu_seconds()? - cpu;
            figures.add("hub_api_server_cpu_s", [used]);
            figures.add("hub_cpu_s", [self.fleet.hub().daemon().cpu_seconds()? - hub_cpu]);
            let posted = service(&format!("{label}-100"), &label, "1.0.0").to_string().len();
            let grown = growth(&stored, &self.fleet.ground().stored("hub").await?);
            for (resource, bytes) in &grown {
                eprintln!("    {resource}: {} bytes per object", bytes / f64::from(objects));
            }
            let all: f64 = grown.values().sum();
            figures.add("hub_bytes_per_object", [all / f64::from(objects) - count(posted)]);
            figures.add("hub_rss_mib", [mebibytes(self.fleet.hub().daemon().resident_bytes()?)]);
            figures.add("spoke_rss_mib", self.spokes_rss()?);
        }
        Ok(())
    }

    async fn create(&mut self, name: &str, label: &str) -> Result<Duration, Failure> {
        self.create_since(Instant::now(), name, label).await
    }

    async fn create_since(&mut self, begun: Instant, name: &str, label: &str) -> Result<Duration, Failure> {
        self.post(name, label).await?;
        let seen = try_join_all(self.members.iter_mut().map(|member| member.until(name, |_| true))).await?;
        Ok(last(seen, begun))
    }

    /// A new image tag on the hub, until every cluster has it.
    async fn update(&mut self, name: &str, tag: &str) -> Result<Duration, Failure> {
        let begun = Instant::now();
        self.set_tag(name, tag).await?;
        let has = |object: &Value| object["spec"]["image"]["tag"] == tag;
        let seen = try_join_all(self.members.iter_mut().map(|member| member.until(name, has))).await?;
        Ok(last(seen, begun))
    }

    pub(super) async fn set_tag(&self, name: &str, tag: &str) -> Result<(), Failure> {
        let change = json!({"spec": {"image": {"tag": tag}}});
        objects::patch(self.fleet.hub().cluster(), "NIMService", NAMESPACE, name, change).await
    }

    /// A status in one cluster, until the hub's own object tells it.
    async fn status(&mut self, name: &str, word: &str) -> Result<Duration, Failure> {
        let Some(member) = self.fleet.clusters().first() else { return Ok(Duration::ZERO) };
        let generation = services(member.cluster()).get(name).await?.metadata.generation;
        let condition = json!({
            "type": "Ready", "status": "False", "reason": "NotReady", "message": word,
            "observedGeneration": generation, "lastTransitionTime": "2026-01-01T00:00:00Z",
        });
        let status = json!({"state": "NotReady", "conditions": [condition]});
        let begun = Instant::now();
        objects::play_status(member.cluster(), "NIMService", NAMESPACE, name, status).await?;
        let told = |object: &Value| object["status"].to_string().contains(word);
        Ok(self.hub.until(name, told).await? - begun)
    }

    async fn burst(&mut self, label: &str, objects: u32) -> Result<Duration, Failure> {
        let names: HashSet<String> = (0..objects).map(|number| format!("{label}-{number}")).collect();
        let begun = Instant::now();
        let posting = stream::iter(&names).map(|name| self.post(name, label)).buffer_unordered(POSTERS);
        posting.try_collect::<()>().await?;
        let posted = begun.elapsed();
        let seen =
            try_join_all(self.members.iter_mut().map(|member| member.until_all(names.clone(), |_| true)));
        let took = last(seen.await?, begun);
        eprintln!("  posted in {posted:?}, delivered in {took:?}");
        Ok(took)
    }

    async fn post(&self, name: &str, label: &str) -> Result<(), Failure> {
        let object: DynamicObject = serde_json::from_value(service(name, label, "1.0.0"))?;
        let params = PostParams { field_manager: Some("kubectl".to_owned()), ..PostParams::default() };
        services(self.fleet.hub().cluster()).create(&params, &object).await?;
        Ok(())
    }

    fn spokes_rss(&self) -> Result<Vec<f64>, Failure> {
        let rss = |member: &Member| Ok(mebibytes(member.spoke().resident_bytes()?));
        self.fleet.clusters().iter().map(rss).collect()
    }
}

/// Selects by label what [`service`] will be, and wants it everywhere.
fn placement(label: &str, clusters: usize) -> Value {
    json!({
        "apiVersion": "nimfleet.io/v1alpha1", "kind": "NIMPlacement",
        "metadata": {"name": label, "namespace": NAMESPACE},
        "spec": {"numberOfClusters": clusters, "resourceSelectors": [
            {"kind": "NIMService", "labelSelector": {"matchLabels": {"bench": label}}},
        ]},
    })
}

/// A NIMService of one GPU that waits for no cache: some 540 bytes.
fn service(name: &str, label: &str, tag: &str) -> Value {
    json!({
        "apiVersion": "apps.nvidia.com/v1alpha1", "kind": "NIMService",
        "metadata": {"name": name, "namespace": NAMESPACE, "labels": {"bench": label}},
        "spec": {
            "image": {
                "repository": "nvcr.io/nim/meta/llama-3.2-1b-instruct", "tag": tag,
                "pullPolicy": "IfNotPresent", "pullSecrets": ["ngc-secret"],
            },
            "authSecret": "ngc-api-secret",
            "storage": {"emptyDir": {}},
            "replicas": 1,
            "resources": {"limits": {"nvidia.com/gpu": "1"}},
            "expose": {"service": {"type": "ClusterIP", "port": 8000}},
        },
    })
}

pub(super) fn last(seen: Vec<Instant>, begun: Instant) -> Duration {
    seen.into_iter().max().map_or(Duration::ZERO, |at| at.saturating_duration_since(begun))
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// What each resource has grown by, bytes; leases are renewed and do not grow.
fn growth(before: &BTreeMap<String, u64>, after: &BTreeMap<String, u64>) -> BTreeMap<String, f64> {
    let difference = |(resource, bytes): (&String, &u64)| {
        let had = before.get(resource).copied().unwrap_or_default();
        (*bytes != had).then(|| (resource.clone(), number(*bytes) - number(had)))
    };
    after.iter().filter_map(difference).collect()
}

#[allow(clippy::cast_precision_loss, reason = "sizes are far below 2^52 bytes")]
fn number(bytes: u64) -> f64 {
    bytes as f64
}

fn count(bytes: usize) -> f64 {
    number(bytes as u64)
}

fn mebibytes(bytes: u64) -> f64 {
    number(bytes) / MEBIBYTE
}
