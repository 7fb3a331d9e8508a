//! Builds the missing programs into the cache, each complete or not there at all.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use super::Programs;
use super::progress::Progress;
use super::recipe::{self, KWOK, MODULES, Module, Program};
use super::{Controller, ControllerProgram, NodePrograms};

/// Why the programs could not be made ready.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// Neither `XDG_CACHE_HOME` nor `HOME` is set.
    #[error("no cache folder: neither XDG_CACHE_HOME nor HOME is set: set one of them")]
    NoCacheFolder,
    /// The Go toolchain is not installed.
    #[error(
        "`{go}` was not found, and it is needed to build {missing}: install Go (https://go.dev/dl); \
         KUBEBUILDER_ASSETS=<folder> supplies etcd and kube-apiserver, the rest is built"
    )]
    NoGo {
        /// The command looked for.
        go: String,
        /// Which programs are missing, comma separated.
        missing: String,
    },
    /// `KUBEBUILDER_ASSETS` names a folder without the program.
    #[error(
        "KUBEBUILDER_ASSETS: {0} does not exist: point it to a folder with etcd and kube-apiserver, or unset it to build them"
    )]
    NoAsset(PathBuf),
    /// Go ran and failed.
    #[error("building {program} failed; go said:\n{output}")]
    Go {
        /// The program being built, or what else Go was asked for.
        program: String,
        /// The end of what Go printed.
        output: String,
    },
    /// The file system refused.
    #[error("{path}: {source}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Lines of Go's output kept for an error message.
const KEPT_OUTPUT: usize = 20;

/// What a build needs to know; tests give other answers than the machine.
pub(super) struct Builder {
    pub(super) go: OsString,
    /// The folder with the Go modules.
    pub(super) modules: PathBuf,
    pub(super) cache: PathBuf,
    pub(super) assets: Option<PathBuf>,
}

impl Builder {
    /// The control plane.
    pub(super) fn ready(&self, progress: &Progress) -> Result<Programs, BuildError> {
        let folder = self.build(&MODULES, progress)?;
        let kwok = MODULES.iter().find(|module| module.folder == "kwok").unwrap_or(&MODULES[1]);
        let kwok_module = self.module_folder(&folder, kwok, KWOK)?;
        Ok(Programs { bin: folder.join("bin"), kwok_module })
    }

    /// A controller of another product, in a cache folder of its own.
    pub(super) fn controller(
        &self,
        controller: Controller,
        progress: &Progress,
    ) -> Result<ControllerProgram, BuildError> {
        let module = controller.module();
        let folder = self.build(std::slice::from_ref(module), progress)?;
        let program = folder.join("bin").join(module.programs[0].name);
        Ok(ControllerProgram { program, module: self.module_folder(&folder, module, controller.path())? })
    }

    /// What runs on a real node, each module in a cache folder of its own.
    pub(super) fn node(&self, progress: &Progress) -> Result<NodePrograms, BuildError> {
        let mut folders = Vec::new();
        for module in &recipe::NODE {
            folders.push(self.build(std::slice::from_ref(module), progress)?.join("bin"));
        }
        Ok(NodePrograms { folders })
    }

    /// Builds what is missing of these modules; returns the folder in which their programs are, under `bin`.
    fn build(&self, modules: &[Module], progress: &Progress) -> Result<PathBuf, BuildError> {
        let folder = self.cache.join(recipe::fingerprint(modules));
        let bin = folder.join("bin");
        fs::create_dir_all(&bin).map_err(at(&bin))?;
        let lock_path = folder.join("lock");
        let lock = File::create(&lock_path).map_err(at(&lock_path))?;
        if lock.try_lock().is_err() {
            let names: Vec<&str> = modules.iter().map(|module| module.folder).collect();
            progress.begin(&format!("waiting for another build of {}", names.join(", ")));
            lock.lock().map_err(at(&lock_path))?;
        }
        self.supply(modules, &bin)?;
        self.build_missing(modules, &bin, progress)?;
        Ok(folder)
    }

    /// Links what `KUBEBUILDER_ASSETS` supplies, afresh each time: the variable may change from run to run.
    fn supply(&self, modules: &[Module], bin: &Path) -> Result<(), BuildError> {
        for program in modules.iter().flat_map(|m| m.programs).filter(|p| p.in_assets) {
            let link = bin.join(program.name);
            if link.is_symlink() {
                fs::remove_file(&link).map_err(at(&link))?;
            }
            if let Some(assets) = &self.assets {
                let asset = assets.join(program.name);
                if !asset.exists() {
                    return Err(BuildError::NoAsset(asset));
                }
                let new = bin.join(format!(".{}.link", program.name));
                let _ = fs::remove_file(&new);
                std::os::unix::fs::symlink(&asset, &new).map_err(at(&new))?;
                fs::rename(&new, &link).map_err(at(&link))?;
            }
        }
        Ok(())
    }

    fn build_missing(&self, modules: &[Module], bin: &Path, progress: &Progress) -> Result<(), BuildError> {
        let missing: Vec<(&Module, &Program)> = modules
            .iter()
            .flat_map(|module| module.programs.iter().map(move |program| (module, program)))
            .filter(|(_, program)| !bin.join(program.name).exists())
            .collect();
        if missing.is_empty() {
            return Ok(());
        }
        let names: Vec<&str> = missing.iter().map(|(_, program)| program.name).collect();
        let began = Instant::now();
        for (n, (module, program)) in missing.iter().enumerate() {
            progress.begin(&format!("building {} ({} of {})", program.name, n + 1, missing.len()));
            let partial = bin.join(format!(".{}.partial", program.name));
            let mut go = self.command(module);
            go.arg("build").arg("-v").args(module.flags()).arg("-o").arg(&partial).arg(program.package);
            run(&mut go, program.name, &names.join(", "), progress)?;
            let done = bin.join(program.name);
            fs::rename(&partial, &done).map_err(at(&done))?;
        }
        progress.end(&format!(
            "built {} in {} s, kept in {}",
            names.join(", "),
            began.elapsed().as_secs(),
            bin.display()
        ));
        Ok(())
    }

    /// Asks Go where the files of a module that `module` uses lie, once: the answer is kept as long as that folder exists.
    fn module_folder(&self, folder: &Path, module: &Module, path: &str) -> Result<PathBuf, BuildError> {
        let note = folder.join(format!("{}-module", module.folder));
        if let Ok(known) = fs::read_to_string(&note)
            && Path::new(&known).is_dir()
        {
            return Ok(known.into());
        }
        let what = format!("the files of {path}");
        let mut download = self.command(module);
        download.args(["mod", "download", path]);
        let quiet = Progress::Lines;
        run(&mut download, &what, &what, &quiet)?;
        let mut list = self.command(module);
        list.args(["list", "-mod=readonly", "-m", "-f", "{{.Dir}}", path]);
        let found = run(&mut list, &what, &what, &quiet)?;
        fs::write(&note, &found).map_err(at(&note))?;
        Ok(found.into())
    }

    fn command(&self, module: &Module) -> Command {
        let mut command = Command::new(&self.go);
        // The user's own Go settings must not change what is built.
        command.current_dir(self.modules.join(module.folder)).envs([
            ("CGO_ENABLED", "0"),
            ("GOWORK", "off"),
            ("GOFLAGS", ""),
        ]);
        command
    }
}

/// Runs Go, following what it says on stderr; returns its stdout, trimmed.
fn run(command: &mut Command, what: &str, missing: &str, progress: &Progress) -> Result<String, BuildError> {
    let failed = |output: String| BuildError::Go { program: what.to_owned(), output };
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => {
            BuildError::NoGo { go: command.get_program().display().to_string(), missing: missing.to_owned() }
        }
        _ => failed(error.to_string()),
    })?;
    let mut said = Vec::new();
    for line in child
        .stderr
        .take()
        .into_iter()
        .flat_map(|stderr| BufReader::new(stderr).lines())
        .map_while(Result::ok)
    {
        progress.detail(&line);
        said.push(line);
    }
    let output = child.wait_with_output().map_err(|error| failed(error.to_string()))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    } else {
        Err(failed(said[said.len().saturating_sub(KEPT_OUTPUT)..].join("\n")))
    }
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> BuildError {
    let path = path.to_owned();
    move |source| BuildError::Io { path, source }
}
