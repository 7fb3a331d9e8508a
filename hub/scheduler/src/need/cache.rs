//! What a NIMCache takes: no GPU, but nodes that have some, and it fixes the GPUs its services can use.

use serde_json::Value;

use super::{GpuKind, Need, NeedError, cache_key, nodes, storage, text};

/// Node label of GPU Feature Discovery that names the product.
pub(super) const PRODUCT_LABEL: &str = "nvidia.com/gpu.product";

/// Need of a NIMCache. Its pods go to nodes with a GPU unless its node selector says otherwise: the
/// operator's default.
pub(super) fn need(cache: &Value) -> Result<Need, NeedError> {
    let free_choice = cache.pointer(NODES).is_none_or(Value::is_null);
    let kind = kind(cache);
    Ok(Need {
        gpu_nodes: free_choice || !kind.products.is_empty(),
        kind,
        nodes: nodes::of_cache(cache),
        claims: storage::claim(cache, "/spec/storage/pvc")?.into_iter().collect(),
        cache: Some(cache_key(cache, text(cache, "/metadata/name"))),
        ..Need::default()
    })
}

/// Which GPUs the profiles of a cache are for: what its NGC source names, and what its node selector names.
pub(super) fn kind(cache: &Value) -> GpuKind {
    let gpus = cache.pointer("/spec/source/ngc/model/gpus").and_then(Value::as_array);
    let named: Vec<String> = gpus
        .into_iter()
        .flatten()
        .filter_map(|gpu| gpu.get("product").and_then(Value::as_str))
        .filter(|product| !product.is_empty())
        .map(str::to_owned)
        .collect();
    let products =
        [named, selected_product(cache, NODES)].into_iter().filter(|list| !list.is_empty()).collect();
    GpuKind { products, min_memory_mib: 0 }
}

/// Where an object selects the nodes of its pods.
pub(super) const NODES: &str = "/spec/nodeSelector";

/// The product that the node selector at a JSON pointer names, if any.
pub(super) fn selected_product(object: &Value, at: &str) -> Vec<String> {
    let selector = object.pointer(at).and_then(Value::as_object);
    selector.and_then(|labels| labels.get(PRODUCT_LABEL)?.as_str()).map(str::to_owned).into_iter().collect()
}

/// Tags of a profile that the cache holds, from the status that the fleet's aggregate writes.
pub(super) fn profile_tag<'a>(cache: &'a Value, profile: &str, tags: &[&str]) -> Option<&'a str> {
    let profiles = cache.pointer("/status/profiles")?.as_array()?;
    let config = profiles.iter().find(|known| text(known, "/name") == profile)?.get("config")?;
    tags.iter().find_map(|tag| config.get(*tag)?.as_str()).filter(|value| !value.is_empty())
}

/// Whether the cache holds optimised profiles of NGC, of which a service picks one.
pub(super) fn is_optimized(cache: &Value) -> bool {
    let ngc = cache.pointer("/spec/source/ngc");
    ngc.is_some_and(|ngc| ngc.get("modelEndpoint").is_none_or(Value::is_null))
}
