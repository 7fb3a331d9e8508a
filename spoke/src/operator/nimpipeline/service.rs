//! One service of a pipeline: whether it can be made, the NIMService it becomes, and what becomes of that.

use crds::nim::ServiceDependency;
use kube::core::DynamicObject;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::operator::engine::child::{Child, ChildKind, Keep};
use crate::operator::engine::condition::Conditions;
use crate::operator::engine::kind::{Failure, GROUP, VERSION};

/// An entry of the list.
#[derive(Deserialize)]
pub(super) struct Service {
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    enabled: Option<bool>,
    #[serde(default)]
    spec: Value,
    #[serde(default)]
    dependencies: Option<Vec<ServiceDependency>>,
}

impl Service {
    pub(super) fn is_enabled(&self) -> bool {
        self.enabled == Some(true)
    }

    pub(super) fn name(&self) -> &str {
        self.name.as_deref().unwrap_or_default()
    }

    /// The NIMService: the spec as it is written, and what its dependencies set.
    pub(super) fn child(&self, namespace: &str) -> Child {
        let mut spec = self.spec.clone();
        let variables = self.dependencies.iter().flatten().filter_map(ServiceDependency::variable);
        for (name, value) in variables {
            set(&mut spec, name, value);
        }
        let object = json!({
            "apiVersion": format!("{GROUP}/{VERSION}"),
            "kind": "NIMService",
            "metadata": { "name": self.name(), "namespace": namespace },
            "spec": spec,
        });
        Child::new(ChildKind::NimService, self.name(), Keep::Owned, &object)
    }
}

/// Sets a variable of the environment, in its place where it is there already; it has no other source then.
fn set(spec: &mut Value, name: &str, value: &str) {
    let variable = json!({ "name": name, "value": value });
    if let Some(list) = spec["env"].as_array_mut() {
        match list.iter_mut().find(|old| old["name"] == name) {
            Some(old) => *old = variable,
            None => list.push(variable),
        }
    } else {
        spec["env"] = json!([variable]);
    }
}

/// Why these services cannot be made; `None` when they can.
pub(super) fn refusal<'a>(services: impl Iterator<Item = (usize, &'a Service)>) -> Option<Failure> {
    let mut names: Vec<&str> = Vec::new();
    for (place, service) in services {
        let name = service.name();
        let wrong = |field: &str, what: &str| {
            Some(Failure::new("InvalidSpec", format!("spec.services[{place}].{field}: {what}")))
        };
        if name.is_empty() {
            return wrong("name", "Required value: name the NIMService that is made");
        }
        if names.contains(&name) {
            let what = format!("Duplicate value: {name:?}: every service of a pipeline needs its own name");
            return wrong("name", &what);
        }
        if !service.spec.is_object() {
            return wrong("spec", &format!("Required value: say what the NIMService {name} shall be"));
        }
        names.push(name);
    }
    None
}

/// What has become of a NIMService.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct State {
    /// `Ready`, `NotReady` or `Failed`.
    pub(super) word: String,
    /// Why it has failed, where it says so.
    pub(super) why: String,
}

impl State {
    /// Of one that is not there, or not ours.
    pub(super) fn missing() -> Self {
        Self { word: "NotReady".to_owned(), why: String::new() }
    }

    /// Of a live one. Before it has been looked at since its last change, what it says is of no account.
    pub(super) fn of(live: &DynamicObject) -> Self {
        let status = &live.data["status"];
        let conditions = Conditions::read(status);
        let seen = conditions.get("Ready").and_then(|ready| ready.observed_generation);
        let stale = seen.is_some_and(|seen| live.metadata.generation.is_some_and(|now| seen < now));
        match status["state"].as_str() {
            Some(word) if !stale && !word.is_empty() => {
                let failed = conditions.get("Failed").filter(|failed| failed.status == "True");
                let why = failed.map(|failed| failed.message.clone()).unwrap_or_default();
                Self { word: word.to_owned(), why }
            }
            _ => Self::missing(),
        }
    }
}
