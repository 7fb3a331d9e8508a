//! One operator through the whole course: create, change, settle, idle, heal.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use e2e::cluster::Cluster;
use e2e::cluster::gpu::H100;
use e2e::failure::Failure;
use e2e::process::{Process, Program};
use e2e::site::{IDENTITY, Site};
use e2e::{objects, port};
use futures::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;
use kube::Api;
use kube::api::{Patch, PatchParams};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::traffic::{Traffic, hundredths};

/// Namespace of everything that is applied.
const NAMESPACE: &str = "spoke-bench";
/// GPUs of a node.
const PER_NODE: u32 = 8;
/// Requests that this program sends at a time.
const AT_A_TIME: usize = 32;
/// No step takes minutes; this is for a busy machine.
const PATIENCE: Duration = Duration::from_mins(5);
/// An operator has settled when it has not written for so long; longer than any retry that is due at once.
const QUIET: Duration = Duration::from_secs(10);
/// The account of an operator that is given by its command line.
const OTHER: &str = "other-operator";
const MEBIBYTE: f64 = 1024.0 * 1024.0;

/// Who is measured.
pub(super) enum Operator {
    Ours,
    Command(String),
}

/// How much there is to do.
pub(super) struct Load {
    pub(super) services: u32,
    pub(super) idle: Duration,
}

/// Runs the course and gives back its figures.
pub(super) async fn run(operator: &Operator, load: &Load) -> Result<Value, Failure> {
    let nodes = load.services.div_ceil(PER_NODE);
    let site = Site::new().gpus(H100, PER_NODE, nodes).audited().prepare().await?;
    let running = Running::start(&site, operator).await?;
    let course = Course { cluster: site.cluster(), running: &running, load };
    course.run().await
}

/// The operator at work.
enum Running<'a> {
    Ours(&'a Site),
    Other { process: Process, user: String },
}

impl<'a> Running<'a> {
    async fn start(site: &'a Site, operator: &Operator) -> Result<Self, Failure> {
        let Operator::Command(line) = operator else {
            site.start_operator().await?;
            return Ok(Self::Ours(site));
        };
        let cluster = site.cluster();
        let namespace = e2e::fleet::NAMESPACE;
        let account = format!("{namespace}:{OTHER}");
        cluster.kubectl(&["create", "serviceaccount", OTHER, "-n", namespace], None).await?;
        let role = ["--clusterrole=cluster-admin", &format!("--serviceaccount={account}")];
        cluster.kubectl(&[&["create", "clusterrolebinding", OTHER][..], &role].concat(), None).await?;
        let token =
            cluster.kubectl(&["create", "token", OTHER, "-n", namespace, "--duration=24h"], None).await?;
        let kubeconfig = cluster.kubeconfig_for(OTHER, token.trim())?;
        let mut line = line.replace("{kubeconfig}", &kubeconfig.to_string_lossy());
        for hole in ["{port1}", "{port2}"] {
            line = line.replace(hole, &port::free()?.to_string());
        }
        let mut words = line.split_whitespace();
        let path = words.next().ok_or_else(|| Failure::new("--command is empty: give a program"))?;
        let mut program = Program::new(path, cluster.folder().join("other-operator.log"));
        for word in words {
            program = program.arg(word);
        }
        let process = program.env("KUBECONFIG", &kubeconfig).start()?;
        // Nothing tells when another's caches are filled; they are empty, so this is ample.
        tokio::time::sleep(Duration::from_secs(10)).await;
        Ok(Self::Other { process, user: format!("system:serviceaccount:{account}") })
    }

    fn user(&self) -> &str {
        match self {
            Self::Ours(_) => IDENTITY,
            Self::Other { user, .. } => user,
        }
    }

    fn resident_mib(&self) -> Result<f64, Failure> {
        let bytes = match self {
            Self::Ours(site) => site.operator().resident_bytes()?,
            Self::Other { process, .. } => process.resident_bytes()?,
        };
        #[allow(clippy::cast_precision_loss, reason = "sizes are far below 2^52 bytes")]
        Ok(hundredths(bytes as f64 / MEBIBYTE))
    }

    fn cpu_seconds(&self) -> Result<f64, Failure> {
        Ok(match self {
            Self::Ours(site) => site.operator().cpu_seconds()?,
            Self::Other { process, .. } => process.cpu_seconds()?,
        })
    }
}

struct Course<'a> {
    cluster: &'a Cluster,
    running: &'a Running<'a>,
    load: &'a Load,
}

impl Course<'_> {
    async fn run(&self) -> Result<Value, Failure> {
        let services = self.load.services;
        // What the services refer to is there, so that nothing is missing that would have to be told.
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "ngc-api-secret", "namespace": NAMESPACE}});
        objects::apply(self.cluster, &secret.to_string()).await?;
        let mut deployments = Deployments::watch(self.cluster).await?;
        // Nothing is scheduled until everything has been made: the kubelets' work is not the operator's, and no pod is refused.
        let scheduler =
            self.cluster.scheduler().ok_or_else(|| Failure::new("the cluster has no scheduler"))?;
        scheduler.freeze();
        let idle_mib = self.running.resident_mib()?;

        let (since, begun) = (Timestamp::now(), Instant::now());
        self.apply_all("1.12.0").await?;
        let created = deployments.all(services, |one| image(one).ends_with(":1.12.0")).await? - begun;
        eprintln!("created after {created:?}");
        self.settled().await?;
        let creating = self.traffic(since).per(services);
        let cpu_create = self.running.cpu_seconds()?;

        let (since, begun) = (Timestamp::now(), Instant::now());
        self.apply_all("1.13.0").await?;
        let changed = deployments.all(services, |one| image(one).ends_with(":1.13.0")).await? - begun;
        eprintln!("changed after {changed:?}");
        self.settled().await?;
        let changing = self.traffic(since).per(services);
        let not_ready = self.idle("not ready").await?;

        scheduler.thaw();
        self.all_ready().await?;
        self.settled().await?;
        let ready = self.idle("ready").await?;

        let healed = self.heal(&mut deployments).await?;
        Ok(json!({
            "services": services,
            "create_s": hundredths(created.as_secs_f64()),
            "create_requests_per_service": creating,
            "create_cpu_s": cpu_create,
            "change_s": hundredths(changed.as_secs_f64()),
            "change_requests_per_service": changing,
            "idle_not_ready": not_ready,
            "idle_ready": ready,
            "deleted_back_s": healed.0,
            "drift_healed_s": healed.1,
            "cpu_s": self.running.cpu_seconds()?,
            "idle_rss_mib": idle_mib,
            "rss_mib": self.running.resident_mib()?,
            "profile": e2e::fleet::own_profile(),
        }))
    }

    fn traffic(&self, since: Timestamp) -> Traffic {
        Traffic::of(&self.cluster.audit(), self.running.user(), since)
    }

    async fn apply_all(&self, tag: &str) -> Result<(), Failure> {
        let (api, params) =
            (&objects::services(self.cluster.client(), NAMESPACE), &PatchParams::apply("kubectl").force());
        stream::iter(0..self.load.services)
            .map(|number| async move {
                api.patch(&name(number), params, &Patch::Apply(&service(&name(number), tag))).await.map(drop)
            })
            .buffer_unordered(AT_A_TIME)
            .try_collect::<()>()
            .await?;
        Ok(())
    }

    /// Waits until the operator has not written for a while. One that never stops is taken as it is.
    async fn settled(&self) -> Result<(), Failure> {
        let until = Instant::now() + Duration::from_mins(1);
        loop {
            let since = Timestamp::now();
            tokio::time::sleep(QUIET).await;
            if self.traffic(since).writes() == 0 || Instant::now() > until {
                return Ok(());
            }
        }
    }

    async fn all_ready(&self) -> Result<(), Failure> {
        let until = Instant::now() + PATIENCE;
        loop {
            let all = objects::list(self.cluster, "NIMService", NAMESPACE).await?;
            let ready = all.iter().filter(|one| one["status"]["state"] == "Ready").count();
            if ready == all.len() {
                return Ok(());
            }
            if Instant::now() > until {
                return Err(Failure::new(format!("{ready} of {} services are Ready", all.len())));
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    async fn idle(&self, how: &str) -> Result<Value, Failure> {
        let (since, cpu) = (Timestamp::now(), self.running.cpu_seconds()?);
        tokio::time::sleep(self.load.idle).await;
        let traffic = self.traffic(since);
        let used = hundredths(self.running.cpu_seconds()? - cpu);
        let (writes, lists) = (traffic.writes(), traffic.lists());
        eprintln!("idle while {how}: {writes} writes, {lists} lists");
        Ok(json!({"seconds": self.load.idle.as_secs(), "writes": writes, "lists": lists, "cpu_s": used}))
    }

    /// Seconds until a deleted Deployment is back and a changed one is as it was; null where it never is.
    async fn heal(&self, deployments: &mut Deployments) -> Result<(Value, Value), Failure> {
        let within = Duration::from_mins(1);
        let seconds = |found: Option<Instant>, begun: Instant| {
            found.map_or(Value::Null, |at| json!(hundredths((at - begun).as_secs_f64())))
        };
        let old = objects::get(self.cluster, "Deployment", NAMESPACE, &name(0)).await?;
        let uid = old["metadata"]["uid"].clone();
        let begun = Instant::now();
        objects::delete(self.cluster, "Deployment", NAMESPACE, &name(0)).await?;
        let back = deployments.next(&name(0), within, |one| one["metadata"]["uid"] != uid).await;
        let drift = json!({"spec": {"template": {"spec": {"containers": [
            {"name": format!("{}-ctr", name(1)), "image": "drifted"},
        ]}}}});
        let begun_drift = Instant::now();
        let patch = drift.to_string();
        let arguments = ["patch", "deployment", &name(1), "-n", NAMESPACE, "--patch", &patch];
        self.cluster.kubectl(&arguments, None).await?;
        let drifted = deployments.next(&name(1), within, |one| image(one) == "drifted").await;
        let healed = match drifted {
            Some(_) => deployments.next(&name(1), within, |one| image(one).ends_with(":1.13.0")).await,
            None => None,
        };
        Ok((seconds(back, begun), seconds(healed, drifted.unwrap_or(begun_drift))))
    }
}

fn name(number: u32) -> String {
    format!("nim-{number}")
}

fn service(name: &str, tag: &str) -> Value {
    json!({
        "apiVersion": "apps.nvidia.com/v1alpha1", "kind": "NIMService",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {
            "image": {"repository": "nvcr.io/nim/meta/llama-3.2-1b-instruct", "tag": tag, "pullPolicy": "IfNotPresent"},
            "authSecret": "ngc-api-secret",
            "storage": {"emptyDir": {}},
            "replicas": 1,
            "resources": {"limits": {"nvidia.com/gpu": 1}},
            "expose": {"service": {"type": "ClusterIP", "port": 8000}},
        },
    })
}

fn image(deployment: &Value) -> &str {
    deployment["spec"]["template"]["spec"]["containers"][0]["image"].as_str().unwrap_or_default()
}

/// A watch of Deployments that runs by itself, so that a moment is noted when it comes.
struct Deployments {
    seen: mpsc::UnboundedReceiver<(Instant, Value)>,
}

impl Deployments {
    async fn watch(cluster: &Cluster) -> Result<Self, Failure> {
        let api: Api<Deployment> = Api::namespaced(cluster.client(), NAMESPACE);
        // With a pause after a failure: an API server that has ended refuses at once, and the task would never rest.
        let mut events = watcher(api, watcher::Config::default()).default_backoff().boxed();
        while !matches!(events.next().await.transpose()?, None | Some(Event::InitDone)) {}
        let (tell, seen) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Some(event) = events.next().await {
                let at = Instant::now();
                if let Ok(Event::Apply(object) | Event::InitApply(object)) = event
                    && let Ok(object) = serde_json::to_value(object)
                    && tell.send((at, object)).is_err()
                {
                    return;
                }
            }
        });
        Ok(Self { seen })
    }

    /// When so many different Deployments had been seen that satisfy the check.
    async fn all(&mut self, count: u32, check: impl Fn(&Value) -> bool) -> Result<Instant, Failure> {
        let mut names = BTreeSet::new();
        let until = tokio::time::Instant::now() + PATIENCE;
        while let Ok(Some((at, object))) = tokio::time::timeout_at(until, self.seen.recv()).await {
            if check(&object) {
                names.insert(object["metadata"]["name"].as_str().unwrap_or_default().to_owned());
            }
            if names.len() >= count as usize {
                return Ok(at);
            }
        }
        Err(Failure::new(format!("{} of {count} Deployments within {PATIENCE:?}", names.len())))
    }

    /// When this Deployment was next seen to satisfy the check.
    async fn next(
        &mut self,
        name: &str,
        within: Duration,
        check: impl Fn(&Value) -> bool,
    ) -> Option<Instant> {
        let until = tokio::time::Instant::now() + within;
        while let Ok(Some((at, object))) = tokio::time::timeout_at(until, self.seen.recv()).await {
            if object["metadata"]["name"] == name && check(&object) {
                return Some(at);
            }
        }
        None
    }
}
