//! What a rendered child asks of a cluster: found by walking its JSON along `rendered.txt`, which knows every field.

use std::collections::{BTreeSet, HashMap};
use std::sync::LazyLock;

use serde_json::Value;

use super::ask::{ANY_HOST, Ask, Asked, RESERVED, is_harmless, is_nothing, plain};
use super::role;

/// The fields of all types, one type and class a line.
const TABLE: &str = include_str!("rendered.txt");

/// What operators and clusters call the scheduler that every pod has by itself.
const DEFAULT_SCHEDULER: &str = "default-scheduler";

/// Labels that the operator sets itself.
const OWN_LABELS: [&str; 8] = [
    "app",
    "app.kubernetes.io/name",
    "app.kubernetes.io/instance",
    "app.kubernetes.io/operator-version",
    "app.kubernetes.io/part-of",
    "app.kubernetes.io/managed-by",
    "nim-llm-role",
    "networking.kserve.io/visibility",
];

/// Annotations that the operator sets itself; what users say of them is judged with the object.
const OWN_ANNOTATIONS: [&str; 6] = [
    "serving.kserve.io/deploymentMode",
    "openshift.io/required-scc",
    "serving.kserve.io/enable-metric-aggregation",
    "serving.kserve.io/enable-prometheus-scraping",
    "serving.kserve.io/autoscalerClass",
    "apps.nvidia.com/training-config-hash",
];

/// On pods that end by themselves, which a proxy beside them would keep from ending.
const NO_SIDECAR: (&str, &str) = ("sidecar.istio.io/inject", "false");

/// The kind of roles that nobody renders, and the type of the Secrets that are.
const CLUSTER_ROLE: &str = "ClusterRole";
const PLAIN_SECRET: &str = "Opaque";

/// What a field can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    /// Nothing; not looked into.
    Plain,
    /// Never rendered, and refused.
    Refused,
    /// Of that type.
    Type(&'static str),
    /// A limit is about it.
    Limited(&'static str),
}

/// By type and field. The field `*` leads to the fields of another type as well.
static FIELDS: LazyLock<HashMap<(&'static str, &'static str), Field>> = LazyLock::new(|| {
    let mut all = HashMap::new();
    for line in TABLE.lines().filter(|line| !line.starts_with('#')) {
        let Some((head, fields)) = line.split_once(':') else { continue };
        let Some((type_name, class)) = head.split_once(' ') else { continue };
        let class = match class {
            "plain" => Field::Plain,
            "refused" => Field::Refused,
            limited if limited.starts_with('@') => Field::Limited(limited),
            other => Field::Type(other),
        };
        all.extend(fields.split_whitespace().map(|field| ((type_name, field), class)));
    }
    all
});

/// What a field of a type can do; `None` when this version does not know it.
pub(super) fn field(type_name: &str, name: &str) -> Option<Field> {
    let key = |name| FIELDS.get(&(type_name, name)).copied();
    key(name).or_else(|| match key("*") {
        Some(Field::Type(other)) => field(other, name),
        _ => None,
    })
}

/// Names of what is rendered together: one child may name another.
#[derive(Clone, Debug, Default)]
pub(in super::super) struct Own {
    pub(in super::super) namespace: String,
    /// Services and pools of requests.
    pub(in super::super) services: BTreeSet<String>,
    pub(in super::super) accounts: BTreeSet<String>,
    pub(in super::super) config_maps: BTreeSet<String>,
    pub(in super::super) secrets: BTreeSet<String>,
    /// Images that the cluster's owner gave to the operator itself.
    pub(in super::super) images: BTreeSet<String>,
}

/// Everything that a child of a kind asks for, in the order of its fields.
pub(super) fn asks(kind: &str, body: &Value, own: &Own) -> Vec<Asked> {
    let mut walk = Walk { own, found: Vec::new() };
    match FIELDS.keys().find(|(type_name, _)| *type_name == kind) {
        Some((type_name, _)) => walk.object(type_name, body, ""),
        None => walk.add("kind", Ask::Unknown),
    }
    walk.found
}

struct Walk<'a> {
    own: &'a Own,
    found: Vec<Asked>,
}

impl Walk<'_> {
    fn add(&mut self, field: &str, ask: Ask) {
        self.found.push(Asked { field: field.to_owned(), ask });
    }

    fn object(&mut self, type_name: &'static str, value: &Value, path: &str) {
        match value {
            Value::Object(fields) => {
                for (name, value) in fields.iter().filter(|(_, value)| !value.is_null()) {
                    let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                    match field(type_name, name) {
                        Some(Field::Plain) => {}
                        None | Some(Field::Refused) => self.add(&path, Ask::Unknown),
                        Some(Field::Type(inner)) => self.object(inner, value, &path),
                        Some(Field::Limited(class)) => self.limited(class, value, &path),
                    }
                }
            }
            Value::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    self.object(type_name, item, &format!("{path}[{index}]"));
                }
            }
            _ => {}
        }
    }

    fn limited(&mut self, class: &str, value: &Value, path: &str) {
        let own = self.own;
        match class {
            "@Labels" => self.pairs(value, path, &OWN_LABELS, Ask::Label),
            "@Annotations" => self.pairs(value, path, &OWN_ANNOTATIONS, Ask::Annotation),
            "@Flag" | "@Port" | "@Privilege" if is_nothing(value) => {}
            "@Flag" | "@Port" => self.add(path, Ask::HostNetwork(plain(value))),
            "@Privilege" => self.add(path, Ask::Privilege(plain(value))),
            "@ServiceAccount" => self.names(value, path, &own.accounts, Ask::ServiceAccount),
            "@Secret" => self.names(value, path, &own.secrets, Ask::Secret),
            "@ConfigMap" => self.names(value, path, &own.config_maps, Ask::ConfigMap),
            "@Claim" => self.names(value, path, &BTreeSet::new(), Ask::Claim),
            "@RuntimeClass" => self.names(value, path, &BTreeSet::new(), Ask::RuntimeClass),
            "@StorageClass" => self.names(value, path, &BTreeSet::new(), Ask::StorageClass),
            "@Priority" => self.names(value, path, &BTreeSet::new(), Ask::Priority),
            "@Image" => self.names(value, path, &own.images, Ask::Image),
            "@HostPath" => self.names(value, path, &BTreeSet::new(), Ask::HostPath),
            "@Scheduler" => {
                self.names(value, path, &BTreeSet::from([DEFAULT_SCHEDULER.to_owned()]), Ask::Scheduler);
            }
            "@ServiceType" => self.names(value, path, &BTreeSet::new(), Ask::ServiceType),
            "@Hostnames" if is_nothing(value) => self.add(path, Ask::Host(ANY_HOST.to_owned())),
            "@Host" | "@Hostnames" => self.names(value, path, &BTreeSet::new(), Ask::Host),
            "@Rules" => {
                for (index, rule) in value.as_array().into_iter().flatten().enumerate() {
                    if rule.get("host").is_none_or(is_nothing) {
                        self.add(&format!("{path}[{index}].host"), Ask::Host(ANY_HOST.to_owned()));
                    }
                }
                self.object("IngressRule", value, path);
            }
            "@DefaultBackend" => {
                self.add(path, Ask::Host(ANY_HOST.to_owned()));
                self.backend(value, path);
            }
            "@Backend" => self.backend(value, path),
            "@SecurityContext" => {
                for (name, value) in value.as_object().into_iter().flatten() {
                    if !is_harmless(name, value) {
                        self.add(&format!("{path}.{name}"), Ask::Privilege(plain(value)));
                    }
                }
            }
            "@PolicyRule" => {
                for (index, rule) in value.as_array().into_iter().flatten().enumerate() {
                    if !role::is_known(rule) {
                        self.add(&format!("{path}[{index}]"), Ask::Foreign(rule.to_string()));
                    }
                }
            }
            "@Subject" => {
                for (index, subject) in value.as_array().into_iter().flatten().enumerate() {
                    let is_own = subject["kind"] == "ServiceAccount"
                        && subject["namespace"] == own.namespace.as_str()
                        && subject["name"].as_str().is_some_and(|name| own.accounts.contains(name));
                    if !is_own {
                        self.add(&format!("{path}[{index}]"), Ask::Foreign(subject.to_string()));
                    }
                }
            }
            // What is bound and scaled is of the same name, or shared; a role of that name has been judged as a child.
            "@Own" if value["kind"] != CLUSTER_ROLE => {}
            "@SecretType" if value == PLAIN_SECRET => {}
            _ => self.add(path, Ask::Foreign(plain(value))),
        }
    }

    fn pairs(&mut self, value: &Value, path: &str, own: &[&str], ask: fn(String, String) -> Ask) {
        for (key, value) in value.as_object().into_iter().flatten() {
            let is_own = own.contains(&key.as_str())
                || key.starts_with(RESERVED)
                || (key == NO_SIDECAR.0 && value == NO_SIDECAR.1);
            if !is_own {
                self.add(path, ask(key.clone(), plain(value)));
            }
        }
    }

    /// A name, `{name}`, or a list of either. An empty name names nothing.
    fn names(&mut self, value: &Value, path: &str, own: &BTreeSet<String>, ask: fn(String) -> Ask) {
        match value {
            Value::String(name) if name.is_empty() || own.contains(name) => {}
            Value::String(name) => self.add(path, ask(name.clone())),
            Value::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    self.names(item, &format!("{path}[{index}]"), own, ask);
                }
            }
            Value::Object(fields) => {
                if let Some(name) = fields.get("name") {
                    self.names(name, &format!("{path}.name"), own, ask);
                }
            }
            _ => {}
        }
    }

    /// What requests are led to: `{service: {name}}`, `{resource: {name}}`, `{name, namespace}`, or a list of them.
    fn backend(&mut self, value: &Value, path: &str) {
        if let Value::Array(items) = value {
            for (index, item) in items.iter().enumerate() {
                self.backend(item, &format!("{path}[{index}]"));
            }
            return;
        }
        for (part, found) in [
            ("service.name", &value["service"]["name"]),
            ("resource.name", &value["resource"]["name"]),
            ("name", &value["name"]),
        ] {
            if let Some(found) = found.as_str().filter(|found| !self.own.services.contains(*found)) {
                self.add(&format!("{path}.{part}"), Ask::Service(found.to_owned()));
            }
        }
        let other = value["namespace"].as_str().filter(|other| !other.is_empty());
        if let Some(other) = other.filter(|other| *other != self.own.namespace) {
            let name = plain(&value["name"]);
            self.add(&format!("{path}.namespace"), Ask::Service(format!("{other}/{name}")));
        }
    }
}

#[cfg(test)]
mod tests;
