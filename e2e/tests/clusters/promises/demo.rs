//! The first ten minutes: `cargo demo` tells what it does before it does it, and what is missing.

use std::path::Path;
use std::process::Command;

/// On a machine without programs, a cache and Go.
#[test]
fn the_demo_says_what_it_looks_for_and_what_to_install() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let output = Command::new(env!("CARGO_BIN_EXE_demo"))
        .env("XDG_CACHE_HOME", folder.path())
        .env("PATH", folder.path())
        .env_remove("KUBEBUILDER_ASSETS")
        .output()
        .expect("the demo starts");
    let (printed, told) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(
        printed,
        "[  0.0 s] looking for a Kubernetes control plane: what this machine lacks of it is built, once\n"
    );
    assert!(told.starts_with("listing the Go packages of etcd, kube-apiserver, "), "{told}");
    assert!(told.contains("`go` was not found") && told.contains("https://go.dev/dl"), "{told}");
    assert!(!output.status.success());
}

/// Until a program of e2e runs, cargo is the one to tell what it compiles.
#[test]
fn cargo_tells_what_it_compiles_for_the_demo() {
    let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.cargo/config.toml");
    let config = std::fs::read_to_string(config).expect("cargo's settings");
    let aliases: Vec<&str> = config.lines().filter(|line| line.contains("run --")).collect();
    assert_eq!(aliases.len(), 2, "{config}");
    assert!(aliases.iter().all(|alias| !alias.contains("-q")), "{config}");
}
