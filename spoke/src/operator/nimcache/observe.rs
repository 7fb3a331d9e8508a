//! What a NIMCache points at and what became of it so far.

use std::sync::Arc;

use crds::marks::RETRY_ANNOTATION;
use crds::nim::{NIMCache, NIMCacheSpec, NIMSource};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::LogParams;
use kube::core::DynamicObject;
use serde_json::Value;

use super::extraction::{self, KEY};
use super::filled::{self, Claim, Filled};
use super::job::source::Image;
use super::manifest::{self, Manifest};
use super::progress::{self, Progress};
use super::{NimCaches, in_use, job, pods};
use crate::operator::diagnosis;
use crate::operator::engine::call::{CallError, call, call_opt};
use crate::operator::engine::child::{ChildKind, Owner};
use crate::operator::engine::kind::{Failure, Kind, Subject};
use crate::operator::engine::own::was_of;
use crate::operator::engine::world::World;
use crate::operator::references::missing_secret;
use crate::operator::registry::{self, Layout};

/// Longest manifest that is read, in bytes. Those of today are some hundred KiB.
const LONGEST: i64 = 16 * 1024 * 1024;

/// How long the log of a pod that has just started may be refused before that is told.
const LOG_COMES: SignedDuration = SignedDuration::from_secs(5);

/// Characters of a NIMCache's uid in the name of a claim whose usual name is taken.
const OF_UID: usize = 5;

/// On the NIMCache: profiles that a user chose by hand, as a JSON list.
pub(super) const CHOSEN: &str = "nvidia.com/selected-profiles";

/// Everything observed.
#[allow(clippy::struct_excessive_bools, reason = "each is a finding of its own")]
#[derive(Clone, Debug, Default)]
pub(crate) struct Refs {
    /// Name of the claim that holds, or is to hold, the model.
    pub(super) claim_name: String,
    /// That claim. One that is to be made is looked for only once something may have been stored on it.
    pub(super) claim: Option<Claim>,
    /// What was stored, and where.
    pub(super) filled: Option<Filled>,
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
    /// Why the log of the manifest pod cannot be read.
    pub(super) unreadable: Option<String>,
    /// The job, unless it is being deleted.
    pub(super) job: Option<Value>,
    /// Uid of a job that an orphaning deletion of the NIMCache left behind, or that was restored without its owner.
    pub(super) orphaned_job: Option<String>,
    pub(super) job_pods: Vec<Value>,
    /// What events say of a pod, or of a Job without one, that does not say itself why it does not begin.
    pub(super) told: Option<Failure>,
    /// What the spec names and the namespace lacks, in words.
    pub(super) missing: Vec<String>,
}

/// What is stored on the claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Store {
    /// Nothing that is known of.
    Empty,
    /// There is no claim, and nothing was stored.
    Missing,
    /// The claim is being deleted.
    Going,
    /// The claim that was filled has gone, or another has its name: the uid that it had.
    Lost(String),
    /// The model; it was noted so, unless it was stored before such notes were made.
    Filled(Option<Filled>),
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

    /// Uid of the job.
    pub(super) fn job_uid(&self) -> Option<&str> {
        self.job.as_ref()?["metadata"]["uid"].as_str()
    }

    /// What is stored on the claim, as far as is known.
    pub(super) fn store(&self, subject: &Subject, spec: &NIMCacheSpec) -> Store {
        let was_ready = is_ready(subject);
        let Some(claim) = &self.claim else {
            return match &self.filled {
                Some(filled) if was_ready => Store::Lost(filled.uid.clone()),
                None if was_ready => Store::Lost("unknown".to_owned()),
                _ => Store::Missing,
            };
        };
        if claim.is_going {
            return Store::Going;
        }
        // The claim of a NIMCache that has gone goes with it.
        let uid = &subject.owner.uid;
        let is_predecessors =
            super::creates_claim(spec) && claim.controller.as_ref().is_some_and(|owner| owner != uid);
        match self.filled.as_ref().or(claim.filled.as_ref()).filter(|filled| filled.is_on(claim)) {
            Some(filled) if was_ready || !is_predecessors && filled.is_asked_by(spec) => {
                Store::Filled(Some(filled.clone()))
            }
            None if was_ready => match &self.filled {
                Some(filled) => Store::Lost(filled.uid.clone()),
                None => Store::Filled(None),
            },
            _ => Store::Empty,
        }
    }

    /// Why the job that there is is of no use any more: it filled a claim that has gone, or it failed for another
    /// generation of the NIMCache, or before somebody asked for a retry.
    pub(super) fn superseded(&self, subject: &Subject) -> Option<Failure> {
        let job = self.job.as_ref()?;
        let annotation = |key: &str| job["metadata"]["annotations"][key].as_str();
        let name = job["metadata"]["name"].as_str().unwrap_or_default();
        let why = match progress::of(job, &self.job_pods, None) {
            Progress::Succeeded => {
                let ended = job["status"]["completionTime"].as_str();
                let ended = ended.and_then(|at| at.parse::<Timestamp>().ok());
                let is_other = self.claim.as_ref().is_none_or(|claim| {
                    let noted =
                        self.filled.as_ref().filter(|filled| Some(filled.job.as_str()) == self.job_uid());
                    noted.is_some_and(|filled| !filled.is_on(claim))
                        || ended.zip(claim.created).is_some_and(|(ended, created)| ended < created)
                });
                is_other.then_some("filled a claim that has gone")
            }
            Progress::Failed(_) => {
                let retry = subject.annotations.get(RETRY_ANNOTATION).map(String::as_str);
                let other = self.made_for().is_some_and(|generation| generation != subject.owner.generation);
                (other || annotation(RETRY_ANNOTATION) != retry)
                    .then_some("failed before it was asked for anew")
            }
            _ => None,
        };
        why.map(|why| {
            Failure::new("JobSuperseded", format!("Job {name} {why}: it is removed, and another follows"))
        })
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
    let namespace = &subject.owner.namespace;
    let ours = |object: &Arc<DynamicObject>| {
        object.metadata.owner_references.iter().flatten().any(|owner| owner.uid == subject.owner.uid)
    };
    let child =
        |kind, name: &str| world.child(kind, namespace, name).filter(ours).map(|object| to_value(&object));
    let filled = Filled::read(subject.annotations.get(filled::ANNOTATION));
    let mut refs = Refs {
        claim_name: claim_name(object, subject, filled.as_ref(), world),
        job: child(ChildKind::Job, &job::name(subject))
            .filter(|job| job["metadata"]["deletionTimestamp"].is_null()),
        proxies: proxies(world, namespace),
        filled,
        ..Refs::default()
    };
    refs.orphaned_job = world
        .child(ChildKind::Job, namespace, &job::name(subject))
        .filter(|job| job.metadata.deletion_timestamp.is_none() && is_left_behind(job, &subject.owner))
        .and_then(|job| job.metadata.uid.clone());
    // Nobody needs the key once the model is stored.
    let key = object.spec.source.auth_secret().filter(|_| !is_ready(subject));
    refs.missing = missing_secret(world, subject, key, secret_field(&object.spec.source));
    let is_made = super::creates_claim(&object.spec);
    let may_hold = !is_made || is_ready(subject) || refs.job.is_some() || refs.filled.is_some();
    refs.claim = claim(subject, &refs.claim_name, may_hold, world).await?;
    refs.job_pods = refs.job.as_ref().map(|job| job_pods(world, namespace, job)).unwrap_or_default();
    if is_ready(subject) {
        return Ok(refs);
    }
    if let Some(job) = &refs.job {
        refs.told = match refs.job_pods.iter().rev().find(|pod| pod["status"]["phase"] == "Pending") {
            Some(pod) => diagnosis::of_pod(subject, world, pod, &refs.claim_name).await,
            None if progress::is_idle(job, &refs.job_pods) => diagnosis::of_job(subject, world, job).await,
            None => None,
        };
    }
    let config = world
        .child(ChildKind::ConfigMap, namespace, &extraction::config_name(subject))
        .filter(|config| ours(config) || is_left_behind(config, &subject.owner))
        .map(|config| to_value(&config));
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
            refs.told = diagnosis::of_pod(subject, world, pod, &refs.claim_name).await;
        }
        if let Some(pod) = pod.filter(|pod| diagnosis::waiting(pod).is_none()) {
            let printed = match printed(subject, world).await {
                Ok(printed) => printed,
                Err(error) => {
                    let started = extraction::started(&pod);
                    let may_come = started.is_some_and(|at| subject.now.duration_since(at) < LOG_COMES);
                    refs.unreadable = (!may_come).then(|| error.to_string());
                    return Ok(refs);
                }
            };
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

/// Name of the claim that holds, or is to hold, the model: the usual one. Where a claim of that name is on its way out, and
/// stays because services run from it that wait for this very NIMCache, a claim is made under another.
pub(super) fn claim_name(
    object: &NIMCache,
    subject: &Subject,
    filled: Option<&Filled>,
    world: &World,
) -> String {
    let (namespace, name, uid) = (&subject.owner.namespace, &subject.owner.name, &subject.owner.uid);
    let usual = object.spec.claim_name(name);
    if !super::creates_claim(&object.spec) {
        return usual;
    }
    let live = |name: &str| {
        world.child(ChildKind::PersistentVolumeClaim, namespace, name).map(|live| Claim::of(&live))
    };
    let is_own = |claim: &Claim| claim.controller.as_ref() == Some(uid);
    // What is noted leads to no claim of somebody else's.
    if let Some(filled) = filled.filter(|filled| filled.claim.starts_with(&format!("{usual}-")))
        && live(&filled.claim)
            .is_some_and(|claim| filled.is_on(&claim) && (is_own(&claim) || claim.controller.is_none()))
    {
        return filled.claim.clone();
    }
    let other = format!("{usual}-{}", uid.chars().take(OF_UID).collect::<String>());
    if live(&other).is_some_and(|claim| is_own(&claim)) {
        return other;
    }
    let taken = live(&usual).is_some_and(|claim| claim.is_going && !is_own(&claim));
    if taken && in_use::is_mounted(world, namespace, name, &usual) { other } else { usual }
}

/// The claim of that name as it is. One that lacks the operator's labels is asked for, if anything may be stored on it.
pub(super) async fn claim(
    subject: &Subject,
    name: &str,
    may_hold: bool,
    world: &World,
) -> Result<Option<Claim>, CallError> {
    let (kind, namespace) = (ChildKind::PersistentVolumeClaim, &subject.owner.namespace);
    let mut live = world.child(kind, namespace, name);
    if live.is_none() && may_hold {
        let api = world.api(namespace, &kind.resource());
        let found = call_opt(|| format!("get PersistentVolumeClaim {name}"), api.get(name)).await?;
        live = found.map(Arc::new);
    }
    let version = live.as_ref().and_then(|live| live.metadata.resource_version.clone());
    world.references.hold_claim(&subject.owner, namespace, name, version);
    Ok(live.map(|live| Claim::of(&live)))
}

/// Whether a child of a NIMCache of that name outlived it.
fn is_left_behind(child: &DynamicObject, owner: &Owner) -> bool {
    child.metadata.owner_references.as_ref().is_none_or(Vec::is_empty) && was_of(owner, child)
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
