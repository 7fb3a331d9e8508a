//! Two real nodes with hub and spoke on them as users install them, and NVIDIA's sample.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::images::{Images, stand_ins};
use super::{Machine, Node};
use crate::failure::Failure;
use crate::{images, objects, sample};

/// How long anything may take: pods are started, and probes wait; the sample's own begins after half a minute.
pub const WITHIN: Duration = Duration::from_mins(5);
/// Release and chart of the hub, and its Deployment.
pub const HUB: &str = "nimfleet-hub";
/// Chart of a spoke, and its Deployment.
pub const SPOKE: &str = "nimfleet-spoke";
const NAMESPACE: &str = "nimfleet";
/// A port that the hub's Service has on every node.
const PORT: &str = "31862";

/// A pod of the model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pod {
    /// Its uid.
    pub uid: String,
    /// How often its container was started again.
    pub restarts: u64,
}

/// A version as its users have it: charts, and the images that they name.
pub struct Version {
    charts: PathBuf,
    images: Images,
}

impl Version {
    /// This checkout's.
    pub fn present(folder: &Path) -> Result<Self, Failure> {
        let began = Instant::now();
        let charts = images::this_checkout().join("charts");
        Ok(Self { charts, images: Images::make(folder, &|what| tell(began, what))? })
    }

    /// That of another checkout, whose images are called `earlier`.
    pub fn earlier(checkout: &Path, folder: &Path) -> Result<Self, Failure> {
        let began = Instant::now();
        let images = Images::build(checkout, "earlier", folder, &|what| tell(began, what))?;
        Ok(Self { charts: checkout.join("charts"), images })
    }

    /// Where a chart of it is.
    #[must_use]
    pub fn chart(&self, name: &str) -> String {
        self.charts.join(name).display().to_string()
    }

    /// The value of a chart before anything is set.
    fn default(&self, chart: &str, pointer: &str) -> Result<Option<Value>, Failure> {
        let text = std::fs::read_to_string(self.charts.join(chart).join("values.yaml"))?;
        let values: Value = serde_saphyr::from_str(&text)?;
        Ok(values.pointer(pointer).cloned())
    }

    /// What sets the image of a chart to the one of this version that the nodes have.
    pub fn image(&self, chart: &str) -> Result<String, Failure> {
        let (repository, tag) = if chart == HUB { &self.images.hub } else { &self.images.spoke };
        let registry =
            if self.default(chart, "/image/registry")?.is_some() { "image.registry=," } else { "" };
        Ok(format!("{registry}image.repository={repository},image.tag={tag}"))
    }
}

/// Two clusters of one node each: the hub's, and one with a GPU.
pub struct Stage<'a> {
    /// The hub's cluster.
    pub hub: Node<'a>,
    /// The one with a GPU.
    pub east: Node<'a>,
    /// When both nodes were ready and nothing was installed.
    pub began: Instant,
}

impl<'a> Stage<'a> {
    /// Starts both with the images of these versions.
    pub async fn set(machine: &'a Machine, versions: &[&Version]) -> Result<Self, Failure> {
        let began = Instant::now();
        let mut tars = stand_ins(machine.folder())?;
        tars.extend(versions.iter().flat_map(|version| version.images.tars.clone()));
        let tars: Vec<&Path> = tars.iter().map(PathBuf::as_path).collect();
        let (hub, east) =
            tokio::try_join!(Node::start(machine, "hub", 0, &tars), Node::start(machine, "east", 1, &tars))?;
        hub.wire(&east).await?;
        tell(began, "two nodes are ready");
        Ok(Self { hub, east, began: Instant::now() })
    }

    /// Installs a version, joins the cluster, places the sample and waits until the hub calls it ready; gives back the
    /// model's pods.
    pub async fn serve(&self, version: &Version) -> Result<Vec<Pod>, Failure> {
        for node in [&self.hub, &self.east] {
            node.helm(&["install", "nimfleet-crds", &version.chart("nimfleet-crds")]).await?;
        }
        self.install_hub(version).await?;
        self.say("the hub is installed, its replicas ready, and its query API available");
        self.join(version).await?;
        self.say("east has joined through a port of the hub's node");
        self.equip().await?;
        self.place().await?;
        self.ready_on_the_hub().await?;
        self.say("NVIDIA's sample is Ready on the hub");
        match self.model().await?.as_slice() {
            [pod] if pod.restarts == 0 => Ok(vec![pod.clone()]),
            pods => Err(Failure::new(format!("one pod was to serve, never restarted: {pods:?}"))),
        }
    }

    /// Carries out a step of helm for the release of hub or spoke, waits until all its pods are new and a change travels
    /// from the hub to the cluster, and compares the model's pods with those of before.
    pub async fn renew(&self, name: &str, done: &str, step: &[&str], model: &[Pod]) -> Result<(), Failure> {
        let node = if name == HUB { &self.hub } else { &self.east };
        let before = self.pods(node, name).await?;
        node.helm(&[step, &["--namespace", NAMESPACE]].concat()).await?;
        self.rolled_out(node, name).await?;
        let after = self.pods(node, name).await?;
        if !before.is_disjoint(&after) {
            return Err(Failure::new(format!("{name} was to get new pods: {before:?}, {after:?}")));
        }
        self.works(&format!("{name}-{}", done.replace(' ', "-"))).await?;
        self.ready_on_the_hub().await?;
        self.same(model, &format!("{name} was {done}")).await?;
        self.say(&format!("{name} is {done}, the model is untouched"));
        Ok(())
    }

    /// Fails if the model's pods are others than before, or were restarted.
    pub async fn same(&self, model: &[Pod], after: &str) -> Result<(), Failure> {
        let now = self.model().await?;
        if now == model {
            return Ok(());
        }
        Err(Failure::new(format!("{after}, which touched the model: {model:?} before, {now:?} now")))
    }

    /// Tells on stderr what was reached, and after how long.
    pub fn say(&self, what: &str) {
        tell(self.began, what);
    }

    /// Installs the hub's chart, reached through a port of its node.
    pub async fn install_hub(&self, version: &Version) -> Result<(), Failure> {
        let advertise = format!("{}:{PORT}", self.hub.address());
        let is_list = version.default(HUB, "/link/advertise")?.is_some_and(|value| value.is_array());
        let advertise = if is_list { format!("{{{advertise}}}") } else { advertise };
        let takes_port = version.default(HUB, "/link/service/nodePort")?.is_some();
        let port = if takes_port { format!(",link.service.nodePort={PORT}") } else { String::new() };
        let set =
            format!("link.service.type=NodePort{port},link.advertise={advertise},{}", version.image(HUB)?);
        let chart = version.chart(HUB);
        let install = ["install", HUB, &chart, "--namespace", NAMESPACE, "--create-namespace", "--set", &set];
        self.hub.helm(&install).await?;
        if !takes_port {
            let port =
                json!([{"op": "add", "path": "/spec/ports/0/nodePort", "value": PORT.parse::<u16>()?}]);
            let patch = ["-n", NAMESPACE, "patch", "service", HUB, "--type=json", "-p", &port.to_string()];
            self.hub.kubectl(&patch, None).await?;
        }
        self.rolled_out(&self.hub, HUB).await?;
        let available =
            ["wait", "--for=condition=Available", "apiservice/v1alpha1.query.nimfleet.io", "--timeout=300s"];
        self.hub.kubectl(&available, None).await?;
        Ok(())
    }

    /// Joins the cluster with the line that the hub prints, as an admin pastes it, with the chart and image of a version.
    pub async fn join(&self, version: &Version) -> Result<(), Failure> {
        let print =
            ["-n", NAMESPACE, "exec", "deploy/nimfleet-hub", "--", "nimfleet-hub", "join-command", "east"];
        let printed = self.hub.kubectl(&print, None).await?;
        let joined = printed.replace("\\\n", " ");
        let line = joined
            .lines()
            .find(|line| line.contains("/nimfleet-spoke"))
            .ok_or_else(|| Failure::new(format!("no helm command for the spoke in {printed:?}")))?;
        let chart = version.chart(SPOKE);
        let words = line.split_whitespace();
        let words = words.map(|word| if word.ends_with("/nimfleet-spoke") { &*chart } else { word });
        let line = format!("{} --set {}", words.collect::<Vec<_>>().join(" "), version.image(SPOKE)?);
        self.east.run(&["sh", "-euc", &line], None).await?;
        self.rolled_out(&self.east, SPOKE).await?;
        let yes = r#"{"spec":{"accepted":true}}"#;
        self.hub
            .eventually("east asks to join", WITHIN, || async {
                Ok(self
                    .hub
                    .kubectl(&["patch", "gpucluster", "east", "--type=merge", "-p", yes], None)
                    .await?)
            })
            .await?;
        self.connected().await
    }

    async fn connected(&self) -> Result<(), Failure> {
        self.hub
            .eventually("east is connected", WITHIN, || async {
                objects::expect(&self.hub.get(&["gpucluster", "east"]).await?, "Connected", "True")
            })
            .await
    }

    /// Changes a label of the sample on the hub, of which no pod knows, and waits until it is in the cluster: hub and spoke
    /// work together now, whatever a status said before.
    pub async fn works(&self, after: &str) -> Result<(), Failure> {
        const LABEL: &str = "app.kubernetes.io/part-of";
        let change = json!({"metadata": {"labels": {LABEL: after}}}).to_string();
        let service = ["-n", sample::NAMESPACE, "nimservice", sample::NAME];
        let patch = [&["patch"][..], &service, &["--type=merge", "-p", &change]].concat();
        self.hub
            .eventually("the hub's API server answers", WITHIN, || async {
                Ok(self.hub.kubectl(&patch, None).await?)
            })
            .await?;
        self.east
            .eventually(&format!("the label {after} arrives"), WITHIN, || async {
                let label = self.east.get(&service).await?["metadata"]["labels"][LABEL].clone();
                if label == after { Ok(()) } else { Err(Failure::new(format!("it is {label}"))) }
            })
            .await
    }

    /// The release on a node that is not that of the definitions.
    pub async fn release(&self, node: &Node<'_>) -> Result<String, Failure> {
        let listed = node.helm(&["list", "--namespace", NAMESPACE, "--short"]).await?;
        listed
            .lines()
            .next()
            .map(str::to_owned)
            .ok_or_else(|| Failure::new(format!("no release on {}", node.name())))
    }

    /// Removes hub or spoke from a node.
    pub async fn uninstall(&self, node: &Node<'_>) -> Result<(), Failure> {
        let release = self.release(node).await?;
        node.helm(&["uninstall", &release, "--namespace", NAMESPACE, "--wait"]).await?;
        Ok(())
    }

    /// Waits until all replicas of a Deployment of ours are ready and of its last template.
    pub async fn rolled_out(&self, node: &Node<'_>, name: &str) -> Result<(), Failure> {
        node.eventually(&format!("{name} is rolled out"), WITHIN, || async {
            let found = node.get(&["-n", NAMESPACE, "deployment", name]).await?;
            let status = &found["status"];
            let wanted = &found["spec"]["replicas"];
            let current = found["metadata"]["generation"] == status["observedGeneration"];
            let done =
                ["replicas", "readyReplicas", "updatedReplicas"].iter().all(|count| status[count] == *wanted);
            if current && done { Ok(()) } else { Err(Failure::new(status.to_string())) }
        })
        .await
    }

    /// Gives east's node a GPU as GPU Feature Discovery and the device plugin do, and a volume for the model.
    async fn equip(&self) -> Result<(), Failure> {
        let labels = json!({"metadata": {"labels": {
            "feature.node.kubernetes.io/pci-10de.present": "true", "nvidia.com/gpu.present": "true",
            "nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3", "nvidia.com/gpu.memory": "81559", "nvidia.com/gpu.count": "1",
        }}});
        let gpus =
            json!({"status": {"capacity": {"nvidia.com/gpu": "1"}, "allocatable": {"nvidia.com/gpu": "1"}}});
        let east = &self.east;
        east.kubectl(&["patch", "node", "east", "--type=merge", "-p", &labels.to_string()], None).await?;
        let patch =
            ["patch", "node", "east", "--subresource=status", "--type=merge", "-p", &gpus.to_string()];
        east.kubectl(&patch, None).await?;
        let volume = east.folder().join("volume");
        std::fs::create_dir_all(&volume)?;
        let volume = json!({
            "apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "models"},
            "spec": {
                "capacity": {"storage": "60Gi"}, "accessModes": ["ReadWriteOnce"], "local": {"path": volume},
                "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [
                    {"key": "kubernetes.io/hostname", "operator": "In", "values": ["east"]},
                ]}]}},
            },
        });
        east.apply(&volume.to_string()).await?;
        for node in [&self.hub, east] {
            node.apply(&credentials().to_string()).await?;
        }
        Ok(())
    }

    async fn place(&self) -> Result<(), Failure> {
        self.hub.apply(sample::MANIFEST).await?;
        self.hub.apply(&sample::placement(sample::NAME, &json!({}))).await
    }

    /// The hub says that the sample is ready.
    pub async fn ready_on_the_hub(&self) -> Result<(), Failure> {
        self.hub
            .eventually("the sample is Ready on the hub", WITHIN, || async {
                let service = ["-n", sample::NAMESPACE, "nimservice", sample::NAME];
                objects::expect(&self.hub.get(&service).await?, "Ready", "True")
            })
            .await
    }

    /// The model's pods. It must answer through its Service.
    pub async fn model(&self) -> Result<Vec<Pod>, Failure> {
        let health = format!(
            "/api/v1/namespaces/{}/services/{}:8000/proxy/v1/health/ready",
            sample::NAMESPACE,
            sample::NAME
        );
        self.east.kubectl(&["get", "--raw", &health], None).await?;
        let label = format!("app={}", sample::NAME);
        let pods = self.east.get(&["-n", sample::NAMESPACE, "pods", "-l", &label]).await?;
        let pods = pods["items"].as_array().cloned().unwrap_or_default();
        let pod = |pod: &Value| {
            let restarts = pod["status"]["containerStatuses"][0]["restartCount"].as_u64().unwrap_or(u64::MAX);
            Pod { uid: pod["metadata"]["uid"].as_str().unwrap_or_default().to_owned(), restarts }
        };
        Ok(pods.iter().map(pod).collect())
    }

    /// Names of the pods of a Deployment of ours that are not on their way out.
    pub async fn pods(&self, node: &Node<'_>, name: &str) -> Result<BTreeSet<String>, Failure> {
        let label = format!("app.kubernetes.io/name={name}");
        let pods = node.get(&["-n", NAMESPACE, "pods", "-l", &label]).await?;
        let pods = pods["items"].as_array().into_iter().flatten();
        let staying = pods.filter(|pod| pod["metadata"]["deletionTimestamp"].is_null());
        Ok(staying.filter_map(|pod| pod["metadata"]["name"].as_str().map(str::to_owned)).collect())
    }

    /// The pod that leads.
    pub async fn leader(&self) -> Result<String, Failure> {
        let lease = self.hub.get(&["-n", NAMESPACE, "lease", "nimfleet-hub"]).await?;
        let holder = lease["spec"]["holderIdentity"].as_str().filter(|holder| !holder.is_empty());
        let holder = holder.ok_or_else(|| Failure::new(format!("nobody leads: {}", lease["spec"])))?;
        let pods = self.pods(&self.hub, HUB).await?;
        let leader = pods.into_iter().find(|name| holder.contains(name.as_str()));
        leader.ok_or_else(|| Failure::new(format!("{holder} leads, and is no pod of the hub")))
    }
}

/// Says on stderr what was reached, and after how long.
pub fn tell(began: Instant, what: &str) {
    eprintln!("[{:>6.1} s] {what}", began.elapsed().as_secs_f32());
}

/// The sample's namespace with the Secrets that NVIDIA's documentation has people make.
fn credentials() -> Value {
    let secret = |name: &str, kind: &str, data: Value| {
        json!({
            "apiVersion": "v1", "kind": "Secret", "type": kind, "stringData": data,
            "metadata": {"name": name, "namespace": sample::NAMESPACE},
        })
    };
    let registry = json!({"auths": {"nvcr.io": {"username": "$oauthtoken", "password": "none"}}}).to_string();
    json!({"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": sample::NAMESPACE}},
        secret("ngc-api-secret", "Opaque", json!({"NGC_API_KEY": "none"})),
        secret("ngc-secret", "kubernetes.io/dockerconfigjson", json!({".dockerconfigjson": registry})),
    ]})
}
