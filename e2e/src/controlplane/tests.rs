//! The build against a stand-in for Go that notes what it was asked for.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

use super::Controller;
use super::build::{BuildError, Builder};
use super::recipe::{MODULES, NODE};
use super::substitute::Places;
use crate::progress::Progress;

/// A `go` whose `build` names and writes each target, and whose `list` names packages or a module folder; `script` runs first.
fn builder(at: &Path, script: &str) -> Builder {
    let text = format!(
        "#!/bin/sh\n{script}\ncase \"$*\" in\n\
         build*) while [ \"$1\" != -o ]; do shift; done; into=$2; shift 2; for package; do\n\
         name=$(basename \"$package\"); case $name in v3) name=server;; .) name=coredns;; esac\n\
         echo x > \"$into/$name\"; echo \"$package\" >> {log}; echo \"$package\" >&2; done;;\n\
         'list -deps'*) echo 'go: downloading example.com/module v1.0.0' >&2; for package; do :; done; echo fmt; echo \"$package\";;\n\
         list*) mkdir -p {at}/kwok/kustomize; echo {at}/kwok;;\nesac\n",
        log = at.join("log").display(),
        at = at.display()
    );
    let go = program(at, "go", &text);
    let modules = Path::new(env!("CARGO_MANIFEST_DIR")).join("controlplane");
    let places = Places { assets: None, path: Vec::new() };
    Builder { go: go.into(), modules, cache: at.join("cache"), places }
}

/// Another process writes it: Linux starts no program that is open for writing, and a test beside this one may be about to start
/// a process, which has what this process has open.
fn program(folder: &Path, name: &str, script: &str) -> PathBuf {
    fs::create_dir_all(folder).unwrap();
    let path = folder.join(name);
    let write = r#"printf %s "$1" > "$0" && chmod 755 "$0""#;
    assert!(Command::new("sh").arg("-c").arg(write).arg(&path).arg(script).status().unwrap().success());
    path
}

/// A program that the machine has, which says this version.
fn offered(folder: &Path, name: &str, says: &str) -> PathBuf {
    program(folder, name, &format!("#!/bin/sh\necho '{says}'\n"))
}

fn built(at: &Path) -> usize {
    fs::read_to_string(at.join("log")).unwrap_or_default().lines().count()
}

fn silent() -> Progress {
    Progress::lines(|_| ())
}

/// Progress, and what it has said.
fn heard() -> (Progress, Arc<Mutex<Vec<String>>>) {
    let lines = Arc::new(Mutex::new(Vec::new()));
    let to = Arc::clone(&lines);
    (Progress::lines(move |line| to.lock().unwrap().push(line.to_owned())), lines)
}

#[test]
fn builds_what_is_missing_and_nothing_twice() {
    let at = tempfile::tempdir().unwrap();
    let builder = builder(at.path(), "");
    let programs = builder.ready(&silent()).unwrap();
    assert_eq!(built(at.path()), 7);
    assert_eq!(programs.kwok_module, at.path().join("kwok"));
    for name in
        ["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl", "kwok", "helm"]
    {
        assert!(programs.path(name).exists(), "{name}");
    }
    builder.ready(&silent()).unwrap();
    assert_eq!(built(at.path()), 7);
    fs::remove_file(fs::read_link(programs.path("helm")).unwrap()).unwrap();
    builder.ready(&silent()).unwrap();
    assert_eq!(built(at.path()), 8);
}

#[test]
fn a_controller_is_built_when_it_is_asked_for_and_apart_from_the_control_plane() {
    let at = tempfile::tempdir().unwrap();
    let builder = builder(at.path(), "");
    let found = builder.controller(Controller::KServe, &silent()).unwrap();
    assert_eq!(built(at.path()), 1);
    assert!(found.program.ends_with("programs/kserve") && found.program.exists());
    assert!(found.module.is_dir());
    builder.ready(&silent()).unwrap();
    builder.controller(Controller::KServe, &silent()).unwrap();
    assert_eq!(built(at.path()), 8);
    let (old, new) = (Controller::Lws08, Controller::Lws09);
    let [old, new] = [old, new].map(|one| builder.controller(one, &silent()).unwrap().program);
    assert_ne!(old.parent(), new.parent(), "both versions are kept");
}

#[test]
fn programs_of_a_node_are_built_when_they_are_asked_for_with_the_tags_of_their_module() {
    let at = tempfile::tempdir().unwrap();
    let note = at.path().join("tags");
    let builder = builder(at.path(), &format!("echo \"$@\" >> {}", note.display()));
    let programs = builder.node(&silent()).unwrap();
    assert_eq!(built(at.path()), 6);
    for name in ["kubelet", "kube-proxy", "containerd", "containerd-shim-runc-v2", "ctr", "coredns"] {
        assert!(programs.folders().iter().any(|folder| folder.join(name).exists()), "{name}");
    }
    let asked = fs::read_to_string(note).unwrap();
    let tagged: Vec<&str> = asked.lines().filter(|line| line.contains(" -tags ")).collect();
    assert!(tagged.len() == 2 && tagged.iter().all(|line| line.contains("containerd")), "{asked}");
    builder.ready(&silent()).unwrap();
    assert_eq!(built(at.path()), 13, "the control plane is apart");
}

#[test]
fn two_that_build_at_once_build_once() {
    let at = tempfile::tempdir().unwrap();
    let builder = builder(at.path(), "sleep 0.05");
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| builder.ready(&silent()).unwrap());
        }
    });
    assert_eq!(built(at.path()), 7);
}

#[test]
fn a_failed_build_says_what_go_said_and_leaves_no_program() {
    let at = tempfile::tempdir().unwrap();
    let script = "if [ \"$1\" = build ]; then echo a/package >&2; echo 'no such module' >&2; exit 1; fi";
    let builder = builder(at.path(), script);
    let error = builder.ready(&silent()).unwrap_err();
    assert!(matches!(&error, BuildError::Go { program, .. } if program.starts_with("etcd, kube")), "{error}");
    assert!(error.to_string().ends_with("go said:\nno such module"), "{error}");
    let folder = fs::read_dir(at.path().join("cache")).unwrap().next().unwrap().unwrap().path();
    let programs: Vec<_> = fs::read_dir(folder.join("programs")).unwrap().flatten().collect();
    assert!(programs.iter().all(|link| !link.path().exists()), "{programs:?}");
}

#[test]
fn a_build_says_what_it_does_from_its_first_moment_to_its_last() {
    let at = tempfile::tempdir().unwrap();
    let (progress, lines) = heard();
    builder(at.path(), "").ready(&progress).unwrap();
    let lines = lines.lock().unwrap();
    let all = "etcd, kube-apiserver, kube-controller-manager, kube-scheduler, kubectl, kwok, helm";
    assert_eq!(lines.len(), 3, "{lines:?}");
    assert_eq!(lines[0], format!("listing the Go packages of {all}"));
    // fmt is of all modules, and compiled once.
    assert_eq!(lines[1], format!("building {all}: 4 packages"));
    assert!(lines[2].starts_with(&format!("built {all} into {}", at.path().display())), "{lines:?}");
}

#[test]
fn without_go_it_names_the_remedy() {
    let at = tempfile::tempdir().unwrap();
    let mut builder = builder(at.path(), "");
    builder.go = "no-such-go".into();
    let error = builder.ready(&silent()).unwrap_err().to_string();
    for word in ["no-such-go", "kube-scheduler", "install Go", "KUBEBUILDER_ASSETS"] {
        assert!(error.contains(word), "{error}");
    }
}

#[test]
fn assets_supply_three_programs_of_the_same_version_and_only_while_set() {
    let at = tempfile::tempdir().unwrap();
    let mut builder = builder(at.path(), "");
    let assets = at.path().join("assets");
    builder.places.assets = Some(assets.clone());
    let error = builder.ready(&silent()).unwrap_err();
    assert!(matches!(&error, BuildError::NoAssets(path) if *path == assets), "{error}");
    offered(&assets, "etcd", "etcd Version: 3.6.1");
    offered(&assets, "kube-apiserver", "Kubernetes v1.36.0");
    offered(&assets, "kubectl", "Client Version: v1.36.0");
    let (progress, lines) = heard();
    let programs = builder.ready(&progress).unwrap();
    assert_eq!(built(at.path()), 4);
    for name in ["etcd", "kube-apiserver", "kubectl"] {
        assert_eq!(fs::read_link(programs.path(name)).unwrap(), assets.join(name));
    }
    let lines = lines.lock().unwrap().join("\n");
    assert!(lines.contains(&format!("using {}/etcd, version 3.6", assets.display())), "{lines}");
    builder.places.assets = None;
    builder.ready(&silent()).unwrap();
    assert_eq!(built(at.path()), 7);
    assert!(!fs::read_link(programs.path("etcd")).unwrap().starts_with(&assets));
    builder.places.assets = Some(assets.clone());
    builder.ready(&silent()).unwrap();
    assert_eq!(
        fs::read_link(programs.path("etcd")).unwrap(),
        assets.join("etcd"),
        "they come before what was built"
    );
}

#[test]
fn programs_of_another_version_or_that_tell_none_are_refused_with_the_reason() {
    let at = tempfile::tempdir().unwrap();
    let mut builder = builder(at.path(), "");
    let (assets, path) = (at.path().join("assets"), at.path().join("path"));
    offered(&assets, "kube-apiserver", "Kubernetes v1.31.0");
    offered(&assets, "kubectl", "no version");
    offered(&path, "kubectl", "Client Version: v1.32.4-dispatcher");
    offered(&path, "helm", "v4.0.1+g1234567");
    offered(&path, "etcd", "etcd Version: 3.6.8");
    builder.places = Places { assets: Some(assets.clone()), path: vec![path.clone()] };
    let (progress, lines) = heard();
    builder.ready(&progress).unwrap();
    assert_eq!(built(at.path()), 7, "an etcd of the PATH is not looked for");
    let (assets, path) = (assets.display(), path.display());
    let expected = [
        format!("KUBEBUILDER_ASSETS: {assets}/etcd does not exist; etcd 3.6 would fit"),
        format!(
            "KUBEBUILDER_ASSETS: not using {assets}/kube-apiserver, version 1.31: kube-apiserver 1.36 would fit"
        ),
        format!(
            "KUBEBUILDER_ASSETS: not using {assets}/kubectl: `kubectl version --client` tells no version; \
             kubectl 1.35 to 1.37 would fit"
        ),
        format!("not using {path}/kubectl, version 1.32: kubectl 1.35 to 1.37 would fit"),
        format!("not using {path}/helm, version 4.0: helm 3.17 or a later 3.x would fit"),
    ];
    let lines = lines.lock().unwrap();
    assert_eq!(lines[..5], expected, "{lines:#?}");
}

#[test]
fn kubectl_and_helm_of_the_path_are_used_if_they_fit_and_named_once() {
    let at = tempfile::tempdir().unwrap();
    let mut builder = builder(at.path(), "");
    let (none, path) = (at.path().join("none"), at.path().join("path"));
    let helm = offered(&path, "helm", "v3.17.3+g1234567");
    let kubectl = offered(&path, "kubectl", "Client Version: v1.35.1");
    builder.places.path = vec![none, path];
    let (progress, lines) = heard();
    let programs = builder.ready(&progress).unwrap();
    assert_eq!(built(at.path()), 5);
    for (name, offered, version) in [("helm", &helm, "3.17"), ("kubectl", &kubectl, "1.35")] {
        assert_eq!(fs::read_link(programs.path(name)).unwrap(), *offered);
        let line = format!("using {}, version {version}", offered.display());
        assert_eq!(lines.lock().unwrap().iter().filter(|said| **said == line).count(), 1);
    }
    builder.ready(&progress).unwrap();
    assert_eq!(lines.lock().unwrap().iter().filter(|said| said.starts_with("using ")).count(), 2);
    offered(helm.parent().unwrap(), "helm", "v4.0.0");
    let programs = builder.ready(&progress).unwrap();
    assert_eq!(built(at.path()), 6, "it was replaced by one that does not fit");
    assert_ne!(fs::read_link(programs.path("helm")).unwrap(), helm);
}

/// What kwok, helm and kubelet share with the control plane is compiled once only as long as it is of the same versions.
#[test]
fn libraries_that_programs_share_have_the_same_version() {
    let requires = |folder: &str| {
        let module = MODULES.iter().chain(&NODE).find(|module| module.folder == folder).unwrap();
        let lines = module.go_mod().lines().filter_map(|line| line.strip_suffix(" // indirect"));
        let pairs = lines.filter_map(|line| line.trim_start_matches("require").trim().split_once(' '));
        pairs.collect::<BTreeMap<_, _>>()
    };
    let kubernetes = requires("kubernetes");
    for folder in ["kwok", "helm", "kubelet"] {
        let differ: Vec<String> = requires(folder)
            .into_iter()
            .filter_map(|(module, version)| {
                let of_kubernetes = kubernetes.get(module)?;
                (*of_kubernetes != version).then(|| format!("{module} {version}, not {of_kubernetes}"))
            })
            .collect();
        assert!(differ.is_empty(), "{folder} has other versions than Kubernetes: {differ:#?}");
    }
}
