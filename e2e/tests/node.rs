//! Charts and images as users get them, on real nodes: kubelet, containers, Services and DNS, with one model.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use e2e::failure::Failure;
use e2e::images;
use e2e::node::images::Images;
use e2e::node::{self, Machine, Node};
use e2e::{objects, sample};
use serde_json::{Value, json};

/// Pods are started, and probes wait: the sample's own begins after half a minute.
const WITHIN: Duration = Duration::from_mins(5);
const NAMESPACE: &str = "nimfleet";
const HUB: &str = "nimfleet-hub";
const SPOKE: &str = "nimfleet-spoke";
/// A port that the hub's Service has on every node.
const PORT: &str = "31862";

/// Whether this machine can be a node. Where it cannot, says so; in CI that fails unless a skip is allowed.
fn possible() -> bool {
    let missing = node::missing();
    if missing.is_empty() {
        return true;
    }
    let missing = missing.join("; ");
    let is_set = |name: &str| std::env::var(name).is_ok_and(|value| !value.is_empty() && value != "0");
    assert!(
        !is_set("CI") || is_set(node::ALLOW_SKIP),
        "charts and images were not tried on a real node: this machine lacks {missing}. Supply it, or set {}=1",
        node::ALLOW_SKIP
    );
    eprintln!("skipped, charts and images were not tried on a real node: this machine lacks {missing}");
    false
}

/// A version as its users have it: charts, and the images that they name.
struct Version {
    charts: PathBuf,
    images: Images,
}

impl Version {
    /// This checkout's.
    fn present(folder: &Path) -> Result<Self, Failure> {
        let began = Instant::now();
        let charts = images::this_checkout().join("charts");
        Ok(Self { charts, images: Images::make(folder, &|what| tell(began, what))? })
    }

    /// That of another checkout, whose images are called `earlier`.
    fn earlier(checkout: &Path, folder: &Path) -> Result<Self, Failure> {
        let began = Instant::now();
        let images = Images::build(checkout, "earlier", folder, &|what| tell(began, what))?;
        Ok(Self { charts: checkout.join("charts"), images })
    }

    fn chart(&self, name: &str) -> String {
        self.charts.join(name).display().to_string()
    }

    /// The value of a chart before anything is set.
    fn default(&self, chart: &str, pointer: &str) -> Result<Option<Value>, Failure> {
        let text = std::fs::read_to_string(self.charts.join(chart).join("values.yaml"))?;
        let values: Value = serde_saphyr::from_str(&text)?;
        Ok(values.pointer(pointer).cloned())
    }

    /// What sets the image of a chart to the one of this version that the nodes have.
    fn image(&self, chart: &str) -> Result<String, Failure> {
        let (repository, tag) = if chart == HUB { &self.images.hub } else { &self.images.spoke };
        let registry =
            if self.default(chart, "/image/registry")?.is_some() { "image.registry=," } else { "" };
        Ok(format!("{registry}image.repository={repository},image.tag={tag}"))
    }
}

/// Two clusters of one node each: the hub's, and one with a GPU.
struct Stage<'a> {
    hub: Node<'a>,
    east: Node<'a>,
    began: Instant,
}

impl<'a> Stage<'a> {
    /// Starts both with the images of these versions.
    async fn set(machine: &'a Machine, versions: &[&Version]) -> Result<Self, Failure> {
        let began = Instant::now();
        let mut tars = e2e::node::images::stand_ins(machine.folder())?;
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
    async fn serve(&self, version: &Version) -> Result<Vec<(String, u64)>, Failure> {
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
        let model = self.model().await?;
        assert!(model.len() == 1 && model[0].1 == 0, "one pod serves: {model:?}");
        Ok(model)
    }

    fn say(&self, what: &str) {
        tell(self.began, what);
    }

    /// Installs the hub's chart, reached through a port of its node.
    async fn install_hub(&self, version: &Version) -> Result<(), Failure> {
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
            ["wait", "--for=condition=Available", "apiservice/v1alpha1.query.nimfleet.io", "--timeout=120s"];
        self.hub.kubectl(&available, None).await?;
        Ok(())
    }

    /// Joins the cluster with the line that the hub prints, as an admin pastes it, with the chart and image of a version.
    async fn join(&self, version: &Version) -> Result<(), Failure> {
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
    async fn works(&self, after: &str) -> Result<(), Failure> {
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

    /// The release on a node that is not the definitions'.
    async fn release(&self, node: &Node<'_>) -> Result<String, Failure> {
        let listed = node.helm(&["list", "--namespace", NAMESPACE, "--short"]).await?;
        listed
            .lines()
            .next()
            .map(str::to_owned)
            .ok_or_else(|| Failure::new(format!("no release on {}", node.name())))
    }

    async fn uninstall(&self, node: &Node<'_>) -> Result<(), Failure> {
        let release = self.release(node).await?;
        node.helm(&["uninstall", &release, "--namespace", NAMESPACE, "--wait"]).await?;
        Ok(())
    }

    /// Waits until all replicas of a Deployment of ours are ready and of its last template.
    async fn rolled_out(&self, node: &Node<'_>, name: &str) -> Result<(), Failure> {
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
    async fn ready_on_the_hub(&self) -> Result<(), Failure> {
        self.hub
            .eventually("the sample is Ready on the hub", WITHIN, || async {
                let service = ["-n", sample::NAMESPACE, "nimservice", sample::NAME];
                objects::expect(&self.hub.get(&service).await?, "Ready", "True")
            })
            .await
    }

    /// The node of the model goes and comes back: the hub says so, and the same pod serves again.
    async fn east_loses_power(self, model: &[(String, u64)]) -> Result<Self, Failure> {
        let Self { hub, east, began } = self;
        let off = east.power_off();
        hub.eventually("the hub misses east", WITHIN, || async {
            objects::expect(&hub.get(&["gpucluster", "east"]).await?, "Connected", "Unknown")
        })
        .await?;
        tell(began, "east's node has no power, and the hub misses it");
        let east = off.power_on().await?;
        hub.wire(&east).await?;
        let stage = Self { hub, east, began };
        stage.say("east's node is back");
        stage.works("east-is-back").await?;
        stage.say("a change on the hub reaches east");
        let again = stage
            .east
            .eventually("the model serves", WITHIN, || async {
                stage.ready_on_the_hub().await?;
                stage.model().await
            })
            .await?;
        let uids = |pods: &[(String, u64)]| pods.iter().map(|(uid, _)| uid.clone()).collect::<Vec<_>>();
        assert_eq!(uids(&again), uids(model), "the pod was made anew");
        assert_ne!(again, model, "its container was started again");
        stage.say("the same pod serves again");
        Ok(stage)
    }

    /// The hub's only node goes and comes back: the model serves all the time.
    async fn hub_loses_power(self, model: &[(String, u64)]) -> Result<Self, Failure> {
        let Self { hub, east, began } = self;
        let off = hub.power_off();
        let stage = Self { hub: off.power_on().await?, east, began };
        assert_eq!(stage.model().await?, model, "without a hub the model serves");
        stage.hub.wire(&stage.east).await?;
        stage.works("hub-is-back").await?;
        stage.ready_on_the_hub().await?;
        assert_eq!(stage.model().await?, model, "a hub that lost its power touched the model");
        stage.say("the hub's node had no power and is back, the model is untouched");
        Ok(stage)
    }

    /// The model's pods: uid and how often their containers were started again. It must answer through its Service.
    async fn model(&self) -> Result<Vec<(String, u64)>, Failure> {
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
            (pod["metadata"]["uid"].as_str().unwrap_or_default().to_owned(), restarts)
        };
        Ok(pods.iter().map(pod).collect())
    }

    /// Names of the pods of a Deployment of ours that are not on their way out.
    async fn pods(&self, node: &Node<'_>, name: &str) -> Result<BTreeSet<String>, Failure> {
        let label = format!("app.kubernetes.io/name={name}");
        let pods = node.get(&["-n", NAMESPACE, "pods", "-l", &label]).await?;
        let pods = pods["items"].as_array().into_iter().flatten();
        let staying = pods.filter(|pod| pod["metadata"]["deletionTimestamp"].is_null());
        Ok(staying.filter_map(|pod| pod["metadata"]["name"].as_str().map(str::to_owned)).collect())
    }

    /// The pod that leads.
    async fn leader(&self) -> Result<String, Failure> {
        let lease = self.hub.get(&["-n", NAMESPACE, "lease", "nimfleet-hub"]).await?;
        let holder = lease["spec"]["holderIdentity"].as_str().filter(|holder| !holder.is_empty());
        let holder = holder.ok_or_else(|| Failure::new(format!("nobody leads: {}", lease["spec"])))?;
        let pods = self.pods(&self.hub, HUB).await?;
        let leader = pods.into_iter().find(|name| holder.contains(name.as_str()));
        leader.ok_or_else(|| Failure::new(format!("{holder} leads, and is no pod of the hub")))
    }
}

fn tell(began: Instant, what: &str) {
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

#[tokio::test(flavor = "multi_thread")]
async fn charts_and_images_serve_a_model_on_real_nodes_and_leave_it_serving() -> Result<(), Failure> {
    if !possible() {
        return Ok(());
    }
    let machine = tokio::task::spawn_blocking(Machine::prepare).await??;
    let version = Version::present(machine.folder())?;
    let stage = Stage::set(&machine, &[&version]).await?;
    let model = stage.serve(&version).await?;

    for (node, name) in [(&stage.east, SPOKE), (&stage.hub, HUB)] {
        let release = stage.release(node).await?;
        let chart = version.chart(name);
        // Another level of the log is another pod.
        let upgrade = ["upgrade", &release, &chart, "--namespace", NAMESPACE, "--reuse-values"];
        let upgrade = [&upgrade[..], &["--set", "log.level=debug"]].concat();
        let rollback = vec!["rollback", &release, "--namespace", NAMESPACE];
        for (what, step) in [("upgraded", upgrade), ("rolled back", rollback)] {
            let before = stage.pods(node, name).await?;
            node.helm(&step).await?;
            stage.rolled_out(node, name).await?;
            let after = stage.pods(node, name).await?;
            assert!(before.is_disjoint(&after), "{name} was to get new pods: {before:?}, {after:?}");
            stage.works(&format!("{name}-{}", what.replace(' ', "-"))).await?;
            assert_eq!(stage.model().await?, model, "{name} was {what}, which touched the model");
            stage.say(&format!("{name} is {what}, the model is untouched"));
        }
    }

    let leader = stage.hub.eventually("a pod leads", WITHIN, || stage.leader()).await?;
    stage.hub.kubectl(&["-n", NAMESPACE, "delete", "pod", &leader, "--wait=false"], None).await?;
    stage
        .hub
        .eventually("another pod leads", WITHIN, || async {
            let now = stage.leader().await?;
            if now == leader { Err(Failure::new(format!("{now} leads still"))) } else { Ok(()) }
        })
        .await?;
    stage.works("failover").await?;
    stage.ready_on_the_hub().await?;
    assert_eq!(stage.model().await?, model, "a failover of the hub touched the model");
    stage.say("the leader's pod was deleted, another leads, the model is untouched");

    let stage = stage.east_loses_power(&model).await?;
    let model = stage.model().await?;
    let stage = stage.hub_loses_power(&model).await?;

    // The spoke first; back again; then the hub first.
    stage.uninstall(&stage.east).await?;
    assert_eq!(stage.model().await?, model, "without a spoke the model serves");
    stage.join(&version).await?;
    stage.ready_on_the_hub().await?;
    stage.uninstall(&stage.hub).await?;
    assert_eq!(stage.model().await?, model, "without a hub the model serves");
    stage.uninstall(&stage.east).await?;
    assert_eq!(stage.model().await?, model, "without either the model serves");
    stage.say("both are uninstalled, in either order, and the model serves");
    Ok(())
}

/// A checkout of an earlier version, from which a fleet is upgraded.
const UPGRADE_FROM: &str = "NIMFLEET_UPGRADE_FROM";

#[tokio::test(flavor = "multi_thread")]
#[ignore = "it needs NIMFLEET_UPGRADE_FROM, a checkout of an earlier version"]
async fn a_model_runs_on_while_its_fleet_is_upgraded_either_side_first() -> Result<(), Failure> {
    if !possible() {
        return Ok(());
    }
    let checkout = std::env::var_os(UPGRADE_FROM).ok_or_else(|| {
        Failure::new(format!("{UPGRADE_FROM} is not set: name a checkout of an earlier version"))
    })?;
    for order in [[SPOKE, HUB], [HUB, SPOKE]] {
        let machine = tokio::task::spawn_blocking(Machine::prepare).await??;
        let earlier = Version::earlier(Path::new(&checkout), machine.folder())?;
        let present = Version::present(machine.folder())?;
        let stage = Stage::set(&machine, &[&earlier, &present]).await?;
        let model = stage.serve(&earlier).await?;

        for node in [&stage.hub, &stage.east] {
            node.helm(&["upgrade", "nimfleet-crds", &present.chart("nimfleet-crds")]).await?;
        }
        for name in order {
            let node = if name == HUB { &stage.hub } else { &stage.east };
            let release = stage.release(node).await?;
            let before = stage.pods(node, name).await?;
            let (chart, image) = (present.chart(name), present.image(name)?);
            let upgrade =
                ["upgrade", &release, &chart, "--namespace", NAMESPACE, "--reset-then-reuse-values"];
            node.helm(&[&upgrade[..], &["--set", &image]].concat()).await?;
            stage.rolled_out(node, name).await?;
            let after = stage.pods(node, name).await?;
            assert!(before.is_disjoint(&after), "{name} was to get new pods: {before:?}, {after:?}");
            stage.works(&format!("{name}-upgraded")).await?;
            stage.ready_on_the_hub().await?;
            assert_eq!(stage.model().await?, model, "{name} was upgraded, which touched the model");
            stage.say(&format!("{name} is upgraded, the model is untouched"));
        }
        let up_to_date = stage.hub.eventually("the agent is up to date", WITHIN, || async {
            objects::expect(&stage.hub.get(&["gpucluster", "east"]).await?, "AgentUpToDate", "True")
        });
        up_to_date.await?;
        // What the new programs render is held against what runs at every reconcile; a restart would come with the first.
        tokio::time::sleep(Duration::from_secs(20)).await;
        assert_eq!(stage.model().await?, model, "the upgraded fleet touched the model");
        stage.say("both are upgraded, the model is untouched");
    }
    Ok(())
}
