//! What an object asks of a cluster beyond a plain pod: found by walking its JSON.

use serde_json::{Map, Value};

use super::property::{Class, class};

/// Something that a limit is about, and where it stands.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Asked {
    /// Path of the field, for example `spec.sidecarContainers[0]`.
    pub(super) field: String,
    pub(super) ask: Ask,
}

/// What is asked for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Ask {
    /// An image, as it would be pulled.
    Image(String),
    /// A folder of the node.
    HostPath(String),
    /// A Secret of the object's namespace.
    Secret(String),
    /// A ServiceAccount of the object's namespace.
    ServiceAccount(String),
    /// An annotation, on what is made for the object.
    Annotation(String),
    /// A port or the network of the node.
    HostNetwork(String),
    /// More rights than a container has by itself.
    Privilege(String),
    /// A further container, by its name.
    Container(String),
    /// A property that this version does not know.
    Unknown,
}

/// Everything that an object asks for, in the order of its fields.
pub(super) fn asks(object: &Value) -> Vec<Asked> {
    let mut walk = Walk { found: Vec::new() };
    if let Some(Value::Object(annotations)) = object.pointer("/metadata/annotations") {
        walk.annotations(annotations, "metadata.annotations");
    }
    if let Some(spec) = object.get("spec") {
        walk.value(spec, "spec");
    }
    walk.found
}

struct Walk {
    found: Vec<Asked>,
}

impl Walk {
    fn add(&mut self, field: &str, ask: Ask) {
        self.found.push(Asked { field: field.to_owned(), ask });
    }

    fn value(&mut self, value: &Value, path: &str) {
        match value {
            Value::Object(fields) => {
                for (name, value) in fields.iter().filter(|(_, value)| !value.is_null()) {
                    self.property(name, value, &format!("{path}.{name}"));
                }
            }
            Value::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    self.value(item, &format!("{path}[{index}]"));
                }
            }
            _ => {}
        }
    }

    fn property(&mut self, name: &str, value: &Value, field: &str) {
        match class(name) {
            None => self.add(field, Ask::Unknown),
            Some(Class::Plain) => self.value(value, field),
            Some(Class::Opaque) => {}
            Some(Class::Image) => {
                self.image(value, field);
                self.value(value, field);
            }
            Some(Class::Secret) => self.names(value, field, Ask::Secret),
            Some(Class::ServiceAccount) => self.names(value, field, Ask::ServiceAccount),
            Some(Class::HostPath) => self.names(value, field, Ask::HostPath),
            Some(Class::HostNetwork) => {
                if !is_nothing(value) {
                    self.add(field, Ask::HostNetwork(plain(value)));
                }
            }
            Some(Class::Containers) => {
                for (index, container) in value.as_array().into_iter().flatten().enumerate() {
                    let name = container.get("name").map(plain).unwrap_or_default();
                    self.add(&format!("{field}[{index}]"), Ask::Container(name));
                }
                self.value(value, field);
            }
            Some(Class::User) => {
                if is_nothing(value) {
                    self.add(field, Ask::Privilege(plain(value)));
                }
            }
            Some(Class::Priority) => {
                if plain(value).starts_with("system-") {
                    self.add(field, Ask::Privilege(plain(value)));
                }
            }
            Some(Class::SecurityContext) => {
                for (name, value) in value.as_object().into_iter().flatten() {
                    if !is_harmless(name, value) {
                        self.add(&format!("{field}.{name}"), Ask::Privilege(plain(value)));
                    }
                }
            }
            Some(Class::Annotations) => {
                if let Value::Object(annotations) = value {
                    self.annotations(annotations, field);
                }
            }
        }
    }

    fn annotations(&mut self, annotations: &Map<String, Value>, field: &str) {
        for key in annotations.keys() {
            self.add(field, Ask::Annotation(key.clone()));
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
fn is_harmless(name: &str, value: &Value) -> bool {
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
fn is_nothing(value: &Value) -> bool {
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
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
