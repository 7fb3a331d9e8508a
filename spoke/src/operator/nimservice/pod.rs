//! The pod that serves: what Deployment, LeaderWorkerSet and InferenceService have in common.

use crds::nim::{Image, NIMServiceSpec};
use k8s_openapi::api::core::v1::{PodSecurityContext, PodSpec, ResourceRequirements, SeccompProfile};

use super::claims;
use super::containers::containers;
use super::scene::Scene;
use super::storage::ModelStore;
use super::volumes::volumes;
use crate::operator::cluster::{ClusterFacts, Platform};
use crate::operator::microservice::pod::{affinity, pull_secrets};

/// The pod of one replica on one node.
pub(super) fn pod(scene: &Scene<'_>, store: &ModelStore, resources: Option<ResourceRequirements>) -> PodSpec {
    let spec = scene.spec;
    let containers = containers(scene, store, resources);
    let text = |field: &Option<String>| field.clone().filter(|text| !text.is_empty());
    let mut pod = PodSpec {
        service_account_name: Some(scene.name().to_owned()),
        runtime_class_name: text(&spec.runtime_class_name),
        scheduler_name: text(&spec.scheduler_name),
        priority_class_name: text(&spec.priority_class_name),
        affinity: affinity(spec.affinity.as_ref(), spec.pod_affinity.as_ref()),
        node_selector: spec.node_selector.clone().filter(|map| !map.is_empty()),
        tolerations: spec.tolerations.clone().filter(|list| !list.is_empty()),
        image_pull_secrets: pull_secrets(images(spec)),
        security_context: Some(security(spec, scene.facts)),
        volumes: Some(volumes(spec, store)),
        init_containers: (!containers.init.is_empty()).then_some(containers.init),
        containers: containers.running,
        ..PodSpec::default()
    };
    claims::attach(scene, &mut pod);
    pod
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

/// Every image of the pod.
fn images(spec: &NIMServiceSpec) -> impl Iterator<Item = &Image> {
    let beside = spec.init_containers.iter().chain(&spec.sidecar_containers).flatten();
    std::iter::once(&spec.image).chain(beside.map(|container| &container.image))
}
