//! What is made for a NIMCache, step by step: the claim, the pod that prints the manifest, the job that downloads.

use crds::nim::{NGCSource, NIMCacheSpec};
use serde_json::Value;

use super::attempts::{self, Next};
use super::manifest::{Manifest, Profile};
use super::observe::{self, Refs};
use super::selection::{self, Selection};
use super::{Verdict, creates_claim, extraction, job, shared, validate};
use crate::operator::claim::claim;
use crate::operator::cluster::ClusterFacts;
use crate::operator::engine::child::{Child, ChildKind};
use crate::operator::engine::kind::{Again, Failure, Rendered, Subject};
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
        match self.claim() {
            Ok(claim) => children.extend(claim),
            Err((why, again)) => return self.blocked(children, why, again),
        }
        // The next claim is empty: a job that filled this one has filled nothing.
        if self.refs.claim_going {
            let job = (ChildKind::Job, job::name(self.subject));
            return Rendered { remove: vec![job], ..self.rendered(children, Verdict::Inspecting) };
        }
        if observe::is_ready(self.subject) {
            return self.rendered(children, Verdict::StillReady);
        }
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
        if self.refs.inspecting {
            return self.rendered(children, Verdict::Inspecting);
        }
        if self.refs.image_unknown() {
            children.push(extraction::manifest_pod(self.subject, self.spec, self.facts));
            return self.rendered(children, Verdict::Extracting);
        }
        match self.refs.read_manifest() {
            Err(problem) => self.blocked(children, Failure::new("InvalidManifest", problem), Again::Backoff),
            Ok(manifest) => self.download(manifest.as_ref(), children),
        }
    }

    fn check(&self) -> Result<(), Failure> {
        if self.spec.cert_config.is_some() {
            let message = "spec.certConfig is no longer supported: use spec.proxy.certConfigMap";
            return Err(Failure::new("Unsupported", message));
        }
        validate::check(self.spec)
    }

    /// The claim to make; nothing where one is given.
    fn claim(&self) -> Result<Option<Child>, (Failure, Again)> {
        let owner = &self.subject.owner;
        if let Some(pvc) = self.spec.storage.pvc.as_ref().filter(|_| creates_claim(self.spec)) {
            let labels = extraction::standard_labels(self.subject);
            let labels: Vec<(&str, &str)> = labels.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
            let made = claim(pvc, &pvc.name_for(&owner.name), &owner.namespace, &labels);
            let invalid =
                |problem| (Failure::new("InvalidSpec", format!("spec.storage.pvc.{problem}")), Again::No);
            return made.map(Some).map_err(invalid);
        }
        if self.refs.claim_found {
            return Ok(None);
        }
        let name = self.spec.claim_name(&owner.name);
        let message =
            format!("PersistentVolumeClaim {name} not found: create it, or set spec.storage.pvc.create");
        Err((Failure::new("PVCNotFound", message), Again::Backoff))
    }

    fn download(&self, manifest: Option<&Manifest>, mut children: Vec<Child>) -> Rendered<Verdict> {
        if let Some(manifest) = manifest {
            children.push(extraction::config_map(self.subject, manifest.minimal()));
        }
        let selection = match self.select(manifest) {
            Ok(selection) => selection,
            Err(why) => return self.cleared(self.blocked(children, why, Again::No)),
        };
        children.push(job::job(self.subject, self.spec, self.refs.image, &selection, self.facts));
        let selected = described(manifest, &selection);
        self.cleared(self.rendered(children, Verdict::Downloading { selected }))
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
