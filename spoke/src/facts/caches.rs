//! Model caches that are Ready: where a model already is.

use kube::api::DynamicObject;
use serde_json::Value;

use super::HeldCache;

/// Where a NIMCache's spec names what it holds, the first that is set.
const MODEL: [&str; 6] = [
    "/spec/source/ngc/modelPuller",
    "/spec/source/ngc/modelEndpoint",
    "/spec/source/hf/modelName",
    "/spec/source/hf/datasetName",
    "/spec/source/dataStore/modelName",
    "/spec/source/dataStore/datasetName",
];

/// Reads a NIMCache; `None` unless it is Ready.
pub(super) fn held(cache: &DynamicObject) -> Option<HeldCache> {
    let text =
        |pointer: &str| cache.data.pointer(pointer).and_then(Value::as_str).filter(|text| !text.is_empty());
    if cache.metadata.deletion_timestamp.is_some() || text("/status/state") != Some("Ready") {
        return None;
    }
    let profiles = cache.data.pointer("/status/profiles").and_then(Value::as_array);
    let names = profiles.into_iter().flatten().filter_map(|profile| profile.get("name")?.as_str());
    let mut profiles: Vec<String> = names.map(str::to_owned).collect();
    profiles.sort();
    Some(HeldCache {
        namespace: cache.metadata.namespace.clone()?,
        name: cache.metadata.name.clone()?,
        model: MODEL.into_iter().find_map(text).unwrap_or_default().to_owned(),
        profiles,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn cache(source: &Value, state: &str) -> DynamicObject {
        serde_json::from_value(json!({
            "apiVersion": "apps.nvidia.com/v1alpha1",
            "kind": "NIMCache",
            "metadata": {"namespace": "models", "name": "llama"},
            "spec": {"source": source},
            "status": {"state": state, "profiles": [{"name": "b"}, {"name": "a", "config": {"tp": "1"}}]},
        }))
        .unwrap()
    }

    #[test]
    fn a_ready_cache_tells_model_and_profiles() {
        let ngc = json!({"ngc": {"modelPuller": "nvcr.io/nim/meta/llama:1"}});
        let held = held(&cache(&ngc, "Ready")).unwrap();
        assert_eq!((held.namespace.as_str(), held.name.as_str()), ("models", "llama"));
        assert_eq!(held.model, "nvcr.io/nim/meta/llama:1");
        assert_eq!(held.profiles, ["a", "b"]);
    }

    #[test]
    fn any_source_names_its_model() {
        let hf = json!({"hf": {"modelName": "meta/llama", "datasetName": ""}});
        assert_eq!(held(&cache(&hf, "Ready")).unwrap().model, "meta/llama");
        assert_eq!(held(&cache(&json!({}), "Ready")).unwrap().model, "");
    }

    #[test]
    fn a_cache_on_its_way_is_not_held() {
        for state in ["", "Pending", "InProgress", "Failed"] {
            assert_eq!(held(&cache(&json!({}), state)), None, "{state}");
        }
    }
}
