//! GPUs of the serving container: the user's, or as many as the chosen profile of the cache needs.

use std::collections::BTreeMap;

use crds::nim::NIMServiceSpec;
use k8s_openapi::api::core::v1::ResourceRequirements;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use super::storage::CacheView;
use crate::operator::engine::kind::Failure;

/// The resource that is counted.
const GPU: &str = "nvidia.com/gpu";

/// Tags of a profile that say over how many GPUs it is spread, in the order in which they count.
const TAGS: &[&str] = &["tensorParallelism", "tp"];

/// The resources of the serving container. Devices that are claimed, or counted by the user, are not counted again.
pub(super) fn resources(
    spec: &NIMServiceSpec,
    cache: Option<&CacheView>,
) -> Result<Option<ResourceRequirements>, Failure> {
    let given = spec.resources.clone();
    let Some((profile, tags)) = chosen_profile(spec, cache) else { return Ok(given) };
    let claimed = spec.dra_resources.iter().flatten().next().is_some();
    let counted = |map: Option<&BTreeMap<String, Quantity>>| map.is_some_and(|map| map.contains_key(GPU));
    let counts =
        |given: &ResourceRequirements| counted(given.limits.as_ref()) || counted(given.requests.as_ref());
    if claimed || given.as_ref().is_some_and(counts) {
        return Ok(given);
    }
    let count = match spec.multi_node.as_ref().and_then(crds::nim::MultiNode::gpus_per_node) {
        Some(count) => count.to_string(),
        None => of_profile(profile, tags)?.to_string(),
    };
    let mut resources = given.unwrap_or_default();
    for map in [&mut resources.limits, &mut resources.requests] {
        map.get_or_insert_default().insert(GPU.to_owned(), Quantity(count.clone()));
    }
    Ok(Some(resources))
}

/// As many as the profile says, 1 where it says nothing.
fn of_profile(profile: &str, tags: &BTreeMap<String, String>) -> Result<u32, Failure> {
    let Some((tag, value)) = TAGS.iter().find_map(|tag| Some((tag, tags.get(*tag)?))) else { return Ok(1) };
    value.trim().parse().map_err(|_| {
        let message =
            format!("profile {profile}: tag {tag} is {value:?}, not a number of GPUs; set spec.resources");
        Failure::new("InvalidProfile", message)
    })
}

/// The profile that the NIMService names, if its cache has it.
fn chosen_profile<'a>(
    spec: &'a NIMServiceSpec,
    cache: Option<&'a CacheView>,
) -> Option<(&'a str, &'a BTreeMap<String, String>)> {
    let profile = spec.cache_profile()?;
    let tags = cache.filter(|cache| cache.spec.source.is_optimized())?.profiles.get(profile)?;
    Some((profile, tags))
}

#[cfg(test)]
#[allow(clippy::needless_pass_by_value, reason = "literals are handed over as they are written")]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn cache(source: Value) -> CacheView {
        let spec = json!({"source": source, "storage": {"pvc": {}}});
        let tags = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(tag, value)| ((*tag).to_owned(), (*value).to_owned())).collect()
        };
        let profiles = [
            ("both", tags(&[("tp", "2"), ("tensorParallelism", "4")])),
            ("tp", tags(&[("tp", "2")])),
            ("none", tags(&[])),
            ("bad", tags(&[("tp", "x")])),
        ];
        CacheView {
            name: "c".into(),
            spec: serde_json::from_value(spec).unwrap(),
            is_going: false,
            state: "Ready".into(),
            kind: String::new(),
            pvc: "c-pvc".into(),
            profiles: profiles.into_iter().map(|(name, tags)| (name.to_owned(), tags)).collect(),
            problem: String::new(),
            waits: String::new(),
        }
    }

    fn found(source: &Value, profile: &str, patch: &Value) -> Result<Value, Failure> {
        let mut spec = json!({
            "image": {"repository": "r", "tag": "t"},
            "storage": {"nimCache": {"name": "c", "profile": profile}},
        });
        for (key, value) in patch.as_object().unwrap() {
            spec[key] = value.clone();
        }
        let spec = serde_json::from_value(spec).unwrap();
        resources(&spec, Some(&cache(source.clone()))).map(|found| json!(found))
    }

    fn gpus(limits: Value, requests: Value) -> Value {
        let mut all = json!({});
        for (key, value) in [("limits", limits), ("requests", requests)] {
            if !value.is_null() {
                all[key] = value;
            }
        }
        all
    }

    #[test]
    fn accept_gpu_assignment_table() {
        let ngc = json!({"ngc": {"modelPuller": "p", "authSecret": "a"}});
        let hub = json!({"ngc": {"modelPuller": "p", "authSecret": "a", "modelEndpoint": "e"}});
        let of = |count: &str| gpus(json!({GPU: count}), json!({GPU: count}));
        let own = json!({"resources": {"limits": {GPU: "8"}}});
        for (source, profile, patch, expected) in [
            (&ngc, "both", json!({}), of("4")),
            (&ngc, "tp", json!({}), of("2")),
            (&ngc, "none", json!({}), of("1")),
            (&ngc, "unknown", json!({}), json!(null)),
            (&ngc, "", json!({}), json!(null)),
            (&hub, "tp", json!({}), json!(null)),
            (&ngc, "tp", own.clone(), own["resources"].clone()),
            (&ngc, "bad", own.clone(), own["resources"].clone()),
            (&ngc, "tp", json!({"draResources": [{"resourceClaimName": "r"}]}), json!(null)),
            (&ngc, "tp", json!({"multiNode": {"parallelism": {"pipeline": 2, "tensor": 8}}}), of("8")),
            (&ngc, "bad", json!({"multiNode": {"parallelism": {"pipeline": 2, "tensor": 8}}}), of("8")),
            (&ngc, "tp", json!({"multiNode": {"parallelism": {"pipeline": 2}}}), of("2")),
        ] {
            assert_eq!(found(source, profile, &patch), Ok(expected), "{profile} {patch}");
        }
        let why = found(&ngc, "bad", &json!({})).unwrap_err();
        assert_eq!(why.reason, "InvalidProfile");
        assert!(why.message.contains("profile bad: tag tp is \"x\""), "{}", why.message);
    }

    #[test]
    fn b05_only_limits_or_only_requests_are_completed() {
        let ngc = json!({"ngc": {"modelPuller": "p", "authSecret": "a"}});
        for (given, expected) in [
            (json!({"limits": {"cpu": "4"}}), gpus(json!({"cpu": "4", GPU: "2"}), json!({GPU: "2"}))),
            (json!({"requests": {"cpu": "4"}}), gpus(json!({GPU: "2"}), json!({"cpu": "4", GPU: "2"}))),
            (json!({"requests": {GPU: "8"}}), json!({"requests": {GPU: "8"}})),
        ] {
            assert_eq!(found(&ngc, "tp", &json!({"resources": given})), Ok(expected), "{given}");
        }
    }
}
