//! The programs of hub and spoke, built as the tests themselves are.

use std::env;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use crate::cargo;

/// Hub and spoke could not be built.
#[derive(Debug, thiserror::Error)]
pub enum BinariesError {
    /// This program's own place is unknown, or cargo cannot be run.
    #[error("{doing}: {source}")]
    Io {
        /// What was tried.
        doing: String,
        /// What the system said.
        source: io::Error,
    },
    /// Cargo ran and failed.
    #[error("building nimfleet-hub and nimfleet-spoke failed:\n{0}")]
    Build(String),
}

/// Where the two programs are.
#[derive(Debug, Clone)]
pub struct Binaries {
    /// `nimfleet-hub`.
    pub hub: PathBuf,
    /// `nimfleet-spoke`.
    pub spoke: PathBuf,
}

impl Binaries {
    /// Builds them once per process, in the profile and the target folder of the running program.
    pub fn ready() -> Result<Self, BinariesError> {
        static FOUND: Mutex<Option<Binaries>> = Mutex::new(None);
        let mut found = FOUND.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(binaries) = &*found {
            return Ok(binaries.clone());
        }
        let failed = |doing: &str| {
            let doing = doing.to_owned();
            move |source| BinariesError::Io { doing, source }
        };
        let own = env::current_exe().map_err(failed("finding this program"))?;
        let folder = profile_folder(&own);
        let mut cargo = cargo::command();
        cargo.args(["build", "--quiet", "--package", "hub", "--package", "spoke", "--bins"]);
        if let Some(target) = folder.parent() {
            cargo.arg("--target-dir").arg(target);
        }
        if folder.ends_with("release") {
            cargo.arg("--release");
        }
        let output = cargo.output().map_err(failed("running cargo"))?;
        if !output.status.success() {
            return Err(BinariesError::Build(String::from_utf8_lossy(&output.stderr).into_owned()));
        }
        let binaries = Self { hub: folder.join("nimfleet-hub"), spoke: folder.join("nimfleet-spoke") };
        Ok(found.insert(binaries).clone())
    }
}

/// The folder of a profile, from a program in it (`debug/demo`) or in its `deps` (a test).
fn profile_folder(program: &Path) -> PathBuf {
    let folder = program.parent().unwrap_or(Path::new("."));
    if folder.ends_with("deps") { folder.parent().unwrap_or(folder).to_owned() } else { folder.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_lie_beside_programs_and_above_tests() {
        for program in ["/t/debug/demo", "/t/debug/deps/promises-1234"] {
            assert_eq!(profile_folder(Path::new(program)), Path::new("/t/debug"));
        }
    }
}
