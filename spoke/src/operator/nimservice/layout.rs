//! Whether a NIMService without a cache serves a native NIM: what its registry says, else what it has been so far.

use serde_json::Value;

use crate::operator::registry::Layout;

/// Where workloads have their containers.
const CONTAINERS: &[&str] = &[
    "/spec/template/spec/containers",
    "/spec/leaderWorkerTemplate/workerTemplate/spec/containers",
    "/spec/predictor/containers",
];

/// A registry that does not answer changes nothing: a restart in the other layout would lose a model that is served.
pub(super) fn decide(previous: Option<bool>, answer: &Layout) -> bool {
    match answer {
        Layout::Native => true,
        Layout::Legacy => false,
        Layout::Asking | Layout::Unknown(_) => previous.unwrap_or(false),
    }
}

/// What the workload that runs was made for; none when it runs another image, or none. Users may set the variable
/// themselves, but then nothing is mounted beside.
pub(super) fn previous(workload: &Value, image: &str) -> Option<bool> {
    let containers = CONTAINERS.iter().find_map(|place| workload.pointer(place)?.as_array())?;
    let serving = containers.iter().find(|container| container["image"] == image)?;
    let has = |list: &str, field: &str, value: &str| {
        serving[list].as_array().is_some_and(|list| list.iter().any(|one| one[field] == value))
    };
    Some(has("env", "name", "NIM_ENGINE_MODEL_PATH") && has("volumeMounts", "mountPath", "/model"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_registry_decides_and_else_what_was() {
        let unknown = Layout::Unknown("no route".to_owned());
        for (previous, answer, native) in [
            (None, Layout::Native, true),
            (Some(false), Layout::Native, true),
            (Some(true), Layout::Legacy, false),
            (None, Layout::Asking, false),
            (Some(true), Layout::Asking, true),
            (None, unknown.clone(), false),
            (Some(false), unknown.clone(), false),
            (Some(true), unknown, true),
        ] {
            assert_eq!(decide(previous, &answer), native, "{previous:?} {answer:?}");
        }
    }

    #[test]
    fn what_runs_tells_what_it_was_made_for() {
        let native = json!({"image": "r/m:1", "env": [{"name": "NIM_ENGINE_MODEL_PATH", "value": "/model"}],
            "volumeMounts": [{"mountPath": "/model"}]});
        let by_user = json!({"image": "r/m:1", "env": [{"name": "NIM_ENGINE_MODEL_PATH", "value": "/mine"}]});
        let deployed = |one: &Value| json!({"spec": {"template": {"spec": {"containers": [one]}}}});
        for (workload, image, expected) in [
            (deployed(&native), "r/m:1", Some(true)),
            (deployed(&native), "r/m:2", None),
            (deployed(&by_user), "r/m:1", Some(false)),
            (json!({"spec": {"predictor": {"containers": [native]}}}), "r/m:1", Some(true)),
            (Value::Null, "r/m:1", None),
        ] {
            assert_eq!(previous(&workload, image), expected, "{workload} {image}");
        }
    }
}
