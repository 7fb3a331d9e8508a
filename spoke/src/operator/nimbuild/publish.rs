//! Adds what was built to the cache: its manifest to the ConfigMap, its profile to the status. Both may be done again.

use kube::api::{Patch, PatchParams};
use kube::core::DynamicObject;
use serde_json::{Value, json};

use crate::operator::engine::call::{CallError, call};
use crate::operator::engine::child::ChildKind;
use crate::operator::engine::kind::Kind;
use crate::operator::engine::world::World;
use crate::operator::nimcache::{NimCaches, parse_manifest};

/// Field manager of what is added, apart from the cache's own: neither takes the other's key away.
const MANAGER: &str = "nimfleet-spoke-build";
/// Key of the built manifest.
const KEY: &str = "local_model_manifest.yaml";
/// Tag of a built profile that names its model.
const MODEL: &str = "model_name";

/// The profile of that model in what was printed, and all that was printed without its lists of files.
pub(super) fn find(printed: &str, model: &str) -> Result<(Value, String), String> {
    let manifest = parse_manifest(printed).map_err(|error| error.to_string())?;
    let found = manifest.profiles.iter().find(|profile| profile.tags.get(MODEL).is_some_and(|n| n == model));
    let found = found.ok_or_else(|| {
        format!("none of the {} profiles that were built has this {MODEL}", manifest.profiles.len())
    })?;
    Ok((found.shown(), manifest.minimal()))
}

/// The cache's profiles and this one; `None` when it is among them.
pub(super) fn with(profiles: &Value, profile: &Value) -> Option<Vec<Value>> {
    let mut profiles = profiles.as_array().cloned().unwrap_or_default();
    let known = profiles.iter().any(|known| known["name"] == profile["name"]);
    profiles.push(profile.clone());
    (!known).then_some(profiles)
}

/// Writes both.
pub(super) async fn publish(
    world: &World,
    cache: &DynamicObject,
    manifest: &str,
    profile: &Value,
) -> Result<(), CallError> {
    let name = cache.metadata.name.as_deref().unwrap_or_default();
    let namespace = cache.metadata.namespace.as_deref().unwrap_or_default();
    let map = format!("{name}-manifest");
    let body = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": map, "namespace": namespace},
        "data": {KEY: manifest},
    });
    let maps = world.api(namespace, &ChildKind::ConfigMap.resource());
    let params = PatchParams::apply(MANAGER).force();
    call(|| format!("apply ConfigMap {map}"), maps.patch(&map, &params, &Patch::Apply(&body))).await?;

    let Some(profiles) = with(&cache.data["status"]["profiles"], profile) else { return Ok(()) };
    let change = json!({
        "metadata": {"resourceVersion": cache.metadata.resource_version},
        "status": {"profiles": profiles},
    });
    let caches = world.api(namespace, &NimCaches::resource());
    let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
    let what = || format!("add a profile to NIMCache {name}");
    call(what, caches.patch_status(name, &params, &Patch::Merge(&change))).await.map(drop)
}
