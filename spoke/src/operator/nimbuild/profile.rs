//! Which profile of the cache an engine is built from, and on how many GPUs.

use std::collections::BTreeMap;

use crds::nim::NIMBuildSpec;
use k8s_openapi::api::core::v1::ResourceRequirements;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use serde_json::{Value, json};

use super::status::NoProfile;
use crate::operator::engine::kind::Failure;

/// The resource that is counted.
const GPU: &str = "nvidia.com/gpu";
/// Tags that say over how many GPUs an engine is spread, in the order in which they count.
const TAGS: &[&str] = &["tp", "tensorParallelism"];

/// A profile as a status shows it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Chosen {
    pub(super) shown: Value,
}

impl Chosen {
    pub(super) fn name(&self) -> &str {
        self.shown["name"].as_str().unwrap_or_default()
    }

    pub(super) fn tag(&self, name: &str) -> Option<&str> {
        self.shown["config"][name].as_str()
    }

    /// What the build asks of its node: what the profile needs, or what the user says where the profile says nothing.
    pub(super) fn resources(&self, spec: &NIMBuildSpec) -> Result<ResourceRequirements, Failure> {
        let given = spec.resources.clone().unwrap_or_default();
        let named =
            |map: &Option<BTreeMap<String, Quantity>>| map.as_ref().is_some_and(|map| map.contains_key(GPU));
        let by_user = named(&given.limits) || named(&given.requests);
        let mut resources =
            ResourceRequirements { limits: given.limits, requests: given.requests, claims: None };
        let tag = TAGS.iter().find_map(|tag| Some((*tag, self.tag(tag)?)));
        match (tag, by_user) {
            (Some((tag, count)), false) => {
                let count: u32 = count.trim().parse().map_err(|_| {
                    let message =
                        format!("profile {}: tag {tag} is {count:?}, not a number of GPUs", self.name());
                    Failure::new("InvalidProfile", message)
                })?;
                for map in [&mut resources.limits, &mut resources.requests] {
                    map.get_or_insert_default().insert(GPU.to_owned(), Quantity(count.to_string()));
                }
                Ok(resources)
            }
            (None, true) => Ok(resources),
            (Some((_, count)), true) => {
                let message = format!(
                    "spec.resources names {GPU}, and profile {} needs {count}: leave it out of spec.resources",
                    self.name()
                );
                Err(Failure::new("InvalidSpec", message))
            }
            (None, false) => {
                let message = format!(
                    "profile {} does not say how many GPUs it needs: set {GPU} in spec.resources.limits",
                    self.name()
                );
                Err(Failure::new("InvalidSpec", message))
            }
        }
    }
}

/// The profile that was chosen before.
pub(super) fn stored(status: &Value) -> Option<Chosen> {
    let shown = status.get("inputProfile").filter(|shown| shown["name"].is_string())?;
    Some(Chosen { shown: shown.clone() })
}

/// The profile that the spec names, or the only one that can be built from.
pub(super) fn choose(spec: &NIMBuildSpec, cache: &Value) -> Result<Chosen, NoProfile> {
    let profiles = cache["profiles"].as_array().map(Vec::as_slice).unwrap_or_default();
    let buildable: Vec<&Value> =
        profiles.iter().filter(|profile| profile["config"]["trtllm_buildable"] == "true").collect();
    let cache = &spec.nim_cache.name;
    if let Some(name) = spec.nim_cache.profile.as_deref().filter(|name| !name.is_empty()) {
        let found = buildable.iter().find(|profile| profile["name"] == name);
        return found.map(|shown| Chosen { shown: (*shown).clone() }).ok_or_else(|| {
            let known = profiles.iter().any(|profile| profile["name"] == name);
            let why = if known { "cannot be built from (trtllm_buildable)" } else { "is not cached" };
            NoProfile::None(format!("spec.nimCache.profile {name:?} {why} in NIMCache {cache}"))
        });
    }
    match buildable.as_slice() {
        [only] => Ok(Chosen { shown: (*only).clone() }),
        [] => Err(NoProfile::None(format!("NIMCache {cache} has no profile that can be built from"))),
        many => {
            let names: Vec<&str> = many.iter().filter_map(|profile| profile["name"].as_str()).collect();
            Err(NoProfile::Several(format!(
                "NIMCache {cache} has {} profiles that can be built from: set spec.nimCache.profile to one of {}",
                names.len(),
                names.join(", ")
            )))
        }
    }
}

/// What was built, with the profile that it was built from.
pub(super) fn built(found: &Value, from: &Chosen) -> Value {
    let mut shown = found.clone();
    shown["config"]["input_profile"] = json!(from.name());
    shown
}
