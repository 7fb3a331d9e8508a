//! NIMCache from NGC: a model downloaded into a volume, once, for any number of services.

mod attempts;
mod extraction;
mod job;
mod manifest;
mod observe;
mod pods;
mod progress;
mod selection;
mod shared;
mod status;

use crds::nim::{NGCSource, NIMCache, NIMCacheSpec};
use serde_json::{Value, json};

use attempts::{Attempts, MOST, Next};
use manifest::Manifest;
use observe::Refs;
use progress::Progress;
use selection::Selection;
use status::{Known, Standing};

use super::claim::claim;
use super::cluster::ClusterFacts;
use super::engine::call::CallError;
use super::engine::child::{Child, ChildKind};
use super::engine::kind::{Again, Failure, Kind, Outcome, Rendered, Report, Subject};
use super::engine::world::World;

pub(crate) use status::problem;

/// How soon a running pod is asked again for what it prints; nothing tells when it has.
const ASK_AGAIN: std::time::Duration = std::time::Duration::from_secs(2);

/// The kind NIMCache.
pub(crate) struct NimCaches;

/// What rendering came to.
pub(crate) enum Verdict {
    StillReady,
    Blocked { why: Failure, again: Again },
    Extracting,
    Downloading { selected: Vec<Value> },
    Resting { left: Option<std::time::Duration> },
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
        };
        let (standing, again) = match (&outcome.failure, &rendered.verdict) {
            (Some(why), _) => (Standing::Blocked(why.clone()), Again::Backoff),
            (None, Verdict::StillReady) => (Standing::StillReady, Again::No),
            (None, Verdict::Blocked { why, again }) => (Standing::Blocked(why.clone()), *again),
            (None, Verdict::Extracting) => {
                let live = outcome.live.get(&(ChildKind::Pod, extraction::pod_name(subject)));
                let pod = live.and_then(|pod| serde_json::to_value(pod.as_ref()).ok()).unwrap_or_default();
                if let Some(why) = extraction::waiting(&pod) {
                    (Standing::Extracting(why), Again::No)
                } else {
                    let why = Failure::new("ManifestPending", "the pod has not printed it yet");
                    (Standing::Extracting(why), Again::After(ASK_AGAIN))
                }
            }
            (None, Verdict::Downloading { selected }) => {
                let progress =
                    refs.job.as_ref().map_or(Progress::Started, |job| progress::of(job, &refs.job_pods));
                let profiles = Value::from(selected.clone());
                (Standing::Downloading { progress, profiles }, Again::No)
            }
            (None, Verdict::Resting { left }) => {
                let standing = Standing::Resting { failed: attempts.failed, most: MOST, left: *left };
                (standing, left.map_or(Again::No, Again::After))
            }
        };
        status::report(subject, &standing, &known, again)
    }

    fn unreadable(subject: &Subject, reason: &str, message: &str) -> Report {
        let known = Known { kind: "", claim: "", claim_made: false, attempt: (0, MOST) };
        status::report(subject, &Standing::Blocked(Failure::new(reason, message)), &known, Again::No)
    }
}

/// Everything that rendering looks at.
struct Plan<'a> {
    subject: &'a Subject,
    spec: &'a NIMCacheSpec,
    refs: &'a Refs,
    facts: &'a ClusterFacts,
}

impl Plan<'_> {
    fn render(&self) -> Rendered<Verdict> {
        let name = &self.subject.owner.name;
        let ngc = match self.source() {
            Ok(ngc) => ngc,
            Err(why) => return self.blocked(Vec::new(), why, Again::No),
        };
        let mut children = shared::children(&self.subject.owner.namespace, self.refs.proxies).to_vec();
        if let Some(pvc) = self.spec.storage.pvc.as_ref().filter(|pvc| pvc.is_created()) {
            let labels = extraction::standard_labels(self.subject);
            let labels: Vec<(&str, &str)> = labels.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
            match claim(pvc, &pvc.name_for(name), &self.subject.owner.namespace, &labels) {
                Ok(claim) => children.push(claim),
                Err(problem) => {
                    let why = Failure::new("InvalidSpec", format!("spec.storage.pvc.{problem}"));
                    return self.blocked(children, why, Again::No);
                }
            }
        } else if !self.refs.claim_found {
            let name = self.spec.claim_name(name);
            let message =
                format!("PersistentVolumeClaim {name} not found: create it, or set spec.storage.pvc.create");
            return self.blocked(children, Failure::new("PVCNotFound", message), Again::Backoff);
        }
        if observe::is_ready(self.subject) {
            return self.rendered(children, Verdict::StillReady);
        }
        match self.refs.read_manifest() {
            Err(problem) => self.blocked(children, Failure::new("InvalidManifest", problem), Again::Backoff),
            Ok(None) if !self.refs.model_free => {
                let pull = ngc.pull_secret.as_deref();
                let puller = &ngc.model_puller;
                children.push(extraction::manifest_pod(self.subject, self.spec, puller, pull, self.facts));
                self.rendered(children, Verdict::Extracting)
            }
            Ok(manifest) => self.download(ngc, manifest.as_ref(), children),
        }
    }

    /// The source, if this version can download from it.
    fn source(&self) -> Result<&NGCSource, Failure> {
        if self.spec.cert_config.is_some() {
            let message = "spec.certConfig is no longer supported: use spec.proxy.certConfigMap";
            return Err(Failure::new("Unsupported", message));
        }
        let other = if self.spec.source.hf.is_some() { "spec.source.hf" } else { "spec.source.dataStore" };
        self.spec.source.ngc.as_ref().ok_or_else(|| {
            let message = format!("{other} is not supported by this version of nimfleet-spoke");
            Failure::new("Unsupported", message)
        })
    }

    fn download(
        &self,
        ngc: &NGCSource,
        manifest: Option<&Manifest>,
        mut children: Vec<Child>,
    ) -> Rendered<Verdict> {
        if let Some(manifest) = manifest {
            children.push(extraction::config_map(self.subject, manifest.minimal()));
        }
        let selection = match self.select(ngc, manifest) {
            Ok(selection) => selection,
            Err(why) => return self.cleared(self.blocked(children, why, Again::No)),
        };
        if self.refs.job.is_none() {
            match self.refs.attempts(self.subject).next(self.subject.now) {
                Next::Try => {}
                Next::WaitFor(left) => {
                    return self.cleared(self.rendered(children, Verdict::Resting { left: Some(left) }));
                }
                Next::GiveUp => {
                    return self.cleared(self.rendered(children, Verdict::Resting { left: None }));
                }
            }
        }
        let claim = self.spec.claim_name(&self.subject.owner.name);
        children.push(job::job(self.subject, self.spec, ngc, &selection, &claim, self.facts));
        let selected = described(manifest, &selection);
        self.cleared(self.rendered(children, Verdict::Downloading { selected }))
    }

    /// What to download: what the job that exists downloads, else what is asked for.
    fn select(&self, ngc: &NGCSource, manifest: Option<&Manifest>) -> Result<Selection, Failure> {
        if let Some(ids) = self.refs.selected_by_job() {
            return Ok(Selection::of_ids(ids));
        }
        if ngc.model_endpoint.is_some() {
            return Ok(Selection::Ids(Vec::new()));
        }
        let listed =
            ngc.model.as_ref().and_then(|model| model.profiles.clone()).filter(|list| !list.is_empty());
        if let Some(listed) = listed.or_else(|| observe::selected_by_user(self.subject)) {
            return Ok(Selection::of_ids(listed));
        }
        let Some(manifest) = manifest else {
            let message =
                "the image has no model manifest to select from: list spec.source.ngc.model.profiles";
            return Err(Failure::new("ModelFree", message));
        };
        let ids = selection::matching(manifest, ngc.model.as_ref(), &self.facts.products);
        if ids.is_empty() {
            let count = manifest.profiles.len();
            let gpus = self.facts.products.iter().cloned().collect::<Vec<_>>().join(", ");
            let message = format!(
                "none of the {count} profiles of the image fits spec.source.ngc.model and the GPUs of this cluster ({})",
                if gpus.is_empty() { "none labelled" } else { &gpus }
            );
            return Err(Failure::new("NoProfileSelected", message));
        }
        Ok(Selection::Ids(ids))
    }

    fn rendered(&self, children: Vec<Child>, verdict: Verdict) -> Rendered<Verdict> {
        let note = self.refs.attempts(self.subject).to_annotation();
        let note = if matches!(verdict, Verdict::StillReady) { None } else { note };
        Rendered {
            children,
            remove: Vec::new(),
            complete: false,
            note: Some((attempts::ANNOTATION, note)),
            verdict,
        }
    }

    fn blocked(&self, children: Vec<Child>, why: Failure, again: Again) -> Rendered<Verdict> {
        self.rendered(children, Verdict::Blocked { why, again })
    }

    /// Without the manifest pod, which has done its work.
    fn cleared(&self, rendered: Rendered<Verdict>) -> Rendered<Verdict> {
        Rendered { remove: vec![(ChildKind::Pod, extraction::pod_name(self.subject))], ..rendered }
    }
}

fn creates_claim(spec: &NIMCacheSpec) -> bool {
    spec.storage.pvc.as_ref().is_some_and(crds::nim::PersistentVolumeClaim::is_created)
}

/// Selected profiles as the status shows them; nothing when all were taken.
fn described(manifest: Option<&Manifest>, selection: &Selection) -> Vec<Value> {
    let (Some(manifest), Selection::Ids(ids)) = (manifest, selection) else { return Vec::new() };
    let chosen = manifest.profiles.iter().filter(|profile| ids.contains(&profile.id));
    chosen
        .map(|profile| {
            let mut entry = json!({"name": profile.id, "config": profile.tags});
            for (key, value) in [("model", &profile.model), ("release", &profile.release)] {
                if !value.is_empty() {
                    entry[key] = json!(value);
                }
            }
            entry
        })
        .collect()
}

impl Refs {
    /// The attempts that are known, with the job that is there counted if it has failed.
    fn attempts(&self, subject: &Subject) -> Attempts {
        let stored = Attempts::read(subject.annotations.get(attempts::ANNOTATION), subject.owner.generation);
        match &self.job {
            Some(job) if self.job_failed() => {
                stored.with_failed(job["metadata"]["uid"].as_str().unwrap_or_default(), subject.now)
            }
            _ => stored,
        }
    }

    fn job_failed(&self) -> bool {
        self.job.as_ref().is_some_and(|job| matches!(progress::of(job, &self.job_pods), Progress::Failed(_)))
    }
}

#[cfg(test)]
mod tests;
