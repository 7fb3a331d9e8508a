//! How a model is reached from outside: Ingress, Gateway routes, endpoint picker; and under which addresses.

use super::network::{self, Ports};
use super::scene::{Scene, live};
use crate::operator::engine::child::{Child, ChildKind};
use crate::operator::engine::kind::{Failure, Outcome};

/// The objects that the spec asks for.
pub(super) fn children(_scene: &Scene<'_>) -> Result<Vec<Child>, Failure> {
    Ok(Vec::new())
}

/// Where the model is reached: inside the cluster, and from outside. Empty when not known.
pub(super) fn endpoints(scene: &Scene<'_>, outcome: &Outcome) -> (String, String) {
    network::endpoints(&live(outcome, ChildKind::Service, scene.name()), Ports::of(scene.spec))
}
