//! What the owner of this cluster lets a hub do here: written in the chart's values, read at the start, out of the hub's reach.
//!
//! Judged from the object's JSON before anything is applied. Every property of the kinds that can be delivered has a
//! class (`property`); one that this spoke does not know is refused, since nobody could say what it does.

mod ask;
mod default;
mod pattern;
mod property;
mod secret;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use ask::{Ask, Asked};
use pattern::{Pattern, Prefix, quoted};

/// Namespaces that are nobody's to give away.
const RESERVED_NAMESPACES: &str = "kube-";
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
    /// Where objects may be.
    pub namespaces: Namespaces,
    /// Registries, or parts of them, that images may come from.
    pub images: Vec<Prefix>,
    /// Secrets that objects may name, and Secrets that the hub may bring.
    pub secrets: Secrets,
    /// ServiceAccounts that pods may run as, where a kind lets one be named.
    pub service_accounts: Vec<Pattern>,
    /// Folders of nodes that may be mounted.
    pub host_paths: Vec<Prefix>,
    /// Whether ports of nodes may be taken.
    pub host_network: bool,
    /// Whether containers may have more rights than their images need: root, capabilities, host processes, the
    /// priority of the system.
    pub privileged: bool,
    /// Whether init containers and sidecars may be added.
    pub extra_containers: bool,
    /// Annotations that are never set.
    pub denied_annotations: Vec<Pattern>,
    /// Whether the hub may delete what it brought.
    pub deletions: bool,
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
    /// Judges an object as it would be applied; `own` is the spoke's namespace. An error names each field, its value, the limit and whom to ask.
    pub(super) fn check(&self, object: &Value, own: &str) -> Result<(), String> {
        let mut faults = Vec::from_iter(self.namespace_fault(object, own));
        faults.extend(ask::asks(object).iter().filter_map(|asked| self.fault(asked)));
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

    /// Why something that an object asks for is denied; `None` if it is not.
    fn fault(&self, Asked { field, ask }: &Asked) -> Option<String> {
        let is_any = |allowed: &[Pattern], name: &str| allowed.iter().any(|allowed| allowed.matches(name));
        let (value, limit) = match ask {
            Ask::Image(image) if self.images.iter().any(|prefix| prefix.covers(image)) => return None,
            Ask::Image(image) => (image, format!("limits.images is {}", quoted(&self.images))),
            Ask::HostPath(path) if self.host_paths.iter().any(|prefix| prefix.covers_folder(path)) => {
                return None;
            }
            Ask::HostPath(path) => (path, format!("limits.hostPaths is {}", quoted(&self.host_paths))),
            Ask::Secret(name) if is_any(&self.secrets.referred, name) => return None,
            Ask::Secret(name) => {
                (name, format!("limits.secrets.referred is {}", quoted(&self.secrets.referred)))
            }
            Ask::ServiceAccount(name) if is_any(&self.service_accounts, name) => return None,
            Ask::ServiceAccount(name) => {
                (name, format!("limits.serviceAccounts is {}", quoted(&self.service_accounts)))
            }
            Ask::Annotation(key) => {
                let denied = self.denied_annotations.iter().find(|denied| denied.matches(key))?;
                return Some(format!("{field} has {key:?}: limits.deniedAnnotations has {denied}"));
            }
            Ask::HostNetwork(_) if self.host_network => return None,
            Ask::HostNetwork(value) => (value, "limits.hostNetwork is false".to_owned()),
            Ask::Privilege(_) if self.privileged => return None,
            Ask::Privilege(value) => (value, "limits.privileged is false".to_owned()),
            Ask::Container(_) if self.extra_containers => return None,
            Ask::Container(name) => (name, "limits.extraContainers is false".to_owned()),
            Ask::Unknown => {
                return Some(format!(
                    "{field}: this version of nimfleet-spoke does not know what it does, and a newer one may"
                ));
            }
        };
        Some(format!("{field} is {value:?}: {limit}"))
    }
}
