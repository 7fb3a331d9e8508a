//! The programs of hub and spoke, and kubectl's plugin, built as the tests themselves are.

use std::env;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Mutex;

use crate::cargo;
use crate::progress::{Keep, Progress, follow};

/// Packages, and the program of each.
const PROGRAMS: [(&str, &str); 3] =
    [("hub", "nimfleet-hub"), ("spoke", "nimfleet-spoke"), ("kubectl-nimfleet", "kubectl-nimfleet")];

/// The programs could not be built.
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

/// Where the programs are.
#[derive(Debug, Clone)]
pub struct Binaries {
    /// `nimfleet-hub`.
    pub hub: PathBuf,
    /// `nimfleet-spoke`.
    pub spoke: PathBuf,
    /// `kubectl-nimfleet`.
    pub plugin: PathBuf,
}

impl Binaries {
    /// Builds them once per process, in the profile and the target folder of the running program, showing progress on stderr. As
    /// e2e is selected with them, their crates have the features with which cargo has compiled them for the running program.
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
        let folder = &profile_folder(&own);
        let mut cargo = cargo::command();
        cargo.args(["build", "--profile", profile(folder), "--package", "e2e"]);
        cargo.args(PROGRAMS.iter().flat_map(|(package, program)| ["--package", package, "--bin", program]));
        if let Some(target) = folder.parent() {
            cargo.arg("--target-dir").arg(target);
        }
        let output = build(&mut cargo, &Progress::on_stderr()).map_err(failed("running cargo"))?;
        if !output.status.success() {
            return Err(BinariesError::Build(String::from_utf8_lossy(&output.stderr).into_owned()));
        }
        let [hub, spoke, plugin] = PROGRAMS.map(|(_, program)| folder.join(program));
        let binaries = Self { hub, spoke, plugin };
        Ok(found.insert(binaries).clone())
    }
}

/// Runs cargo, which may have nothing to do: then nothing is said.
fn build(cargo: &mut Command, progress: &Progress) -> io::Result<Output> {
    let mut begun = false;
    let output = follow(cargo, progress, |line| {
        let Some(part) = line.trim_start().strip_prefix("Compiling ") else { return Keep::Yes };
        if !begun {
            progress.begin("building nimfleet-hub and nimfleet-spoke", None, "crates");
            begun = true;
        }
        progress.advance(part);
        Keep::No
    });
    progress.end("built nimfleet-hub and nimfleet-spoke");
    output
}

/// The profile whose programs lie in a folder.
fn profile(folder: &Path) -> &str {
    match folder.file_name().and_then(|name| name.to_str()) {
        Some("debug") | None => "dev",
        Some(name) => name,
    }
}

/// Name of the profile that this program was built in, for figures.
#[must_use]
pub fn own_profile() -> String {
    let own = env::current_exe().unwrap_or_default();
    profile(&profile_folder(&own)).to_owned()
}

/// The folder of a profile, from a program in it (`debug/demo`) or in its `deps` (a test).
fn profile_folder(program: &Path) -> PathBuf {
    let folder = program.parent().unwrap_or(Path::new("."));
    if folder.ends_with("deps") { folder.parent().unwrap_or(folder).to_owned() } else { folder.to_owned() }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[test]
    fn each_profile_has_a_folder() {
        for (folder, name) in [("debug", "dev"), ("release", "release"), ("optimized", "optimized")] {
            assert_eq!(profile(&Path::new("/t").join(folder)), name);
        }
    }

    #[test]
    fn cargo_is_told_of_when_it_compiles_and_its_errors_are_kept() {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let to = Arc::clone(&lines);
        let progress = Progress::lines(move |line| to.lock().unwrap().push(line.to_owned()));
        let run = |script: &str| build(Command::new("sh").args(["-c", script]), &progress).unwrap();
        run("echo '    Finished `dev` profile in 0.30s' >&2");
        assert!(lines.lock().unwrap().is_empty(), "{lines:?}");
        let output = run("echo '   Compiling hub v0.1.0' >&2; echo 'error: no such field' >&2; exit 101");
        assert_eq!(output.stderr, b"error: no such field\n");
        let lines = lines.lock().unwrap();
        assert_eq!(lines[0], "building nimfleet-hub and nimfleet-spoke");
        assert!(lines.len() == 2 && lines[1].starts_with("built "), "{lines:?}");
    }

    #[test]
    fn programs_lie_beside_programs_and_above_tests() {
        for program in ["/t/debug/demo", "/t/debug/deps/promises-1234"] {
            assert_eq!(profile_folder(Path::new(program)), Path::new("/t/debug"));
        }
    }
}
