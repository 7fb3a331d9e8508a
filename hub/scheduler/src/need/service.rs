//! What a NIMService takes.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::Value;

use super::{GpuNeed, Need, NeedError, cache, cache_key, devices, gpu, nodes, pod, profile, storage, text};

/// Platform of multi-node services: the LeaderWorkerSet API.
const LWS: &str = "lws";
/// Platform of `inferencePlatform: kserve`.
const KSERVE: &str = "kserve";

/// Platform of KServe's modes that make Services of Knative.
const KNATIVE: &str = "knative";
/// Platform of claimed devices: the API of dynamic resource allocation.
const DRA: &str = "dra";
/// Annotation that asks KServe for a mode. Without it KServe's own settings decide, which are the cluster's.
const KSERVE_MODE: &str = "serving.kserve.io/deploymentMode";

/// Need of a NIMService; `cache` is the NIMCache it names, where the hub has it.
pub(super) fn need(service: &Value, cache: Option<&Value>) -> Result<Need, NeedError> {
    let pipeline = gpu::number(service, "/spec/multiNode/parallelism/pipeline", 1)?.unwrap_or(1);
    let profile = text(service, "/spec/storage/nimCache/profile");
    let (replicas, autoscaled) = replicas(service)?;

    let mut kind = cache.map(cache::kind).unwrap_or_default();
    kind.products
        .extend(Some(cache::selected_product(service, cache::NODES)).filter(|list| !list.is_empty()));
    let tag = cache.and_then(|cache| cache::profile_tag(cache, profile, &["gpu"]));
    kind.products.extend(tag.map(|product| vec![product.to_owned()]));

    let (claims_devices, devices) = devices::of(service)?;
    let (millicores, memory_mib) = pod::of(service, "/spec/resources")?;
    let on_cache = super::cache_name(service);
    let claim = match (on_cache, cache) {
        (Some(_), Some(cache)) => storage::of_cache(cache)?,
        (Some(_), None) => None,
        (None, _) => storage::own(service)?,
    };
    let profiles = cache.filter(|cache| profile.is_empty() && cache::is_optimized(cache));

    let gpu = gpus_of_pod(service, cache, profile)?.map(|(resource, per_pod)| GpuNeed {
        resource,
        per_pod,
        pods: pipeline,
    });
    Ok(Need {
        gpu_nodes: gpu.is_some() || !kind.products.is_empty(),
        gpu,
        kind,
        nodes: nodes::of(service, "/spec"),
        job_nodes: None,
        millicores,
        memory_mib,
        devices,
        claims: claim.into_iter().collect(),
        cache: on_cache.map(|name| cache_key(service, name)),
        profiles: profiles.and_then(profile::of_cache).map(Arc::new),
        platforms: platforms(service, pipeline, claims_devices),
        replicas,
        most_replicas: most_replicas(service)?,
        autoscaled,
        replicated: true,
        ..Need::default()
    })
}

/// GPUs of one pod: what the user says, else what the operator assigns to a service that picks a cached
/// profile.
fn gpus_of_pod(
    service: &Value,
    cache: Option<&Value>,
    profile: &str,
) -> Result<Option<(String, u32)>, NeedError> {
    if let Some(stated) = gpu::of(service, "/spec/resources")? {
        return Ok(Some(stated));
    }
    let claims = service.pointer("/spec/draResources").and_then(Value::as_array);
    let assigned = !profile.is_empty()
        && !gpu::is_stated(service)
        && claims.is_none_or(Vec::is_empty)
        && cache.is_none_or(cache::is_optimized);
    if !assigned {
        return Ok(None);
    }
    let tensor = match service.pointer("/spec/multiNode") {
        Some(Value::Object(_)) => gpu::number(service, "/spec/multiNode/parallelism/tensor", 1)?,
        _ => cache
            .and_then(|cache| cache::profile_tag(cache, profile, &["tensorParallelism", "tp"]))
            .map(|tag| {
                gpu::whole(
                    service,
                    "tensor parallelism of the cached profile",
                    &Value::String(tag.to_owned()),
                    1,
                )
            })
            .transpose()?,
    };
    Ok(Some((gpu::DEFAULT_RESOURCE.to_owned(), tensor.unwrap_or(1))))
}

/// Replicas, and whether an autoscaler owns them: then the least it may set is what must fit.
pub(super) fn replicas(service: &Value) -> Result<(u32, bool), NeedError> {
    if service.pointer("/spec/scale/enabled").and_then(Value::as_bool) == Some(true) {
        return Ok((gpu::number(service, "/spec/scale/hpa/minReplicas", 0)?.unwrap_or(1), true));
    }
    Ok((gpu::number(service, "/spec/replicas", 0)?.unwrap_or(1), false))
}

/// The most replicas that an autoscaler may set, which the kind demands of it; 0 without one.
pub(super) fn most_replicas(service: &Value) -> Result<u32, NeedError> {
    if service.pointer("/spec/scale/enabled").and_then(Value::as_bool) != Some(true) {
        return Ok(0);
    }
    Ok(gpu::number(service, "/spec/scale/hpa/maxReplicas", 1)?.unwrap_or(1))
}

fn platforms(service: &Value, pipeline: u32, claims_devices: bool) -> BTreeSet<&'static str> {
    let kserve = text(service, "/spec/inferencePlatform") == KSERVE;
    let mode = service.pointer("/spec/annotations").and_then(|all| all.get(KSERVE_MODE)?.as_str());
    let knative = kserve && matches!(mode, Some("Knative" | "Serverless"));
    [
        kserve.then_some(KSERVE),
        knative.then_some(KNATIVE),
        (pipeline > 1).then_some(LWS),
        claims_devices.then_some(DRA),
    ]
    .into_iter()
    .flatten()
    .collect()
}
