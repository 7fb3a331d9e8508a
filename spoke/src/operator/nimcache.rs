//! NIMCache: a model downloaded into a volume, once, for any number of services.

mod attempts;
mod extraction;
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

use crds::nim::{NIMCache, NIMCacheSpec};
use serde_json::Value;

use attempts::{Attempts, MOST};
use observe::Refs;
use plan::Plan;
use progress::Progress;
use status::{Known, Standing};

use super::cluster::ClusterFacts;
use super::diagnosis;
use super::engine::call::CallError;
use super::engine::child::ChildKind;
use super::engine::kind::{Again, Failure, Kind, Outcome, Rendered, Report, Subject};
use super::engine::world::World;
use super::nimservice::NimServices;

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
    /// The registry is being asked what the image is.
    Inspecting,
    Extracting,
    Downloading {
        selected: Vec<Value>,
    },
    Resting {
        left: Option<std::time::Duration>,
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
        let claim = object.spec.claim_name(&subject.owner.name);
        let attempts = refs.attempts(subject);
        let failed = refs.job_failed();
        let known = Known {
            kind: refs.kind(),
            claim: &claim,
            claim_made: creates_claim(&object.spec)
                && outcome.live.contains_key(&(ChildKind::PersistentVolumeClaim, claim.clone())),
            attempt: (if failed { attempts.failed } else { attempts.failed + 1 }, MOST),
            made_for: refs.made_for(),
        };
        let (standing, again) = match (&outcome.failure, &rendered.verdict) {
            (Some(why), _) => (Standing::Blocked(diagnosis::refused(why)), Again::Backoff),
            (None, Verdict::Blocked { why, .. }) if subject.patience(why).is_some() => {
                let left = subject.patience(why).unwrap_or_default();
                (Standing::Waits(why.clone()), Again::After(left))
            }
            (None, verdict) if outcome.waits.is_some() && !matches!(verdict, Verdict::Blocked { .. }) => {
                let why = outcome.waits.clone().unwrap_or_else(|| Failure::new("Waiting", ""));
                (Standing::Waits(why), Again::Backoff)
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
                let told = refs.told.as_ref();
                let progress = refs
                    .job
                    .as_ref()
                    .map_or(Progress::Started, |job| progress::of(job, &refs.job_pods, told));
                let (progress, again) = match progress {
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
                let standing = Standing::Resting {
                    failed: attempts.failed,
                    most: MOST,
                    why: progress::lacking(attempts.why(), &refs.missing),
                    left: *left,
                };
                (standing, left.map_or(Again::No, Again::After))
            }
        };
        status::report(subject, &standing, &known, again)
    }

    fn unreadable(subject: &Subject, reason: &str, message: &str) -> Report {
        let known = Known { kind: "", claim: "", claim_made: false, attempt: (0, MOST), made_for: None };
        status::report(subject, &Standing::Blocked(Failure::new(reason, message)), &known, Again::No)
    }

    fn held_by(subject: &Subject, world: &World) -> Option<Failure> {
        let owner = &subject.owner;
        let services = world.subjects.get(NimServices::KIND)?;
        let users = services.of_namespace(&owner.namespace, |service| in_use::uses(service, &owner.name));
        in_use::held(users.iter().filter_map(|service| service.metadata.name.clone()).collect())
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
        let stored = Attempts::read(subject.annotations.get(attempts::ANNOTATION), subject.owner.generation);
        let Some(job) = &self.job else { return stored };
        match progress::of(job, &self.job_pods, None) {
            Progress::Failed(why) => {
                let uid = job["metadata"]["uid"].as_str().unwrap_or_default();
                stored.with_failed(uid, &why, subject.now)
            }
            _ => stored,
        }
    }

    fn job_failed(&self) -> bool {
        self.job
            .as_ref()
            .is_some_and(|job| matches!(progress::of(job, &self.job_pods, None), Progress::Failed(_)))
    }
}

#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod tests;
