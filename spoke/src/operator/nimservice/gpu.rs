//! GPUs of the serving container: the user's, or as many as the chosen profile of the cache needs.

use crds::nim::NIMServiceSpec;
use k8s_openapi::api::core::v1::ResourceRequirements;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use super::storage::CacheView;
use crate::operator::engine::kind::Failure;

/// The resource that is counted.
const GPU: &str = "nvidia.com/gpu";

/// Tags of a profile that say over how many GPUs it is spread, in the order in which they count.
const TAGS: &[&str] = &["tensorParallelism", "tp"];

/// The resources of the serving container.
pub(super) fn resources(
    spec: &NIMServiceSpec,
    cache: Option<&CacheView>,
) -> Result<Option<ResourceRequirements>, Failure> {
    let given = spec.resources.clone();
    let Some((profile, tags)) = chosen_profile(spec, cache) else { return Ok(given) };
    let named = |map: Option<&std::collections::BTreeMap<String, Quantity>>| {
        map.is_some_and(|map| map.contains_key(GPU))
    };
    if given.as_ref().is_some_and(|given| named(given.limits.as_ref()) || named(given.requests.as_ref())) {
        return Ok(given);
    }
    let count = match TAGS.iter().find_map(|tag| Some((tag, tags.get(*tag)?))) {
        None => 1,
        Some((tag, value)) => value.trim().parse::<u32>().map_err(|_| {
            let message = format!(
                "profile {profile}: tag {tag} is {value:?}, not a number of GPUs; set spec.resources"
            );
            Failure::new("InvalidProfile", message)
        })?,
    };
    let mut resources = given.unwrap_or_default();
    for map in [&mut resources.limits, &mut resources.requests] {
        map.get_or_insert_default().insert(GPU.to_owned(), Quantity(count.to_string()));
    }
    Ok(Some(resources))
}

/// The profile that the NIMService names, if its cache has it.
fn chosen_profile<'a>(
    spec: &'a NIMServiceSpec,
    cache: Option<&'a CacheView>,
) -> Option<(&'a str, &'a std::collections::BTreeMap<String, String>)> {
    let profile = spec.cache_profile()?;
    let tags = cache.filter(|cache| cache.spec.source.is_optimized())?.profiles.get(profile)?;
    Some((profile, tags))
}
