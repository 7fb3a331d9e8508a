//! What a NIMBuild takes: the GPUs of the profile that it builds from, until its engine is built.

use serde_json::Value;

use super::{GpuNeed, Life, Need, NeedError, cache, cache_key, gpu, nodes, pod, storage, text};

/// The tag of a profile that an engine can be built from.
const BUILDABLE: &str = "/config/trtllm_buildable";

/// Need of a NIMBuild; `cache` is the NIMCache it names, where the hub has it.
pub(super) fn need(build: &Value, cache: Option<&Value>) -> Result<Need, NeedError> {
    let profile = cache.and_then(|cache| chosen(build, cache)).unwrap_or_default();
    let mut kind = cache.map(cache::kind).unwrap_or_default();
    kind.products.extend(Some(cache::selected_product(build, cache::NODES)).filter(|list| !list.is_empty()));
    let tag = |names: &[&str]| cache.and_then(|cache| cache::profile_tag(cache, profile, names));
    kind.products.extend(tag(&["gpu"]).map(|product| vec![product.to_owned()]));
    let tensor = tag(&["tensorParallelism", "tp"]).map(|tag| Value::String(tag.to_owned()));
    let stated = gpu::of(build, "/spec/resources")?;
    let tells = |cache: &Value| cache.pointer("/status/profiles/0").is_some();
    let awaits_profiles = stated.is_none() && cache.is_some_and(|cache| !tells(cache));
    let (resource, per_pod) = if let Some(stated) = stated {
        stated
    } else {
        let of_profile = "tensor parallelism of the cached profile";
        let tensor = tensor.map(|tag| gpu::whole(build, of_profile, &tag, 1));
        // Until the cache tells its profiles a build takes one at least.
        (gpu::DEFAULT_RESOURCE.to_owned(), tensor.transpose()?.unwrap_or(1))
    };
    let (millicores, memory_mib) = pod::of(build, "/spec/resources")?;
    Ok(Need {
        gpu: Some(GpuNeed { resource, per_pod, pods: 1 }),
        gpu_nodes: true,
        kind,
        nodes: nodes::of(build, "/spec"),
        millicores,
        memory_mib,
        claims: cache.map(storage::of_cache).transpose()?.flatten().into_iter().collect(),
        cache: Some(text(build, "/spec/nimCache/name"))
            .filter(|name| !name.is_empty())
            .map(|name| cache_key(build, name)),
        replicas: 1,
        life: if awaits_profiles { Life::EndingOfUnknownSize } else { Life::Ending },
        ..Need::default()
    })
}

/// The profile that a build names, or the only one of its cache that can be built from.
fn chosen<'a>(build: &'a Value, cache: &'a Value) -> Option<&'a str> {
    let named = text(build, "/spec/nimCache/profile");
    if !named.is_empty() {
        return Some(named);
    }
    let profiles = cache.pointer("/status/profiles")?.as_array()?;
    let mut buildable = profiles.iter().filter(|profile| text(profile, BUILDABLE) == "true");
    let only = buildable.next().filter(|_| buildable.next().is_none())?;
    Some(text(only, "/name"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::need::{caches, of};

    fn cache(profiles: &Value) -> Value {
        json!({
            "kind": "NIMCache", "metadata": {"name": "weights", "namespace": "nim"},
            "spec": {"source": {"ngc": {}}, "storage": {"pvc": {"create": true, "size": "50Gi", "volumeAccessMode": "ReadWriteOnce"}}},
            "status": {"profiles": profiles},
        })
    }

    fn build(spec: &Value) -> Value {
        let mut object = json!({
            "kind": "NIMBuild", "metadata": {"name": "engine", "namespace": "nim"},
            "spec": {"nimCache": {"name": "weights"}, "image": {"repository": "nvcr.io/nim/m", "tag": "1"}},
        });
        for (field, value) in spec.as_object().unwrap() {
            object["spec"][field] = value.clone();
        }
        object
    }

    #[test]
    fn a_build_takes_the_gpus_of_its_profile_where_its_cache_is() {
        let (a, b) = (
            json!({"name": "a", "config": {"tp": "2", "trtllm_buildable": "true"}}),
            json!({"name": "b", "config": {"tp": "4", "trtllm_buildable": "true", "gpu": "H100"}}),
        );
        let other = json!({"name": "c", "config": {"tp": "8"}});
        for (case, spec, profiles, gpus) in [
            ("the only one that can be built from", json!({}), json!([a, other]), 2),
            (
                "the one that is named",
                json!({"nimCache": {"name": "weights", "profile": "b"}}),
                json!([a, b]),
                4,
            ),
            ("nobody knows which", json!({}), json!([a, b]), 1),
            ("nothing is cached yet", json!({}), json!([]), 1),
            ("as it says", json!({"resources": {"limits": {"nvidia.com/gpu": 3}}}), json!([other]), 3),
        ] {
            let (object, cache) = (build(&spec), cache(&profiles));
            assert_eq!(caches(&object), ["weights"]);
            let need = of(&object, |_| Some(&cache)).unwrap();
            assert_eq!(need.gpu.as_ref().map(GpuNeed::total), Some(gpus), "{case}");
            let life = if profiles == json!([]) { Life::EndingOfUnknownSize } else { Life::Ending };
            assert_eq!((need.replicas, need.life, need.replicated), (1, life, false), "{case}");
            assert_eq!(need.cache.as_ref().map(|key| key.name.as_str()), Some("weights"));
            assert_eq!(need.claims.len(), 1, "it mounts the cache's volume");
        }
        let (named, cached) =
            (build(&json!({"nimCache": {"name": "weights", "profile": "b"}})), cache(&json!([b])));
        assert_eq!(of(&named, |_| Some(&cached)).unwrap().kind.products, [["H100"]]);
        assert_eq!(of(&named, |_| None).unwrap().gpu.unwrap().total(), 1, "a cache that is not on the hub");
    }
}
