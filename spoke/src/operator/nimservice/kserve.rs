//! The KServe platform: an InferenceService.

use crds::nim::NIMService;
use serde_json::Value;

use super::Verdict;
use super::readiness::Readiness;
use super::scene::{Scene, fails};
use crate::operator::engine::call::CallError;
use crate::operator::engine::kind::{Failure, Rendered, Subject};
use crate::operator::engine::world::World;

/// KServe as it is set up in this cluster.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {}

/// Looks at it.
pub(super) async fn observe(
    _object: &NIMService,
    _subject: &Subject,
    _world: &World,
) -> Result<Seen, CallError> {
    Ok(Seen {})
}

/// All objects.
pub(super) fn render(_scene: &Scene<'_>) -> Rendered<Verdict> {
    fails(Vec::new(), Failure::new("Unsupported", ""))
}

/// Reads a live InferenceService.
pub(super) fn readiness(_name: &str, _live: &Value) -> Readiness {
    Readiness { ready: false, message: String::new(), available: 0 }
}

/// Where the model is reached, inside the cluster and from outside.
pub(super) fn endpoints(_live: &Value) -> (String, String) {
    (String::new(), String::new())
}
