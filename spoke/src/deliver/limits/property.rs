//! Every property of the kinds that can be delivered, and what it can do to a cluster.
//!
//! `cargo test -p spoke every_property_has_a_class` walks the definitions and names what has none.

use std::collections::HashMap;
use std::sync::LazyLock;

/// What a property can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    /// Nothing by itself; what is in it is looked at.
    Plain,
    /// A map with keys of the user's, or content that is no part of a pod; not looked at.
    Opaque,
    /// Names an image, as text or as repository and tag.
    Image,
    /// Names a Secret, or several.
    Secret,
    /// Names a ServiceAccount.
    ServiceAccount,
    /// Names a folder of the node.
    HostPath,
    /// Takes a port of the node, or its network.
    HostNetwork,
    /// Adds containers.
    Containers,
    /// The user that processes run as.
    User,
    /// Names a PriorityClass.
    Priority,
    /// What a container or pod may do on its node.
    SecurityContext,
    /// Annotations of what is made for the object.
    Annotations,
}

/// Properties that do nothing by themselves, by name.
const PLAIN: &str = include_str!("plain.txt");

/// Properties with keys or content of the user's.
const OPAQUE: [&str; 7] =
    ["additionalLabels", "config", "labels", "limits", "matchLabels", "nodeSelector", "requests"];

/// Properties that a limit is about.
const LIMITED: &[(Class, &[&str])] = &[
    (
        Class::Image,
        &[
            "image",
            "modelPuller",
            // The images of an evaluator.
            "agenticEval",
            "bfcl",
            "bigcodeEvalHarness",
            "llmAsJudge",
            "lmEvalHarness",
            "mtBench",
            "rag",
            "retriever",
            "similarityMetrics",
        ],
    ),
    (
        Class::Secret,
        &[
            "apiKeySecret",
            "authSecret",
            "datastoreConfigSecret",
            "datastoreInitSecret",
            "datastoreInlineConfigSecret",
            "giteaAdminSecret",
            "hfSecret",
            "lfsJwtSecret",
            "ngcAPISecret",
            "pullSecret",
            "pullSecrets",
            "secretKeyRef",
            "secretName",
            "tlsSecretName",
        ],
    ),
    (Class::ServiceAccount, &["serviceAccount"]),
    (Class::HostPath, &["hostPath"]),
    (Class::HostNetwork, &["hostIP", "hostPort"]),
    (Class::Containers, &["initContainers", "sidecarContainers"]),
    (Class::User, &["userID"]),
    (Class::Priority, &["priorityClassName"]),
    (Class::SecurityContext, &["securityContext"]),
    (Class::Annotations, &["annotations"]),
];

static CLASSES: LazyLock<HashMap<&'static str, Class>> = LazyLock::new(|| {
    let limited = LIMITED.iter().flat_map(|(class, names)| names.iter().map(|name| (*name, *class)));
    let plain = PLAIN.split_whitespace().map(|name| (name, Class::Plain));
    plain.chain(OPAQUE.map(|name| (name, Class::Opaque))).chain(limited).collect()
});

/// What a property can do; `None` when this version does not know it.
pub(super) fn class(name: &str) -> Option<Class> {
    CLASSES.get(name).copied()
}

/// Every name that has a class.
#[cfg(test)]
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    CLASSES.keys().copied()
}
