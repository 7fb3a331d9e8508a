//! A real node: a control plane with kubelet, kube-proxy, containerd, runc, bridged pods and CoreDNS, in namespaces of its own,
//! so that it neither touches the machine nor meets another node, and ends whole.
//!
//! ```text
//! requirements   what a machine needs for it: rights, programs, devices
//! namespaces     where it runs; what is run in them
//! keys           certificates of one cluster
//! settings       what kubelet, containerd, CNI, kube-proxy and CoreDNS are told
//! images         what a node has instead of a registry: pause, and a stand-in for a NIM
//! stage          two of them with hub, spoke and NVIDIA's sample
//! ```

pub mod images;
mod keys;
mod namespaces;
mod requirements;
mod settings;
pub mod stage;

use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::command::{self, CommandError};
use crate::controlplane::{NodePrograms, Programs};
use crate::failure::Failure;
use crate::patience::eventually;
use crate::process::{Process, Program, last_lines};
use keys::Keys;
use namespaces::Namespaces;
pub use requirements::{ALLOW_SKIP, missing};
use settings::Settings;

/// A node takes some ten seconds to become ready; the time is for a busy machine.
const READY_WITHIN: Duration = Duration::from_mins(5);
/// Where containerd listens, in the node's own `/run`.
const CONTAINERD: &str = "/run/containerd/containerd.sock";
/// Lines of a log that are evidence.
const EVIDENCE: usize = 15;

/// What nodes of one test are made with.
pub struct Machine {
    folder: TempDir,
    control_plane: Programs,
    node: NodePrograms,
}

impl Machine {
    /// Builds what is missing: minutes the first time, then milliseconds.
    pub fn prepare() -> Result<Self, Failure> {
        namespaces::sweep();
        let prefix = format!("{}{}-", namespaces::PREFIX, std::process::id());
        let folder = tempfile::Builder::new().prefix(&prefix).tempdir()?;
        Ok(Self { folder, control_plane: Programs::ready()?, node: NodePrograms::ready()? })
    }

    /// Where everything of the nodes is kept while they live.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn program(&self, name: &str) -> PathBuf {
        let own = self.node.folders().iter().map(|folder| folder.join(name)).find(|path| path.exists());
        own.unwrap_or_else(|| self.control_plane.path(name))
    }

    /// A PATH with all of them before the machine's own.
    fn path(&self) -> OsString {
        let mut folders = self.node.folders().to_vec();
        folders.push(self.control_plane.bin.clone());
        folders.extend(
            ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"]
                .map(PathBuf::from),
        );
        std::env::join_paths(folders).unwrap_or_default()
    }
}

/// A cluster of one node. Dropping it ends every process of it, containers included, and removes what it mounted.
pub struct Node<'a> {
    machine: &'a Machine,
    settings: Settings,
    keys: Keys,
    folder: PathBuf,
    // In the order in which they must go: what runs ends with its namespaces.
    namespaces: Namespaces,
    running: Vec<Process>,
}

impl<'a> Node<'a> {
    /// Starts a node of this name and waits until it is ready; `number` (0 to 255) is part of its addresses. `images` are
    /// tars of images that its containers may use; no registry is asked unless a pod names another.
    pub async fn start(
        machine: &'a Machine,
        name: &str,
        number: u8,
        images: &[&Path],
    ) -> Result<Self, Failure> {
        let folder = machine.folder().join(name);
        for part in ["log", "etcd", "containerd", "cni", "own"] {
            fs::create_dir_all(folder.join(part))?;
        }
        let settings = Settings::of(name, number, &folder);
        let keys = Keys::create(&folder.join("keys"), &settings)?;
        settings.write(&keys)?;
        let node = PoweredOff { machine, settings, keys, folder }.power_on().await?;
        for image in images {
            node.import(image).await?;
        }
        Ok(node)
    }

    /// Ends every process at once, as a power cut does. What is on disk stays.
    #[must_use]
    pub fn power_off(self) -> PoweredOff<'a> {
        let Self { machine, settings, keys, folder, namespaces, running } = self;
        drop(namespaces);
        drop(running);
        PoweredOff { machine, settings, keys, folder }
    }

    /// The node's name, and that of the folder of its logs.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.settings.name
    }

    /// Its address: where its API server and its node ports are.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.settings.address
    }

    /// A folder of the machine that the node sees at the same path.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Lays a wire between two nodes, so that each reaches the other's address; it replaces one to a node that lost its power.
    pub async fn wire(&self, other: &Node<'_>) -> Result<(), Failure> {
        for node in [self, other] {
            node.run(
                &["sh", "-euc", "if ip link show wire >/dev/null 2>&1; then ip link delete wire; fi"],
                None,
            )
            .await?;
        }
        let (one, two) = (self.namespaces.id().to_string(), other.namespaces.id().to_string());
        let wire = [
            "link", "add", "name", "wire", "netns", &one, "type", "veth", "peer", "name", "wire", "netns",
            &two,
        ];
        command::run(Path::new("ip"), &wire, None).await?;
        for (node, own, peer, beyond) in
            [(self, "10.90.0.1", "10.90.0.2", other), (other, "10.90.0.2", "10.90.0.1", self)]
        {
            let script = format!(
                "ip addr add {own}/30 dev wire; ip link set wire up; ip route add {} via {peer}",
                beyond.settings.network()
            );
            node.run(&["sh", "-euc", &script], None).await?;
        }
        Ok(())
    }

    /// Runs a program of the node's in its namespaces, with every right of its cluster; returns what it printed.
    pub async fn run(&self, arguments: &[&str], input: Option<&str>) -> Result<String, CommandError> {
        let arguments = self.namespaces.arguments(&self.environment(), arguments);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        command::run(Path::new(namespaces::NSENTER), &arguments, input).await
    }

    /// Runs kubectl.
    pub async fn kubectl(&self, arguments: &[&str], input: Option<&str>) -> Result<String, CommandError> {
        self.run(&[&["kubectl"], arguments].concat(), input).await
    }

    /// Asks for one object, or a list of them.
    pub async fn get(&self, arguments: &[&str]) -> Result<Value, Failure> {
        let printed = self.kubectl(&[&["get", "--output=json"], arguments].concat(), None).await?;
        Ok(serde_json::from_str(&printed)?)
    }

    /// Applies manifests.
    pub async fn apply(&self, manifests: &str) -> Result<(), Failure> {
        self.kubectl(&["apply", "--server-side", "-f", "-"], Some(manifests)).await?;
        Ok(())
    }

    /// Runs helm.
    pub async fn helm(&self, arguments: &[&str]) -> Result<String, CommandError> {
        self.run(&[&["helm"], arguments].concat(), None).await
    }

    /// Waits until `check` succeeds; then gives back what it found, or tells why it never did.
    pub async fn eventually<T, F, C>(&self, what: &str, within: Duration, check: F) -> Result<T, Failure>
    where
        F: FnMut() -> C,
        C: Future<Output = Result<T, Failure>>,
    {
        eventually(&format!("{}: {what}", self.name()), within, check, || self.evidence()).await
    }

    /// What a person would look at first: pods, events, and the ends of logs.
    async fn evidence(&self) -> String {
        let mut evidence = String::new();
        for look in [
            &["get", "pods", "--all-namespaces", "--output=wide"][..],
            &["get", "events", "--all-namespaces", "--sort-by=.lastTimestamp"],
        ] {
            evidence += &self.kubectl(look, None).await.unwrap_or_else(|error| error.to_string());
        }
        for log in fs::read_dir(self.folder.join("log")).into_iter().flatten().flatten() {
            let path = log.path();
            let _ = writeln!(evidence, "\n--- {}\n{}", path.display(), last_lines(&path, EVIDENCE));
        }
        evidence
    }

    fn environment(&self) -> Vec<(&'static str, String)> {
        vec![
            ("PATH", self.machine.path().to_string_lossy().into_owned()),
            ("KUBECONFIG", self.settings.kubeconfig().display().to_string()),
            ("CONTAINERD_ADDRESS", CONTAINERD.to_owned()),
            ("HELM_CACHE_HOME", self.folder.join("helm").display().to_string()),
        ]
    }

    /// Starts a program in the namespaces; it runs until they end.
    fn start_program(&mut self, name: &str, arguments: &[String]) -> Result<(), Failure> {
        let path = self.machine.program(name);
        let path = path.to_string_lossy();
        let words: Vec<&str> = std::iter::once(&*path).chain(arguments.iter().map(String::as_str)).collect();
        let program = Program::new(namespaces::NSENTER, self.folder.join("log").join(format!("{name}.log")));
        let program =
            self.namespaces.arguments(&self.environment(), &words).iter().fold(program, Program::arg);
        self.running.push(program.start()?);
        Ok(())
    }

    async fn control_plane(&mut self) -> Result<(), Failure> {
        self.start_program("etcd", &self.settings.etcd())?;
        self.start_program("kube-apiserver", &self.settings.api_server(&self.keys))?;
        self.eventually("the API server is ready", READY_WITHIN, || async {
            Ok(self.kubectl(&["get", "--raw", "/readyz"], None).await?)
        })
        .await?;
        self.start_program("kube-controller-manager", &self.settings.controller_manager(&self.keys))?;
        self.start_program("kube-scheduler", &self.settings.scheduler())
    }

    async fn containerd(&mut self) -> Result<(), Failure> {
        self.start_program("containerd", &self.settings.containerd())?;
        self.eventually("containerd answers", READY_WITHIN, || async {
            self.run(&["ctr", "version"], None).await?;
            Ok(())
        })
        .await
    }

    /// Gives the node the image in a tar of an OCI layout.
    pub async fn import(&self, image: &Path) -> Result<(), Failure> {
        let image = image.canonicalize()?;
        let image = image.to_string_lossy();
        self.run(&["ctr", "--namespace", "k8s.io", "images", "import", "--digests=false", &image], None)
            .await?;
        Ok(())
    }

    fn agents(&mut self) -> Result<(), Failure> {
        self.start_program("kubelet", &self.settings.kubelet())?;
        self.start_program("kube-proxy", &self.settings.kube_proxy())
    }

    /// CoreDNS runs beside kubelet, not in a pod; a Service of its usual name and address leads to it.
    async fn names(&mut self) -> Result<(), Failure> {
        self.start_program("coredns", &self.settings.coredns())?;
        self.apply(&self.settings.dns_service().to_string()).await
    }
}

/// A node without power: what it had on disk, and nothing that runs.
pub struct PoweredOff<'a> {
    machine: &'a Machine,
    settings: Settings,
    keys: Keys,
    folder: PathBuf,
}

impl<'a> PoweredOff<'a> {
    /// Starts the node and waits until it is ready. A wire to another node has to be laid anew.
    pub async fn power_on(self) -> Result<Node<'a>, Failure> {
        let Self { machine, settings, keys, folder } = self;
        let namespaces = Namespaces::enter(&settings)?;
        let mut node = Node { machine, settings, keys, folder, namespaces, running: Vec::new() };
        node.control_plane().await?;
        node.containerd().await?;
        node.agents()?;
        node.names().await?;
        node.eventually("the node is ready", READY_WITHIN, || async {
            let found = node.get(&["node", &node.settings.name]).await?;
            crate::objects::expect(&found, "Ready", "True")
        })
        .await?;
        Ok(node)
    }
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> Failure {
    let path = path.to_owned();
    move |error| Failure::new(format!("{}: {error}", path.display()))
}
