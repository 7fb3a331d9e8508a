//! Writes the CustomResourceDefinitions: all to standard output, or one file each into a folder.

use std::error::Error;
use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const USAGE: &str = "usage: crdgen [--out-dir DIR]";

fn main() -> ExitCode {
    let mut stderr = std::io::stderr();
    let Some(folder) = out_dir(std::env::args_os().skip(1)) else {
        let _ = writeln!(stderr, "{USAGE}");
        return ExitCode::from(2);
    };
    let result = match &folder {
        Some(folder) => write_files(folder),
        None => write_stream(std::io::stdout().lock()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(stderr, "error: {}", with_causes(&*error));
            ExitCode::FAILURE
        }
    }
}

/// The folder to write to, `Some(None)` for standard output, or nothing when the arguments are wrong.
#[allow(clippy::option_option, reason = "the outer one is whether the arguments were understood")]
fn out_dir(mut args: impl Iterator<Item = OsString>) -> Option<Option<PathBuf>> {
    match (args.next(), args.next(), args.next()) {
        (None, ..) => Some(None),
        (Some(flag), Some(folder), None) if flag == "--out-dir" => Some(Some(folder.into())),
        _ => None,
    }
}

fn write_stream(mut out: impl Write) -> Result<(), Box<dyn Error>> {
    for crd in crds::all()? {
        write!(out, "---\n{}", crds::schema::document(&crd)?)?;
    }
    Ok(())
}

fn write_files(folder: &Path) -> Result<(), Box<dyn Error>> {
    std::fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    for crd in crds::all()? {
        let path = folder.join(crds::schema::file_name(&crd));
        std::fs::write(&path, crds::schema::document(&crd)?)
            .map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok(())
}

/// The error and what caused it, on one line.
fn with_causes(error: &dyn Error) -> String {
    let causes = std::iter::successors(error.source(), |&cause| cause.source());
    causes.fold(error.to_string(), |line, cause| format!("{line}: {cause}"))
}
