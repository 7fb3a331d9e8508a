//! What an object asks of a cluster beyond a plain pod: found by walking its JSON.

use crds::marks;
use serde_json::Value;

use super::property::{Class, class};
use crate::deliver::manifest::PAYLOAD_ANNOTATION;

/// Something that a limit is about, and where it stands.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Asked {
    /// Path of the field, for example `spec.sidecarContainers[0]`.
    pub(super) field: String,
    pub(super) ask: Ask,
}

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ask {
    /// An image, as it would be pulled.
    Image(String),
    /// A folder of the node.
    HostPath(String),
    /// A Secret of the object's namespace.
    Secret(String),
    /// A ConfigMap of the object's namespace.
    ConfigMap(String),
    /// A PersistentVolumeClaim of the object's namespace.
    Claim(String),
    /// A ServiceAccount of the object's namespace.
    ServiceAccount(String),
    /// An annotation on what is made for the object: key and value.
    Annotation(String, String),
    /// A label on what is made for the object: key and value.
    Label(String, String),
    /// An annotation or label that nimfleet alone sets.
    Reserved(String),
    /// A port or the network of the node.
    HostNetwork(String),
    /// More rights than a container has by itself.
    Privilege(String),
    /// A further container, by its name.
    Container(String),
    /// What a container runs instead of what its image says.
    Command(String),
    /// A PriorityClass.
    Priority(String),
    /// A RuntimeClass.
    RuntimeClass(String),
    /// A StorageClass.
    StorageClass(String),
    /// A scheduler.
    Scheduler(String),
    /// A type of Service.
    ServiceType(String),
    /// A host name; `*` stands for any, where a rule names none.
    Host(String),
    /// A Service, or another object with the same role, that is not the object's own.
    Service(String),
    /// Something of others where only what is rendered for the object itself may stand.
    Foreign(String),
    /// A property that this version does not know.
    Unknown,
}

/// What `metadata` may say in the name of nimfleet: set here, whatever the hub has sent.
const MARKS: [&str; 7] = [
    marks::UID_ANNOTATION,
    marks::GENERATION_ANNOTATION,
    marks::HASH_ANNOTATION,
    marks::HUB_ID_ANNOTATION,
    marks::EPOCH_ANNOTATION,
    marks::GANG_ANNOTATION,
    PAYLOAD_ANNOTATION,
];
/// The beginning of all that nimfleet alone sets.
pub(super) const RESERVED: &str = "nimfleet.io/";
/// The host of a rule that names none.
pub(super) const ANY_HOST: &str = "*";

/// Everything that an object asks for, in the order of its fields.
pub(super) fn asks(object: &Value) -> Vec<Asked> {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let (name, namespace) = (text("/metadata/name"), text("/metadata/namespace"));
    let services = object.pointer("/spec/services").and_then(Value::as_array);
    let named = services.into_iter().flatten().filter_map(|service| service.get("name")?.as_str());
    let mut walk =
        Walk { found: Vec::new(), own: std::iter::once(name).chain(named).collect(), name, namespace };
    walk.metadata(object);
    if let Some(spec) = object.get("spec") {
        walk.value(spec, "spec", "spec");
    }
    walk.found
}

/// What metadata says in the name of nimfleet and is not set here: part, key and value.
pub(super) fn reserved(object: &Value) -> Vec<(&'static str, &str, &Value)> {
    let parts = ["annotations", "labels"].into_iter();
    let all = parts.flat_map(|part| {
        let all = object["metadata"][part].as_object();
        all.into_iter().flatten().map(move |(key, value)| (part, key.as_str(), value))
    });
    // A wish of whoever deployed the object, which the operator alone reads.
    let is_wish = |part: &str, key: &str| part == "annotations" && key == marks::RETRY_ANNOTATION;
    let ours =
        |part: &str, key: &str| MARKS.contains(&key) || key == marks::DELIVERED_LABEL || is_wish(part, key);
    all.filter(|(part, key, _)| key.starts_with(RESERVED) && !ours(part, key)).collect()
}

struct Walk<'a> {
    found: Vec<Asked>,
    /// Names of the Services that are made for the object.
    own: Vec<&'a str>,
    name: &'a str,
    namespace: &'a str,
}

impl Walk<'_> {
    fn add(&mut self, field: &str, ask: Ask) {
        self.found.push(Asked { field: field.to_owned(), ask });
    }

    /// Metadata of the object itself does not reach its pods; only what nimfleet reads there is judged.
    fn metadata(&mut self, object: &Value) {
        for (part, key, _) in reserved(object) {
            self.add(&format!("metadata.{part}"), Ask::Reserved(key.to_owned()));
        }
    }

    fn value(&mut self, value: &Value, around: &str, path: &str) {
        match value {
            Value::Object(fields) => {
                for (name, value) in fields.iter().filter(|(_, value)| !value.is_null()) {
                    self.property(around, name, value, &format!("{path}.{name}"));
                }
            }
            Value::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    self.value(item, around, &format!("{path}[{index}]"));
                }
            }
            _ => {}
        }
    }

    fn property(&mut self, around: &str, name: &str, value: &Value, field: &str) {
        let Some(class) = class(around, name) else { return self.add(field, Ask::Unknown) };
        match class {
            Class::Plain => self.value(value, name, field),
            Class::Opaque => {}
            Class::Image => {
                self.image(value, field);
                self.value(value, name, field);
            }
            Class::Secret => self.names(value, field, Ask::Secret),
            Class::ConfigMap => self.names(value, field, Ask::ConfigMap),
            Class::Claim => {
                if let Some(claim) = value.get("name") {
                    self.names(claim, &format!("{field}.name"), Ask::Claim);
                }
                self.value(value, name, field);
            }
            Class::ServiceAccount => self.names(value, field, Ask::ServiceAccount),
            Class::HostPath => self.names(value, field, Ask::HostPath),
            Class::Priority => self.names(value, field, Ask::Priority),
            Class::Runtime => self.names(value, field, Ask::RuntimeClass),
            Class::Storage => self.names(value, field, Ask::StorageClass),
            Class::Scheduler => self.names(value, field, Ask::Scheduler),
            Class::ServiceType => self.names(value, field, Ask::ServiceType),
            Class::Host => self.names(value, field, Ask::Host),
            Class::HostDomain => {
                let domain = plain(value);
                let domain = domain.trim_end_matches('.');
                if !domain.is_empty() {
                    self.add(field, Ask::Host(format!("{}.{}.{domain}", self.name, self.namespace)));
                }
            }
            Class::Rules => {
                for (index, rule) in value.as_array().into_iter().flatten().enumerate() {
                    if rule.get("host").is_none_or(is_nothing) {
                        self.add(&format!("{field}[{index}].host"), Ask::Host(ANY_HOST.to_owned()));
                    }
                }
                self.value(value, name, field);
            }
            Class::Backend => {
                self.backend(name, value, field);
                self.value(value, name, field);
            }
            Class::HostNetwork => {
                if !is_nothing(value) {
                    self.add(field, Ask::HostNetwork(plain(value)));
                }
            }
            Class::Containers => {
                for (index, container) in value.as_array().into_iter().flatten().enumerate() {
                    let name = container.get("name").map(plain).unwrap_or_default();
                    self.add(&format!("{field}[{index}]"), Ask::Container(name));
                }
                self.value(value, name, field);
            }
            Class::Command => {
                if !is_nothing(value) {
                    self.add(field, Ask::Command(plain(value)));
                }
            }
            Class::User => {
                if is_nothing(value) {
                    self.add(field, Ask::Privilege(plain(value)));
                }
            }
            Class::SecurityContext => {
                for (name, value) in value.as_object().into_iter().flatten() {
                    if !is_harmless(name, value) {
                        self.add(&format!("{field}.{name}"), Ask::Privilege(plain(value)));
                    }
                }
            }
            Class::Annotations => self.pairs(value, field, Ask::Annotation),
            Class::Labels => self.pairs(value, field, Ask::Label),
        }
    }

    /// Labels or annotations.
    fn pairs(&mut self, value: &Value, field: &str, ask: fn(String, String) -> Ask) {
        for (key, value) in value.as_object().into_iter().flatten() {
            self.add(field, ask(key.clone(), plain(value)));
        }
    }

    /// What a rule leads to: by `service.name`, `resource.name` or `name`. A backend for all hosts is a rule without host.
    fn backend(&mut self, name: &str, value: &Value, field: &str) {
        if name == "defaultBackend" {
            self.add(field, Ask::Host(ANY_HOST.to_owned()));
        }
        for (part, found) in [
            ("service.name", &value["service"]["name"]),
            ("resource.name", &value["resource"]["name"]),
            ("name", &value["name"]),
        ] {
            if let Some(found) = found.as_str().filter(|found| !self.own.contains(found)) {
                self.add(&format!("{field}.{part}"), Ask::Service(found.to_owned()));
            }
        }
        if let Some(other) = value["namespace"].as_str().filter(|other| !["", self.namespace].contains(other))
        {
            self.add(
                &format!("{field}.namespace"),
                Ask::Service(format!("{other}/{}", plain(&value["name"]))),
            );
        }
    }

    /// An image as one text, or by repository and tag.
    fn image(&mut self, value: &Value, field: &str) {
        let image = match value {
            Value::Object(parts) => {
                let part = |name: &str| parts.get(name).and_then(Value::as_str).unwrap_or_default();
                match (part("repository"), part("tag")) {
                    (repository, "") => repository.to_owned(),
                    (repository, tag) => format!("{repository}:{tag}"),
                }
            }
            text => plain(text),
        };
        if !image.is_empty() {
            self.add(field, Ask::Image(image));
        }
    }

    /// A name, a list of names, or a reference `{name}` (a folder: `{path}`). An empty name names nothing.
    fn names(&mut self, value: &Value, field: &str, ask: fn(String) -> Ask) {
        match value {
            Value::String(name) if name.is_empty() => {}
            Value::String(name) => self.add(field, ask(name.clone())),
            Value::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    self.names(item, &format!("{field}[{index}]"), ask);
                }
            }
            Value::Object(fields) => {
                for part in ["name", "path"] {
                    if let Some(name) = fields.get(part) {
                        self.names(name, &format!("{field}.{part}"), ask);
                    }
                }
            }
            _ => {}
        }
    }
}

/// Whether a field of a security context gives no more than a container has by itself.
pub(super) fn is_harmless(name: &str, value: &Value) -> bool {
    let kind = || value.get("type").and_then(Value::as_str);
    match name {
        "runAsGroup"
        | "runAsNonRoot"
        | "fsGroup"
        | "fsGroupChangePolicy"
        | "supplementalGroups"
        | "supplementalGroupsPolicy"
        | "seLinuxChangePolicy"
        | "readOnlyRootFilesystem" => true,
        "runAsUser" => !is_nothing(value),
        "seccompProfile" | "appArmorProfile" => kind() == Some("RuntimeDefault"),
        "capabilities" => value.get("add").is_none_or(is_nothing),
        // `privileged`, `allowPrivilegeEscalation`, and whatever else may come.
        _ => is_nothing(value),
    }
}

/// Whether a value says no more than its absence: nought, false, empty.
pub(super) fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(truth) => !truth,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
    }
}

/// A value as a person writes it.
pub(super) fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
