//! The programs that go into images: built by cargo as static programs, or where Rust's musl target cannot be installed as
//! dynamic ones, with their loader and libraries.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::{ImagesError, Options};
use crate::cargo;

/// A processor architecture that images are made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Architecture {
    /// 64-bit x86.
    #[value(name = "x86_64", alias = "amd64")]
    X86_64,
    /// 64-bit Arm.
    #[value(name = "aarch64", alias = "arm64")]
    Aarch64,
}

impl Architecture {
    /// The architecture of this machine; an error where images cannot be built.
    pub fn of_this_machine() -> Result<Self, ImagesError> {
        match env::consts::ARCH {
            "x86_64" => Ok(Self::X86_64),
            "aarch64" => Ok(Self::Aarch64),
            other => Err(ImagesError::Machine(other)),
        }
    }

    /// As OCI and Go name it.
    #[must_use]
    pub fn oci(self) -> &'static str {
        match self {
            Self::X86_64 => "amd64",
            Self::Aarch64 => "arm64",
        }
    }

    /// As Rust and Linux name it.
    #[must_use]
    pub fn rust(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64",
            Self::Aarch64 => "aarch64",
        }
    }

    /// Rust's target of static programs.
    #[must_use]
    pub fn static_target(self) -> String {
        format!("{}-unknown-linux-musl", self.rust())
    }

    fn dynamic_target(self) -> String {
        format!("{}-unknown-linux-gnu", self.rust())
    }
}

/// How optimised the programs are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Profile {
    /// As they ship.
    #[default]
    Release,
    /// Built in a third of the time, for tests; without debug information, which an image does not need.
    Dev,
}

impl Profile {
    /// As cargo names it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Release => "release",
            Self::Dev => "dev",
        }
    }

    fn folder(self) -> &'static str {
        match self {
            Self::Release => "release",
            Self::Dev => "debug",
        }
    }
}

/// Whether a program brings all that it needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Linkage {
    /// It needs nothing but a kernel.
    Static,
    /// It needs these files at their paths: its loader and libraries.
    Dynamic(Vec<PathBuf>),
}

/// A program that was built.
#[derive(Debug, Clone)]
pub struct Program {
    /// Where it lies.
    pub path: PathBuf,
    /// What it needs beside itself.
    pub linkage: Linkage,
    /// Rust's name of what it was built for.
    pub target: String,
}

/// Builds the binaries of `packages` (package, binary) for one architecture in one run of cargo, which shows its progress on
/// stderr: all of them have their dependencies with the same features, and none of those that only tests turn on.
pub(super) fn build(
    packages: &[(&str, &str)],
    architecture: Architecture,
    options: &Options,
    say: &dyn Fn(&str),
) -> Result<Vec<Program>, ImagesError> {
    let target = architecture.static_target();
    let Options { checkout, profile, .. } = options;
    let is_static = !options.dynamic && static_target_is_there(architecture, checkout, say)?;
    let target = if is_static { target } else { architecture.dynamic_target() };
    let names: Vec<&str> = packages.iter().map(|(_, binary)| *binary).collect();
    say(&format!("building {} for {target} ({})", names.join(" and "), profile.name()));

    let mut cargo = cargo::command_in(checkout);
    cargo.args(["build", "--locked", "--bins", "--profile", profile.name(), "--target", &target]);
    for (package, _) in packages {
        cargo.args(["--package", package]);
    }
    let folder = target_folder(checkout)?;
    cargo.arg("--target-dir").arg(&folder);
    if *profile == Profile::Dev {
        cargo.env("CARGO_PROFILE_DEV_DEBUG", "0");
    }
    let places = Places::of(checkout, &folder)?;
    cargo.env("CARGO_ENCODED_RUSTFLAGS", places.rust_flags()).env_remove("RUSTFLAGS");
    let underscored = target.replace('-', "_");
    cargo.env(format!("CFLAGS_{underscored}"), places.c_flags());
    if is_static {
        for (name, value) in c_tools(architecture, &|name| env::var_os(name).is_some(), &on_path)? {
            cargo.env(name, value);
        }
    }
    let status = cargo
        .stdin(Stdio::null())
        .status()
        .map_err(|error| ImagesError::Cargo { target: target.clone(), said: error.to_string() })?;
    if !status.success() {
        return Err(ImagesError::Cargo { target, said: status.to_string() });
    }
    let folder = folder.join(&target).join(profile.folder());
    names
        .iter()
        .map(|name| {
            let path = folder.join(name);
            let linkage = if is_static { Linkage::Static } else { Linkage::Dynamic(libraries(&path)?) };
            Ok(Program { path, linkage, target: target.clone() })
        })
        .collect()
}

/// Whether static programs can be built; tries to install Rust's target if it is missing. Where that fails, dynamic programs
/// of this machine's own architecture remain.
fn static_target_is_there(
    architecture: Architecture,
    checkout: &Path,
    say: &dyn Fn(&str),
) -> Result<bool, ImagesError> {
    let target = architecture.static_target();
    if installed(&target, checkout) {
        return Ok(true);
    }
    say(&format!("installing Rust's target {target}"));
    let rustup = Command::new("rustup")
        .args(["target", "add", &target])
        .current_dir(checkout)
        .stdin(Stdio::null())
        .output();
    let said = match rustup {
        Ok(output) if output.status.success() && installed(&target, checkout) => return Ok(true),
        Ok(output) => String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        Err(error) => format!("rustup: {error}"),
    };
    if architecture != Architecture::of_this_machine()? {
        return Err(ImagesError::NoTarget { target, said });
    }
    say(&format!(
        "{target} cannot be installed ({said}): the image gets a dynamic program with its libraries"
    ));
    Ok(false)
}

/// Whether Rust's standard library for `target` is there, in the toolchain of the checkout.
fn installed(target: &str, checkout: &Path) -> bool {
    let output = Command::new("rustc")
        .args(["--print", "target-libdir", "--target", target])
        .current_dir(checkout)
        .output();
    let Ok(output) = output else { return false };
    let folder = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    let files = fs::read_dir(folder).into_iter().flatten().flatten();
    files.into_iter().any(|file| file.file_name().to_string_lossy().starts_with("libstd-"))
}

/// Variables that tell cargo and `cc` how C is compiled and linked for static programs; what the user has set stays.
/// Parts of ring and psm are written in C and assembler.
fn c_tools(
    architecture: Architecture,
    is_set: &dyn Fn(&str) -> bool,
    is_on_path: &dyn Fn(&str) -> bool,
) -> Result<Vec<(String, &'static str)>, ImagesError> {
    let underscored = architecture.static_target().replace('-', "_");
    let compiler = format!("CC_{underscored}");
    if is_set(&compiler) {
        return Ok(Vec::new());
    }
    let own = architecture == Architecture::of_this_machine()?;
    let (program, packages) = match architecture {
        _ if own => ("musl-gcc", "musl-tools"),
        Architecture::X86_64 => ("x86_64-linux-gnu-gcc", "gcc-x86-64-linux-gnu libc6-dev-amd64-cross"),
        Architecture::Aarch64 => ("aarch64-linux-gnu-gcc", "gcc-aarch64-linux-gnu libc6-dev-arm64-cross"),
    };
    if !is_on_path(program) {
        return Err(ImagesError::NoCompiler {
            program,
            target: architecture.static_target(),
            packages,
            variable: compiler,
        });
    }
    let mut variables = vec![(compiler, program)];
    if !own {
        // The machine's own linker knows no other architecture; rustc brings one that does.
        variables.push((format!("CARGO_TARGET_{}_LINKER", underscored.to_uppercase()), "rust-lld"));
    }
    Ok(variables)
}

fn on_path(program: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

/// Folders of this machine whose names must not reach a program, or it would differ from machine to machine.
struct Places(Vec<(PathBuf, &'static str)>);

impl Places {
    fn of(checkout: &Path, target_folder: &Path) -> Result<Self, ImagesError> {
        let home = env::var_os("CARGO_HOME").map(PathBuf::from);
        let home = home.or_else(|| env::home_dir().map(|home| home.join(".cargo")));
        let workspace = checkout.canonicalize().map_err(ImagesError::at(checkout))?;
        // rustc takes the last that fits, so the narrowest comes last.
        let mut places = Vec::new();
        places.extend(home.map(|home| (home, "/cargo")));
        places.push((workspace.clone(), "/nimfleet"));
        if !target_folder.starts_with(&workspace) {
            places.push((target_folder.to_owned(), "/nimfleet/target"));
        }
        Ok(Self(places))
    }

    /// Separated as cargo wants it, so that a path may contain spaces. Symbols are asked to go here because cargo forgets a
    /// profile's `strip` for a package that the profile optimises otherwise, as it does the hub.
    fn rust_flags(&self) -> String {
        let strip = "-Cstrip=symbols".to_owned();
        let flags = self.0.iter().map(|(from, to)| format!("--remap-path-prefix={}={to}", from.display()));
        std::iter::once(strip).chain(flags).collect::<Vec<_>>().join("\u{1f}")
    }

    fn c_flags(&self) -> String {
        let flags = self.0.iter().map(|(from, to)| format!("-ffile-prefix-map={}={to}", from.display()));
        flags.collect::<Vec<_>>().join(" ")
    }
}

/// Where cargo puts what it builds of a checkout.
fn target_folder(checkout: &Path) -> Result<PathBuf, ImagesError> {
    let metadata = super::supply_chain::metadata(checkout, &["--no-deps"])?;
    metadata["target_directory"]
        .as_str()
        .map(PathBuf::from)
        .ok_or_else(|| ImagesError::Json("cargo metadata: no target_directory".to_owned()))
}

/// The loader and libraries of a dynamic program, as its loader finds them here.
fn libraries(program: &Path) -> Result<Vec<PathBuf>, ImagesError> {
    let output = Command::new("ldd").arg(program).output().map_err(ImagesError::at(Path::new("ldd")))?;
    let files = listed_libraries(&String::from_utf8_lossy(&output.stdout));
    if !output.status.success() || files.is_empty() {
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(ImagesError::Libraries { program: program.to_owned(), said });
    }
    Ok(files)
}

/// The files that `ldd` lists, sorted: `libm.so.6 => /lib/x86_64-linux-gnu/libm.so.6 (0x…)`, or a path alone.
fn listed_libraries(ldd: &str) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = ldd
        .lines()
        .filter_map(|line| line.rsplit_once("=>").map_or(line, |(_, path)| path).split_whitespace().next())
        .filter(|path| path.starts_with('/'))
        .map(PathBuf::from)
        .collect();
    files.sort();
    files.dedup();
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_compiler_is_named_with_its_package_and_another_can_be_given() {
        let machine = Architecture::of_this_machine().unwrap();
        let other =
            if machine == Architecture::X86_64 { Architecture::Aarch64 } else { Architecture::X86_64 };
        for (architecture, word) in [(machine, "musl-tools"), (other, "-cross")] {
            let error = c_tools(architecture, &|_| false, &|_| false).unwrap_err().to_string();
            let variable = format!("CC_{}_unknown_linux_musl", architecture.rust());
            for word in [word, &variable, &architecture.static_target()] {
                assert!(error.contains(word), "{error}");
            }
            assert_eq!(c_tools(architecture, &|name| name == variable, &|_| false).unwrap(), []);
        }
        assert_eq!(c_tools(machine, &|_| false, &|_| true).unwrap().len(), 1);
        let cross = c_tools(other, &|_| false, &|_| true).unwrap();
        assert!(cross[1].0.ends_with("_UNKNOWN_LINUX_MUSL_LINKER") && cross[1].1 == "rust-lld", "{cross:?}");
    }

    #[test]
    fn libraries_are_read_from_what_the_loader_lists() {
        let ldd = "\tlinux-vdso.so.1 (0x1)\n\tlibm.so.6 => /lib/x86_64-linux-gnu/libm.so.6 (0x2)\n\
                   \tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x3)\n\t/lib64/ld-linux-x86-64.so.2 (0x4)\n";
        let expected = [
            "/lib/x86_64-linux-gnu/libc.so.6",
            "/lib/x86_64-linux-gnu/libm.so.6",
            "/lib64/ld-linux-x86-64.so.2",
        ];
        assert_eq!(listed_libraries(ldd), expected.map(PathBuf::from));
        assert_eq!(listed_libraries("\tstatically linked\n"), [] as [PathBuf; 0]);
    }

    #[test]
    fn folders_of_this_machine_are_replaced_in_what_is_built() {
        let places = Places::of(&cargo::workspace(), Path::new("/elsewhere/target")).unwrap();
        let flags = places.rust_flags();
        assert!(
            flags.starts_with("-Cstrip=symbols\u{1f}") && flags.contains("=/nimfleet\u{1f}"),
            "{flags:?}"
        );
        assert!(flags.ends_with("--remap-path-prefix=/elsewhere/target=/nimfleet/target"), "{flags:?}");
        assert_eq!(places.c_flags().matches("-ffile-prefix-map=").count(), flags.matches("--remap").count());
    }
}
