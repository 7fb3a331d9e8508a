//! What the owner of this cluster lets a hub do here: written in the chart's values, read at the start, out of the hub's reach.
//!
//! Judged from the object's JSON before anything is applied. Every property of the kinds that can be delivered has a
//! class (`property`); one that this spoke does not know is refused, since nobody could say what it does.

mod ask;
mod default;
mod made;
mod pattern;
mod property;
mod rendered;
mod role;
mod secret;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::kinds::NIM_SERVICE;
use ask::{Ask, Asked};
pub(super) use made::{Made, Named};
use pattern::{Pair, Pattern, Prefix, quoted};
pub(super) use rendered::Own;

/// Namespaces that are nobody's to give away.
const RESERVED_NAMESPACES: &str = "kube-";
/// The PriorityClasses of the cluster's own parts.
const SYSTEM: &str = "system-";
/// How kinds begin that need rights of their own.
const NEMO: &str = "Nemo";
/// Fields of a spec that say how many pods there are: where they are, and their names.
const SCALE: [(&str, &str); 3] =
    [("", "replicas"), ("/scale/hpa", "minReplicas"), ("/scale/hpa", "maxReplicas")];
/// Characters of a value that are told.
const LONGEST_VALUE: usize = 120;
/// How many faults of one object are told at once.
const TOLD: usize = 5;
/// Hexadecimal digits of a name: enough to tell the limits of one cluster apart.
const NAME_DIGITS: usize = 16;

/// What a hub may do in this cluster. Absent parts have the defaults of the chart.
#[allow(clippy::struct_excessive_bools, reason = "each is a value of the chart")]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Limits {
    /// Whom to ask for more, as told to whoever is denied. Empty: the cluster's owner.
    pub contact: String,
    /// Kinds that may be delivered; Secrets have a limit of their own.
    pub kinds: Vec<Pattern>,
    /// Where objects may be.
    pub namespaces: Namespaces,
    /// Registries, or parts of them, that images may come from.
    pub images: Vec<Prefix>,
    /// Secrets that objects may name, and Secrets that the hub may bring.
    pub secrets: Secrets,
    /// ConfigMaps that objects may name, beside those that were made for delivered objects.
    pub config_maps: Referred,
    /// Claims that objects may name, beside those that were made for delivered objects.
    pub volumes: Referred,
    /// ServiceAccounts that pods may run as, where a kind lets one be named.
    pub service_accounts: Vec<Pattern>,
    /// Annotations that may be set on what is made for an object.
    pub annotations: Vec<Pair>,
    /// Labels that may be set on what is made for an object.
    pub labels: Vec<Pair>,
    /// Types that Services may have.
    pub service_types: Vec<Pattern>,
    /// Services, beside the object's own, that an Ingress or a route may lead to.
    pub services: Vec<Pattern>,
    /// Hosts that an Ingress or a route may take, and that probes may ask.
    pub hosts: Vec<Pattern>,
    /// Whether an object may say what its containers run (`command`, `args`).
    pub commands: bool,
    /// RuntimeClasses of pods.
    pub runtime_classes: Vec<Pattern>,
    /// StorageClasses of claims; the cluster's default class is always allowed.
    pub storage_classes: Vec<Pattern>,
    /// Schedulers of pods; the cluster's default one is always allowed.
    pub schedulers: Vec<Pattern>,
    /// PriorityClasses of pods. `system-*` takes `privileged` as well.
    pub priority_classes: Vec<Pattern>,
    /// Folders of nodes that may be mounted.
    pub host_paths: Vec<Prefix>,
    /// Whether ports of nodes may be taken.
    pub host_network: bool,
    /// Whether containers may have more rights than their images need: root, capabilities, host processes, the
    /// priority of the system.
    pub privileged: bool,
    /// Whether init containers and sidecars may be added.
    pub extra_containers: bool,
    /// Whether the hub may delete what it brought.
    pub deletions: bool,
}

/// Objects of this cluster that may be named although nothing delivered has made them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Referred {
    /// Their names.
    pub referred: Vec<Pattern>,
}

/// Where objects may be. `kube-*` and the spoke's own namespace are never allowed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Namespaces {
    /// Namespaces that a hub may use.
    pub allowed: Vec<Pattern>,
    /// Namespaces that it may not use all the same.
    pub denied: Vec<Pattern>,
}

/// Which Secrets a hub has to do with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Secrets {
    /// Secrets of this cluster that objects may name.
    pub referred: Vec<Pattern>,
    /// Names of the Secrets that the hub may bring.
    pub accepted: Vec<String>,
}

impl Limits {
    /// Judges an object as it would be applied; `own` is the spoke's namespace, `made` what was made for delivered
    /// objects. An error names each field, its value, the limit and whom to ask.
    pub(super) fn check(&self, object: &Value, own: &str, made: &Made) -> Result<(), String> {
        self.told(self.faults(object, own, made))
    }

    /// Each excess of an object, by field, value and limit.
    fn faults(&self, object: &Value, own: &str, made: &Made) -> Vec<String> {
        let mut faults = Vec::from_iter(self.kind_fault(object));
        faults.extend(self.namespace_fault(object, own));
        faults.extend(ask::asks(object).iter().filter_map(|asked| self.fault(asked, made)));
        faults
    }

    /// What an object names whose maker decides whether it may: no limit allows it by itself.
    pub(super) fn named(&self, object: &Value) -> Vec<Named> {
        self.named_among(&ask::asks(object))
    }

    /// The same of a rendered child.
    pub(super) fn named_by_child(&self, kind: &str, body: &Value, own: &Own) -> Vec<Named> {
        self.named_among(&child_asks(kind, body, own))
    }

    fn named_among(&self, asked: &[Asked]) -> Vec<Named> {
        let beyond = asked.iter().filter(|asked| self.fault(asked, &Made::default()).is_some());
        let named = beyond.filter_map(|asked| match &asked.ask {
            Ask::Claim(name) => Some(Named::Claim(name.clone())),
            Ask::ConfigMap(name) => Some(Named::ConfigMap(name.clone())),
            _ => None,
        });
        named.collect()
    }

    /// Each excess of an object by itself. Claims and ConfigMaps are judged where pods mount them.
    pub(super) fn object_faults(&self, object: &Value, own: &str) -> Vec<String> {
        let mut faults = Vec::from_iter(self.kind_fault(object));
        faults.extend(self.namespace_fault(object, own));
        let asked = ask::asks(object).into_iter().filter(|asked| !is_of_pods(asked));
        faults.extend(asked.filter_map(|asked| self.fault(&asked, &Made::default())));
        faults
    }

    /// Each excess of a rendered child, by field, value and limit.
    pub(super) fn child_faults(&self, kind: &str, body: &Value, own: &Own, made: &Made) -> Vec<String> {
        child_asks(kind, body, own).iter().filter_map(|asked| self.fault(asked, made)).collect()
    }

    /// Whether an object differs from the one that is held here in its scale alone: then it asks for no more than that did,
    /// and goes on whatever has become of the limits.
    pub(super) fn is_scaled(held: &Value, wanted: &Value) -> bool {
        unscaled(held) == unscaled(wanted) && ask::reserved(held) == ask::reserved(wanted)
    }

    /// The level of Pod Security that namespaces of the hub's objects enforce: what the limits allow and no more.
    pub(super) fn pod_security(&self) -> &'static str {
        let is_privileged = self.privileged || self.host_network || !self.host_paths.is_empty();
        if is_privileged { "privileged" } else { "baseline" }
    }

    pub(super) fn told(&self, mut faults: Vec<String>) -> Result<(), String> {
        if faults.is_empty() {
            return Ok(());
        }
        let more = faults.len().saturating_sub(TOLD);
        faults.truncate(TOLD);
        if more > 0 {
            faults.push(format!("and {more} more"));
        }
        Err(self.denied(&faults.join("; "), "place the object elsewhere"))
    }

    /// Judges a deletion of what the hub brought.
    pub(super) fn check_deletion(&self) -> Result<(), String> {
        if self.deletions {
            return Ok(());
        }
        Err(self
            .denied("limits.deletions is false: only this cluster's people delete", "have it deleted there"))
    }

    /// Names these limits as this version understands them: another name may judge otherwise.
    #[must_use]
    pub fn name(&self) -> String {
        let text = serde_json::to_vec(self).unwrap_or_default();
        let hash = Sha256::new().chain_update(env!("CARGO_PKG_VERSION")).chain_update(text).finalize();
        hex::encode(hash)[..NAME_DIGITS].to_owned()
    }

    fn denied(&self, what: &str, otherwise: &str) -> String {
        let contact = if self.contact.is_empty() { "the cluster's owner" } else { &self.contact };
        format!("{what}: ask {contact} to change the limits of nimfleet-spoke there, or {otherwise}")
    }

    fn kind_fault(&self, object: &Value) -> Option<String> {
        let kind = object["kind"].as_str().unwrap_or_default();
        if self.kinds.iter().any(|allowed| allowed.matches(kind)) {
            return None;
        }
        let also =
            if kind.starts_with(NEMO) { ", and a NeMo kind needs rbac.nemo: true beside it" } else { "" };
        Some(format!("kind is {kind:?}: limits.kinds is {}{also}", quoted(&self.kinds)))
    }

    fn namespace_fault(&self, object: &Value, own: &str) -> Option<String> {
        let namespace = object.pointer("/metadata/namespace").and_then(Value::as_str).unwrap_or_default();
        let told = |limit: String| Some(format!("metadata.namespace is {namespace:?}: {limit}"));
        if namespace.starts_with(RESERVED_NAMESPACES) {
            return told(format!("{RESERVED_NAMESPACES}* is never a hub's"));
        }
        if namespace == own {
            return told("the spoke's own is never a hub's".to_owned());
        }
        if let Some(denied) = self.namespaces.denied.iter().find(|denied| denied.matches(namespace)) {
            return told(format!("limits.namespaces.denied has {denied}"));
        }
        if !self.namespaces.allowed.iter().any(|allowed| allowed.matches(namespace)) {
            return told(format!("limits.namespaces.allowed is {}", quoted(&self.namespaces.allowed)));
        }
        None
    }

    /// Why something that is asked for is denied; `None` if it is not.
    fn fault(&self, Asked { field, ask }: &Asked, made: &Made) -> Option<String> {
        let pattern = |allowed: &[Pattern], name: &str, limit: &str| {
            let denied = !allowed.iter().any(|allowed| allowed.matches(name));
            denied.then(|| format!("limits.{limit} is {}", quoted(allowed)))
        };
        let prefix = |allowed: &[Prefix], covered: bool, limit: &str| {
            (!covered).then(|| format!("limits.{limit} is {}", quoted(allowed)))
        };
        let pair = |allowed: &[Pair], key: &str, value: &str, limit: &str| {
            let denied = !allowed.iter().any(|allowed| allowed.matches(key, value));
            denied.then(|| format!("limits.{limit} is {}", quoted(allowed)))
        };
        let switch = |on: bool, limit: &str| (!on).then(|| format!("limits.{limit} is false"));
        let (value, limit) = match ask {
            Ask::Image(image) => {
                (image, prefix(&self.images, self.images.iter().any(|it| it.covers(image)), "images"))
            }
            Ask::HostPath(path) => {
                let covered = self.host_paths.iter().any(|it| it.covers_folder(path));
                (path, prefix(&self.host_paths, covered, "hostPaths"))
            }
            Ask::Secret(name) => (name, pattern(&self.secrets.referred, name, "secrets.referred")),
            Ask::ConfigMap(name) if made.config_maps.contains(name) => return None,
            Ask::ConfigMap(name) => (name, pattern(&self.config_maps.referred, name, "configMaps.referred")),
            Ask::Claim(name) if made.claims.contains(name) => return None,
            Ask::Claim(name) => (name, pattern(&self.volumes.referred, name, "volumes.referred")),
            Ask::ServiceAccount(name) => (name, pattern(&self.service_accounts, name, "serviceAccounts")),
            Ask::Annotation(key, value) => {
                let limit = pair(&self.annotations, key, value, "annotations")?;
                return Some(format!("{field} has {key}={value:?}: {limit}"));
            }
            Ask::Label(key, value) => {
                let limit = pair(&self.labels, key, value, "labels")?;
                return Some(format!("{field} has {key}={value:?}: {limit}"));
            }
            Ask::Reserved(key) => {
                return Some(format!("{field} has {key:?}: nimfleet.io/ is never a hub's to set"));
            }
            Ask::Foreign(value) => {
                let value = shown(value);
                return Some(format!(
                    "{field} is {value}: it may only be what is rendered for the object itself"
                ));
            }
            Ask::ServiceType(kind) => (kind, pattern(&self.service_types, kind, "serviceTypes")),
            Ask::Service(name) => (name, pattern(&self.services, name, "services")),
            Ask::Host(host) => (host, pattern(&self.hosts, host, "hosts")),
            Ask::RuntimeClass(name) => (name, pattern(&self.runtime_classes, name, "runtimeClasses")),
            Ask::StorageClass(name) => (name, pattern(&self.storage_classes, name, "storageClasses")),
            Ask::Scheduler(name) => (name, pattern(&self.schedulers, name, "schedulers")),
            Ask::Priority(name) if name.starts_with(SYSTEM) && !self.privileged => {
                (name, switch(false, "privileged"))
            }
            Ask::Priority(name) => (name, pattern(&self.priority_classes, name, "priorityClasses")),
            Ask::Command(value) => (value, switch(self.commands, "commands")),
            Ask::HostNetwork(value) => (value, switch(self.host_network, "hostNetwork")),
            Ask::Privilege(value) => (value, switch(self.privileged, "privileged")),
            Ask::Container(name) => (name, switch(self.extra_containers, "extraContainers")),
            Ask::Unknown => {
                return Some(format!(
                    "{field}: this version of nimfleet-spoke does not know what it does, and a newer one may"
                ));
            }
        };
        Some(format!("{field} is {}: {}", shown(value), limit?))
    }
}

/// What a rendered child asks for. A NIMService asks as if it had been delivered.
fn child_asks(kind: &str, body: &Value, own: &Own) -> Vec<Asked> {
    if kind == NIM_SERVICE.kind {
        return ask::asks(body).into_iter().filter(|asked| !is_of_pods(asked)).collect();
    }
    rendered::asks(kind, body, own)
}

fn is_of_pods(asked: &Asked) -> bool {
    matches!(asked.ask, Ask::Claim(_) | Ask::ConfigMap(_))
}

/// The spec without what scales it, here or in the services of a pipeline.
fn unscaled(object: &Value) -> Value {
    let mut spec = object.get("spec").cloned().unwrap_or_default();
    let services = spec.get_mut("services").and_then(Value::as_array_mut).map(std::mem::take);
    let unscaled = |spec: &mut Value| {
        for (pointer, field) in SCALE {
            if let Some(Value::Object(fields)) = spec.pointer_mut(pointer) {
                fields.remove(field);
            }
        }
    };
    unscaled(&mut spec);
    let services = services.into_iter().flatten().map(|mut service| {
        if let Some(spec) = service.get_mut("spec") {
            unscaled(spec);
        }
        service
    });
    serde_json::json!({ "spec": spec, "services": services.collect::<Vec<_>>() })
}

/// A value in a message: no longer than somebody reads.
fn shown(value: &str) -> String {
    let short: String = value.chars().take(LONGEST_VALUE).collect();
    if short.len() < value.len() { format!("{short:?}…") } else { format!("{short:?}") }
}
