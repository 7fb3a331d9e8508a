//! What is made for a NIMCache, step by step: the claim, the pod that prints the manifest, the job that downloads.

use crds::nim::{NGCSource, NIMCacheSpec};
use serde_json::{Value, json};

use super::attempts::{self, Next};
use super::filled::{self, Filled};
use super::manifest::{Manifest, Profile};
use super::observe::{self, Refs, Store};
use super::progress::{self, Progress};
use super::selection::{self, Selection};
use super::{Verdict, creates_claim, extraction, job, shared, spec_change, validate};
use crate::operator::claim::claim;
use crate::operator::cluster::ClusterFacts;
use crate::operator::engine::child::{Child, ChildKind};
use crate::operator::engine::kind::{Again, Amendment, Failure, Rendered, Subject};
use crate::operator::nimservice::OWN_PROFILES_SINCE;
use crate::operator::registry::major_version;

/// Most profiles that a refusal names.
const NAMED: usize = 5;

/// Everything that rendering looks at.
pub(super) struct Plan<'a> {
    pub(super) subject: &'a Subject,
    pub(super) spec: &'a NIMCacheSpec,
    pub(super) refs: &'a Refs,
    pub(super) facts: &'a ClusterFacts,
}

impl Plan<'_> {
    pub(super) fn render(&self) -> Rendered<Verdict> {
        if let Err(why) = self.check() {
            return self.blocked(Vec::new(), why, Again::No);
        }
        let mut children = shared::children(&self.subject.owner.namespace, self.refs.proxies).to_vec();
        let job = vec![(ChildKind::Job, job::name(self.subject))];
        let stored = match self.refs.store(self.subject, self.spec) {
            // Pods that have ended keep a claim as well as others do.
            Store::Going => {
                let why = self.going();
                return Rendered { remove: job, ..self.rendered(children, Verdict::Unclaimed { why }) };
            }
            // The status has to say so before another claim may be filled.
            Store::Lost(uid) if creates_claim(self.spec) || self.refs.claim.is_some() => {
                let why = self.lost(&uid);
                return Rendered { remove: job, ..self.rendered(children, Verdict::Unclaimed { why }) };
            }
            Store::Missing | Store::Lost(_) if !creates_claim(self.spec) => {
                let why = self.not_found();
                return Rendered { remove: job, ..self.blocked(children, why, Again::No) };
            }
            Store::Filled(filled) => Some(filled),
            Store::Empty | Store::Missing | Store::Lost(_) => None,
        };
        match self.claim() {
            Ok(claim) => children.extend(claim),
            Err(why) => return self.blocked(children, why, Again::No),
        }
        match stored {
            Some(_) if observe::is_ready(self.subject) => {
                return self.still_ready(children, stored.flatten());
            }
            Some(Some(filled)) => return self.found(children, filled),
            _ => {}
        }
        if let Some(why) = self.refs.superseded(self.subject) {
            return Rendered { remove: job, ..self.rendered(children, Verdict::Waits { why }) };
        }
        if self.refs.job.is_none()
            && let Next::WaitFor(left) = self.refs.attempts(self.subject).next(self.subject.now)
        {
            return self.cleared(self.rendered(children, Verdict::Resting { left }));
        }
        if self.refs.inspecting {
            return self.rendered(children, Verdict::Inspecting);
        }
        if self.refs.image_unknown() {
            children.push(extraction::manifest_pod(self.subject, self.spec, self.facts));
            return match &self.refs.unreadable {
                Some(problem) => self.blocked(children, self.unreadable(problem), Again::Backoff),
                None => self.rendered(children, Verdict::Extracting),
            };
        }
        match self.refs.read_manifest() {
            Err(problem) => self.blocked(children, Failure::new("InvalidManifest", problem), Again::Backoff),
            Ok(manifest) => self.download(manifest.as_ref(), children),
        }
    }

    /// A model that is stored and was known to be.
    fn still_ready(&self, children: Vec<Child>, noted: Option<Filled>) -> Rendered<Verdict> {
        let status = &self.subject.status;
        let profiles = status["profiles"].as_array().map(Vec::as_slice).unwrap_or_default();
        let filled = self.refs.claim.as_ref().map(|claim| {
            if let Some(filled) = noted {
                return filled.seen_on(claim);
            }
            let kind = status["type"].as_str().unwrap_or_default();
            let generation = spec_change::stored(status).unwrap_or(self.subject.owner.generation);
            Filled::new(claim, self.spec, generation, kind, profiles)
        });
        let rendered = self.noted(self.rendered(children, Verdict::StillReady), filled);
        // A job that cannot end would hold the claim.
        if !self.refs.job_pods.iter().any(progress::is_kept_by_sidecar) {
            return rendered;
        }
        Rendered { remove: vec![(ChildKind::Job, job::name(self.subject))], ..rendered }
    }

    /// A model that is stored although the status does not say so: the NIMCache was made again, or restored.
    fn found(&self, mut children: Vec<Child>, filled: Filled) -> Rendered<Verdict> {
        if let Ok(Some(manifest)) = self.refs.read_manifest() {
            children.push(extraction::config_map(self.subject, manifest.minimal()));
        }
        // What is stored is what is asked for, whatever generation asked for it then.
        let filled = Filled { generation: self.subject.owner.generation, ..filled };
        let filled = match &self.refs.claim {
            Some(claim) => filled.seen_on(claim),
            None => filled,
        };
        let verdict = Verdict::Found { filled: filled.clone() };
        self.cleared(self.noted(self.rendered(children, verdict), Some(filled)))
    }

    /// Notes on the NIMCache, and on its own claim, what is stored; and has the job that stored it cleared away in time.
    fn noted(&self, mut rendered: Rendered<Verdict>, filled: Option<Filled>) -> Rendered<Verdict> {
        let (Some(filled), Some(claim)) = (filled, &self.refs.claim) else { return rendered };
        let text = filled.text();
        let is_own = claim.controller.as_ref() == Some(&self.subject.owner.uid);
        if is_own && creates_claim(self.spec) {
            rendered.amendments.push(Amendment {
                kind: ChildKind::PersistentVolumeClaim,
                name: claim.name.clone(),
                uid: claim.uid.clone(),
                change: json!({"metadata": {"annotations": {(filled::ANNOTATION): text}}}),
            });
        }
        rendered.amendments.extend(self.refs.job.as_ref().and_then(job::kept));
        // The NIMCache owns the job again, because the claim of a deleted NIMCache stays as long as the pod of the job does.
        rendered.amendments.extend(self.refs.orphaned_job.clone().map(|uid| Amendment {
            kind: ChildKind::Job,
            name: job::name(self.subject),
            uid,
            change: json!({"metadata": {"ownerReferences": [self.subject.owner.reference()]}}),
        }));
        rendered.notes.push((filled::ANNOTATION, Some(text)));
        rendered
    }

    fn going(&self) -> Failure {
        let name = &self.refs.claim_name;
        let then = if creates_claim(self.spec) {
            "the model is downloaded again onto a new one when it has gone"
        } else {
            "the model is downloaded again once there is another of that name"
        };
        let message = format!(
            "PersistentVolumeClaim {name} is being deleted: pods that mount it go on, new NIMServices wait; {then}"
        );
        Failure::new("PVCTerminating", message)
    }

    fn lost(&self, uid: &str) -> Failure {
        let name = &self.refs.claim_name;
        let message = format!(
            "PersistentVolumeClaim {name} that held the model has gone (its uid was {uid}): the model is downloaded again"
        );
        Failure::new("PVCLost", message)
    }

    fn not_found(&self) -> Failure {
        let name = &self.refs.claim_name;
        let message =
            format!("PersistentVolumeClaim {name} not found: create it, or set spec.storage.pvc.create");
        Failure::new("PVCNotFound", message)
    }

    fn unreadable(&self, problem: &str) -> Failure {
        let pod = extraction::pod_name(self.subject);
        let message = format!(
            "the log of pod {pod} cannot be read, and with it the manifest of the image: {problem}; the API server has to \
             reach the kubelet of its node, and the spoke needs the right to get pods/log"
        );
        Failure::new("ManifestUnreadable", message)
    }

    fn check(&self) -> Result<(), Failure> {
        if self.spec.cert_config.is_some() {
            let message = "spec.certConfig is no longer supported: use spec.proxy.certConfigMap";
            return Err(Failure::new("Unsupported", message));
        }
        validate::check(self.spec)
    }

    /// The claim to make; nothing where one is given.
    fn claim(&self) -> Result<Option<Child>, Failure> {
        let owner = &self.subject.owner;
        let Some(pvc) = self.spec.storage.pvc.as_ref().filter(|_| creates_claim(self.spec)) else {
            return Ok(None);
        };
        let labels = extraction::standard_labels(self.subject);
        let labels: Vec<(&str, &str)> = labels.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        let made = claim(pvc, &self.refs.claim_name, &owner.namespace, &labels);
        made.map(Some).map_err(|problem| Failure::new("InvalidSpec", format!("spec.storage.pvc.{problem}")))
    }

    fn download(&self, manifest: Option<&Manifest>, mut children: Vec<Child>) -> Rendered<Verdict> {
        if let Some(manifest) = manifest {
            children.push(extraction::config_map(self.subject, manifest.minimal()));
        }
        let selection = match self.select(manifest) {
            Ok(selection) => selection,
            Err(why) => return self.cleared(self.blocked(children, why, Again::No)),
        };
        let (claim, what) = (&self.refs.claim_name, (self.refs.image, &selection));
        children.push(job::job(self.subject, self.spec, claim, what, self.facts));
        let selected = described(manifest, &selection);
        let progress = self.refs.progress();
        let rendered = self.rendered(children, Verdict::Downloading { selected: selected.clone() });
        let rendered = self.cleared(rendered);
        match (progress, &self.refs.claim) {
            (Progress::Succeeded, Some(claim)) => {
                let generation = self.refs.made_for().unwrap_or(self.subject.owner.generation);
                let kind = self.refs.kind();
                let filled = Filled::new(claim, self.spec, generation, kind, &selected);
                let job = self.refs.job_uid().unwrap_or_default().to_owned();
                self.noted(rendered, Some(Filled { job, ..filled }))
            }
            // Its failure is noted as an attempt.
            (Progress::Failed(_), _) => {
                let amendments = self.refs.job.as_ref().and_then(job::kept).into_iter().collect();
                Rendered { amendments, ..rendered }
            }
            _ => rendered,
        }
    }

    /// What to download: what the job that exists downloads, else what is asked for. Only NIMs of NVIDIA's catalogue
    /// have profiles to choose from.
    fn select(&self, manifest: Option<&Manifest>) -> Result<Selection, Failure> {
        if let Some(ids) = self.refs.selected_by_job() {
            return Ok(Selection::of_ids(ids));
        }
        match self.spec.source.ngc.as_ref().filter(|_| self.spec.source.is_optimized()) {
            Some(ngc) if !self.refs.image.native => self.select_profiles(ngc, manifest),
            _ => Ok(Selection::Ids(Vec::new())),
        }
    }

    fn select_profiles(&self, ngc: &NGCSource, manifest: Option<&Manifest>) -> Result<Selection, Failure> {
        let listed =
            ngc.model.as_ref().and_then(|model| model.profiles.clone()).filter(|list| !list.is_empty());
        let chosen = || observe::selected_by_user(self.subject).map(|ids| (observe::CHOSEN, ids));
        let listed = listed.map(|ids| ("spec.source.ngc.model.profiles", ids)).or_else(chosen);
        if let Some((field, listed)) = listed {
            validate::profile_ids(field, &listed)?;
            known_to_image(ngc, manifest, field, &listed)?;
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
        let attempts = self.refs.attempts(self.subject).to_annotation();
        let attempts = attempts.filter(|_| !matches!(verdict, Verdict::StillReady | Verdict::Found { .. }));
        Rendered {
            children,
            remove: Vec::new(),
            complete: false,
            notes: vec![(attempts::ANNOTATION, attempts)],
            amendments: Vec::new(),
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

/// Refuses ids that a NIM with profiles of its own does not have: it could not download them. Images before are left to
/// judge by themselves.
fn known_to_image(
    ngc: &NGCSource,
    manifest: Option<&Manifest>,
    field: &str,
    listed: &[String],
) -> Result<(), Failure> {
    let image = &ngc.model_puller;
    let is_new = major_version(image).is_some_and(|major| major >= OWN_PROFILES_SINCE);
    let Some(manifest) = manifest.filter(|_| is_new) else { return Ok(()) };
    let is_known = |id: &String| id == "all" || manifest.profiles.iter().any(|profile| profile.id == *id);
    let Some(unknown) = listed.iter().find(|id| !is_known(id)) else { return Ok(()) };
    let has: Vec<&str> = manifest.profiles.iter().take(NAMED).map(|profile| profile.id.as_str()).collect();
    let message = format!(
        "{field} has {unknown:?}, which is none of the {} profiles of {image} ({}{}): ids of NIMs before {OWN_PROFILES_SINCE}.0 mean \
         nothing to it; list ids of this image, or remove {field} to have them selected",
        manifest.profiles.len(),
        has.join(", "),
        if has.len() < manifest.profiles.len() { ", …" } else { "" }
    );
    Err(Failure::new("ProfileOfOlderNIM", message))
}

/// Selected profiles as the status shows them; nothing when all were taken.
fn described(manifest: Option<&Manifest>, selection: &Selection) -> Vec<Value> {
    let (Some(manifest), Selection::Ids(ids)) = (manifest, selection) else { return Vec::new() };
    let chosen = manifest.profiles.iter().filter(|profile| ids.contains(&profile.id));
    chosen.map(Profile::shown).collect()
}
