//! The claims of the pod: one for each entry of `spec.draResources`, and one for the channel of a compute domain.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{PodResourceClaim, PodSpec, ResourceClaim};

use super::names::{self, Source};
use super::{compute_domain, names::template};
use crate::operator::nimservice::scene::Scene;

/// One claim of the pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PodClaim {
    /// Its name in the pod.
    pub(super) name: String,
    /// The claim, or the template, it comes from.
    pub(super) resource: String,
    pub(super) source: Source,
    /// The requests of the claim that containers use; none means all.
    pub(super) requests: Vec<String>,
}

/// All claims, in the order of the spec.
pub(super) fn claims(scene: &Scene<'_>) -> Vec<PodClaim> {
    let mut all: Vec<(Source, String, Vec<String>)> = Vec::new();
    for (index, wanted) in scene.spec.dra_resources.iter().flatten().enumerate() {
        let requests = wanted.requests.clone().unwrap_or_default();
        let given = match (&wanted.resource_claim_name, &wanted.resource_claim_template_name) {
            (Some(claim), _) => Some((Source::Claim, claim.clone())),
            (None, Some(template)) => Some((Source::Template, template.clone())),
            (None, None) => {
                let made = wanted.claim_creation_spec.as_ref();
                made.map(|made| (Source::Template, template(scene.name(), made, index)))
            }
        };
        all.extend(given.map(|(source, resource)| (source, resource, requests)));
    }
    let channel = compute_domain::template(scene);
    all.extend(channel.map(|template| (Source::DomainTemplate, template, Vec::new())));
    let mut numbers: BTreeMap<String, u32> = BTreeMap::new();
    let named = all.into_iter().map(|(source, resource, requests)| {
        let prefix = names::in_pod(scene.name(), source, &resource);
        let number = numbers.entry(prefix.clone()).or_default();
        let name = format!("{prefix}-{number}");
        *number += 1;
        PodClaim { name, resource, source, requests }
    });
    named.collect()
}

/// Gives the claims to the pod, and each to all running containers unless one of them already names it.
pub(super) fn attach(claims: &[PodClaim], pod: &mut PodSpec) {
    for claim in claims {
        let resource = Some(claim.resource.clone());
        let (resource_claim_name, resource_claim_template_name) = match claim.source {
            Source::Claim => (resource, None),
            Source::Template | Source::DomainTemplate => (None, resource),
        };
        pod.resource_claims.get_or_insert_default().push(PodResourceClaim {
            name: claim.name.clone(),
            resource_claim_name,
            resource_claim_template_name,
        });
        let names_it = |list: &Vec<ResourceClaim>| list.iter().any(|used| used.name == claim.name);
        let taken = pod
            .containers
            .iter()
            .any(|one| one.resources.as_ref().and_then(|r| r.claims.as_ref()).is_some_and(names_it));
        if taken {
            continue;
        }
        for container in &mut pod.containers {
            let used = container.resources.get_or_insert_default().claims.get_or_insert_default();
            let whole = claim.requests.is_empty().then_some(None);
            let parts = claim.requests.iter().cloned().map(Some);
            used.extend(
                whole
                    .into_iter()
                    .chain(parts)
                    .map(|request| ResourceClaim { name: claim.name.clone(), request }),
            );
        }
    }
}
