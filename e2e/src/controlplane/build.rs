//! Builds the missing programs into the cache, each complete or not there at all.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::Programs;
use super::recipe::{self, KWOK, MODULES, Module, Program};
use super::substitute::Places;
use super::{Controller, ControllerProgram, NodePrograms};
use crate::progress::{Keep, Progress, follow};

/// Why the programs could not be made ready.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// Neither `XDG_CACHE_HOME` nor `HOME` is set.
    #[error("no cache folder: neither XDG_CACHE_HOME nor HOME is set: set one of them")]
    NoCacheFolder,
    /// The Go toolchain is not installed.
    #[error(
        "`{go}` was not found, and it is needed to build {missing}: install Go (https://go.dev/dl); \
         KUBEBUILDER_ASSETS=<folder> supplies etcd, kube-apiserver and kubectl, the rest is built"
    )]
    NoGo {
        /// The command looked for.
        go: String,
        /// Which programs are missing, comma separated.
        missing: String,
    },
    /// `KUBEBUILDER_ASSETS` names a folder that is not there.
    #[error(
        "KUBEBUILDER_ASSETS: the folder {0} does not exist: point it to a folder with etcd, kube-apiserver and kubectl, or unset \
         it to build them"
    )]
    NoAssets(PathBuf),
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

/// Folder of links to the programs that are used: to those that were built (in `bin`), and to those that the machine had.
const PROGRAMS: &str = "programs";

/// What a build needs to know; tests give other answers than the machine.
pub(super) struct Builder {
    pub(super) go: OsString,
    /// The folder with the Go modules.
    pub(super) modules: PathBuf,
    pub(super) cache: PathBuf,
    /// Where the machine may have programs already.
    pub(super) places: Places,
}

impl Builder {
    /// The control plane.
    pub(super) fn ready(&self, progress: &Progress) -> Result<Programs, BuildError> {
        let folder = self.build(&MODULES, progress)?;
        let kwok = MODULES.iter().find(|module| module.folder == "kwok").unwrap_or(&MODULES[1]);
        let kwok_module = self.module_folder(&folder, kwok, KWOK)?;
        Ok(Programs { bin: folder.join(PROGRAMS), kwok_module })
    }

    /// A controller of another product, in a cache folder of its own.
    pub(super) fn controller(
        &self,
        controller: Controller,
        progress: &Progress,
    ) -> Result<ControllerProgram, BuildError> {
        let module = controller.module();
        let folder = self.build(std::slice::from_ref(module), progress)?;
        let program = folder.join(PROGRAMS).join(module.programs[0].name);
        Ok(ControllerProgram { program, module: self.module_folder(&folder, module, controller.path())? })
    }

    /// What runs on a real node, each module in a cache folder of its own.
    pub(super) fn node(&self, progress: &Progress) -> Result<NodePrograms, BuildError> {
        let mut folders = Vec::new();
        for module in &recipe::NODE {
            folders.push(self.build(std::slice::from_ref(module), progress)?.join(PROGRAMS));
        }
        Ok(NodePrograms { folders })
    }

    /// Builds what is missing of these modules; returns the folder in which links to their programs are.
    fn build(&self, modules: &[Module], progress: &Progress) -> Result<PathBuf, BuildError> {
        let folder = self.cache.join(recipe::fingerprint(modules));
        let (bin, programs) = (folder.join("bin"), folder.join(PROGRAMS));
        for folder in [&bin, &programs] {
            fs::create_dir_all(folder).map_err(at(folder))?;
        }
        let lock_path = folder.join("lock");
        let lock = File::create(&lock_path).map_err(at(&lock_path))?;
        if lock.try_lock().is_err() {
            let names: Vec<&str> = modules.iter().map(|module| module.folder).collect();
            progress.begin(&format!("waiting for another build of {}", names.join(", ")), None, "");
            lock.lock().map_err(at(&lock_path))?;
            progress.end("waited for another build");
        }
        let mut missing = Vec::new();
        for (module, program) in modules.iter().flat_map(|m| m.programs.iter().map(move |p| (m, p))) {
            let built = bin.join(program.name);
            let choice = self.places.choose(program, &built)?;
            let is_new = link(&programs, program.name, choice.program.as_deref().unwrap_or(&built))?;
            if is_new || choice.program.is_none() {
                choice.notes.iter().for_each(|note| progress.note(note));
            }
            if choice.program.is_none() {
                missing.push((module, program));
            }
        }
        if !missing.is_empty() {
            self.build_missing(&missing, &bin, progress)?;
        }
        Ok(folder)
    }

    /// One run of Go for each module: while one program is linked, packages of the others are compiled.
    fn build_missing(
        &self,
        missing: &[(&Module, &Program)],
        bin: &Path,
        progress: &Progress,
    ) -> Result<(), BuildError> {
        let names: Vec<&str> = missing.iter().map(|(_, program)| program.name).collect();
        let names = names.join(", ");
        let by_module: Vec<_> = missing.chunk_by(|(a, _), (b, _)| a.folder == b.folder).collect();
        progress.begin(&format!("listing the Go packages of {names}"), None, "modules downloaded");
        let mut packages = BTreeSet::new();
        for programs in &by_module {
            packages.extend(self.packages_to_compile(programs, &names, progress)?);
        }
        progress.begin(&format!("building {names}"), Some(packages.len()), "packages");
        for programs in &by_module {
            self.build_module(programs, &names, bin, progress)?;
        }
        progress.end(&format!("built {names} into {}", bin.display()));
        Ok(())
    }

    /// The packages that Go's own cache lacks for programs of one module.
    fn packages_to_compile(
        &self,
        programs: &[(&Module, &Program)],
        names: &str,
        progress: &Progress,
    ) -> Result<Vec<String>, BuildError> {
        let module = programs[0].0;
        let mut go = self.command(module);
        go.args(["list", "-deps", "-f", "{{if .Stale}}{{.ImportPath}}{{end}}"]).args(module.flags());
        go.args(programs.iter().map(|(_, program)| program.package));
        Ok(run(&mut go, "Go packages", names, progress)?.lines().map(str::to_owned).collect())
    }

    fn build_module(
        &self,
        programs: &[(&Module, &Program)],
        names: &str,
        bin: &Path,
        progress: &Progress,
    ) -> Result<(), BuildError> {
        let module = programs[0].0;
        let partial = bin.join(".partial");
        let _ = fs::remove_dir_all(&partial);
        fs::create_dir_all(&partial).map_err(at(&partial))?;
        let mut go = self.command(module);
        go.arg("build").arg("-v").args(module.flags()).arg("-o").arg(&partial);
        go.args(programs.iter().map(|(_, program)| program.package));
        let own: Vec<&str> = programs.iter().map(|(_, program)| program.name).collect();
        run(&mut go, &own.join(", "), names, progress)?;
        for (_, program) in programs {
            let done = bin.join(program.name);
            fs::rename(partial.join(program.file()), &done).map_err(at(&done))?;
        }
        fs::remove_dir_all(&partial).map_err(at(&partial))
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
        let quiet = Progress::lines(|_| ());
        run(&mut download, &what, &what, &quiet)?;
        let mut list = self.command(module);
        list.args(["list", "-mod=readonly", "-m", "-f", "{{.Dir}}", path]);
        let found = run(&mut list, &what, &what, &quiet)?;
        fs::write(&note, &found).map_err(at(&note))?;
        Ok(found.into())
    }

    fn command(&self, module: &Module) -> Command {
        let mut command = Command::new(&self.go);
        command.current_dir(self.modules.join(module.folder)).envs([
            // The user's own Go settings must not change what is built.
            ("CGO_ENABLED", "0"),
            ("GOWORK", "off"),
            ("GOFLAGS", ""),
            // A compiler lives for seconds: without collecting garbage below a gibibyte it takes a fifth less time.
            ("GOGC", "off"),
            ("GOMEMLIMIT", "1GiB"),
        ]);
        command
    }
}

/// Runs Go, following what it says on stderr; returns its stdout, trimmed.
fn run(command: &mut Command, what: &str, missing: &str, progress: &Progress) -> Result<String, BuildError> {
    let failed = |output: String| BuildError::Go { program: what.to_owned(), output };
    let output = follow(command, progress, |line| {
        // Go names a package that it compiles and a module that it downloads; all else is a message.
        let is_package = !line.contains(char::is_whitespace);
        match line.strip_prefix("go: downloading ").or(is_package.then_some(line)) {
            Some(part) => progress.advance(part),
            None => return Keep::Yes,
        }
        Keep::No
    });
    let output = output.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => {
            BuildError::NoGo { go: command.get_program().display().to_string(), missing: missing.to_owned() }
        }
        _ => failed(error.to_string()),
    })?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said: Vec<&str> = said.lines().collect();
    Err(failed(said[said.len().saturating_sub(KEPT_OUTPUT)..].join("\n")))
}

/// Lets `folder/name` be a link to `target`; whether it was not before.
fn link(folder: &Path, name: &str, target: &Path) -> Result<bool, BuildError> {
    let link = folder.join(name);
    if fs::read_link(&link).is_ok_and(|is| is == target) {
        return Ok(false);
    }
    let new = folder.join(format!(".{name}.link"));
    let _ = fs::remove_file(&new);
    std::os::unix::fs::symlink(target, &new).map_err(at(&new))?;
    fs::rename(&new, &link).map_err(at(&link))?;
    Ok(true)
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> BuildError {
    let path = path.to_owned();
    move |source| BuildError::Io { path, source }
}
