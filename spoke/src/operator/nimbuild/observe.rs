//! What a NIMBuild points at, and what its pods have printed.

use std::sync::Arc;

use crds::nim::{NIMBuild, NIMCache, NIMCacheSpec};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::LogParams;
use kube::core::DynamicObject;
use serde_json::Value;

use super::status::{self, Wait};
use super::{pods, profile, publish};
use crate::operator::diagnosis;
use crate::operator::engine::call::{CallError, call};
use crate::operator::engine::child::ChildKind;
use crate::operator::engine::condition::Conditions;
use crate::operator::engine::kind::{Failure, Kind, Subject};
use crate::operator::engine::own::controller;
use crate::operator::engine::shell::parse;
use crate::operator::engine::world::World;
use crate::operator::nimcache::{self, NimCaches, is_whole};

/// Longest manifest that is read, in bytes: what was built is one profile among few.
const LONGEST: i64 = 4 * 1024 * 1024;

/// The NIMCache that a build begins with.
#[derive(Clone, Debug)]
pub(super) struct CacheView {
    pub(super) spec: NIMCacheSpec,
    pub(super) status: Value,
}

impl CacheView {
    /// The claim that holds the model: the one that the status names, or the usual one of a cache of this name.
    pub(super) fn claim_name(&self, cache: &str) -> String {
        let told = self.status["pvc"].as_str().filter(|name| !name.is_empty());
        told.map_or_else(|| self.spec.claim_name(cache), str::to_owned)
    }
}

/// Everything observed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Refs {
    pub(super) cache: Option<CacheView>,
    /// The profile that was built, once it was read and written into the cache; or why there is none.
    pub(super) printed: Option<Result<Value, String>>,
    /// What events say of a pod that does not say itself why it does not begin.
    pub(super) told: Option<Failure>,
}

impl Refs {
    /// The cache, if it can be built from.
    pub(super) fn ready_cache(&self, name: &str) -> Result<&CacheView, Wait> {
        let Some(cache) = &self.cache else {
            return Err(Wait::NotFound(format!("NIMCache {name} not found")));
        };
        match cache.status["state"].as_str().unwrap_or_default() {
            "Ready" => Ok(cache),
            "Failed" => {
                let problem = nimcache::problem(&Conditions::read(&cache.status));
                Err(Wait::Failed(format!("NIMCache {name} failed: {problem}")))
            }
            "" => Err(Wait::NotReady(format!("NIMCache {name} not ready"))),
            state => {
                let told = nimcache::waits(&Conditions::read(&cache.status));
                let why = if told.is_empty() { String::new() } else { format!("; {told}") };
                Err(Wait::NotReady(format!("NIMCache {name} not ready: it is {state}{why}")))
            }
        }
    }
}

/// Gathers it.
pub(super) async fn observe(object: &NIMBuild, subject: &Subject, world: &World) -> Result<Refs, CallError> {
    let name = &object.spec.nim_cache.name;
    let namespace = &subject.owner.namespace;
    let cache = world.subject(NimCaches::KIND, namespace, name).and_then(|found| {
        let parsed: NIMCache = parse::<NimCaches>(&found).ok()?;
        Some((CacheView { spec: parsed.spec, status: found.data["status"].clone() }, found))
    });
    let Some((view, found)) = cache else { return Ok(Refs::default()) };
    let conditions = Conditions::read(&subject.status);
    let mut refs = Refs { cache: Some(view), ..Refs::default() };
    if status::is_done(&conditions) {
        return Ok(refs);
    }
    let is_built = status::is_built(&conditions);
    let ours = |pod: &Arc<DynamicObject>| {
        controller(&pod.metadata).is_some_and(|owner| owner.uid == subject.owner.uid)
    };
    let name = if is_built { pods::printing_name(subject) } else { pods::building_name(subject) };
    let pod = world.child(ChildKind::Pod, namespace, &name).filter(ours);
    let pod = pod.and_then(|pod| serde_json::to_value(pod.as_ref()).ok()).unwrap_or_default();
    let claim = found.data["status"]["pvc"].as_str().unwrap_or_default();
    refs.told = diagnosis::of_pod(subject, world, &pod, claim).await;
    if !is_built || pod["status"]["phase"] != "Running" {
        return Ok(refs);
    }
    let printed = printed(subject, world).await?;
    if !is_whole(&printed, &pod, subject.now) {
        return Ok(refs);
    }
    let model = pods::model_name(subject, &object.spec);
    refs.printed = match (publish::find(&printed, model), profile::stored(&subject.status)) {
        (Ok((found_profile, manifest)), Some(from)) => {
            let shown = profile::built(&found_profile, &from);
            publish::publish(world, &found, &manifest, &shown).await?;
            Some(Ok(shown))
        }
        (Ok(_), None) => Some(Err("the profile that it was built from is no longer known".to_owned())),
        (Err(problem), _) => Some(Err(problem)),
    };
    Ok(refs)
}

async fn printed(subject: &Subject, world: &World) -> Result<String, CallError> {
    let pod = pods::printing_name(subject);
    let api: Api<Pod> = Api::namespaced(world.client.clone(), &subject.owner.namespace);
    let params = LogParams {
        container: Some(pods::PRINTER.to_owned()),
        limit_bytes: Some(LONGEST),
        ..LogParams::default()
    };
    call(|| format!("read the log of pod {pod}"), api.logs(&pod, &params)).await
}
