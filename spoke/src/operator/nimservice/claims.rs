//! Dynamic resource allocation: claims and templates of claims that the pods use, and compute domains.

mod compute_domain;
mod in_pod;
mod names;
mod selector;
mod status;
mod template;
mod version;

use std::collections::BTreeSet;

use crds::nim::NIMService;
use k8s_openapi::api::core::v1::PodSpec;
use serde_json::{Map, Value};

use super::multi_node;
use super::scene::Scene;
use crate::operator::engine::call::CallError;
use crate::operator::engine::child::Child;
use crate::operator::engine::kind::{Failure, Outcome, Subject};
use crate::operator::engine::world::World;

/// Claims and compute domains as they are.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    /// Claims of the namespace, oldest first; read only where the spec asks for claims.
    claims: Vec<status::ClaimView>,
    /// The compute domain that the spec refers to; none where it is made.
    domain: Option<compute_domain::DomainView>,
    /// What a service over several nodes already has.
    pub(super) nodes: multi_node::Seen,
}

/// Looks at what the spec names.
pub(super) async fn observe(
    object: &NIMService,
    subject: &Subject,
    world: &World,
) -> Result<Seen, CallError> {
    let spec = &object.spec;
    let domain = compute_domain::observe(spec, subject, world);
    let claimed = spec.dra_resources.iter().flatten().next().is_some() || compute_domain::of(spec).is_some();
    let claims = if claimed { status::observe(subject, world) } else { Vec::new() };
    let nodes = multi_node::observe(object, subject, world).await?;
    Ok(Seen { claims, domain, nodes })
}

/// Whether this cluster and this spec can have claims at all.
pub(super) fn check(scene: &Scene<'_>) -> Result<(), Failure> {
    let given = scene.spec.resources.as_ref().and_then(|resources| resources.claims.as_ref());
    if given.is_some_and(|claims| !claims.is_empty()) {
        let message =
            "spec.resources.claims must not be set: claims are given to containers by spec.draResources";
        return Err(Failure::new("InvalidSpec", message));
    }
    compute_domain::check(scene)?;
    let unsupported = |message: String| Err(Failure::new("DRAResourcesUnsupported", message));
    let wanted = scene.spec.dra_resources.as_deref().unwrap_or_default();
    if wanted.is_empty() {
        return Ok(());
    }
    let cluster = scene.facts.kubernetes.as_str();
    if !version::has_claims(cluster) {
        return unsupported(format!(
            "spec.draResources needs Kubernetes v1.34.0 or later; this cluster is {cluster}"
        ));
    }
    let mut names = BTreeSet::new();
    for (index, resource) in wanted.iter().enumerate() {
        let path = format!("spec.draResources[{index}]");
        let name = resource.resource_claim_name.as_deref();
        let template = resource.resource_claim_template_name.as_deref();
        let sources = [name.is_some(), template.is_some(), resource.claim_creation_spec.is_some()];
        if sources.into_iter().filter(|given| *given).count() != 1 {
            return unsupported(format!(
                "{path}: exactly one of resourceClaimName, resourceClaimTemplateName, claimCreationSpec must be set"
            ));
        }
        if let Some(twice) = name.filter(|name| !names.insert(*name)) {
            return unsupported(format!("{path}.resourceClaimName: {twice} is named twice"));
        }
        let devices = resource.claim_creation_spec.iter().flat_map(|wanted| &wanted.devices);
        for (place, device) in devices.enumerate() {
            if let Err(why) = selector::expressions(device) {
                return unsupported(format!("{path}.claimCreationSpec.devices[{place}].{why}"));
            }
        }
    }
    Ok(())
}

/// Templates and the compute domain that the spec asks for.
pub(super) fn children(scene: &Scene<'_>) -> Result<Vec<Child>, Failure> {
    let mut all = template::children(scene)?;
    all.extend(compute_domain::child(scene));
    Ok(all)
}

/// Gives the claims to the pod and its running containers.
pub(super) fn attach(scene: &Scene<'_>, pod: &mut PodSpec) {
    in_pod::attach(&in_pod::claims(scene), pod);
}

/// What the status tells of them.
pub(super) fn status(scene: &Scene<'_>, outcome: &Outcome) -> Map<String, Value> {
    let mut all = Map::new();
    let claims = in_pod::claims(scene);
    if !claims.is_empty() {
        let seen = &scene.refs.claims.claims;
        let rows = claims.iter().map(|claim| status::row(claim, seen));
        all.insert("draResourceStatuses".to_owned(), rows.collect());
    }
    if let Some(domain) = compute_domain::status(scene, outcome) {
        all.insert("computeDomainStatus".to_owned(), domain);
    }
    all
}

#[cfg(test)]
impl Seen {
    /// As if a compute domain were referred to.
    pub(super) fn of_domain(name: &str, live: &Value) -> Self {
        let nodes = multi_node::Seen::default();
        Self { claims: Vec::new(), domain: Some(compute_domain::view(name, live)), nodes }
    }

    /// As if a service over several nodes had this key and these pods.
    pub(super) fn of_group(key: &[u8], pods: Value) -> Self {
        Self { nodes: multi_node::Seen::of(key, pods), ..Self::default() }
    }

    /// The same of a service whose groups have these pods: group index, worker index, and whether the pod is Ready.
    pub(super) fn of_group_with(key: &[u8], pods: &[(u32, u32, bool)]) -> Self {
        Self { nodes: multi_node::Seen::of(key, Value::Null).with_groups(pods), ..Self::default() }
    }
}
