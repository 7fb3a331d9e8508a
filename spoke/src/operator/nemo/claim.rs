//! A claim that a NeMo microservice has made, or that it expects to be there.

use crds::nim::PersistentVolumeClaim;
use k8s_openapi::api::core::v1::{PersistentVolumeClaimVolumeSource, Volume};

use super::need::{Need, Part};
use super::{NemoService, Scene};
use crate::operator::claim::claim;
use crate::operator::engine::child::Child;
use crate::operator::engine::kind::{Failure, Subject};
use crate::operator::references::Thing;

/// A claim that is not to be made has to be there.
pub(crate) fn need(subject: &Subject, wanted: &PersistentVolumeClaim, field: &'static str) -> Option<Need> {
    let name = wanted.name_for(&subject.owner.name);
    (!wanted.is_created()).then(|| Need::new(subject, Thing::Claim, &name, field, Part::Presence))
}

/// The claim to be made, if it is to be; an error names what is wrong with the field, or says that there is none.
pub(crate) fn child<S: NemoService>(
    scene: &Scene<'_, S>,
    wanted: &PersistentVolumeClaim,
    field: &'static str,
) -> Result<Option<Child>, Failure> {
    if let Some(need) = need(scene.subject, wanted, field) {
        return scene.found.content(&need).map(|_| None);
    }
    let labels = scene.microservice().labels();
    let labels: Vec<(&str, &str)> =
        labels.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    let child = claim(wanted, &wanted.name_for(scene.name()), scene.namespace(), &labels);
    child.map(Some).map_err(|problem| Failure::new("InvalidSpec", format!("{field}.{problem}")))
}

/// The volume of that claim.
pub(crate) fn volume<S: NemoService>(
    scene: &Scene<'_, S>,
    name: &str,
    wanted: &PersistentVolumeClaim,
) -> Volume {
    let source = PersistentVolumeClaimVolumeSource {
        claim_name: wanted.name_for(scene.name()),
        ..PersistentVolumeClaimVolumeSource::default()
    };
    Volume { name: name.to_owned(), persistent_volume_claim: Some(source), ..Volume::default() }
}
