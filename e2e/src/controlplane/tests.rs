//! The build against a stand-in for Go that notes what it was asked for.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::Controller;
use super::build::{BuildError, Builder};
use super::progress::Progress;

/// A `go` whose `build` writes its target and whose `list` names a module folder; `script` runs first.
fn builder(at: &Path, script: &str) -> Builder {
    let go = at.join("go");
    let text = format!(
        "#!/bin/sh\n{script}\ncase \"$1\" in\n build) while [ \"$1\" != -o ]; do shift; done; echo \"$3\" >> {log}; echo x > \"$2\";;\n list) mkdir -p {at}/kwok/kustomize; echo {at}/kwok;;\nesac\n",
        log = at.join("log").display(),
        at = at.display()
    );
    fs::write(&go, text).unwrap();
    fs::set_permissions(&go, fs::Permissions::from_mode(0o755)).unwrap();
    let modules = Path::new(env!("CARGO_MANIFEST_DIR")).join("controlplane");
    Builder { go: go.into(), modules, cache: at.join("cache"), assets: None }
}

fn built(at: &Path) -> usize {
    fs::read_to_string(at.join("log")).unwrap_or_default().lines().count()
}

#[test]
fn builds_what_is_missing_and_nothing_twice() {
    let at = tempfile::tempdir().unwrap();
    let builder = builder(at.path(), "");
    let programs = builder.ready(&Progress::Silent).unwrap();
    assert_eq!(built(at.path()), 7);
    assert_eq!(programs.kwok_module, at.path().join("kwok"));
    for name in
        ["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl", "kwok", "helm"]
    {
        assert!(programs.path(name).exists(), "{name}");
    }
    builder.ready(&Progress::Silent).unwrap();
    assert_eq!(built(at.path()), 7);
    fs::remove_file(programs.path("helm")).unwrap();
    builder.ready(&Progress::Silent).unwrap();
    assert_eq!(built(at.path()), 8);
}

#[test]
fn a_controller_is_built_when_it_is_asked_for_and_apart_from_the_control_plane() {
    let at = tempfile::tempdir().unwrap();
    let builder = builder(at.path(), "");
    let found = builder.controller(Controller::KServe, &Progress::Silent).unwrap();
    assert_eq!(built(at.path()), 1);
    assert!(found.program.ends_with("bin/kserve") && found.program.exists());
    assert!(found.module.is_dir());
    builder.ready(&Progress::Silent).unwrap();
    builder.controller(Controller::KServe, &Progress::Silent).unwrap();
    assert_eq!(built(at.path()), 8);
    let (old, new) = (Controller::Lws08, Controller::Lws09);
    let [old, new] = [old, new].map(|one| builder.controller(one, &Progress::Silent).unwrap().program);
    assert_ne!(old.parent(), new.parent(), "both versions are kept");
}

#[test]
fn programs_of_a_node_are_built_when_they_are_asked_for_with_the_tags_of_their_module() {
    let at = tempfile::tempdir().unwrap();
    let note = at.path().join("tags");
    let builder = builder(at.path(), &format!("echo \"$@\" >> {}", note.display()));
    let programs = builder.node(&Progress::Silent).unwrap();
    assert_eq!(built(at.path()), 6);
    for name in ["kubelet", "kube-proxy", "containerd", "containerd-shim-runc-v2", "ctr", "coredns"] {
        assert!(programs.folders().iter().any(|folder| folder.join(name).exists()), "{name}");
    }
    let asked = fs::read_to_string(note).unwrap();
    let tagged: Vec<&str> = asked.lines().filter(|line| line.contains(" -tags ")).collect();
    assert!(tagged.len() == 3 && tagged.iter().all(|line| line.contains("containerd")), "{asked}");
    builder.ready(&Progress::Silent).unwrap();
    assert_eq!(built(at.path()), 13, "the control plane is apart");
}

#[test]
fn two_that_build_at_once_build_once() {
    let at = tempfile::tempdir().unwrap();
    let builder = builder(at.path(), "sleep 0.05");
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| builder.ready(&Progress::Silent).unwrap());
        }
    });
    assert_eq!(built(at.path()), 7);
}

#[test]
fn a_failed_build_says_what_go_said_and_leaves_no_program() {
    let at = tempfile::tempdir().unwrap();
    let builder = builder(at.path(), "echo 'no such module' >&2; exit 1");
    let error = builder.ready(&Progress::Silent).unwrap_err();
    assert!(matches!(&error, BuildError::Go { program, .. } if program == "etcd"), "{error}");
    assert!(error.to_string().contains("no such module"), "{error}");
    let programs = fs::read_dir(at.path().join("cache")).unwrap().next().unwrap().unwrap().path().join("bin");
    assert_eq!(fs::read_dir(programs).unwrap().count(), 0);
}

#[test]
fn without_go_it_names_the_remedy() {
    let at = tempfile::tempdir().unwrap();
    let mut builder = builder(at.path(), "");
    builder.go = "no-such-go".into();
    let error = builder.ready(&Progress::Silent).unwrap_err().to_string();
    for word in ["no-such-go", "kube-scheduler", "install Go", "KUBEBUILDER_ASSETS"] {
        assert!(error.contains(word), "{error}");
    }
}

#[test]
fn assets_supply_two_programs_and_only_while_set() {
    let at = tempfile::tempdir().unwrap();
    let mut builder = builder(at.path(), "");
    let assets = at.path().join("assets");
    fs::create_dir(&assets).unwrap();
    builder.assets = Some(assets.clone());
    let error = builder.ready(&Progress::Silent).unwrap_err();
    assert!(matches!(&error, BuildError::NoAsset(path) if path.ends_with("etcd")), "{error}");
    for name in ["etcd", "kube-apiserver"] {
        fs::write(assets.join(name), "asset").unwrap();
    }
    let programs = builder.ready(&Progress::Silent).unwrap();
    assert_eq!(built(at.path()), 5);
    assert_eq!(fs::read_link(programs.path("etcd")).unwrap(), assets.join("etcd"));
    builder.assets = None;
    builder.ready(&Progress::Silent).unwrap();
    assert_eq!(built(at.path()), 7);
    assert!(!programs.path("etcd").is_symlink());
}
