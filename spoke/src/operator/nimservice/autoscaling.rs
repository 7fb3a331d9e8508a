//! The HorizontalPodAutoscaler.

use k8s_openapi::api::autoscaling::v2::{
    CrossVersionObjectReference, HorizontalPodAutoscaler, HorizontalPodAutoscalerSpec,
};

use super::metadata::{annotations, labels, merged, meta};
use super::scene::Scene;
use crate::operator::engine::child::{Child, ChildKind, Keep};
use crate::operator::engine::kind::Failure;

/// The autoscaler, if the spec asks for one.
pub(super) fn child(scene: &Scene<'_>) -> Result<Option<Child>, Failure> {
    let Some(scale) = scene.spec.scale.as_ref().filter(|scale| scale.enabled == Some(true)) else {
        return Ok(None);
    };
    let Some(wanted) = scale.hpa.as_ref().filter(|wanted| wanted.max_replicas > 0) else {
        let message = "spec.scale.hpa.maxReplicas must be at least 1 with spec.scale.enabled";
        return Err(Failure::new("HPAFailed", message));
    };
    // An order of their own keeps the object the same when a user moves its metrics around.
    let mut metrics = wanted.metrics.clone().unwrap_or_default();
    metrics.sort_by(|one, other| one.type_.cmp(&other.type_));
    let annotations = merged(annotations(scene.spec), scale.annotations.as_ref());
    let autoscaler = HorizontalPodAutoscaler {
        metadata: meta(scene.subject, labels(scene.subject, scene.spec), annotations),
        spec: Some(HorizontalPodAutoscalerSpec {
            scale_target_ref: CrossVersionObjectReference {
                api_version: Some("apps/v1".into()),
                kind: "Deployment".into(),
                name: scene.name().to_owned(),
            },
            min_replicas: wanted.min_replicas,
            max_replicas: wanted.max_replicas,
            metrics: (!metrics.is_empty()).then_some(metrics),
            behavior: wanted.behavior.clone(),
        }),
        status: None,
    };
    Ok(Some(Child::new(ChildKind::HorizontalPodAutoscaler, scene.name(), Keep::Owned, &autoscaler)))
}
