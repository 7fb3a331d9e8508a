//! What is built, from which Go modules, under which key it is kept.

use sha2::{Digest, Sha256};

/// One Go module of `e2e/controlplane`; they are apart because their dependencies disagree.
#[derive(Debug)]
pub(super) struct Module {
    pub(super) folder: &'static str,
    go_mod: &'static str,
    go_sum: &'static str,
    /// The module's own source, if it has any; else it only names programs of others.
    source: &'static str,
    /// Build tags, separated by commas.
    tags: &'static str,
    pub(super) programs: &'static [Program],
}

impl Module {
    /// Flags of `go build` for its programs.
    pub(super) fn flags(&self) -> Vec<String> {
        let mut flags = flags();
        if !self.tags.is_empty() {
            flags.extend(["-tags".to_owned(), self.tags.to_owned()]);
        }
        flags
    }
}

/// One program of a module.
#[derive(Debug)]
pub(super) struct Program {
    pub(super) name: &'static str,
    pub(super) package: &'static str,
    /// Whether the folder named by `KUBEBUILDER_ASSETS` may supply it.
    pub(super) in_assets: bool,
}

macro_rules! module {
    ($folder:literal, $programs:expr) => {
        Module {
            folder: $folder,
            go_mod: include_str!(concat!("../../controlplane/", $folder, "/go.mod")),
            go_sum: include_str!(concat!("../../controlplane/", $folder, "/go.sum")),
            source: "",
            tags: "",
            programs: $programs,
        }
    };
}

const fn built(name: &'static str, package: &'static str) -> Program {
    Program { name, package, in_assets: false }
}

const fn supplied(name: &'static str, package: &'static str) -> Program {
    Program { name, package, in_assets: true }
}

pub(super) const MODULES: [Module; 3] = [
    module!(
        "kubernetes",
        &[
            supplied("etcd", "go.etcd.io/etcd/server/v3"),
            supplied("kube-apiserver", "k8s.io/kubernetes/cmd/kube-apiserver"),
            built("kube-controller-manager", "k8s.io/kubernetes/cmd/kube-controller-manager"),
            built("kube-scheduler", "k8s.io/kubernetes/cmd/kube-scheduler"),
            built("kubectl", "k8s.io/kubernetes/cmd/kubectl"),
        ]
    ),
    module!("kwok", &[built("kwok", "sigs.k8s.io/kwok/cmd/kwok")]),
    module!("helm", &[built("helm", "helm.sh/helm/v3/cmd/helm")]),
];

/// LeaderWorkerSet 0.8, which counts groups whose pods exist and tells no observed generation; 1.5 CPU minutes to build
/// when 0.9 has been built before, else 2.5.
pub(super) const LWS_0_8: Module = module!("lws-0.8", &[built("lws-0.8", LWS_PACKAGE)]);
/// LeaderWorkerSet 0.9; 2 CPU minutes to build.
pub(super) const LWS_0_9: Module = module!("lws-0.9", &[built("lws-0.9", LWS_PACKAGE)]);
/// KServe 0.17; 3.5 CPU minutes to build.
pub(super) const KSERVE: Module =
    module!("kserve", &[built("kserve", "github.com/kserve/kserve/cmd/manager")]);

/// What runs on a real node: kubelet and kube-proxy of the control plane's version, 1 CPU minute to build after the control
/// plane, with which they share most packages; containerd, 2 CPU minutes; CoreDNS with few plugins, 2 CPU minutes.
pub(super) const NODE: [Module; 3] = [
    module!(
        "kubelet",
        &[
            built("kubelet", "k8s.io/kubernetes/cmd/kubelet"),
            built("kube-proxy", "k8s.io/kubernetes/cmd/kube-proxy"),
        ]
    ),
    Module {
        // Snapshotters that need libraries of their own, which no node of the tests uses.
        tags: "no_btrfs,no_devmapper,no_zfs",
        ..module!(
            "containerd",
            &[
                built("containerd", "github.com/containerd/containerd/v2/cmd/containerd"),
                built(
                    "containerd-shim-runc-v2",
                    "github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2"
                ),
                built("ctr", "github.com/containerd/containerd/v2/cmd/ctr"),
            ]
        )
    },
    Module {
        source: include_str!("../../controlplane/coredns/main.go"),
        ..module!("coredns", &[built("coredns", ".")])
    },
];

const LWS_PACKAGE: &str = "sigs.k8s.io/lws/cmd";

/// The Go module whose folder holds kwok's stage files.
pub(super) const KWOK: &str = "sigs.k8s.io/kwok";

/// Flags of each `go build`: reproducible, static enough to run anywhere, no look at the repository around.
fn flags() -> Vec<String> {
    let version = kubernetes();
    let mut parts = version.trim_start_matches('v').split('.');
    let (major, minor) = (parts.next().unwrap_or("0"), parts.next().unwrap_or("0"));
    // Kubernetes refuses to talk versions unless its linker was told its own; helm takes itself for one of Kubernetes 1.20.
    let (at, helm) = ("k8s.io/component-base/version", "helm.sh/helm/v3/pkg/chartutil");
    let link = format!(
        "-s -w -X {at}.gitVersion={version} -X {at}.gitMajor={major} -X {at}.gitMinor={minor} \
         -X {helm}.k8sVersionMajor={major} -X {helm}.k8sVersionMinor={minor}"
    );
    ["-mod=readonly", "-buildvcs=false", "-trimpath", "-ldflags", &link].map(String::from).to_vec()
}

/// Version of the control plane.
pub(super) fn kubernetes() -> &'static str {
    kubernetes_version(MODULES[0].go_mod).unwrap_or("v0.0.0")
}

fn kubernetes_version(go_mod: &str) -> Option<&str> {
    let mut words = go_mod.split_whitespace().skip_while(|word| *word != "k8s.io/kubernetes");
    words.nth(1)
}

/// Names what the modules build: another dependency or flag, another folder in the cache.
pub(super) fn fingerprint(modules: &[Module]) -> String {
    let mut hash = Sha256::new();
    for module in modules {
        for program in module.programs {
            hash.update(program.package);
        }
        hash.update(module.go_mod);
        hash.update(module.go_sum);
        hash.update(module.source);
        hash.update(module.tags);
    }
    for flag in flags() {
        hash.update(flag);
    }
    let digest = hash.finalize();
    hex::encode(&digest[..8])
}
