//! Writes the CustomResourceDefinitions and the policies: all to standard output, or one file each into folders.

use std::error::Error;
use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crds::schema::SchemaError;

const USAGE: &str = "usage: crdgen [--out-dir DIR] [--policies-dir DIR]";

/// Where to write to; without folders, to standard output.
#[derive(Default)]
struct Folders {
    definitions: Option<PathBuf>,
    policies: Option<PathBuf>,
}

fn main() -> ExitCode {
    let mut stderr = std::io::stderr();
    let Some(folders) = folders(std::env::args_os().skip(1)) else {
        let _ = writeln!(stderr, "{USAGE}");
        return ExitCode::from(2);
    };
    match write(&folders) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(stderr, "error: {}", with_causes(&*error));
            ExitCode::FAILURE
        }
    }
}

/// The folders to write to, or nothing when the arguments are wrong.
fn folders(mut args: impl Iterator<Item = OsString>) -> Option<Folders> {
    let mut folders = Folders::default();
    while let Some(flag) = args.next() {
        let folder = match flag.to_str()? {
            "--out-dir" => &mut folders.definitions,
            "--policies-dir" => &mut folders.policies,
            _ => return None,
        };
        *folder = Some(args.next()?.into());
    }
    Some(folders)
}

fn write(folders: &Folders) -> Result<(), Box<dyn Error>> {
    let definitions = definitions()?;
    let policies = policies()?;
    match (&folders.definitions, &folders.policies) {
        (None, None) => {
            let mut out = std::io::stdout().lock();
            for (_, text) in definitions.iter().chain(&policies) {
                write!(out, "---\n{text}")?;
            }
        }
        (to_definitions, to_policies) => {
            to_definitions.as_ref().map_or(Ok(()), |folder| write_files(folder, &definitions))?;
            to_policies.as_ref().map_or(Ok(()), |folder| write_files(folder, &policies))?;
        }
    }
    Ok(())
}

/// Names and texts of the definitions' files.
fn definitions() -> Result<Vec<(String, String)>, SchemaError> {
    let all = crds::all()?;
    all.iter().map(|crd| Ok((crds::schema::file_name(crd), crds::schema::document(crd)?))).collect()
}

/// Names and texts of the policies' files.
fn policies() -> Result<Vec<(String, String)>, SchemaError> {
    let all = crds::policy::all();
    all.iter().map(|policy| Ok((policy.file_name(), policy.document()?))).collect()
}

fn write_files(folder: &Path, files: &[(String, String)]) -> Result<(), Box<dyn Error>> {
    let named = |path: &Path, error: std::io::Error| format!("{}: {error}", path.display());
    std::fs::create_dir_all(folder).map_err(|error| named(folder, error))?;
    for (name, text) in files {
        let path = folder.join(name);
        std::fs::write(&path, text).map_err(|error| named(&path, error))?;
    }
    Ok(())
}

/// The error and what caused it, on one line.
fn with_causes(error: &dyn Error) -> String {
    let causes = std::iter::successors(error.source(), |&cause| cause.source());
    causes.fold(error.to_string(), |line, cause| format!("{line}: {cause}"))
}
