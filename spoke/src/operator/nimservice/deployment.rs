//! The Deployment that serves the model.

use crds::nim::NIMServiceSpec;
use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, DeploymentStrategy, RollingUpdateDeployment};
use k8s_openapi::api::core::v1::{
    LocalObjectReference, PodSecurityContext, PodSpec, PodTemplateSpec, ResourceRequirements, SeccompProfile,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::containers::containers;
use super::metadata::{annotations, labels, meta, pod_labels, selector};
use super::storage::{CacheView, ModelStore};
use super::volumes::volumes;
use crate::operator::cluster::{ClusterFacts, Platform};
use crate::operator::engine::child::{Child, ChildKind, Keep};
use crate::operator::engine::kind::Subject;

/// The Deployment.
pub(super) fn deployment(
    subject: &Subject,
    spec: &NIMServiceSpec,
    cache: Option<&CacheView>,
    store: &ModelStore,
    resources: Option<ResourceRequirements>,
    facts: &ClusterFacts,
) -> Child {
    let name = &subject.owner.name;
    let containers = containers(name, spec, cache, store, resources);
    let text = |field: &Option<String>| field.clone().filter(|text| !text.is_empty());
    let pod = PodSpec {
        service_account_name: Some(name.clone()),
        runtime_class_name: text(&spec.runtime_class_name),
        scheduler_name: text(&spec.scheduler_name),
        priority_class_name: text(&spec.priority_class_name),
        affinity: spec.affinity.clone(),
        node_selector: spec.node_selector.clone().filter(|map| !map.is_empty()),
        tolerations: spec.tolerations.clone().filter(|list| !list.is_empty()),
        image_pull_secrets: pull_secrets(spec),
        security_context: Some(security(spec, facts)),
        volumes: Some(volumes(spec, store)),
        init_containers: (!containers.init.is_empty()).then_some(containers.init),
        containers: containers.running,
        ..PodSpec::default()
    };
    let template = PodTemplateSpec {
        metadata: Some(ObjectMeta {
            labels: Some(pod_labels(subject, spec)),
            annotations: Some(annotations(spec)),
            ..ObjectMeta::default()
        }),
        spec: Some(pod),
    };
    let rolling = RollingUpdateDeployment {
        max_surge: Some(IntOrString::Int(0)),
        max_unavailable: Some(IntOrString::String("25%".into())),
    };
    let deployment = Deployment {
        metadata: meta(subject, labels(subject, spec), annotations(spec)),
        spec: Some(DeploymentSpec {
            replicas: spec.replicas,
            selector: LabelSelector { match_labels: Some(selector(name)), ..LabelSelector::default() },
            strategy: Some(DeploymentStrategy {
                type_: Some("RollingUpdate".into()),
                rolling_update: Some(rolling),
            }),
            template,
            ..DeploymentSpec::default()
        }),
        status: None,
    };
    Child::new(ChildKind::Deployment, name, Keep::Owned, &deployment)
}

fn security(spec: &NIMServiceSpec, facts: &ClusterFacts) -> PodSecurityContext {
    let group = spec.group();
    PodSecurityContext {
        run_as_user: Some(spec.user()),
        run_as_group: Some(group),
        fs_group: Some(group),
        seccomp_profile: (facts.platform == Platform::Tkgs).then(runtime_default),
        ..PodSecurityContext::default()
    }
}

/// The seccomp profile that TKGS insists on.
pub(crate) fn runtime_default() -> SeccompProfile {
    SeccompProfile { type_: "RuntimeDefault".into(), localhost_profile: None }
}

fn pull_secrets(spec: &NIMServiceSpec) -> Option<Vec<LocalObjectReference>> {
    let mut names: Vec<&String> = Vec::new();
    for name in spec.image.pull_secrets.iter().flatten() {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let secrets = names.into_iter().map(|name| LocalObjectReference { name: name.clone() });
    Some(secrets.collect::<Vec<_>>()).filter(|list| !list.is_empty())
}
