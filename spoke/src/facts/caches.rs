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

/// Tags of a profile that say what runs it and what it is; the others stay here.
const TAGS: [&str; 12] = [
    "feat_lora",
    "gpu",
    "gpu_device",
    "gpus",
    "llm_engine",
    "engine",
    "pipelineParallelism",
    "pp",
    "precision",
    "profile",
    "tensorParallelism",
    "tp",
];

/// Most profiles of one cache that are reported.
const MOST_PROFILES: usize = 32;

/// Reads a NIMCache; `None` unless it is Ready.
pub(super) fn held(cache: &DynamicObject) -> Option<HeldCache> {
    let text =
        |pointer: &str| cache.data.pointer(pointer).and_then(Value::as_str).filter(|text| !text.is_empty());
    if cache.metadata.deletion_timestamp.is_some() || text("/status/state") != Some("Ready") {
        return None;
    }
    let mut profiles = crate::report::profiles(cache.data.get("status"));
    profiles.truncate(MOST_PROFILES);
    for profile in &mut profiles {
        profile.tags.retain(|tag, _| TAGS.contains(&tag.as_str()));
    }
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
            "status": {"state": state, "profiles": [{"name": "b"}, {"name": "a", "config": {"tp": "1", "ngc_metadata": "long"}}]},
        }))
        .unwrap()
    }

    #[test]
    fn a_ready_cache_tells_model_and_profiles() {
        let ngc = json!({"ngc": {"modelPuller": "nvcr.io/nim/meta/llama:1"}});
        let held = held(&cache(&ngc, "Ready")).unwrap();
        assert_eq!((held.namespace.as_str(), held.name.as_str()), ("models", "llama"));
        assert_eq!(held.model, "nvcr.io/nim/meta/llama:1");
        let names: Vec<_> = held.profiles.iter().map(|profile| profile.name.as_str()).collect();
        assert_eq!(names, ["a", "b"]);
        assert_eq!(held.profiles[0].tags, [("tp".to_owned(), "1".to_owned())].into());
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
