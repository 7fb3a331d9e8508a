//! Every property of the kinds that can be delivered, and what it can do to a cluster.
//!
//! `cargo test -p spoke every_property_has_a_class` walks the definitions and names what has none.

use std::collections::HashMap;
use std::sync::LazyLock;

/// What a property can do.
#[allow(clippy::enum_variant_names, reason = "RuntimeClass and StorageClass are Kubernetes' own names")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    /// Nothing by itself; the properties in it are judged.
    Plain,
    /// A map with keys of the user's, or content that is no part of a pod; not judged.
    Opaque,
    /// Names an image, as text or as repository and tag.
    Image,
    /// Names a Secret, or several.
    Secret,
    /// Names a ConfigMap.
    ConfigMap,
    /// A claim, which may be there already.
    Claim,
    /// Names a ServiceAccount.
    ServiceAccount,
    /// Names a folder of the node.
    HostPath,
    /// Takes a port of the node, or its network.
    HostNetwork,
    /// Adds containers.
    Containers,
    /// What a container runs.
    Command,
    /// The user that processes run as.
    User,
    /// Names a PriorityClass.
    Priority,
    /// Names a RuntimeClass.
    Runtime,
    /// Names a StorageClass.
    Storage,
    /// Names a scheduler.
    Scheduler,
    /// The type of a Service.
    ServiceType,
    /// A host name, or several.
    Host,
    /// The domain of a host name that begins with name and namespace of the object.
    HostDomain,
    /// Rules of an Ingress; one without a host is for all hosts.
    Rules,
    /// Where requests from outside are led to.
    Backend,
    /// What a container or pod may do on its node.
    SecurityContext,
    /// Annotations of what is made for the object.
    Annotations,
    /// Labels of what is made for the object.
    Labels,
}

/// Properties that do nothing by themselves, by name.
const PLAIN: &str = include_str!("plain.txt");

/// Properties with keys or content of the user's.
const OPAQUE: [&str; 5] = ["config", "limits", "matchLabels", "nodeSelector", "requests"];

/// Properties that a limit is about, by name, or by the names of those around them and their own.
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
    (
        Class::ConfigMap,
        &["certConfig", "certConfigMap", "configMap", "configMapKeyRef", "configMapRef", "modelConfig"],
    ),
    (Class::Claim, &["modelPVC", "pvc", "workspacePVC"]),
    (Class::ServiceAccount, &["serviceAccount"]),
    (Class::HostPath, &["hostPath"]),
    (Class::HostNetwork, &["hostIP", "hostPort"]),
    (Class::Containers, &["initContainers", "sidecarContainers"]),
    (Class::Command, &["args", "command"]),
    (Class::User, &["userID"]),
    (Class::Priority, &["priorityClassName"]),
    (Class::Runtime, &["runtimeClass", "runtimeClassName"]),
    (Class::Storage, &["storageClass"]),
    (Class::Scheduler, &["schedulerName"]),
    (Class::ServiceType, &["service.type"]),
    (Class::Host, &["host", "hosts"]),
    // The server of a database: a client's address.
    (Class::Plain, &["databaseConfig.host"]),
    (Class::HostDomain, &["hostDomainName"]),
    (Class::Rules, &["rules"]),
    (Class::Backend, &["backend", "backendRef", "defaultBackend"]),
    (Class::SecurityContext, &["securityContext"]),
    (Class::Annotations, &["annotations"]),
    (Class::Labels, &["additionalLabels", "labels"]),
];

static CLASSES: LazyLock<HashMap<&'static str, Class>> = LazyLock::new(|| {
    let limited = LIMITED.iter().flat_map(|(class, names)| names.iter().map(|name| (*name, *class)));
    let plain = PLAIN.split_whitespace().map(|name| (name, Class::Plain));
    plain.chain(OPAQUE.map(|name| (name, Class::Opaque))).chain(limited).collect()
});

/// What a property can do, by its name and that of the property around it (items of a list aside); `None` when this
/// version does not know it.
pub(super) fn class(around: &str, name: &str) -> Option<Class> {
    let both = format!("{around}.{name}");
    CLASSES.get(both.as_str()).or_else(|| CLASSES.get(name)).copied()
}

/// Every name that has a class.
#[cfg(test)]
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    CLASSES.keys().copied()
}
