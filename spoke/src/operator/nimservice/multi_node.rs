//! A replica over several nodes: a LeaderWorkerSet.

use k8s_openapi::api::core::v1::ResourceRequirements;
use serde_json::Value;

use super::readiness::Readiness;
use super::scene::Scene;
use super::storage::ModelStore;
use crate::operator::engine::child::Child;
use crate::operator::engine::kind::Failure;

/// Name of the LeaderWorkerSet.
pub(super) fn name(service: &str) -> String {
    format!("{service}-lws")
}

/// The LeaderWorkerSet and what its pods need to find each other.
pub(super) fn children(
    _scene: &Scene<'_>,
    _store: &ModelStore,
    _resources: Option<ResourceRequirements>,
) -> Result<Vec<Child>, Failure> {
    Ok(Vec::new())
}

/// Reads a live LeaderWorkerSet.
pub(super) fn readiness(_name: &str, _live: &Value) -> Readiness {
    Readiness { ready: false, message: String::new(), available: 0 }
}
