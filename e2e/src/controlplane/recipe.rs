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
    #[cfg(test)]
    pub(super) fn go_mod(&self) -> &'static str {
        self.go_mod
    }

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
    /// Which programs of its name may take its place.
    pub(super) substitute: Option<Substitute>,
}

impl Program {
    /// How Go names what it builds from the package: as the last part of its path that is no version.
    pub(super) fn file(&self) -> &'static str {
        let is_version = |part: &str| part.strip_prefix('v').is_some_and(|v| v.parse::<u32>().is_ok());
        match self.package {
            "." => self.name,
            package => package.rsplit('/').find(|part| !is_version(part)).unwrap_or(package),
        }
    }
}

/// A program that is not built, since the machine has one that fits.
#[derive(Debug)]
pub(super) struct Substitute {
    /// Whether it is looked for in the folder that `KUBEBUILDER_ASSETS` names.
    pub(super) in_assets: bool,
    /// Whether it is looked for on the PATH.
    pub(super) on_path: bool,
    /// What makes it tell its version.
    pub(super) ask: &'static [&'static str],
    /// The Go module whose version would be built.
    pub(super) module: &'static str,
    pub(super) fit: Fit,
}

/// Which versions fit beside the one that would be built.
#[derive(Debug, Clone, Copy)]
pub(super) enum Fit {
    /// The same minor version.
    Same,
    /// One minor version up or down, as Kubernetes supports kubectl.
    OneApart,
    /// The same major version, from this minor version on.
    From(u32),
}

impl Fit {
    pub(super) fn allows(self, built: Version, offered: Version) -> bool {
        built.major == offered.major
            && match self {
                Self::Same => built.minor == offered.minor,
                Self::OneApart => built.minor.abs_diff(offered.minor) <= 1,
                Self::From(minor) => offered.minor >= minor,
            }
    }

    /// The versions that fit, in words.
    pub(super) fn wanted(self, built: Version) -> String {
        let Version { major, minor } = built;
        match self {
            Self::Same => format!("{major}.{minor}"),
            Self::OneApart => format!("{major}.{} to {major}.{}", minor.saturating_sub(1), minor + 1),
            Self::From(from) => format!("{major}.{from} or a later {major}.x"),
        }
    }
}

/// A version, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Version {
    pub(super) major: u32,
    pub(super) minor: u32,
}

impl Version {
    /// The first version in a text: `Kubernetes v1.36.3`, `etcd Version: 3.6.8`, `v3.21.4+g3f1`.
    pub(super) fn of(text: &str) -> Option<Self> {
        text.split_whitespace().find_map(|word| {
            let mut parts = word.trim_start_matches('v').split(|c: char| !c.is_ascii_digit());
            let (major, minor) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
            Some(Self { major, minor })
        })
    }
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
    Program { name, package, substitute: None }
}

const fn or(name: &'static str, package: &'static str, substitute: Substitute) -> Program {
    Program { name, package, substitute: Some(substitute) }
}

/// The control plane. kwok and helm name the libraries that they share with Kubernetes in its versions, so that each package is
/// compiled once for all; else they would cost as much as Kubernetes itself.
pub(super) const MODULES: [Module; 3] = [
    module!(
        "kubernetes",
        &[
            or("etcd", ETCD, Substitute { module: ETCD, ..SUPPLIED }),
            or("kube-apiserver", "k8s.io/kubernetes/cmd/kube-apiserver", SUPPLIED),
            built("kube-controller-manager", "k8s.io/kubernetes/cmd/kube-controller-manager"),
            built("kube-scheduler", "k8s.io/kubernetes/cmd/kube-scheduler"),
            or(
                "kubectl",
                "k8s.io/kubernetes/cmd/kubectl",
                Substitute { on_path: true, ask: &["version", "--client"], fit: Fit::OneApart, ..SUPPLIED }
            ),
        ]
    ),
    module!("kwok", &[built("kwok", "sigs.k8s.io/kwok/cmd/kwok")]),
    module!(
        "helm",
        &[or(
            "helm",
            "helm.sh/helm/v3/cmd/helm",
            Substitute {
                in_assets: false,
                on_path: true,
                ask: &["version", "--short"],
                module: "helm.sh/helm/v3",
                // The first with --take-ownership, which the documentation uses.
                fit: Fit::From(17),
            }
        )]
    ),
];

const ETCD: &str = "go.etcd.io/etcd/server/v3";

/// What comes with an API server of the same version.
const SUPPLIED: Substitute = Substitute {
    in_assets: true,
    on_path: false,
    ask: &["--version"],
    module: "k8s.io/kubernetes",
    fit: Fit::Same,
};

/// LeaderWorkerSet 0.8, which counts groups whose pods exist and tells no observed generation; 1.5 CPU minutes to build
/// when 0.9 has been built before, else 2.5.
pub(super) const LWS_0_8: Module = module!("lws-0.8", &[built("lws-0.8", LWS_PACKAGE)]);
/// LeaderWorkerSet 0.9; 2 CPU minutes to build.
pub(super) const LWS_0_9: Module = module!("lws-0.9", &[built("lws-0.9", LWS_PACKAGE)]);
/// KServe 0.17; 3.5 CPU minutes to build.
pub(super) const KSERVE: Module =
    module!("kserve", &[built("kserve", "github.com/kserve/kserve/cmd/manager")]);

/// Kueue 0.17; 5.5 CPU minutes to build.
pub(super) const KUEUE: Module = module!("kueue", &[built("kueue", "sigs.k8s.io/kueue/cmd/kueue")]);
/// The endpoint picker of the Gateway API Inference Extension 1.3; 2.5 CPU minutes to build.
pub(super) const ENDPOINT_PICKER: Module =
    module!("inference-extension", &[built("epp", "sigs.k8s.io/gateway-api-inference-extension/cmd/epp")]);
/// The validator of Knative Serving 0.48 as a program; 1 CPU minute to build.
pub(super) const KNATIVE: Module = Module {
    source: include_str!("../../controlplane/knative/main.go"),
    ..module!("knative", &[built("knative-validate", ".")])
};

/// Argo CD's runner of Lua and Flux's kstatus as one program, of 1413 Go packages.
pub(super) const GITOPS: Module = Module {
    source: include_str!("../../controlplane/gitops/main.go"),
    ..module!("gitops", &[built("gitops-judge", ".")])
};

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
    version_of("k8s.io/kubernetes")
}

/// Version of a Go module that the programs of the control plane are built from.
pub(super) fn version_of(module: &str) -> &'static str {
    let lines = MODULES.iter().flat_map(|module| module.go_mod.lines());
    let mut words = lines.map(|line| line.trim_start_matches("require").split_whitespace());
    words.find_map(|mut words| (words.next() == Some(module)).then(|| words.next())?).unwrap_or("v0.0.0")
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
