//! The limits of a cluster whose owner has said nothing: NVIDIA's samples work unchanged, and nothing reaches beyond them.

use super::{Limits, Namespaces, Pattern, Prefix, Secrets};

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
/// The executor of NVIDIA's sample of an evaluator.
const SERVICE_ACCOUNTS: [&str; 1] = ["argo-workflows-executor"];
/// Annotations that lift a container's confinement, or put text into a proxy's configuration.
const DENIED_ANNOTATIONS: [&str; 2] =
    ["container.apparmor.security.beta.kubernetes.io/*", "nginx.ingress.kubernetes.io/*-snippet"];

impl Default for Limits {
    fn default() -> Self {
        Self {
            contact: String::new(),
            namespaces: Namespaces::default(),
            images: IMAGES.map(Prefix::new).into(),
            secrets: Secrets::default(),
            service_accounts: SERVICE_ACCOUNTS.map(Pattern::new).into(),
            host_paths: Vec::new(),
            host_network: false,
            privileged: false,
            extra_containers: false,
            denied_annotations: DENIED_ANNOTATIONS.map(Pattern::new).into(),
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
