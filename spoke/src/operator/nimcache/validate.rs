//! What of a NIMCache's spec leaves nothing sensible to render, where no admission policy kept it from being stored.

use crds::nim::NIMCacheSpec;

use crate::operator::engine::kind::Failure;

/// The first field that nothing can be rendered from: its name, its value and the remedy.
pub(super) fn check(spec: &NIMCacheSpec) -> Result<(), Failure> {
    let source = &spec.source;
    let empty = |text: Option<&str>| text.is_some_and(str::is_empty);
    let message = if source.model_puller().is_none() {
        "spec.source is empty: set one of spec.source.ngc, spec.source.hf and spec.source.dataStore"
    } else if empty(source.ngc.as_ref().map(|ngc| ngc.auth_secret.as_str())) {
        "spec.source.ngc.authSecret is empty: name the Secret that holds NGC_API_KEY"
    } else if empty(source.ngc.as_ref().map(|ngc| ngc.model_puller.as_str())) {
        "spec.source.ngc.modelPuller is empty: name the NIM's image with its tag; it fetches the model"
    } else {
        return Ok(());
    };
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

    #[test]
    fn what_cannot_be_rendered_is_named() {
        for (source, field) in [
            (json!({}), "spec.source is empty"),
            (json!({"ngc": {"authSecret": "", "modelPuller": "a:1"}}), "spec.source.ngc.authSecret is empty"),
            (json!({"ngc": {"authSecret": "a", "modelPuller": ""}}), "spec.source.ngc.modelPuller is empty"),
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
            json!({"hf": {"endpoint": "https://huggingface.co", "namespace": "meta", "modelName": "m", "authSecret": "a", "modelPuller": "a:1", "pullSecret": "p"}}),
        ] {
            assert_eq!(said(&source), None, "{source}");
        }
    }
}
