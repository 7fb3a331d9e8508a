//! What a NIMCache points at and what became of it so far.

use std::sync::Arc;

use crds::nim::{NIMCache, NIMSource};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::Api;
use kube::api::LogParams;
use kube::core::DynamicObject;
use serde_json::Value;

use super::extraction::{self, KEY};
use super::job::source::Image;
use super::manifest::{self, Manifest};
use super::{NimCaches, job, pods, progress};
use crate::operator::diagnosis;
use crate::operator::engine::call::{CallError, call, call_opt};
use crate::operator::engine::child::ChildKind;
use crate::operator::engine::kind::{Failure, Kind, Subject};
use crate::operator::engine::world::World;
use crate::operator::references::missing_secret;
use crate::operator::registry::{self, Layout};

/// Longest manifest that is read, in bytes. Those of today are some hundred KiB.
const LONGEST: i64 = 16 * 1024 * 1024;

/// On the NIMCache: profiles that a user chose by hand, as a JSON list.
pub(super) const CHOSEN: &str = "nvidia.com/selected-profiles";

/// Everything observed.
#[allow(clippy::struct_excessive_bools, reason = "each is a finding of its own")]
#[derive(Clone, Debug, Default)]
pub(crate) struct Refs {
    /// A claim that is not ours to make exists, or need not be looked for any more.
    pub(super) claim_found: bool,
    /// The claim is about to go: what was stored in it goes with it.
    pub(super) claim_going: bool,
    /// Some NIMCache of the namespace uses a proxy.
    pub(super) proxies: bool,
    /// The manifest as kept or as printed.
    pub(super) manifest: Option<String>,
    /// What else is known of the image.
    pub(super) image: Image,
    /// Its registry is being asked for the first time.
    pub(super) inspecting: bool,
    /// The image has neither a manifest nor the program of a NIM; it fetches from a hub all the same.
    pub(super) no_nim: bool,
    pub(super) job: Option<Value>,
    pub(super) job_pods: Vec<Value>,
    /// What events say of a pod, or of a Job without one, that does not say itself why it does not begin.
    pub(super) told: Option<Failure>,
    /// What the spec names and the namespace lacks, in words.
    pub(super) missing: Vec<String>,
}

impl Refs {
    /// `native` or `model-free` where that is known.
    pub(super) fn kind(&self) -> &'static str {
        match self.image {
            Image { native: true, .. } => "native",
            Image { model_free: true, .. } => "model-free",
            Image { .. } => "",
        }
    }

    /// True as long as the image has to be asked what it has.
    pub(super) fn image_unknown(&self) -> bool {
        self.job.is_none() && self.manifest.is_none() && !self.no_nim && self.image == Image::default()
    }

    pub(super) fn read_manifest(&self) -> Result<Option<Manifest>, String> {
        self.manifest.as_deref().map(manifest::parse).transpose().map_err(|error| error.to_string())
    }

    /// The profiles that the job downloads.
    pub(super) fn selected_by_job(&self) -> Option<Vec<String>> {
        let annotation = self.job.as_ref()?["metadata"]["annotations"][job::SELECTED].as_str()?.to_owned();
        serde_json::from_str(&annotation).ok()
    }

    /// The generation of the NIMCache that the job downloads for.
    pub(super) fn made_for(&self) -> Option<i64> {
        self.job.as_ref()?["metadata"]["annotations"][job::MADE_FOR].as_str()?.parse().ok()
    }
}

/// True when the model is stored.
pub(super) fn is_ready(subject: &Subject) -> bool {
    subject.status["state"] == "Ready"
}

/// The profiles that a user chose by annotation.
pub(super) fn selected_by_user(subject: &Subject) -> Option<Vec<String>> {
    let ids: Vec<String> = serde_json::from_str(subject.annotations.get(CHOSEN)?).ok()?;
    (!ids.is_empty()).then_some(ids)
}

/// Gathers it. The API server is asked only until the download has begun.
pub(super) async fn observe(object: &NIMCache, subject: &Subject, world: &World) -> Result<Refs, CallError> {
    let (namespace, name) = (&subject.owner.namespace, &subject.owner.name);
    let ours = |object: &Arc<DynamicObject>| {
        object.metadata.owner_references.iter().flatten().any(|owner| owner.uid == subject.owner.uid)
    };
    let child =
        |kind, name: &str| world.child(kind, namespace, name).filter(ours).map(|object| to_value(&object));
    let claim = world.child(ChildKind::PersistentVolumeClaim, namespace, &object.spec.claim_name(name));
    let mut refs = Refs {
        claim_going: claim.is_some_and(|claim| claim.metadata.deletion_timestamp.is_some()),
        job: child(ChildKind::Job, &job::name(subject)),
        proxies: proxies(world, namespace),
        ..Refs::default()
    };
    // Nobody needs the key once the model is stored.
    let key = object.spec.source.auth_secret().filter(|_| !is_ready(subject));
    refs.missing = missing_secret(world, subject, key, secret_field(&object.spec.source));
    if is_ready(subject) {
        refs.claim_found = true;
        return Ok(refs);
    }
    refs.job_pods = refs.job.as_ref().map(|job| job_pods(world, namespace, job)).unwrap_or_default();
    if let Some(job) = &refs.job {
        refs.told = match refs.job_pods.iter().rev().find(|pod| pod["status"]["phase"] == "Pending") {
            Some(pod) => diagnosis::of_pod(subject, world, pod, &object.spec.claim_name(name)).await,
            None if progress::is_idle(job, &refs.job_pods) => diagnosis::of_job(subject, world, job).await,
            None => None,
        };
    }
    refs.claim_found = refs.job.is_some() || claim_exists(object, namespace, name, world).await?;
    let config = child(ChildKind::ConfigMap, &extraction::config_name(subject));
    refs.manifest = config.and_then(|config| config["data"][KEY].as_str().map(str::to_owned));
    refs.image = Image {
        native: object.spec.source.is_optimized() && subject.status["type"] == "native",
        model_free: subject.status["type"] == "model-free",
    };
    // What has been begun goes on as it was begun.
    if refs.image_unknown() && object.spec.source.is_optimized() {
        let source = &object.spec.source;
        let secrets: Vec<&str> = source.pull_secret().into_iter().collect();
        let image = source.model_puller().unwrap_or_default();
        match registry::layout(world, subject, image, &secrets).await {
            Layout::Native => refs.image.native = true,
            Layout::Asking => refs.inspecting = true,
            Layout::Legacy | Layout::Unknown(_) => {}
        }
    }
    if refs.image_unknown() && !refs.inspecting {
        let pod = child(ChildKind::Pod, &extraction::pod_name(subject));
        if let Some(pod) = &pod {
            refs.told = diagnosis::of_pod(subject, world, pod, &object.spec.claim_name(name)).await;
        }
        if let Some(pod) = pod.filter(|pod| diagnosis::waiting(pod).is_none()) {
            let printed = printed(subject, world).await?;
            let hub = object.spec.source.is_hugging_face();
            refs.no_nim = hub && extraction::says_no_nim(&printed);
            refs.image.model_free = !refs.no_nim && extraction::says_absent(&printed);
            let whole = refs.image_unknown() && extraction::is_whole(&printed, &pod, subject.now);
            refs.manifest = whole.then_some(printed);
        }
    }
    Ok(refs)
}

/// The field that names the Secret with the key of the source.
fn secret_field(source: &NIMSource) -> &'static str {
    match source {
        NIMSource { ngc: Some(_), .. } => "spec.source.ngc.authSecret",
        NIMSource { hf: Some(_), .. } => "spec.source.hf.authSecret",
        NIMSource { .. } => "spec.source.dataStore.authSecret",
    }
}

/// Is a claim there that the NIMCache names but does not make?
async fn claim_exists(
    object: &NIMCache,
    namespace: &str,
    name: &str,
    world: &World,
) -> Result<bool, CallError> {
    if super::creates_claim(&object.spec) {
        return Ok(true);
    }
    let claim = object.spec.claim_name(name);
    let api: Api<PersistentVolumeClaim> = Api::namespaced(world.client.clone(), namespace);
    let what = || format!("get PersistentVolumeClaim {claim}");
    Ok(call_opt(what, api.get_metadata(&claim)).await?.is_some())
}

/// What the manifest pod has printed so far.
async fn printed(subject: &Subject, world: &World) -> Result<String, CallError> {
    let pod = extraction::pod_name(subject);
    let api: Api<Pod> = Api::namespaced(world.client.clone(), &subject.owner.namespace);
    let params = LogParams {
        container: Some(pods::CONTAINER.to_owned()),
        limit_bytes: Some(LONGEST),
        ..LogParams::default()
    };
    call(|| format!("read the log of pod {pod}"), api.logs(&pod, &params)).await
}

fn job_pods(world: &World, namespace: &str, job: &Value) -> Vec<Value> {
    let uid = job["metadata"]["uid"].as_str().unwrap_or_default();
    let Some(cache) = world.children.get(&ChildKind::Pod) else { return Vec::new() };
    let owned =
        |pod: &DynamicObject| pod.metadata.owner_references.iter().flatten().any(|owner| owner.uid == uid);
    let mut pods = cache.of_namespace(namespace, owned);
    pods.sort_by_key(|pod| pod.metadata.creation_timestamp.clone());
    pods.iter().map(to_value).collect()
}

fn proxies(world: &World, namespace: &str) -> bool {
    let Some(cache) = world.subjects.get(NimCaches::KIND) else { return false };
    !cache.of_namespace(namespace, |cache| cache.data["spec"]["proxy"].is_object()).is_empty()
}

fn to_value(object: &Arc<DynamicObject>) -> Value {
    serde_json::to_value(object.as_ref()).unwrap_or_default()
}
