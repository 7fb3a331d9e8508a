//! The Deployment that serves the model on one node per replica.

use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, DeploymentStrategy, RollingUpdateDeployment};
use k8s_openapi::api::core::v1::{PodTemplateSpec, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::json;

use super::metadata::{annotations, labels, meta, pod_labels, selector};
use super::pod::pod;
use super::scene::Scene;
use super::storage::ModelStore;
use crate::operator::engine::child::{Child, ChildKind, Keep};

/// The Deployment. Of an autoscaled one the number of replicas is only begun with: it is the autoscaler's.
pub(super) fn deployment(
    scene: &Scene<'_>,
    store: &ModelStore,
    resources: Option<ResourceRequirements>,
) -> Child {
    let Scene { subject, spec, .. } = *scene;
    let template = PodTemplateSpec {
        metadata: Some(ObjectMeta {
            labels: Some(pod_labels(subject, spec)),
            annotations: Some(annotations(spec)),
            ..ObjectMeta::default()
        }),
        spec: Some(pod(scene, store, resources)),
    };
    let rolling = RollingUpdateDeployment {
        max_surge: Some(IntOrString::Int(0)),
        max_unavailable: Some(IntOrString::String("25%".into())),
    };
    let deployment = Deployment {
        metadata: meta(subject, labels(subject, spec), annotations(spec)),
        spec: Some(DeploymentSpec {
            replicas: spec.replicas.filter(|_| !spec.is_autoscaled()),
            selector: LabelSelector {
                match_labels: Some(selector(scene.name())),
                ..LabelSelector::default()
            },
            strategy: Some(DeploymentStrategy {
                type_: Some("RollingUpdate".into()),
                rolling_update: Some(rolling),
            }),
            template,
            ..DeploymentSpec::default()
        }),
        status: None,
    };
    let child = Child::new(ChildKind::Deployment, scene.name(), Keep::Owned, &deployment);
    match spec.autoscaler().filter(|_| spec.is_autoscaled()) {
        Some(autoscaler) => child.seeded("/spec/replicas", json!(autoscaler.min_replicas.unwrap_or(1))),
        None => child,
    }
}
