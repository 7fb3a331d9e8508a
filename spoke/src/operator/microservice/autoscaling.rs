//! The HorizontalPodAutoscaler.

use k8s_openapi::api::autoscaling::v2::{
    CrossVersionObjectReference, HorizontalPodAutoscaler, HorizontalPodAutoscalerSpec,
};

use super::Microservice;
use super::metadata::merged;
use crate::operator::engine::child::{Child, ChildKind, Keep};
use crate::operator::engine::kind::Failure;

/// The autoscaler, if the spec asks for one.
pub(crate) fn child(of: &Microservice<'_>) -> Result<Option<Child>, Failure> {
    let Some(scale) = of.scale.filter(|_| of.is_autoscaled()) else { return Ok(None) };
    let Some(wanted) = scale.hpa.as_ref().filter(|wanted| wanted.max_replicas > 0) else {
        let message = "spec.scale.hpa.maxReplicas must be at least 1 with spec.scale.enabled";
        return Err(Failure::new("HPAFailed", message));
    };
    // An order of their own keeps the object the same when a user moves its metrics around.
    let mut metrics = wanted.metrics.clone().unwrap_or_default();
    metrics.sort_by(|one, other| one.type_.cmp(&other.type_));
    let autoscaler = HorizontalPodAutoscaler {
        metadata: of.meta(merged(of.annotations(), scale.annotations.as_ref())),
        spec: Some(HorizontalPodAutoscalerSpec {
            scale_target_ref: CrossVersionObjectReference {
                api_version: Some("apps/v1".into()),
                kind: "Deployment".into(),
                name: of.name().to_owned(),
            },
            min_replicas: wanted.min_replicas,
            max_replicas: wanted.max_replicas,
            metrics: (!metrics.is_empty()).then_some(metrics),
            behavior: wanted.behavior.clone(),
        }),
        status: None,
    };
    Ok(Some(Child::new(ChildKind::HorizontalPodAutoscaler, of.name(), Keep::Owned, &autoscaler)))
}
