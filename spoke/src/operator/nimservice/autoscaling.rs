//! The HorizontalPodAutoscaler.

use super::scene::Scene;
use crate::operator::engine::child::Child;

/// The autoscaler, if the spec asks for one.
pub(super) fn child(_scene: &Scene<'_>) -> Option<Child> {
    None
}
