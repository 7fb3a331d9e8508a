//! What of a NIMCache's spec leaves nothing sensible to render, where no admission policy kept it from being stored.

use crds::nim::NIMCacheSpec;

use crate::operator::engine::kind::Failure;

/// The first field that nothing can be rendered from: its name, its value and the remedy.
pub(super) fn check(spec: &NIMCacheSpec) -> Result<(), Failure> {
    let source = &spec.source;
    let empty = |text: Option<&str>| text.is_some_and(str::is_empty);
    let message = if source.model_puller().is_none() {
        "spec.source is empty: set one of spec.source.ngc, spec.source.hf and spec.source.dataStore"
    } else if empty(source.ngc.as_ref().map(|ngc| ngc.model_puller.as_str())) {
        "spec.source.ngc.modelPuller is empty: name the NIM's image with its tag; it fetches the model"
    } else {
        return arguments(spec);
    };
    Err(Failure::new("InvalidSpec", message))
}

/// What the spec says that becomes an argument of the program that downloads.
fn arguments(spec: &NIMCacheSpec) -> Result<(), Failure> {
    let source = &spec.source;
    if let Some((_, namespace, wanted)) = source.common() {
        let of = if source.hf.is_some() { "spec.source.hf" } else { "spec.source.dataStore" };
        let words = [
            ("namespace", Some(namespace)),
            ("modelName", wanted.model_name.as_deref()),
            ("datasetName", wanted.dataset_name.as_deref()),
            ("revision", wanted.revision.as_deref()),
        ];
        for (field, word) in words {
            argument(&format!("{of}.{field}"), word.unwrap_or_default())?;
        }
    }
    let ngc = source.ngc.as_ref();
    let endpoint = ngc.and_then(|ngc| ngc.model_endpoint.as_deref()).unwrap_or_default();
    argument("spec.source.ngc.modelEndpoint", endpoint)?;
    let profiles = ngc.and_then(|ngc| ngc.model.as_ref()).and_then(|model| model.profiles.as_deref());
    profile_ids("spec.source.ngc.model.profiles", profiles.unwrap_or_default())
}

/// Refuses ids of profiles that are no arguments.
pub(super) fn profile_ids(field: &str, ids: &[String]) -> Result<(), Failure> {
    ids.iter().try_for_each(|id| argument(field, id))
}

/// Refuses a word that the program would take for one of its options, or the kubelet for the name of a variable.
fn argument(field: &str, word: &str) -> Result<(), Failure> {
    if !word.starts_with('-') && !word.contains("$(") {
        return Ok(());
    }
    let message = format!(
        "{field} has {word:?}, which is not taken as a name: it begins with \"-\" or contains \"$(\": name what is to \
         be downloaded"
    );
    Err(Failure::new("InvalidSpec", message))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn said(source: &Value) -> Option<String> {
        let spec = json!({"source": source, "storage": {"pvc": {"name": "models"}}});
        let spec: NIMCacheSpec = serde_json::from_value(spec).unwrap();
        check(&spec).err().map(|why| {
            assert_eq!(why.reason, "InvalidSpec");
            why.message
        })
    }

    fn merged(mut whole: Value, change: &Value) -> Value {
        for (field, value) in change.as_object().cloned().unwrap_or_default() {
            whole[field] = value;
        }
        whole
    }

    fn hub(of: &str, change: &Value) -> Value {
        let whole = json!({"endpoint": "https://huggingface.co", "namespace": "meta", "modelName": "m", "authSecret": "a",
            "modelPuller": "a:1", "pullSecret": "p"});
        json!({of: merged(whole, change)})
    }

    fn ngc(change: &Value) -> Value {
        json!({"ngc": merged(json!({"authSecret": "a", "modelPuller": "a:1"}), change)})
    }

    #[test]
    fn what_cannot_be_rendered_is_named() {
        for (source, field) in [
            (json!({}), "spec.source is empty"),
            (json!({"ngc": {"authSecret": "a", "modelPuller": ""}}), "spec.source.ngc.modelPuller is empty"),
            (hub("hf", &json!({"namespace": "--local-dir=/etc"})), "spec.source.hf.namespace has"),
            (hub("hf", &json!({"namespace": "$(HF_TOKEN)"})), "spec.source.hf.namespace has"),
            (hub("hf", &json!({"modelName": "$(HF_TOKEN)"})), "spec.source.hf.modelName has"),
            (hub("hf", &json!({"modelName": null, "datasetName": "-x"})), "spec.source.hf.datasetName has"),
            (hub("dataStore", &json!({"revision": "--token=x"})), "spec.source.dataStore.revision has"),
            (ngc(&json!({"modelEndpoint": "--model-store=/etc"})), "spec.source.ngc.modelEndpoint has"),
            (ngc(&json!({"model": {"profiles": ["a", "--all"]}})), "spec.source.ngc.model.profiles has"),
        ] {
            let said = said(&source).unwrap();
            assert!(said.starts_with(field), "{said}");
        }
    }

    #[test]
    fn what_can_be_rendered_is() {
        // Refused by a policy, but what the job downloads is clear.
        let both = json!({"profiles": ["all", "a"], "qosProfile": "odd"});
        for source in [
            json!({"ngc": {"authSecret": "a", "modelPuller": "a:1", "model": both}}),
            json!({"ngc": {"authSecret": "", "modelPuller": "a:1"}}),
            json!({"ngc": {"modelPuller": "a:1"}}),
            hub("hf", &json!({"revision": "a-b"})),
        ] {
            assert_eq!(said(&source), None, "{source}");
        }
    }
}
