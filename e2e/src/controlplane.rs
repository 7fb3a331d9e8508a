//! The programs of a Kubernetes control plane, and controllers of other products, built once per machine from their Go
//! modules.

mod build;
mod recipe;
mod substitute;

use std::env;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

pub use build::BuildError;

use build::Builder;
use recipe::Module;
use substitute::Places;

use crate::progress::Progress;

/// Where the programs are.
#[derive(Debug, Clone)]
pub struct Programs {
    /// Folder with links to etcd, kube-apiserver, kube-controller-manager, kube-scheduler, kwok, kubectl and helm.
    pub bin: PathBuf,
    /// Folder of kwok's Go module, whose stage files say how nodes, pods and volumes live.
    pub kwok_module: PathBuf,
}

impl Programs {
    /// Builds what is missing, showing progress on stderr, and says where everything is. Takes some five minutes of two cores the
    /// first time on a machine, then milliseconds; other callers, in this process or another, wait for the one that builds. What
    /// fits of what the machine has is used instead: etcd, kube-apiserver and kubectl of the folder that `KUBEBUILDER_ASSETS`
    /// names, kubectl and helm of the PATH.
    pub fn ready() -> Result<Self, BuildError> {
        static FOUND: Mutex<Option<Programs>> = Mutex::new(None);
        let mut found = FOUND.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(programs) = &*found {
            return Ok(programs.clone());
        }
        let programs = builder()?.ready(&Progress::on_stderr())?;
        Ok(found.insert(programs).clone())
    }

    /// Path of one of the programs.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.bin.join(name)
    }
}

/// Where the programs are that make a machine a node, beside those that its distribution has.
#[derive(Debug, Clone)]
pub struct NodePrograms {
    folders: Vec<PathBuf>,
}

impl NodePrograms {
    /// Builds what is missing, as [`Programs::ready`] does. Takes some five CPU minutes the first time on a machine.
    pub fn ready() -> Result<Self, BuildError> {
        builder()?.node(&Progress::on_stderr())
    }

    /// Folders with kubelet, kube-proxy, containerd with its shim, ctr and coredns.
    #[must_use]
    pub fn folders(&self) -> &[PathBuf] {
        &self.folders
    }
}

/// A controller of another product that tests run as it is released.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Controller {
    /// LeaderWorkerSet 0.8, which most clusters run: it tells no observed generation and counts groups by pods that exist.
    #[value(name = "lws-0.8")]
    Lws08,
    /// LeaderWorkerSet 0.9.
    #[value(name = "lws-0.9")]
    Lws09,
    /// KServe 0.17.
    #[value(name = "kserve")]
    KServe,
    /// Kueue 0.17.
    #[value(name = "kueue")]
    Kueue,
    /// The endpoint picker of the Gateway API Inference Extension 1.3.
    #[value(name = "endpoint-picker")]
    EndpointPicker,
    /// Not a controller but the validator of Knative Serving 0.48: it reads a Service of Knative on stdin and says what is wrong
    /// with it; its arguments are entries of Knative's ConfigMap config-features, `key=value`.
    #[value(name = "knative")]
    Knative,
    /// Not a controller but the judgement of Argo CD 3.1 (by a script of health in Lua) and of Flux (kstatus): it reads both the script
    /// and an object as JSON on stdin.
    #[value(name = "gitops")]
    GitOps,
}

/// Where a controller is.
#[derive(Debug, Clone)]
pub struct ControllerProgram {
    /// The program.
    pub program: PathBuf,
    /// Folder of its Go module: definitions, webhooks and settings lie there as they are released.
    pub module: PathBuf,
}

impl Controller {
    /// Builds it if it is missing, as [`Programs::ready`] does. Takes one to six minutes of one core the first time on a
    /// machine.
    pub fn ready(self) -> Result<ControllerProgram, BuildError> {
        builder()?.controller(self, &Progress::on_stderr())
    }

    fn module(self) -> &'static Module {
        match self {
            Self::Lws08 => &recipe::LWS_0_8,
            Self::Lws09 => &recipe::LWS_0_9,
            Self::KServe => &recipe::KSERVE,
            Self::Kueue => &recipe::KUEUE,
            Self::EndpointPicker => &recipe::ENDPOINT_PICKER,
            Self::Knative => &recipe::KNATIVE,
            Self::GitOps => &recipe::GITOPS,
        }
    }

    /// Path of its Go module.
    fn path(self) -> &'static str {
        match self {
            Self::Lws08 | Self::Lws09 => "sigs.k8s.io/lws",
            Self::KServe => "github.com/kserve/kserve",
            Self::Kueue => "sigs.k8s.io/kueue",
            Self::EndpointPicker => "sigs.k8s.io/gateway-api-inference-extension",
            Self::Knative => "knative.dev/serving",
            Self::GitOps => "github.com/argoproj/argo-cd/v3",
        }
    }
}

fn builder() -> Result<Builder, BuildError> {
    Ok(Builder {
        go: "go".into(),
        modules: Path::new(env!("CARGO_MANIFEST_DIR")).join("controlplane"),
        cache: cache_folder()?.join("nimfleet/controlplane"),
        places: Places {
            assets: env::var_os("KUBEBUILDER_ASSETS").filter(|v| !v.is_empty()).map(PathBuf::from),
            path: env::var_os("PATH").iter().flat_map(|path| env::split_paths(path)).collect(),
        },
    })
}

fn cache_folder() -> Result<PathBuf, BuildError> {
    let given = |name| env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    given("XDG_CACHE_HOME")
        .or_else(|| given("HOME").map(|home| home.join(".cache")))
        .ok_or(BuildError::NoCacheFolder)
}

#[cfg(test)]
mod tests;
