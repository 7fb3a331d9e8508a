//! Dynamic resource allocation: claims and templates of claims that the pods use, and compute domains.

use crds::nim::NIMService;
use k8s_openapi::api::core::v1::PodSpec;
use serde_json::{Map, Value};

use super::scene::Scene;
use crate::operator::engine::call::CallError;
use crate::operator::engine::child::Child;
use crate::operator::engine::kind::{Failure, Outcome, Subject};
use crate::operator::engine::world::World;

/// Claims and compute domains as they are.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {}

/// Looks at what the spec names.
pub(super) async fn observe(
    _object: &NIMService,
    _subject: &Subject,
    _world: &World,
) -> Result<Seen, CallError> {
    Ok(Seen {})
}

/// Whether this cluster and this spec can have claims at all.
pub(super) fn check(_scene: &Scene<'_>) -> Result<(), Failure> {
    Ok(())
}

/// Templates and the compute domain that the spec asks for.
pub(super) fn children(_scene: &Scene<'_>) -> Result<Vec<Child>, Failure> {
    Ok(Vec::new())
}

/// Gives the claims to the pod and its running containers.
pub(super) fn attach(_scene: &Scene<'_>, _pod: &mut PodSpec) {}

/// What the status tells of them.
pub(super) fn status(_scene: &Scene<'_>, _outcome: &Outcome) -> Map<String, Value> {
    Map::new()
}
