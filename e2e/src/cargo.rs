//! Cargo, run by a program that cargo runs.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Variables by which cargo tells a program about its own package.
const OF_THIS_PACKAGE: [&str; 2] = ["CARGO_PKG_", "CARGO_MANIFEST_"];

/// The top folder of the workspace.
pub(crate) fn workspace() -> PathBuf {
    let member = Path::new(env!("CARGO_MANIFEST_DIR"));
    member.parent().unwrap_or(member).to_owned()
}

/// Cargo in the workspace's folder.
pub(crate) fn command() -> Command {
    command_in(&workspace())
}

/// Cargo in the top folder of a checkout, this one or another.
pub(crate) fn command_in(checkout: &Path) -> Command {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(checkout);
    // What cargo says about this package is not about those that are built; a build script that reads it would run again,
    // and all that depends on it be compiled again.
    for (name, _) in env::vars_os() {
        let ours = name.to_str().is_some_and(|name| OF_THIS_PACKAGE.iter().any(|of| name.starts_with(of)));
        if ours {
            cargo.env_remove(name);
        }
    }
    cargo
}
