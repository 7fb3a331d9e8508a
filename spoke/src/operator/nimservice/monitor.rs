//! The ServiceMonitor of the Prometheus operator.

use super::scene::Scene;
use crate::operator::engine::child::Child;

/// The monitor, if the spec asks for one.
pub(super) fn child(_scene: &Scene<'_>) -> Option<Child> {
    None
}
