//! The limits of a cluster whose owner has said nothing: NVIDIA's samples of NIM work unchanged, and nothing reaches
//! beyond them.
//!
//! The names of what only NeMo's samples need stand here as well: NeMo waits for `limits.kinds` and `rbac.nemo` alone.

use super::{Limits, Namespaces, Pair, Pattern, Prefix, Referred, Secrets};

/// Kinds that work with no rights beside those that every spoke has.
const KINDS: [&str; 4] = ["NIMService", "NIMCache", "NIMPipeline", "NIMBuild"];
/// Where clusters keep what runs them.
const DENIED_NAMESPACES: [&str; 5] = ["*-system", "openshift", "openshift-*", "gpu-operator", "cert-manager"];
/// NVIDIA's registry, and the endpoint picker of its sample.
const IMAGES: [&str; 2] = ["nvcr.io", "registry.k8s.io/gateway-api-inference-extension"];
/// The names in NVIDIA's samples.
const REFERRED_SECRETS: [&str; 7] = [
    "ngc-*",
    "hf-*",
    "*-api-secret",
    "*-pg-existing-secret",
    "wandb-secret",
    "gitea-admin-credentials",
    "nemo-ms-*",
];
/// The names in NVIDIA's samples of a customizer.
const REFERRED_CONFIG_MAPS: [&str; 2] = ["nemo-model-config", "nemo-training-config"];
/// The claims that NVIDIA's samples of `LoRA` expect to be there.
const REFERRED_VOLUMES: [&str; 2] = ["meta-llama-3-2-1b-instruct", "nim-cache-multi-llm"];
/// The executor of NVIDIA's sample of an evaluator.
const SERVICE_ACCOUNTS: [&str; 1] = ["argo-workflows-executor"];
/// The annotations of NVIDIA's samples: the mode and the scaling of `KServe`, and one network.
const ANNOTATIONS: [&str; 3] = [
    "serving.kserve.io/deploymentMode",
    "autoscaling.knative.dev/*",
    "k8s.v1.cni.cncf.io/networks=example-ipoibnetwork",
];
/// Kubernetes' recommended labels, which select nothing by themselves, and those of NVIDIA's samples.
const LABELS: [&str; 3] =
    ["app.kubernetes.io/*", "networking.kserve.io/visibility", "release=kube-prometheus-stack"];
/// A Service that is reached from within the cluster alone.
const SERVICE_TYPES: [&str; 1] = ["ClusterIP"];
/// The domains of NVIDIA's samples.
const HOSTS: [&str; 3] =
    ["demo.nvidia.example.com", "*.demo.nvidia.example.com", "*.demo.example.nvidia.com"];
/// The sandbox of NVIDIA's sample of confidential computing.
const RUNTIME_CLASSES: [&str; 1] = ["kata-qemu-nvidia-gpu"];
/// The class of NVIDIA's samples of a customizer.
const STORAGE_CLASSES: [&str; 1] = ["local-path"];
/// The class of NVIDIA's sample of scheduling.
const PRIORITY_CLASSES: [&str; 1] = ["gpu-critical"];

impl Default for Limits {
    fn default() -> Self {
        Self {
            contact: String::new(),
            kinds: KINDS.map(Pattern::new).into(),
            namespaces: Namespaces::default(),
            images: IMAGES.map(Prefix::new).into(),
            secrets: Secrets::default(),
            config_maps: Referred { referred: REFERRED_CONFIG_MAPS.map(Pattern::new).into() },
            volumes: Referred { referred: REFERRED_VOLUMES.map(Pattern::new).into() },
            service_accounts: SERVICE_ACCOUNTS.map(Pattern::new).into(),
            annotations: ANNOTATIONS.map(Pair::new).into(),
            labels: LABELS.map(Pair::new).into(),
            service_types: SERVICE_TYPES.map(Pattern::new).into(),
            services: Vec::new(),
            hosts: HOSTS.map(Pattern::new).into(),
            commands: false,
            runtime_classes: RUNTIME_CLASSES.map(Pattern::new).into(),
            storage_classes: STORAGE_CLASSES.map(Pattern::new).into(),
            schedulers: Vec::new(),
            priority_classes: PRIORITY_CLASSES.map(Pattern::new).into(),
            host_paths: Vec::new(),
            host_network: false,
            privileged: false,
            extra_containers: false,
            deletions: true,
        }
    }
}

impl Default for Namespaces {
    fn default() -> Self {
        Self { allowed: vec![Pattern::new("*")], denied: DENIED_NAMESPACES.map(Pattern::new).into() }
    }
}

impl Default for Secrets {
    fn default() -> Self {
        Self { referred: REFERRED_SECRETS.map(Pattern::new).into(), accepted: Vec::new() }
    }
}
