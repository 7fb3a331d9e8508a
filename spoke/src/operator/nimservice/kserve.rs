//! The KServe platform: an InferenceService.

mod inference_service;
mod limits;
mod mode;
mod predictor;
mod scaling;
mod setup;

use std::sync::Arc;
use std::time::Duration;

use crds::nim::{InferencePlatform, NIMService, NIMServiceSpec};
use kube::core::DynamicObject;
use serde_json::Value;

use super::scene::{Scene, complete, fails, partial};
use super::storage::{self, Gate};
use super::{Verdict, claims, gpu, identity, monitor, profile};
use crate::operator::engine::call::CallError;
use crate::operator::engine::child::ChildKind;
use crate::operator::engine::kind::{Again, Failure, Rendered, Subject};
use crate::operator::engine::world::World;
use crate::operator::microservice::readiness::Readiness;
use inference_service::VISIBILITY;
use mode::{Mode, Setup};

/// When to look again at what nobody tells us of.
const AGAIN: Duration = Duration::from_secs(30);

/// KServe as it is set up in this cluster, and what it has made of the service.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    /// The deployment mode of the InferenceService that there is.
    in_use: Option<String>,
    /// The annotation for it on the pods of that InferenceService, as its user wrote it; none where they bear none of ours.
    on_pods: Option<String>,
    setup: Setup,
    /// Whether this KServe knows `predictor.autoScaling` and the autoscaler class `none`: 0.15 and later.
    scales_by_metrics: bool,
    /// The Deployment of the name that KServe gives the predictor's.
    deployment: Option<Arc<DynamicObject>>,
}

impl Default for Seen {
    fn default() -> Self {
        Self { in_use: None, on_pods: None, setup: Setup::Unasked, scales_by_metrics: true, deployment: None }
    }
}

/// Looks at it. KServe's settings are asked for only until an InferenceService tells its own mode.
pub(super) async fn observe(
    object: &NIMService,
    subject: &Subject,
    world: &World,
) -> Result<Seen, CallError> {
    if object.spec.platform() != Ok(InferencePlatform::KServe) {
        return Ok(Seen::default());
    }
    let owner = &subject.owner;
    let live = world.child(ChildKind::InferenceService, &owner.namespace, &owner.name);
    let text = |pointer: &str| {
        let found = live.as_ref().and_then(|live| live.data.pointer(pointer)?.as_str());
        found.filter(|text| !text.is_empty()).map(str::to_owned)
    };
    let in_use = text("/status/deploymentMode");
    let on_pods = text("/spec/predictor/annotations/serving.kserve.io~1deploymentMode");
    let deployment = world.child(ChildKind::Deployment, &owner.namespace, &predictor_name(&owner.name));
    // Without the kind there is no KServe to ask for; the engine says so by itself.
    if !world.facts.borrow().installed.contains(&ChildKind::InferenceService) {
        return Ok(Seen { in_use, on_pods, deployment, ..Seen::default() });
    }
    let scales_by_metrics = setup::scales_by_metrics(&world.client, subject.now).await?;
    let setup = match in_use {
        None => setup::setup(&world.client, subject.now).await?,
        Some(_) => Setup::Unasked,
    };
    Ok(Seen { in_use, on_pods, setup, scales_by_metrics, deployment })
}

/// The Deployment that KServe has made, as JSON; null where there is none.
pub(super) fn deployment(seen: &Seen) -> Value {
    let found = seen.deployment.as_deref();
    found.and_then(|found| serde_json::to_value(found).ok()).unwrap_or_default()
}

/// Name of the Deployment that KServe makes in Standard mode.
pub(super) fn predictor_name(service: &str) -> String {
    format!("{service}-predictor")
}

/// All objects. KServe makes the Service, the autoscaler and the way in.
pub(super) fn render(scene: &Scene<'_>) -> Rendered<Verdict> {
    let Scene { subject, spec, refs, .. } = *scene;
    let seen = &refs.kserve;
    let mode = match mode::choose(seen.in_use.as_deref(), spec.annotations.as_ref(), &seen.setup) {
        Ok(mode) => mode,
        Err(why) => return fails(Vec::new(), why),
    };
    if let Err(why) = limits::check(spec, mode) {
        return fails(Vec::new(), why);
    }
    let tightest =
        Some(crds::names::ON_KSERVE_STANDARD).filter(|_| mode.is_standard() && seen.in_use.is_none());
    if let Some(problem) = tightest.and_then(|rule| rule.refusal("metadata.name", scene.name())) {
        let message = format!("{problem}: make it again under another name");
        return fails(Vec::new(), Failure::new("InvalidSpec", message));
    }
    let mut children = identity::children(&scene.microservice()).to_vec();
    let store = match storage::choose(subject, spec, scene.cache()) {
        Ok(store) => store,
        Err(Gate::Waits(why)) => return partial(children, Verdict::Waits(why)),
        Err(Gate::Fails(why)) => return fails(children, why),
    };
    if mode.is_standard() {
        children.extend(monitor::child(&scene.microservice(), spec));
    }
    if let Err(why) = profile::check(spec, scene.cache()) {
        return fails(children, why);
    }
    let resources = match gpu::resources(spec, scene.cache()) {
        Ok(resources) => resources,
        Err(why) => return fails(children, why),
    };
    match claims::children(scene) {
        Ok(claimed) => children.extend(claimed),
        Err(why) => return fails(children, why),
    }
    children.extend(store.claim.clone());
    children.push(inference_service::child(scene, mode, &store, resources));
    complete(children, ChildKind::InferenceService)
}

/// When to look again at a NIMService that cannot be rendered: KServe's own settings are not watched.
pub(super) fn again(why: &Failure) -> Again {
    if mode::may_pass(&why.reason) { Again::After(AGAIN) } else { Again::No }
}

/// Reads a live InferenceService and the Deployment that KServe made of it; then what of the spec KServe has no place for,
/// and what it sets although the spec does not say it.
pub(super) fn readiness(name: &str, spec: &NIMServiceSpec, seen: &Seen, live: &Value) -> Readiness {
    let found = predictor::readiness(name, seen.deployment.as_deref(), live);
    let in_use = seen.in_use.as_deref().and_then(Mode::parse);
    let mut words = vec![found.message];
    words.extend(in_use.and_then(|mode| mode::kept(name, mode, spec.annotations.as_ref())));
    words.extend(predictor::stock_limits(spec, live));
    words.extend(limits::without_effect(spec, seen.scales_by_metrics));
    words.retain(|words| !words.is_empty());
    Readiness { message: words.join("; "), ..found }
}

/// Where the model is reached, inside the cluster and from outside: URLs, as KServe tells them. It tells one for outside
/// of a service that is for the cluster alone, too.
pub(super) fn endpoints(live: &Value) -> (String, String) {
    let text = |url: &Value| url.as_str().unwrap_or_default().to_owned();
    let is_local = live["metadata"]["labels"][VISIBILITY] == "cluster-local";
    let outside = if is_local { String::new() } else { text(&live["status"]["url"]) };
    (text(&live["status"]["address"]["url"]), outside)
}

#[cfg(test)]
impl Seen {
    /// The mode of an InferenceService that there is.
    pub(super) fn in_use(mode: &str) -> Self {
        Self { in_use: Some(mode.to_owned()), ..Self::default() }
    }

    /// The same with the annotation for it on its pods.
    fn on_pods(self, annotation: Option<&str>) -> Self {
        Self { on_pods: annotation.map(str::to_owned), ..self }
    }

    /// The same with a Deployment that KServe has made.
    pub(super) fn made(self, deployment: DynamicObject) -> Self {
        Self { deployment: Some(Arc::new(deployment)), ..self }
    }
}

#[cfg(test)]
mod tests;
