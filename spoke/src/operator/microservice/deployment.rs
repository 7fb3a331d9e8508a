//! The Deployment around the pods.

use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, DeploymentStrategy, RollingUpdateDeployment};
use k8s_openapi::api::core::v1::{PodSpec, PodTemplateSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::json;

use super::Microservice;
use super::metadata::{Map, selector};
use crate::operator::engine::child::{Child, ChildKind, Keep};

/// The Deployment, its pods with these annotations. Of an autoscaled one the number of replicas is only begun with: it
/// is the autoscaler's. A `deadline` is given in seconds, where Kubernetes' own (600) is too short.
pub(crate) fn child(of: &Microservice<'_>, pod: PodSpec, annotations: Map, deadline: Option<i32>) -> Child {
    let replicas = of.replicas.filter(|_| !of.is_autoscaled());
    let rolling = rolling(of.name(), of.pod_labels(), annotations, pod);
    let deployment = Deployment {
        metadata: of.meta(of.annotations()),
        spec: Some(DeploymentSpec { replicas, progress_deadline_seconds: deadline, ..rolling }),
        status: None,
    };
    let child = Child::new(ChildKind::Deployment, of.name(), Keep::Owned, &deployment);
    match of.scale.and_then(|scale| scale.hpa.as_ref()).filter(|_| of.is_autoscaled()) {
        Some(autoscaler) => child.seeded("/spec/replicas", json!(autoscaler.min_replicas.unwrap_or(1))),
        None => child,
    }
}

/// Pods that are selected by `app`, replaced a quarter at a time and never more than there are.
pub(crate) fn rolling(app: &str, labels: Map, annotations: Map, pod: PodSpec) -> DeploymentSpec {
    let rolling = RollingUpdateDeployment {
        max_surge: Some(IntOrString::Int(0)),
        max_unavailable: Some(IntOrString::String("25%".into())),
    };
    DeploymentSpec {
        selector: LabelSelector { match_labels: Some(selector(app)), ..LabelSelector::default() },
        strategy: Some(DeploymentStrategy {
            type_: Some("RollingUpdate".into()),
            rolling_update: Some(rolling),
        }),
        template: PodTemplateSpec {
            metadata: Some(ObjectMeta {
                labels: Some(labels),
                annotations: Some(annotations).filter(|all| !all.is_empty()),
                ..ObjectMeta::default()
            }),
            spec: Some(pod),
        },
        ..DeploymentSpec::default()
    }
}
