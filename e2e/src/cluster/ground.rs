//! What the clusters of one fleet stand on: a folder, an etcd and an authority.

use std::path::Path;
use std::sync::OnceLock;

use tempfile::TempDir;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::authority::Authority;
use super::{ClusterError, at};
use crate::controlplane::{BuildError, Programs};
use crate::port;
use crate::process::{Process, Program};

/// Fleets at work at a time in one process: an API server takes some 275 MB and, while it starts, a core. Two leave a third of two
/// cores idle.
const AT_A_TIME: usize = 3;

/// How the folders of fleets begin; the id of their process follows.
const PREFIX: &str = "nimfleet-e2e-";

/// Shared by the clusters of one fleet; outlive them. Dropping it ends etcd and removes every file.
#[derive(Debug)]
pub struct Ground {
    // In the order in which they must go: etcd before its folder, and both before the next fleet may start.
    _etcd: Process,
    folder: TempDir,
    _turn: SemaphorePermit<'static>,
    programs: Programs,
    authority: Authority,
    etcd_url: String,
}

impl Ground {
    /// Waits for its turn, builds the programs if this machine has none yet, and starts etcd.
    pub async fn prepare() -> Result<Self, ClusterError> {
        static TURNS: OnceLock<Semaphore> = OnceLock::new();
        let turns = TURNS.get_or_init(|| Semaphore::new(AT_A_TIME));
        let turn = turns.acquire().await.map_err(|_| never_closed())?;
        let programs = tokio::task::spawn_blocking(Programs::ready).await.map_err(|_| never_closed())??;
        sweep();
        let prefix = format!("{PREFIX}{}-", std::process::id());
        let folder =
            tempfile::Builder::new().prefix(&prefix).tempdir().map_err(at(Path::new("temporary folder")))?;
        let authority = Authority::create(folder.path())?;
        let (clients, peers) = (port::free()?, port::free()?);
        let etcd_url = format!("http://127.0.0.1:{clients}");
        let etcd = Program::new(programs.path("etcd"), folder.path().join("etcd.log"))
            .flag("data-dir", folder.path().join("etcd").display())
            .flag("listen-client-urls", &etcd_url)
            .flag("advertise-client-urls", &etcd_url)
            .flag("listen-peer-urls", format!("http://127.0.0.1:{peers}"))
            .flag("unsafe-no-fsync", true)
            .flag("log-level", "error")
            .start()?;
        Ok(Self { _etcd: etcd, folder, _turn: turn, programs, authority, etcd_url })
    }

    /// Where everything of the fleet is kept while it lives.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The programs of the control planes, kubectl and helm.
    #[must_use]
    pub fn programs(&self) -> &Programs {
        &self.programs
    }

    pub(crate) fn authority(&self) -> &Authority {
        &self.authority
    }

    pub(crate) fn etcd(&self) -> &str {
        &self.etcd_url
    }
}

/// Removes folders of processes that were killed before they could: theirs carry their id.
fn sweep() {
    // Without /proc nobody knows who still lives.
    if !Path::new("/proc/self").exists() {
        return;
    }
    for entry in std::fs::read_dir(std::env::temp_dir()).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let owner =
            name.to_str().and_then(|n| n.strip_prefix(PREFIX)?.split('-').next()?.parse::<u32>().ok());
        if owner.is_some_and(|id| !Path::new(&format!("/proc/{id}")).exists()) {
            // Another process may be sweeping too.
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

/// The turns are never closed and the build does not panic; should it ever be, this is what is said.
fn never_closed() -> ClusterError {
    ClusterError::Programs(BuildError::Go {
        program: "control plane".into(),
        output: "the build was cut off".into(),
    })
}
