//! NIMCache: a model downloaded into a volume, once, for any number of services.

mod attempts;
mod extraction;
mod filled;
mod in_use;
mod job;
mod manifest;
mod observe;
mod plan;
mod pods;
mod progress;
mod selection;
mod shared;
mod spec_change;
mod status;
mod validate;

use crds::marks::RETRY_ANNOTATION;
use crds::nim::{NIMCache, NIMCacheSpec};
use kube::core::DynamicObject;
use serde_json::Value;

use attempts::Attempts;
use filled::Filled;
use observe::Refs;
use plan::Plan;
use progress::Progress;
use status::{Known, Standing};

use super::cluster::ClusterFacts;
use super::diagnosis;
use super::engine::apply::NOT_APPLIED;
use super::engine::call::CallError;
use super::engine::child::ChildKind;
use super::engine::kind::{Again, Failure, Kind, Outcome, Rendered, Report, Subject};
use super::engine::shell::parse;
use super::engine::world::World;

pub(crate) use extraction::is_whole;
pub(crate) use manifest::parse as parse_manifest;
pub(crate) use status::{problem, waits};

/// How soon a running pod is asked again for what it prints; nothing tells when it has.
const ASK_AGAIN: std::time::Duration = std::time::Duration::from_secs(2);

/// The kind NIMCache.
pub(crate) struct NimCaches;

/// What rendering came to.
pub(crate) enum Verdict {
    StillReady,
    Blocked {
        why: Failure,
        again: Again,
    },
    /// The claim with the model is going, or has gone.
    Unclaimed {
        why: Failure,
    },
    /// Something has to go first.
    Waits {
        why: Failure,
    },
    /// The model is stored, and the status does not say so.
    Found {
        filled: Filled,
    },
    /// The registry is being asked what the image is.
    Inspecting,
    Extracting,
    Downloading {
        selected: Vec<Value>,
    },
    Resting {
        left: std::time::Duration,
    },
}

impl Kind for NimCaches {
    type Object = NIMCache;
    type Refs = Refs;
    type Verdict = Verdict;

    const KIND: &'static str = "NIMCache";
    const PLURAL: &'static str = "nimcaches";
    const FINALIZER: &'static str = "finalizer.nimcache.apps.nvidia.com";
    const REPORTER: &'static str = "nimcache-controller";
    const GAUGE: &'static str = "nimCache_status_total";
    const STATES: &'static [&'static str] =
        &["NotReady", "PVC-Created", "Started", "Pending", "InProgress", "Ready", "Failed"];
    const SHARED: &'static [(ChildKind, &'static str)] = shared::NAMES;
    // A claim holds the model and a job may not be replaced: neither is ever pruned.
    const PRUNED: &'static [ChildKind] = &[];

    async fn observe(object: &NIMCache, subject: &Subject, world: &World) -> Result<Refs, CallError> {
        observe::observe(object, subject, world).await
    }

    fn render(object: &NIMCache, subject: &Subject, refs: &Refs, facts: &ClusterFacts) -> Rendered<Verdict> {
        Plan { subject, spec: &object.spec, refs, facts }.render()
    }

    fn report(
        object: &NIMCache,
        subject: &Subject,
        refs: &Refs,
        rendered: &Rendered<Verdict>,
        outcome: &Outcome,
    ) -> Report {
        let attempts = refs.attempts(subject);
        let resting = matches!(rendered.verdict, Verdict::Resting { .. });
        let failed = resting || matches!(refs.progress(), Progress::Failed(_));
        let found = match &rendered.verdict {
            Verdict::Found { filled } => Some(filled),
            _ => None,
        };
        let claim = (ChildKind::PersistentVolumeClaim, refs.claim_name.clone());
        let known = Known {
            kind: found.map_or_else(|| refs.kind(), |filled| filled.kind.as_str()),
            claim: &refs.claim_name,
            claim_made: creates_claim(&object.spec) && outcome.live.contains_key(&claim),
            attempt: if failed { attempts.failed } else { attempts.failed + 1 },
            due: attempts.due(),
            made_for: found.map_or_else(|| refs.made_for(), |filled| Some(filled.generation)),
        };
        let (standing, again) = match (&outcome.failure, &rendered.verdict) {
            (Some(why), _) => (Standing::Blocked(diagnosis::refused(why)), Again::Backoff),
            (None, Verdict::Blocked { why, .. }) if subject.patience(why).is_some() => {
                let left = subject.patience(why).unwrap_or_default();
                (Standing::Waits(why.clone()), Again::After(left))
            }
            // A model once stored stays stored, whatever cannot be written beside it now.
            (None, Verdict::StillReady | Verdict::Downloading { .. })
                if subject.status["state"] == "Ready"
                    && outcome.waits.as_ref().is_some_and(|why| why.reason == NOT_APPLIED) =>
            {
                (Standing::StillReady, Again::Backoff)
            }
            (None, verdict) if outcome.waits.is_some() && !matches!(verdict, Verdict::Blocked { .. }) => {
                let why = outcome.waits.clone().unwrap_or_else(|| Failure::new("Waiting", ""));
                (Standing::Waits(why), Again::Backoff)
            }
            (None, Verdict::Unclaimed { why }) => (Standing::Unclaimed(why.clone()), Again::No),
            (None, Verdict::Waits { why }) => (Standing::Waits(why.clone()), Again::No),
            (None, Verdict::Found { filled }) => {
                (Standing::Found { profiles: Value::from(filled.profiles.clone()) }, Again::No)
            }
            (None, Verdict::StillReady) => (Standing::StillReady, Again::No),
            (None, Verdict::Blocked { why, again }) => (Standing::Blocked(why.clone()), *again),
            (None, Verdict::Inspecting) => {
                let why = Failure::new("ImageInspection", "the registry is asked what the image is");
                (Standing::Extracting(why), Again::No)
            }
            (None, Verdict::Extracting) => {
                let live = outcome.live.get(&(ChildKind::Pod, extraction::pod_name(subject)));
                let pod = live.and_then(|pod| serde_json::to_value(pod.as_ref()).ok()).unwrap_or_default();
                if let Some(why) = diagnosis::waiting(&pod) {
                    let told = refs.told.clone().filter(|_| diagnosis::is_mute(&why)).unwrap_or(why);
                    let again = ask_again(&told);
                    (Standing::Extracting(pods::explained(&object.spec, told)), again)
                } else {
                    let why = Failure::new("ManifestPending", "the pod has not printed it yet");
                    (Standing::Extracting(why), Again::After(ASK_AGAIN))
                }
            }
            (None, Verdict::Downloading { selected }) => {
                let (progress, again) = match refs.progress() {
                    Progress::Pending(why) => {
                        let again = ask_again(&why);
                        (Progress::Pending(pods::explained(&object.spec, why)), again)
                    }
                    other => (other, Again::No),
                };
                let progress = progress.with_missing(&refs.missing);
                let profiles = Value::from(selected.clone());
                (Standing::Downloading { progress, profiles }, again)
            }
            (None, Verdict::Resting { left }) => {
                let why = progress::lacking(attempts.why(), &refs.missing);
                (Standing::Resting(why), Again::After(*left))
            }
        };
        status::report(subject, &standing, &known, again)
    }

    fn unreadable(subject: &Subject, reason: &str, message: &str) -> Report {
        let known = Known { kind: "", claim: "", claim_made: false, attempt: 0, due: None, made_for: None };
        status::report(subject, &Standing::Blocked(Failure::new(reason, message)), &known, Again::No)
    }

    /// Services hold a NIMCache as long as their pods may be made again from its claim: not one that was changed since, which
    /// waits for the next NIMCache of that name, and nobody once the claim itself is being deleted.
    async fn held_by(
        object: &DynamicObject,
        subject: &Subject,
        world: &World,
    ) -> Result<Option<Failure>, CallError> {
        let owner = &subject.owner;
        let running = in_use::running(world, &owner.namespace, &owner.name);
        let Some(held) = in_use::held(running) else { return Ok(None) };
        let Ok(cache) = parse::<Self>(object) else { return Ok(Some(held)) };
        let filled = Filled::read(subject.annotations.get(filled::ANNOTATION));
        let name = observe::claim_name(&cache, subject, filled.as_ref(), world);
        let claim = observe::claim(subject, &name, true, world).await?;
        Ok(claim.filter(|claim| !claim.is_going).map(|_| held))
    }
}

/// When to look again at a pod that does not begin: what events say of it is told by no watch.
fn ask_again(why: &Failure) -> Again {
    let is_unexplained = diagnosis::is_mute(why) || why.reason == progress::IDLE;
    if is_unexplained { Again::After(diagnosis::ASK_AGAIN) } else { Again::No }
}

fn creates_claim(spec: &NIMCacheSpec) -> bool {
    spec.storage.pvc.as_ref().is_some_and(crds::nim::PersistentVolumeClaim::is_created)
}

impl Refs {
    /// The attempts that are known, with the job that is there counted if it has failed.
    fn attempts(&self, subject: &Subject) -> Attempts {
        let annotation = |key: &str| subject.annotations.get(key);
        let retry = annotation(RETRY_ANNOTATION);
        let stored = Attempts::read(annotation(attempts::ANNOTATION), subject.owner.generation, retry);
        let Some(job) = self.job.as_ref().filter(|_| self.superseded(subject).is_none()) else {
            return stored;
        };
        match progress::of(job, &self.job_pods, None) {
            Progress::Failed(why) => {
                stored.with_failed(self.job_uid().unwrap_or_default(), &why, subject.now)
            }
            _ => stored,
        }
    }

    /// How far the job is.
    fn progress(&self) -> Progress {
        let of = |job| progress::of(job, &self.job_pods, self.told.as_ref());
        self.job.as_ref().map_or(Progress::Started, of)
    }
}

#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod tests;
