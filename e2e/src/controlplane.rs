//! The programs of a Kubernetes control plane, built once per machine from their Go modules.

mod build;
mod progress;
mod recipe;

use std::env;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

pub use build::BuildError;

use build::Builder;
use progress::Progress;

/// Where the programs are.
#[derive(Debug, Clone)]
pub struct Programs {
    /// Folder with etcd, kube-apiserver, kube-controller-manager, kube-scheduler, kwok, kubectl and helm.
    pub bin: PathBuf,
    /// Folder of kwok's Go module, whose stage files say how nodes, pods and volumes live.
    pub kwok_module: PathBuf,
}

impl Programs {
    /// Builds what is missing, showing progress on stderr, and says where everything is. Takes some ten minutes the
    /// first time on a machine, then milliseconds; other callers, in this process or another, wait for the one that builds.
    pub fn ready() -> Result<Self, BuildError> {
        static FOUND: Mutex<Option<Programs>> = Mutex::new(None);
        let mut found = FOUND.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(programs) = &*found {
            return Ok(programs.clone());
        }
        let builder = Builder {
            go: "go".into(),
            modules: Path::new(env!("CARGO_MANIFEST_DIR")).join("controlplane"),
            cache: cache_folder()?.join("nimfleet/controlplane"),
            assets: env::var_os("KUBEBUILDER_ASSETS").map(PathBuf::from),
        };
        let programs = builder.ready(&Progress::on_stderr())?;
        Ok(found.insert(programs).clone())
    }

    /// Path of one of the programs.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.bin.join(name)
    }
}

fn cache_folder() -> Result<PathBuf, BuildError> {
    let given = |name| env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    given("XDG_CACHE_HOME")
        .or_else(|| given("HOME").map(|home| home.join(".cache")))
        .ok_or(BuildError::NoCacheFolder)
}

#[cfg(test)]
mod tests;
