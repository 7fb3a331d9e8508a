//! Charts and images as users get them, on real nodes: kubelet, containers, Services and DNS, with one model.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use e2e::failure::Failure;
use e2e::node::images::Images;
use e2e::node::{self, Machine, Node};
use e2e::{objects, sample};
use serde_json::{Value, json};

/// Pods are started, and probes wait: the sample's own begins after half a minute.
const WITHIN: Duration = Duration::from_mins(5);
const NAMESPACE: &str = "nimfleet";
/// A port that the hub's Service has on every node.
const PORT: &str = "31862";

/// Whether this machine can be a node; where it cannot, fails unless a skip is allowed.
fn possible() -> bool {
    let missing = node::missing();
    if missing.is_empty() {
        return true;
    }
    let missing = missing.join("; ");
    let allowed = std::env::var(node::ALLOW_SKIP).is_ok_and(|value| !value.is_empty() && value != "0");
    assert!(
        allowed,
        "charts and images were not tried on a real node: this machine lacks {missing}. Supply it, or set {}=1",
        node::ALLOW_SKIP
    );
    eprintln!("skipped, as {} allows: this machine lacks {missing}", node::ALLOW_SKIP);
    false
}

/// Two clusters of one node each: the hub's, and one with a GPU.
struct Stage<'a> {
    hub: Node<'a>,
    east: Node<'a>,
    images: Images,
    began: Instant,
}

impl<'a> Stage<'a> {
    async fn set(machine: &'a Machine) -> Result<Self, Failure> {
        let began = Instant::now();
        let images = Images::make(machine.folder(), &|what| tell(began, what))?;
        let tars: Vec<&Path> = images.tars.iter().map(std::path::PathBuf::as_path).collect();
        let (hub, east) =
            tokio::try_join!(Node::start(machine, "hub", 0, &tars), Node::start(machine, "east", 1, &tars))?;
        hub.wire(&east).await?;
        tell(began, "two nodes are ready");
        Ok(Self { hub, east, images, began: Instant::now() })
    }

    fn say(&self, what: &str) {
        tell(self.began, what);
    }

    /// Installs the hub's chart, reached through a port of its node.
    async fn install_hub(&self) -> Result<(), Failure> {
        let advertise = format!("link.advertise={{{}:{PORT}}}", self.hub.address());
        let (repository, tag) = &self.images.hub;
        let image = format!("image.registry=,image.repository={repository},image.tag={tag}");
        let service = format!("link.service.type=NodePort,link.service.nodePort={PORT}");
        let chart = chart("nimfleet-hub");
        let set = [&*service, &advertise, &image].map(|value| ["--set", value]).concat();
        let install = ["install", "nimfleet-hub", &chart, "--namespace", NAMESPACE, "--create-namespace"];
        self.hub.helm(&[&install[..], &set].concat()).await?;
        self.rolled_out(&self.hub, "nimfleet-hub").await?;
        let available =
            ["wait", "--for=condition=Available", "apiservice/v1alpha1.query.nimfleet.io", "--timeout=120s"];
        self.hub.kubectl(&available, None).await?;
        Ok(())
    }

    /// Joins the cluster with the line that the hub prints, as an admin pastes it, with the chart and image of this checkout.
    async fn join(&self) -> Result<(), Failure> {
        let print =
            ["-n", NAMESPACE, "exec", "deploy/nimfleet-hub", "--", "nimfleet-hub", "join-command", "east"];
        let printed = self.hub.kubectl(&print, None).await?;
        let line = printed
            .lines()
            .find(|line| line.contains("/nimfleet-spoke"))
            .ok_or_else(|| Failure::new(format!("no helm command for the spoke in {printed:?}")))?;
        let chart = chart("nimfleet-spoke");
        let words = line.split_whitespace();
        let words = words.map(|word| if word.ends_with("/nimfleet-spoke") { &*chart } else { word });
        let (repository, tag) = &self.images.spoke;
        let line = format!(
            "{} --set image.registry=,image.repository={repository},image.tag={tag}",
            words.collect::<Vec<_>>().join(" ")
        );
        self.east.run(&["sh", "-euc", &line], None).await?;
        self.rolled_out(&self.east, "nimfleet-spoke").await?;
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
        let pods = self.pods(&self.hub, "nimfleet-hub").await?;
        let leader = pods.into_iter().find(|name| holder.contains(name.as_str()));
        leader.ok_or_else(|| Failure::new(format!("{holder} leads, and is no pod of the hub")))
    }
}

fn tell(began: Instant, what: &str) {
    eprintln!("[{:>6.1} s] {what}", began.elapsed().as_secs_f32());
}

fn chart(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts").join(name).display().to_string()
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
    let stage = Stage::set(&machine).await?;

    for node in [&stage.hub, &stage.east] {
        node.helm(&["install", "nimfleet-crds", &chart("nimfleet-crds")]).await?;
    }
    stage.install_hub().await?;
    stage.say("the hub is installed, both replicas ready, and its query API available");
    stage.join().await?;
    stage.say("east has joined through a port of the hub's node");
    stage.equip().await?;
    stage.place().await?;
    stage.ready_on_the_hub().await?;
    stage.say("NVIDIA's sample is Ready on the hub");
    let model = stage.model().await?;
    assert!(model.len() == 1 && model[0].1 == 0, "one pod serves: {model:?}");

    for (node, name) in [(&stage.east, "nimfleet-spoke"), (&stage.hub, "nimfleet-hub")] {
        let release = stage.release(node).await?;
        let chart = chart(name);
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
            stage.connected().await?;
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
    stage.connected().await?;
    stage.ready_on_the_hub().await?;
    assert_eq!(stage.model().await?, model, "a failover of the hub touched the model");
    stage.say("the leader's pod was deleted, another leads, the model is untouched");

    // The spoke first; back again; then the hub first.
    stage.uninstall(&stage.east).await?;
    assert_eq!(stage.model().await?, model, "without a spoke the model serves");
    stage.join().await?;
    stage.ready_on_the_hub().await?;
    stage.uninstall(&stage.hub).await?;
    assert_eq!(stage.model().await?, model, "without a hub the model serves");
    stage.uninstall(&stage.east).await?;
    assert_eq!(stage.model().await?, model, "without either the model serves");
    stage.say("both are uninstalled, in either order, and the model serves");
    Ok(())
}
